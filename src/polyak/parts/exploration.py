"""Exploration: how an agent that knows action values tries other actions too.

Each strategy is a small frozen dataclass with a one-line text form, `epsilon:0.1` or `boltzmann:1:0.05:0.5`, for the
command line, presets and run folders. Ties are broken at random: all values of a new table are equal, and an agent that
always took the first of equal actions would never try another.
"""

import dataclasses
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting
from polyak.ops import explore
from polyak.parts.ranges import NotNegative, Positive, Range, Share
from polyak.parts.schedules import linear_schedule
from polyak.parts.text import part_from_text


class Exploration(Protocol):
    """How to choose among A actions. One whose value is -inf is not allowed: it is never chosen."""

    name: ClassVar[str]
    counts: ClassVar[bool]  # whether `visits` are needed

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> PyTree:
        """The randomness of `prod(shape)` choices, leaves [*shape, ...]."""
        ...

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: PyTree) -> Array:
        """The action [] for values [A] at a share of the run, [] in [0, 1].

        `visits` [A] says how often each action was taken here; () where they are not counted.
        """
        ...

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        """The probabilities [A] of what `choose` takes; raises `BadSetting` where they have no closed form."""
        ...


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy:
    """The best action, or with probability epsilon any: epsilon falls linearly over a share of the run."""

    name: ClassVar[str] = "epsilon"
    counts: ClassVar[bool] = False

    initial: Share = 0.1
    final: Share | None = None  # None: it stays
    fraction: Share = 1.0

    def epsilon(self, progress: Array) -> Array | float:
        return _scheduled(self, progress)

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> tuple[Array, Array]:
        coin, tie = jax.random.uniform(key, (2, *shape))
        return coin, tie

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: tuple[Array, Array]) -> Array:
        coin, tie = noise
        return explore.any_of((q == q.max()) | ((coin < self.epsilon(progress)) & _allowed(q)), tie)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        epsilon = self.epsilon(progress)
        return epsilon * explore.uniform_over(_allowed(q)) + (1 - epsilon) * explore.uniform_over(q == q.max())


@dataclasses.dataclass(frozen=True)
class Boltzmann:
    """Actions in proportion to exp(q / temperature); the temperature falls linearly over a share of the run."""

    name: ClassVar[str] = "boltzmann"
    counts: ClassVar[bool] = False

    initial: Positive = 1.0
    final: Positive | None = None
    fraction: Share = 1.0

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> Array:
        return jax.random.gumbel(key, (*shape, num_actions))

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: Array) -> Array:
        return jnp.argmax(q / _scheduled(self, progress) + noise).astype(jnp.int32)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        return jax.nn.softmax(q / _scheduled(self, progress))


@dataclasses.dataclass(frozen=True)
class NoisyGreedy:
    """The best action after normal noise was added to the values; its deviation falls over a share of the run."""

    name: ClassVar[str] = "noise"
    counts: ClassVar[bool] = False

    initial: NotNegative = 1.0
    final: NotNegative | None = 0.0
    fraction: Share = 1.0

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> tuple[Array, Array]:
        noise_key, tie_key = jax.random.split(key)
        return jax.random.normal(noise_key, (*shape, num_actions)), jax.random.uniform(tie_key, shape)

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: tuple[Array, Array]) -> Array:
        normal, tie = noise
        noisy = q + _scheduled(self, progress) * normal
        return explore.any_of(noisy == noisy.max(), tie)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        raise BadSetting("The probabilities of greedy choices among noisy values have no closed form; use epsilon.")


@dataclasses.dataclass(frozen=True)
class UCB:
    """argmax_a q(a) + c sqrt(log n / n_a): the upper confidence bound of each value (Auer et al., 2002)."""

    name: ClassVar[str] = "ucb"
    counts: ClassVar[bool] = True

    initial: NotNegative = 2.0  # c

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> Array:
        return jax.random.uniform(key, shape)

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: Array) -> Array:
        bounds = explore.upper_confidence(q, visits, self.initial)
        return explore.any_of(bounds == bounds.max(), noise)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        bounds = explore.upper_confidence(q, visits, self.initial)
        return explore.uniform_over(bounds == bounds.max())


