"""Which rows of a memory are drawn: all alike, or in proportion to their priorities."""

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.parts.ranges import Count, Share
from polyak.parts.ring import Replay, Ring
from polyak.parts.schedules import linear_schedule
from polyak.parts.sum_tree import SumTree, Tree
from polyak.parts.text import part_from_text

LARGEST = 1e30  # a priority beyond it, or one that is no number, is not taken
LEAST = 1e-6  # added to every priority, so that nothing is forgotten for good


@dataclasses.dataclass(frozen=True)
class Drawable:
    """The rows of a ring that may be drawn: neither too new nor too old to be read."""

    ring: Ring
    newest: int = 0  # rows that are still waiting for what follows them
    oldest: int = 0  # rows of a full ring that lack what was overwritten before them

    def count(self, replay: Replay) -> Array:
        """[] how many there are."""
        if not (self.newest or self.oldest):
            return replay.size
        lost = jnp.where(replay.size == self.ring.capacity, self.oldest, 0)
        return jnp.maximum(replay.size - self.newest - lost, 0)


class Sampler(Protocol):
    """Draws rows of a memory; `state` is a pytree of arrays."""

    def init(self) -> PyTree:
        """For an empty memory."""
        ...

    def added(self, state: PyTree, replay: Replay, priorities: Array | tuple[()] = ()) -> PyTree:
        """After a block was added to the memory, whose rows have these priorities, or none yet."""
        ...

    def draw(self, state: PyTree, replay: Replay, key: Key, count: int, progress: Array | float) -> tuple[Array, Array]:
        """Indices [N] of rows, with repetition, and their importance weights [N], the largest of them 1.

        `progress` is the share of the run that is over, [] in [0, 1]. There must be something to draw.
        """
        ...

    def update(self, state: PyTree, indices: Array, weights: Array, priorities: Array) -> PyTree:
        """New priorities [N] >= 0 of rows that were drawn; those of weight 0 are not drawn again."""
        ...

    def metrics(self, state: PyTree, count: Array) -> dict[str, Array]:
        """Metrics [] of a memory with `count` [] rows that may be drawn."""
        ...


@dataclasses.dataclass(frozen=True)
class UniformSampler:
    """Every row is as likely as any other."""

    drawable: Drawable

    def init(self) -> tuple[()]:
        return ()

    def added(self, state: tuple[()], replay: Replay, priorities: Array | tuple[()] = ()) -> tuple[()]:
        return ()

    def draw(
        self, state: tuple[()], replay: Replay, key: Key, count: int, progress: Array | float
    ) -> tuple[Array, Array]:
        """Uniform rows, as the remainder of 32 random bits.

        It favours some rows by size / 2^32, which is nothing, and takes a third of the time of `jax.random.randint`,
        which matters where an update takes half a millisecond.
        """
        drawable = self.drawable
        drawn = (jax.random.bits(key, (count,)) % drawable.count(replay).astype(jnp.uint32)).astype(jnp.int32)
        if drawable.newest or drawable.oldest:
            drawn = drawable.ring.index(replay, drawable.newest + drawn)
        return drawn, jnp.ones(count)

    def update(self, state: tuple[()], indices: Array, weights: Array, priorities: Array) -> tuple[()]:
        return ()

    def metrics(self, state: tuple[()], count: Array) -> dict[str, Array]:
        return {}


class Priorities(NamedTuple):
    """The priorities of all rows."""

    tree: Tree  # (priority + LEAST)^alpha of each row, 0 where it may not be drawn
    highest: Array  # [] the largest of them so far


