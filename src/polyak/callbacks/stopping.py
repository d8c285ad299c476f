"""Reasons to stop early. What they judge is read from the run folder each time, so that `resume` forgets nothing."""

import dataclasses
import math
import time
from typing import TYPE_CHECKING

import numpy as np

from polyak.callbacks.protocol import Stop
from polyak.errors import BadSetting, UnknownName
from polyak.runs import store

if TYPE_CHECKING:
    from polyak.run import Run

METRICS = ("evaluation_return", "episode_return")


def _check_evaluations(callback: "ByReturn", run: "Run") -> None:
    if callback.metric == "evaluation_return" and not run.about["eval_every"]:
        raise BadSetting(
            f"{type(callback).__name__} judges evaluations and this run makes none; say how often with eval_every "
            "(--eval-every)."
        )


def _look_at_episodes(callback: "ByReturn", run: "Run", seed: int, step: int, metrics: dict[str, float]) -> Stop | None:
    if callback.metric != "episode_return" or callback.metric not in metrics:
        return None
    return callback.look(run, seed, step, metrics[callback.metric])


def _look_at_evaluation(callback: "ByReturn", run: "Run", seed: int, step: int, returns: list[float]) -> Stop | None:
    if callback.metric != "evaluation_return":
        return None
    return callback.look(run, seed, step, float(np.mean(returns)))


@dataclasses.dataclass(frozen=True)
class StopAtReturn:
    """Ends a seed once its return has reached a value.

    Args:
        value: the return that is enough.
        metric: `evaluation_return`, the mean of an evaluation, for which `train` needs `eval_every`; or
            `episode_return`, the mean of the episodes that ended in a chunk of training, exploration included.
        consecutive: how many looks in a row must have reached it.
    """

    value: float
    metric: str = "evaluation_return"
    consecutive: int = 1

    def __post_init__(self) -> None:
        _check_number(self, "value", -math.inf)
        _check_count(self, "consecutive")
        _check_metric(self)

    on_start, on_chunk, on_evaluation = _check_evaluations, _look_at_episodes, _look_at_evaluation

    def look(self, run: "Run", seed: int, step: int, value: float) -> Stop | None:
        """Whether a new value of the metric, with those before, is enough."""
        if value < self.value:
            return None
        seen = [*store.read_history(run.path, self.metric, seed, step), value][-self.consecutive :]
        if len(seen) < self.consecutive or min(seen) < self.value:
            return None
        times = f" {self.consecutive} times in a row" if self.consecutive > 1 else ""
        return Stop(f"{self.metric} {value:g} has reached {self.value:g}{times}")


@dataclasses.dataclass(frozen=True)
class StopWithoutImprovement:
    """Ends a seed whose return no longer grows.

    Args:
        patience: so many looks in a row without a better return than before are enough.
        min_delta: what is better by no more than this does not count as better.
        metric: as for `StopAtReturn`.
    """

    patience: int
    min_delta: float = 0.0
    metric: str = "evaluation_return"

    def __post_init__(self) -> None:
        _check_count(self, "patience")
        _check_number(self, "min_delta", 0.0)
        _check_metric(self)

    on_start, on_chunk, on_evaluation = _check_evaluations, _look_at_episodes, _look_at_evaluation

    def look(self, run: "Run", seed: int, step: int, value: float) -> Stop | None:
        """Whether a new value of the metric, with those before, shows no improvement for too long."""
        best, waited = -math.inf, 0
        for seen in [*store.read_history(run.path, self.metric, seed, step), value]:
            better = seen > best + self.min_delta
            best, waited = (seen, 0) if better else (best, waited + 1)
        if waited < self.patience:
            return None
        return Stop(f"{self.metric} has not grown beyond {best:g} in {waited} looks")


ByReturn = StopAtReturn | StopWithoutImprovement


@dataclasses.dataclass
class TimeLimit:
    """Ends the run once it has trained for so long, earlier sittings included; the final evaluation comes on top.

    Args:
        seconds: of wall time, from the start of `train`, compilation included.
    """

    seconds: float

    def __post_init__(self) -> None:
        _check_number(self, "seconds", 0.0)

    def on_start(self, run: "Run") -> None:
        self._end = time.perf_counter() + self.seconds - run.about["wall_seconds"]

    def on_chunk(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> Stop | None:
        if time.perf_counter() < self._end:
            return None
        return Stop(f"the time limit of {self.seconds:g} seconds is over", whole_run=True)


def _check_number(callback: object, name: str, least: float) -> None:
    value = getattr(callback, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        wanted = "a number" if least == -math.inf else f"a number of at least {least:g}"
        raise BadSetting(f"{type(callback).__name__}'s {name} is {value!r}; it must be {wanted}.")


def _check_count(callback: object, name: str) -> None:
    value = getattr(callback, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadSetting(f"{type(callback).__name__}'s {name} is {value!r}; it must be a whole number of at least 1.")


def _check_metric(callback: "ByReturn") -> None:
    if callback.metric not in METRICS:
        raise UnknownName("metric to stop by", str(callback.metric), METRICS)
