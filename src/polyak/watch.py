"""Numbers that go wrong: stops a run whose numbers are no longer finite, and warns of values that grow without bound.

Learners refuse an update that would spoil what they know (`parts.finite`, `parts.optimise.adam`) and leave a number
that is not finite in their metrics. That is what is looked for here, once a chunk.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from polyak.errors import BadSetting, Diverged

OF_EPISODES = ("episode_return", "episode_length")  # NaN where no episode ended
LARGEST = "largest_parameter"
SIZES = ("q_mean", "td_error", "value_loss")  # that are in units of return, the last of them squared
BEYOND = 100.0  # times the returns
UNPAID = 1e6  # times its first value, where there was nothing to compare with
LOOKS = 3  # in a row


class Watch:
    """Looks at the metrics of one seed, or of several that share a program."""

    def __init__(self, seeds: Sequence[int], emit: Callable[[dict[str, Any]], None]):
        self._emit = emit
        self._growth = {seed: Growth() for seed in seeds}

    def look(
        self,
        metrics: Mapping[str, Any],
        before: int,
        block: int,
        iteration: Any,
        kept: Callable[[int], str | os.PathLike | None],
    ) -> None:
        """Raises `Diverged` where a number is not finite, and emits a notice where values grow without bound.

        A replay that was given observations it cannot keep as frames tells so by its size, and `BadSetting` is raised.

        Args:
            metrics: of a chunk, each [] or one a seed.
            before: environment steps made before the chunk.
            block: environment steps of an iteration.
            iteration: iterations made after it, [] or one a seed: where a seed had the loop to itself, the last of them
                is the one that went wrong.
            kept: tells the last good checkpoint of a seed, or None.
        """
        alone = len(self._growth) == 1
        for k, (seed, growth) in enumerate(self._growth.items()):
            values = {name: float(np.reshape(value, -1)[k]) for name, value in metrics.items()}
            if wrong := not_finite(values):
                if "replay_size" in wrong:  # see `Memory.metrics`
                    raise BadSetting(
                        f"The observations of seed {seed} are not stacks of the newest frames, newest last, so the "
                        "replay cannot keep each frame once; set frame_stack to 1."
                    )
                after = block * int(np.reshape(iteration, -1)[k])
                exact = alone and not set(wrong) & {*OF_EPISODES, LARGEST}
                raise Diverged(wrong, seed, after - block if exact else before, after, kept(seed))
            if found := growth.look(values):
                self._emit({"kind": "notice", "seed": seed, "text": found})


def not_finite(metrics: Mapping[str, float]) -> list[str]:
    """The names of those metrics that are NaN or infinite, but for those that were not measured."""
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    return wrong if metrics.get("episodes") else [name for name in wrong if name not in OF_EPISODES]


class Growth:
    """Watches the values of one seed; they should not leave returns far behind.

    The discounted value of a state is at most the largest reward over 1 - gamma, and what a policy earns tells how
    large rewards are: the sum over the n episodes of a chunk is sqrt(n) returns or more, even where they cancel.
    Values that were more than 100 times as large at three looks in a row, and ten times what they were at first, grow
    without bound. As long as nothing was earned, a millionfold growth tells as much.
    """

    def __init__(self) -> None:
        self.earned = 0.0
        self.first: dict[str, float] = {}
        self.looks: dict[str, int] = {}
        self.told = False

    def look(self, metrics: Mapping[str, float]) -> str:
        """What to tell after a chunk, once in a run; else an empty string."""
        if metrics.get("episodes") and math.isfinite(metrics["episode_return"]):
            self.earned = max(self.earned, abs(metrics["episode_return"]) * math.sqrt(metrics["episodes"]))
        for name, size in sizes(metrics).items():
            first = self.first.setdefault(name, size) if size else size
            too_large = size > max(BEYOND * self.earned, 10 * first) if self.earned else size > UNPAID * first
            self.looks[name] = self.looks.get(name, 0) + 1 if too_large else 0
            if self.looks[name] == LOOKS and not self.told:
                self.told = True
                return self._sentence(name, size)
        return ""

    def _sentence(self, name: str, size: float) -> str:
        than = f"while returns stayed near {self.earned:.3g}" if self.earned else "before any return was seen"
        return (
            f"{name} has grown to {size:.3g} {than}, so the values may be diverging: try a smaller learning_rate, "
            "a smaller gamma, or rewards of a smaller scale."
        )


def sizes(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of the metrics that should not outgrow returns, in units of return."""
    found = {name: abs(metrics[name]) for name in SIZES if math.isfinite(metrics.get(name, math.nan))}
    if "value_loss" in found:
        found["value_loss"] = math.sqrt(2 * found["value_loss"])
    if "loss" not in metrics and LARGEST in metrics:  # a table's entries and linear weights are values
        found[LARGEST] = metrics[LARGEST]
    return found
