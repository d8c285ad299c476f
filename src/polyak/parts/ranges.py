"""Types of numbers that say which of them can work: `gamma: Share = 0.99`.

The range stands in the annotation, where `settings.check` and the documentation read it.
"""

import dataclasses
from typing import Annotated

LARGEST = 1e30  # of floats: beyond it products leave float32, which ends at 3e38
LARGEST_INT = 2**31 - 1  # of the integers that programs count with


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, and those in `also`."""

    low: float
    high: float = LARGEST
    above: bool = False  # whether `low` itself is left out
    below: bool = False  # whether `high` itself is left out
    also: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        at_the_end = (self.above and value == self.low) or (self.below and value == self.high)
        return value in self.also or (self.low <= value <= self.high and not at_the_end)

    def __str__(self) -> str:
        """`more than 0 and at most 1e+06`: what an error says that a number must be."""
        also = "".join(f"{value:g}, or " for value in self.also)
        if (self.low, self.high, self.above, self.below) == (0, 1, False, False):
            return f"{also}between 0 and 1"
        low = f"more than {self.low:g}" if self.above else "0 or more" if self.low == 0 else f"at least {self.low:g}"
        high = f"{self.high:,}" if isinstance(self.high, int) else f"{self.high:g}"
        return f"{also}{low} and {'below' if self.below else 'at most'} {high}"


Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
OpenShare = Annotated[float, Range(0, 1, above=True, below=True)]
Decay = Annotated[float, Range(0, 1, below=True)]
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Finite = Annotated[float, Range(-LARGEST, LARGEST)]
Rate = Annotated[float, Range(0, 1e6, above=True)]  # beyond it products leave float32 before any error does
Count = Annotated[int, Range(1, LARGEST_INT)]
Whole = Annotated[int, Range(0, LARGEST_INT)]
BlockLength = Annotated[int, Range(1, 2**24)]  # steps; more would not be counted exactly in float32