@dataclasses.dataclass(frozen=True)
class EpsilonLadder:
    """Epsilon-greedy with an epsilon of its own for each environment, the same all run long.

    Environment i of B explores with epsilon^(1 + alpha i / (B - 1)).

    Source: Horgan et al. (2018), "Distributed prioritized experience replay", section 4.1.
    """

    name: ClassVar[str] = "ladder"
    counts: ClassVar[bool] = False

    initial: Share = 0.4  # of the first environment
    alpha: Annotated[float, Range(0, 1e6)] = 7.0

    def epsilons(self, num_envs: int) -> Array:
        """The epsilon of each environment [B]."""
        return self.initial ** (1.0 + self.alpha * jnp.arange(num_envs) / max(num_envs - 1, 1))

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> tuple[Array, Array, Array]:
        """The last axis of `shape` is that of the environments."""
        coin, tie = jax.random.uniform(key, (2, *shape))
        return coin, tie, jnp.broadcast_to(self.epsilons(shape[-1]), shape)

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: tuple[Array, Array, Array]) -> Array:
        coin, tie, epsilon = noise
        return explore.any_of((q == q.max()) | ((coin < epsilon) & _allowed(q)), tie)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        raise BadSetting(
            "With an epsilon for each environment there is no one policy to expect values of; use epsilon."
        )


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The best action, the first of equals: for networks that explore by noise of their own."""

    name: ClassVar[str] = "greedy"
    counts: ClassVar[bool] = False

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> tuple[()]:
        return ()

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: tuple[()]) -> Array:
        return jnp.argmax(q).astype(jnp.int32)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        return jax.nn.one_hot(jnp.argmax(q), len(q))


@dataclasses.dataclass(frozen=True)
class AnnealedEpsilon:
    """Epsilon-greedy for values that a network computes: every action is allowed, and no two values are equal.

    Without ties to break it takes less time than `EpsilonGreedy`. It has no text form: its numbers are hyperparameters
    of their own, under the names that Stable-Baselines3 gave them.
    """

    name: ClassVar[str] = "annealed-epsilon"
    counts: ClassVar[bool] = False

    initial: Share
    final: Share
    fraction: Share

    def epsilon(self, progress: Array) -> Array | float:
        return _scheduled(self, progress)

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> explore.EpsilonGreedyNoise:
        return explore.epsilon_greedy_noise(key, shape, num_actions)

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: explore.EpsilonGreedyNoise) -> Array:
        return explore.epsilon_greedy(q, self.epsilon(progress), noise)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        epsilon = self.epsilon(progress)
        return epsilon / len(q) + (1 - epsilon) * jax.nn.one_hot(jnp.argmax(q), len(q))


class NoiseAhead(NamedTuple):
    """The randomness of one step of a learner that chooses its next action before it takes it."""

    first: PyTree  # chooses the action where an episode begins
    next: PyTree  # chooses A', the action after this one


def noise_ahead(exploration: Exploration, key: Key, shape: tuple[int, ...], num_actions: int) -> NoiseAhead:
    """The randomness of `prod(shape)` steps of such a learner."""
    first_key, next_key = jax.random.split(key)
    return NoiseAhead(exploration.noise(first_key, shape, num_actions), exploration.noise(next_key, shape, num_actions))


def exploring(strategy: Exploration | None, initial: float, final: float, fraction: float) -> Exploration:
    """The strategy for values that a network computes: the one that is given, or by default an annealed epsilon.

    Raises:
        BadSetting: it counts visits, which a network does not.
    """
    if strategy is None:
        return AnnealedEpsilon(initial, final, fraction)
    if strategy.counts:
        others = ", ".join(kind.name for kind in KINDS if not kind.counts)
        raise BadSetting(f"The exploration {strategy.name} counts visits, which only tables do; use one of {others}.")
    return strategy


def measures(strategy: Exploration, progress: Array) -> dict[str, Array]:
    """The strategy's epsilon at a share of the run, where it has one, as a metric."""
    if isinstance(strategy, EpsilonGreedy | AnnealedEpsilon):
        return {"epsilon": jnp.asarray(strategy.epsilon(progress), jnp.float32)}
    return {}


def _allowed(q: Array) -> Array:
    return q > -jnp.inf


def _scheduled(strategy: Any, progress: Array) -> Array | float:
    if strategy.final is None:
        return strategy.initial
    return linear_schedule(progress, strategy.initial, strategy.final, strategy.fraction)


KINDS: tuple[type[Exploration], ...] = (EpsilonGreedy, EpsilonLadder, Boltzmann, NoisyGreedy, UCB, Greedy)
STRATEGIES: dict[str, Any] = {kind.name: kind for kind in KINDS}


# Reads `epsilon`, `epsilon:0.1`, `epsilon:1:0.05:0.5`: first, last or none, share of the run.
exploration_from_text = partial(part_from_text, "exploration", STRATEGIES)


def exploration_or_none(text: str) -> Any:
    """Reads what `exploration_from_text` does, and `default` as None."""
    return None if text == "default" else exploration_from_text(text)
