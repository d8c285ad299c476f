"""Reasons to stop early. What they judge is read from the run folder each time, so that `resume` forgets nothing."""

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Annotated

import numpy as np

from polyak.callbacks.protocol import Count, Stop, check_fields
from polyak.errors import BadSetting
from polyak.runs import store
from polyak.runs.documents import number, one_of, real

if TYPE_CHECKING:
    from polyak.run import Run

Metric = Annotated[str, one_of(["evaluation_return", "episode_return"])]


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

    value: Annotated[float, number]
    metric: Metric = "evaluation_return"
    consecutive: Count = 1

    def __post_init__(self) -> None:
        check_fields(self)

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

    patience: Count
    min_delta: Annotated[float, real(0, 1e300)] = 0.0
    metric: Metric = "evaluation_return"

    def __post_init__(self) -> None:
        check_fields(self)

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

    seconds: Annotated[float, real(0, 1e15)]

    def __post_init__(self) -> None:
        check_fields(self)

    def on_start(self, run: "Run") -> None:
        self._end = time.perf_counter() + self.seconds - run.about["wall_seconds"]

    def on_chunk(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> Stop | None:
        if time.perf_counter() < self._end:
            return None
        return Stop(f"the time limit of {self.seconds:g} seconds is over", whole_run=True)
