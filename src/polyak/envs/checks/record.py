"""Everything that was seen of an environment while it was played."""

import dataclasses
from typing import Any

import numpy as np

from polyak.envs.one import said
from polyak.envs.values import short

EPISODE_STEPS = 1_000  # after which an episode is left and the next one begun
MANY_RESETS = 16  # at most, until one begins with another observation than the first
SHORT_STEPS = 20  # of the look that `train` takes


class TooLong(BaseException):
    """A call that had not returned when its time was up; no `except Exception` of an environment swallows it."""


@dataclasses.dataclass
class ObservedCall:
    """One call of an environment and its outcome."""

    method: str  # make, reset, step or close
    episode: int = 0  # counted from 1
    step: int = 0  # of the episode, counted from 1; 0 is the reset
    seed: int | None = None  # the last that `reset` was given
    seeded: bool = False  # whether this very reset was given it
    action: Any = None
    play: str = ""  # how often and why the same was played; "" the first time
    answer: Any = None
    obs: Any = None  # a copy, as it was when it was returned
    error: BaseException | None = None
    seconds: float = 0.0
    action_changed: bool = False
    earlier_changed: bool = False  # the observation that the call before had returned
    drew_from: str = ""  # the global random numbers that it used

    @property
    def well_formed(self) -> bool:
        """Whether it returned a tuple of as many values as it should."""
        expected = {"reset": 2, "step": 5}.get(self.method)
        return self.error is None and isinstance(self.answer, tuple) and len(self.answer) == expected

    @property
    def over(self) -> bool:
        """Whether the episode ended or was cut; flags that make no sense count as no end."""
        return self.method == "step" and self.well_formed and any(_is_true(flag) for flag in self.answer[2:4])

    @property
    def said(self) -> str:
        """`ZeroDivisionError: division by zero`."""
        return said(self.error).removesuffix(".") if self.error else ""

    @property
    def where(self) -> str:
        """Which call this was, in words with which it can be made again."""
        if self.method == "reset":
            text = f"reset({f'seed={self.seed}' if self.seeded else ''}) at the start of episode {self.episode}"
        elif self.method == "step":
            text = f"step {self.step} of episode {self.episode} (seed {self.seed}, action {short(self.action)})"
        else:
            text = self.method
        return f"{text}, {self.play}," if self.play else text


@dataclasses.dataclass
class Record:
    """Everything that was seen of an environment.

    Attributes:
        id: what it is called.
        calls: every call, in order.
        episodes: the calls of the first playing, an episode each, reset first.
        before, twin, after: observation and action space of the first object, of a second, of the first after playing.
        limit: the time limit that it declares.
        nondeterministic: whether it says of itself that it cannot be repeated.
        seeds_differ: whether two seeds gave two first observations; None where that was not tried.
        equal_starts: how many resets without a seed, one after the other, began with the same observation.
        differences: how a repetition went another way, by its kind; None where it went the same way.
    """

    id: str
    calls: list[ObservedCall] = dataclasses.field(default_factory=list)
    episodes: list[list[ObservedCall]] = dataclasses.field(default_factory=list)
    made: list[Any] = dataclasses.field(default_factory=list)
    before: tuple[Any, Any] = (None, None)
    twin: tuple[Any, Any] | None = None
    after: tuple[Any, Any] | None = None
    limit: int | None = None
    nondeterministic: bool = False
    seeds_differ: bool | None = None
    equal_starts: int = 0
    differences: dict[str, str | None] = dataclasses.field(default_factory=dict)

    @property
    def steps(self) -> list[ObservedCall]:
        """The steps of the first playing that returned five values."""
        return [call for episode in self.episodes for call in episode[1:] if call.well_formed]

    @property
    def answers(self) -> list[ObservedCall]:
        """The resets and steps of the first playing whose observation can be looked at."""
        return [call for episode in self.episodes for call in episode if call.well_formed]

    @property
    def finished(self) -> list[list[ObservedCall]]:
        """The episodes of the first playing that came to an end by themselves."""
        return [episode for episode in self.episodes if episode[-1].over]

    def raised(self, method: str) -> ObservedCall | None:
        """The first call of that method that raised something, hanging left aside."""
        raised = (call for call in self.calls if call.method == method and call.error is not None)
        return next((call for call in raised if not isinstance(call.error, TooLong)), None)

    @property
    def stopped(self) -> bool:
        """Whether something went so wrong that nothing more could be tried."""
        return any(call.error is not None or not call.well_formed for call in self.calls if call.method != "close")

    @property
    def seconds_a_step(self) -> float:
        """Seconds of a step, resets included; the very first calls are left out, because they may load something."""
        counted = [call for episode in self.episodes for call in episode if call.error is None][2:]
        steps = sum(call.method == "step" for call in counted)
        return sum(call.seconds for call in counted) / steps if steps else 0.0


def _is_true(flag: Any) -> bool:
    return isinstance(flag, bool | np.bool_ | int) and bool(flag)