@dataclasses.dataclass(frozen=True)
class PrioritisedSampler:
    """Rows in proportion to priority^alpha; what was never drawn has the priority that it came with, or the highest so
    far."""

    drawable: Drawable
    tree: SumTree
    alpha: float
    beta: float
    final_beta: float

    def init(self) -> Priorities:
        return Priorities(self.tree.init(), jnp.float32(1))

    def added(self, state: Priorities, replay: Replay, priorities: Array | tuple[()] = ()) -> Priorities:
        """Adds the rows that have just become old enough to be read; removes those that are new or too old.

        Priorities [block_size] are for memories whose rows can be read at once.
        """
        ring, newest, oldest = self.drawable.ring, self.drawable.newest, self.drawable.oldest
        enter = newest + jnp.arange(ring.block_size)
        leave = jnp.concatenate([jnp.arange(min(ring.block_size, newest)), ring.capacity - 1 - jnp.arange(oldest)])
        if isinstance(priorities, tuple):
            values = jnp.where(enter < replay.size, state.highest, 0.0)
        else:
            values = self._values(state, priorities)[::-1]  # the newest first
            state = state._replace(highest=jnp.maximum(state.highest, values.max()))
        rows = ring.index(replay, jnp.concatenate([enter, leave]))
        return state._replace(tree=self.tree.set(state.tree, rows, jnp.pad(values, (0, len(leave)))))

    def draw(
        self, state: Priorities, replay: Replay, key: Key, count: int, progress: Array | float
    ) -> tuple[Array, Array]:
        """Rows and their weights (1 / (size P))^beta over the largest of them: size and the sum of P cancel out."""
        uniforms = jax.random.uniform(key, (len(self.tree.rows), count))
        indices, values = self.tree.sample(state.tree, uniforms)
        beta = linear_schedule(jnp.asarray(progress), self.beta, self.final_beta, 1.0)
        return indices, (values.min() / values) ** beta

    def update(self, state: Priorities, indices: Array, weights: Array, priorities: Array) -> Priorities:
        values = jnp.where(weights == 0, 0.0, self._values(state, priorities))
        # A row that was drawn twice has one priority, whichever is written last.
        values = jnp.max(jnp.where(indices[:, None] == indices, values, 0.0), -1)
        return Priorities(self.tree.set(state.tree, indices, values), jnp.maximum(state.highest, values.max()))

    def _values(self, state: Priorities, priorities: Array) -> Array:
        """(priority + LEAST)^alpha, the highest so far for those that cannot be taken."""
        sound = priorities < LARGEST
        return jnp.where(sound, (jnp.where(sound, priorities, 0.0) + LEAST) ** self.alpha, state.highest)

    def metrics(self, state: Priorities, count: Array) -> dict[str, Array]:
        mean = self.tree.total(state.tree) / jnp.maximum(count, 1)
        return {"priority_mean": mean, "priority_max": state.highest}


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Every stored step is as likely as any other (Lin, 1992; Mnih et al., 2015)."""

    name: ClassVar[str] = "uniform"

    def sampler(self, drawable: Drawable) -> UniformSampler:
        return UniformSampler(drawable)


@dataclasses.dataclass(frozen=True)
class Prioritised:
    """Steps whose last TD error was large are drawn more often (Schaul et al., 2016, "Prioritized experience replay").

        P(i) ~ (|error_i| + 1e-6)^alpha        w_i ~ (1 / (N P(i)))^beta

    The proportional variant. Each draw is independent of the others of its batch, where the paper takes one from each
    of N equal ranges. New steps have the highest priority so far; or, if `appraised`, that of their TD error by the
    network that collected them, as its own target network (Horgan et al., 2018, "Distributed prioritized experience
    replay").
    """

    name: ClassVar[str] = "prioritised"

    alpha: Share = 0.6
    """In [0, 1]: 0 draws all alike, 1 in proportion to the error."""
    beta: Share = 0.4
    """In [0, 1]: how far weights make up for what is drawn too often, at the start of the run."""
    final_beta: Share = 1.0
    """The same at the end of the run; in between it moves in a straight line."""
    appraised: bool = False
    """Whether new steps come with a TD error."""

    def sampler(self, drawable: Drawable) -> PrioritisedSampler:
        tree = SumTree(drawable.ring.capacity)
        return PrioritisedSampler(drawable, tree, self.alpha, self.beta, self.final_beta)


@dataclasses.dataclass(frozen=True)
class Hindsight:
    """Steps drawn alike, most of them as if their goal had been what was achieved later in the same episode
    (Andrychowicz et al., 2017, "Hindsight experience replay"); see `parts.hindsight`.
    """

    name: ClassVar[str] = "hindsight"

    relabelled: Count = 4
    """Steps with another goal for each one that keeps its own."""

    def sampler(self, drawable: Drawable) -> UniformSampler:
        return UniformSampler(drawable)


Sampling = Uniform | Prioritised | Hindsight
SAMPLINGS: dict[str, Any] = {kind.name: kind for kind in (Uniform, Prioritised, Hindsight)}
# Reads `uniform`, `prioritised`, `prioritised:0.6:0.4:1.0` (alpha, beta at the start and at the end),
# `prioritised:0.6:0.4:1.0:appraised`, `hindsight:4`.
replay_from_text = partial(part_from_text, "replay", SAMPLINGS)


def are_appraised(sampling: Sampling) -> bool:
    """Whether new steps come with a TD error."""
    return isinstance(sampling, Prioritised) and sampling.appraised
