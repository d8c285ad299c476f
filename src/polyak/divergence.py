"""Numbers that go wrong: stops a run whose numbers are no longer finite, and warns of values that grow without bound
and of policies that stop to explore, move too far, sit on the bounds of their actions, or learn beside a value that
explains nothing. The page docs/metrics.md tells of each metric what is normal.

Learners refuse an update that would spoil what they know (`parts.finite`, `parts.optimise.adam`) and leave a number
that is not finite in their metrics. That is what is looked for here, once a chunk.
"""

import itertools
import math
import os
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polyak.errors import BadSetting, Diverged
from polyak.runs.events import Emit, Notice

if TYPE_CHECKING:
    import gymnasium

OF_EPISODES = ("episode_return", "episode_length")  # NaN where no episode ended
LARGEST = "largest_parameter"
# In units of return, the last of them squared. A critic_loss is not among them: it may be a loss of distributions, and
# where it is of squares td_error tells the same in units of return.
SIZES = ("q_mean", "q_max", "td_error", "value_loss")
BEYOND = 100.0  # times the returns
UNPAID = 1e6  # times its first value, where there was nothing to compare with
LOOKS = 3  # in a row
CERTAIN = 0.02  # of the first entropy: below it hardly anything is tried any more
BETTER = 0.05  # of its size, by which a return must grow to be better
SCATTER = 3.0  # times the usual change between two looks, by which it must grow as well
ENOUGH = 5  # returns, which tell what is usual
FAR = 0.2  # nats, by which a round of updates should not move a policy: ten times what PPO is usually held to
SATURATED = 0.95  # of all coordinates of actions: beyond it a policy knows only its bounds
LONG = 10  # looks in a row, for what is normal at first


