"""Exploration: how a choice that knows action values tries others too.

Each strategy is a small frozen dataclass with a one-line text form, `epsilon:0.1` or `boltzmann:1:0.05:0.5`, for the
command line, presets and run folders. Equal values are told apart by chance: a table begins with nothing but equals,
and who always takes the first of them goes left for ever.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting, UnknownName
from polyak.ops import explore
from polyak.parts.schedules import linear


class Exploration(Protocol):
    """How to choose among A actions. One whose value is -inf is not allowed: it is never chosen."""

    name: ClassVar[str]
    counts: ClassVar[bool]  # whether `visits` are needed

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> PyTree:
        """Draws what `prod(shape)` choices need."""
        ...

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: PyTree) -> Array:
        """The action [] for values [A] at a share of the run, [] in [0, 1].

        `visits` [A] says how often each action was taken here; () where they are not counted.
        """
        ...

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        """[A] with which `choose` takes each action; raises `BadSetting` where that has no closed form."""
        ...


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy:
    """The best action, or with probability epsilon any: epsilon falls linearly over a share of the run."""

    name: ClassVar[str] = "epsilon"
    counts: ClassVar[bool] = False

    initial: float = 0.1
    final: float | None = None  # None: it stays
    fraction: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "epsilon lies between 0 and 1", lambda value: 0 <= value <= 1)

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

    initial: float = 1.0
    final: float | None = None
    fraction: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "a temperature is above 0", lambda value: value > 0)

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

    initial: float = 1.0
    final: float | None = 0.0
    fraction: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "a deviation is 0 or more", lambda value: value >= 0)

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
    """argmax_a q(a) + c sqrt(log n / n_a): what was tried seldom may be better than it looks (Auer et al., 2002)."""

    name: ClassVar[str] = "ucb"
    counts: ClassVar[bool] = True

    initial: float = 2.0  # c

    def __post_init__(self) -> None:
        _check(self, "the weight of doubt is 0 or more", lambda value: value >= 0)

    def noise(self, key: Key, shape: tuple[int, ...], num_actions: int) -> Array:
        return jax.random.uniform(key, shape)

    def choose(self, q: Array, visits: PyTree, progress: Array, noise: Array) -> Array:
        bounds = explore.upper_confidence(q, visits, self.initial)
        return explore.any_of(bounds == bounds.max(), noise)

    def probabilities(self, q: Array, visits: PyTree, progress: Array) -> Array:
        bounds = explore.upper_confidence(q, visits, self.initial)
        return explore.uniform_over(bounds == bounds.max())


class NoiseAhead(NamedTuple):
    """The randomness of one step of a learner that chooses its next action before it takes it."""

    first: PyTree  # chooses the action where an episode begins
    next: PyTree  # chooses A', the action after this one


def noise_ahead(exploration: Exploration, key: Key, shape: tuple[int, ...], num_actions: int) -> NoiseAhead:
    """Draws what `prod(shape)` steps of such a learner need."""
    first_key, next_key = jax.random.split(key)
    return NoiseAhead(exploration.noise(first_key, shape, num_actions), exploration.noise(next_key, shape, num_actions))


def _allowed(q: Array) -> Array:
    return q > -jnp.inf


def _check(strategy: Any, rule: str, holds: Callable[[float], bool]) -> None:
    ends = [strategy.initial, *([strategy.final] if getattr(strategy, "final", None) is not None else [])]
    if any(isinstance(end, jax.core.Tracer) for end in ends):
        return  # one program for a sweep: the numbers are not known while it is traced
    if not all(map(holds, ends)) or not 0 <= getattr(strategy, "fraction", 1.0) <= 1:
        text = exploration_text(strategy)
        raise BadSetting(f"The exploration {text} cannot work: {rule}, and the share of the run between 0 and 1.")


def _scheduled(strategy: Any, progress: Array) -> Array | float:
    if strategy.final is None:
        return strategy.initial
    return linear(progress, strategy.initial, strategy.final, strategy.fraction)


STRATEGIES: dict[str, type] = {kind.name: kind for kind in (EpsilonGreedy, Boltzmann, NoisyGreedy, UCB)}


def exploration_text(strategy: Any) -> str:
    """`epsilon:0.1`, `boltzmann:1.0:0.1:0.5`: the name and the numbers, in order, up to the last that is given."""
    values = [getattr(strategy, field.name) for field in dataclasses.fields(strategy)]
    if len(values) > 1 and values[1] is None:
        values = values[:1]
    return ":".join([strategy.name, *(repr(float(value)) for value in values)])


def exploration_from_text(text: str) -> Any:
    """Reads `epsilon`, `epsilon:0.1` or `epsilon:1.0:0.05:0.5` (first, last, share of the run)."""
    name, *numbers = text.split(":")
    if name not in STRATEGIES:
        raise UnknownName("exploration", name, STRATEGIES)
    kind = STRATEGIES[name]
    fields = [field.name for field in dataclasses.fields(kind)]
    try:
        values = dict(zip(fields, map(float, numbers), strict=False))
    except ValueError:
        values = {}
    if len(numbers) > len(fields) or len(values) < len(numbers):
        raise BadSetting(f"The exploration {text!r} is not of the form {':'.join([name, *fields])}.")
    return kind(**values)