class Divergence:
    """Looks at the metrics of one seed, or of several that share a program.

    Args:
        seeds: in the order of the metrics.
        emit: is told of what looks wrong.
        action_space: of the task; where some of it is numbers, a policy has densities.
    """

    def __init__(self, seeds: Sequence[int], emit: Emit, action_space: "gymnasium.Space"):
        from gymnasium.spaces import Box

        from polyak.spaces import parts

        densities = any(isinstance(part.space, Box) for part in parts(action_space))
        self._emit = emit
        self._eyes = {seed: (Growth(), Learning(densities)) for seed in seeds}

    def look(
        self,
        metrics: Mapping[str, Any],
        before: int,
        block: int,
        iteration: Any,
        kept: Callable[[int], str | os.PathLike | None],
    ) -> None:
        """Raises `Diverged` where a number is not finite, and emits a notice of what else looks wrong.

        A replay that was given observations it cannot keep as frames tells so by its size, and `BadSetting` is raised.

        Args:
            metrics: of a chunk, each [] or one a seed.
            before: environment steps made before the chunk.
            block: environment steps of an iteration.
            iteration: iterations made after it, [] or one a seed: where a seed had the loop to itself, the last of them
                is the one that went wrong.
            kept: tells the last good checkpoint of a seed, or None.
        """
        alone = len(self._eyes) == 1
        for k, (seed, eyes) in enumerate(self._eyes.items()):
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
            for text in filter(None, (eye.look(values) for eye in eyes)):
                self._emit(Notice(text, seed))


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

    Where entropy is paid for, values hold that too, and so it counts as earned: by the temperature that the run began
    with, because one that grows without bound takes the values along.
    """

    def __init__(self) -> None:
        self.earned = 0.0
        self.temperature = 0.0  # the first that was one
        self.first: dict[str, float] = {}
        self.looks: dict[str, int] = {}
        self.told = False

    def look(self, metrics: Mapping[str, float]) -> str:
        """The warning after a chunk, once in a run; else an empty string."""
        self.temperature = self.temperature or metrics.get("temperature", 0.0)
        if metrics.get("episodes") and math.isfinite(metrics["episode_return"]):
            paid = abs(metrics["episode_return"]) + self._bonus(metrics)
            self.earned = max(self.earned, paid * math.sqrt(metrics["episodes"]))
        for name, size in sizes(metrics).items():
            first = self.first.setdefault(name, size) if size else size
            too_large = size > max(BEYOND * self.earned, 10 * first) if self.earned else size > UNPAID * first
            self.looks[name] = self.looks.get(name, 0) + 1 if too_large else 0
            if self.looks[name] == LOOKS and not self.told:
                self.told = True
                return self._sentence(name, size)
        return ""

    def _bonus(self, metrics: Mapping[str, float]) -> float:
        """What an episode is paid for entropy, by size."""
        if not self.temperature:
            return 0.0
        return self.temperature * abs(metrics.get("entropy", 0.0)) * metrics["episode_length"]

    def _sentence(self, name: str, size: float) -> str:
        than = f"while returns stayed near {self.earned:.3g}" if self.earned else "before any return was seen"
        return (
            f"{name} has grown to {size:.3g} {than}, so the values may be diverging: try a smaller learning_rate, "
            "a smaller gamma, or rewards of a smaller scale."
        )


class Learning:
    """Watches how the policy and the value of one seed learn, where their metrics tell of it; each warning comes once.

    A policy grows certain as it grows good, where all returns are alike there is little for a value to explain, and the
    best action may be one on a bound. So these three are bad signs only while returns are no better than they were at
    first. An entropy of densities is not judged: it falls below zero as it should, and zero means nothing to it.
    """

    def __init__(self, densities: bool = False) -> None:
        self.densities = densities
        self.entropy: float | None = None  # at first
        self.first: float | None = None  # return
        self.best = -math.inf
        self.recent: deque[float] = deque(maxlen=LONG)  # returns
        self.looks: dict[str, int] = {}

    def look(self, metrics: Mapping[str, float]) -> str:
        """The warning after a chunk; mostly an empty string."""
        if metrics.get("episodes") and math.isfinite(metrics["episode_return"]):
            self.first = metrics["episode_return"] if self.first is None else self.first
            self.best = max(self.best, metrics["episode_return"])
            self.recent.append(metrics["episode_return"])
        return self._certain(metrics) or self._far(metrics) or self._unexplained(metrics) or self._saturated(metrics)

    def _certain(self, metrics: Mapping[str, float]) -> str:
        entropy = math.nan if self.densities else metrics.get("entropy", math.nan)
        if self.entropy is None and math.isfinite(entropy):
            self.entropy = entropy
        fallen = self.entropy is not None and 0 <= entropy < CERTAIN * self.entropy
        if not self._lasts("entropy", fallen and self._no_better(), LOOKS):
            return ""
        return (
            f"entropy has fallen from {self.entropy:.3g} to {entropy:.3g} while returns stayed near {self.best:.3g}, "
            "so hardly anything new is tried: try a larger ent_coef, a smaller learning_rate, or more environments."
        )

    def _far(self, metrics: Mapping[str, float]) -> str:
        kl = metrics.get("kl", 0.0)
        if not self._lasts("kl", kl > FAR, LOOKS):
            return ""
        return (
            f"kl is {kl:.3g} nats, so each round of updates moves the policy far from the one that took the steps: try "
            "a smaller learning_rate, fewer n_epochs, or a target_kl."
        )

    def _unexplained(self, metrics: Mapping[str, float]) -> str:
        share = metrics.get("explained_variance", 0.0)
        if not self._lasts("explained_variance", share < 0 and self._no_better(), LONG):
            return ""
        return (
            f"explained_variance has stayed below zero ({share:.3g}) while returns stayed near {self.best:.3g}, so the "
            "value predicts them worse than their mean would: try another learning_rate or normalize_reward."
        )

    def _saturated(self, metrics: Mapping[str, float]) -> str:
        share = metrics.get("action_saturation", 0.0)
        if not self._lasts("action_saturation", share > SATURATED and self._no_better(), LONG):
            return ""
        return (
            f"action_saturation has stayed above {SATURATED:g} ({share:.3g}) while returns stayed near "
            f"{self.best:.3g}, so nearly all actions sit on their bounds, from where hardly any gradient leads back: "
            "try a smaller learning_rate, normalize_observation, or rewards of a smaller scale."
        )

    def _no_better(self) -> bool:
        """Whether no return has clearly exceeded the first, which may be one of few episodes, as the others are."""
        if self.first is None:
            return False
        changes = [abs(after - before) for before, after in itertools.pairwise(self.recent)]
        scatter = statistics.median(changes) if len(self.recent) >= ENOUGH else 0.0
        return self.best <= self.first + max(BETTER * abs(self.first), SCATTER * scatter)

    def _lasts(self, name: str, wrong: bool, looks: int) -> bool:
        """Whether it has now been wrong so many times in a row, for the first time in the run."""
        before = self.looks.get(name, 0)
        self.looks[name] = before if before >= looks else before + 1 if wrong else 0
        return before < looks <= self.looks[name]


def sizes(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of the metrics that should not outgrow returns, in units of return."""
    found = {name: abs(metrics[name]) for name in SIZES if math.isfinite(metrics.get(name, math.nan))}
    if "value_loss" in found:
        found["value_loss"] = math.sqrt(2 * found["value_loss"])
    has_network = any(name.endswith("loss") for name in metrics)
    if LARGEST in metrics and not has_network:  # a table's entries and linear weights are values
        found[LARGEST] = metrics[LARGEST]
    return found
