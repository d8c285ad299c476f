"""Memories of past steps for value-based agents: what is kept, and which of it is drawn.

memory = replay.memory(Prioritised(), capacity=..., spec=spec, block_length=..., n_steps=..., gamma=...)
state = memory.add(memory.init(), block)
sample = memory.sample(state, key, batch_size, progress)
state = memory.update(state, sample, priorities)
"""

import dataclasses
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.parts.frames import Frames
from polyak.parts.ring import Replay, Ring
from polyak.parts.sampling import (
    Drawable,
    Prioritised,
    Sampler,
    Sampling,
    Uniform,
    replay_from_text,
    replay_text,
)
from polyak.parts.transitions import Read, Transitions

__all__ = ["Memory", "Prioritised", "Sample", "Sampling", "Uniform", "memory", "replay_from_text", "replay_text"]


class Store(Protocol):
    """What is kept of each step, and how it is read."""

    @property
    def drawable(self) -> Drawable:
        """Which of its rows may be drawn."""
        ...

    def init(self) -> PyTree:
        """An empty store."""
        ...

    def add(self, state: PyTree, block: Step) -> PyTree:
        """Keeps a block [T, B, ...]."""
        ...

    def cut(self, state: PyTree, which: Array) -> PyTree:
        """See `Memory.cut`."""
        ...

    def steps(self, state: PyTree) -> Replay:
        """The ring of steps."""
        ...

    def sound(self, state: PyTree) -> Array | bool:
        """[] whether all that was added can be read again."""
        ...

    def read(self, state: PyTree, indices: Array) -> Read:
        """The steps at `indices` [N]."""
        ...


class Remembered(NamedTuple):
    """All that a memory holds."""

    store: PyTree
    sampler: PyTree


class Sample(NamedTuple):
    """What a gradient step is made of; N = batch_size."""

    obs: Array  # [N, ...]
    action: Array  # [N, ...] counted from 0
    r_t: Array  # [N] the reward, or the discounted sum of up to n
    discount_t: Array  # [N] of the value of next_obs
    next_obs: Array  # [N, ...] of the step reached after up to n steps
    weights: Array  # [N] importance weights, the largest of them 1; 0 where a step could not be rebuilt
    indices: Array  # [N] int32, which rows of the memory


@dataclasses.dataclass(frozen=True)
class Memory:
    """A memory of steps; make one with `memory`. The state is a pytree of arrays, to be donated and never copied."""

    store: Store
    sampler: Sampler

    def init(self) -> Remembered:
        """Nothing is remembered."""
        return Remembered(self.store.init(), self.sampler.init())

    def add(self, state: Remembered, block: Step) -> Remembered:
        """Remembers a block of steps [T, B, ...] of which all follow on those of the block before.

        Actions are counted from 0. New steps have the highest priority so far.
        """
        store = self.store.add(state.store, block)
        return Remembered(store, self.sampler.added(state.sampler, self.store.steps(store)))

    def size(self, state: Remembered) -> Array:
        """[] how many steps may be drawn; while it is 0, `sample` must not be asked."""
        return self.store.drawable.count(self.store.steps(state.store))

    def sample(self, state: Remembered, key: Key, batch_size: int, progress: Array | float) -> Sample:
        """Draws steps, with repetition.

        Args:
            state: the memory, not empty.
            key: randomness.
            batch_size: N.
            progress: [] in [0, 1], the share of the run that is over, for beta.
        """
        steps = self.store.steps(state.store)
        indices, weights = self.sampler.draw(state.sampler, steps, key, batch_size, progress)
        obs, action, r_t, discount_t, next_obs, factor = self.store.read(state.store, indices)
        return Sample(obs, action, r_t, discount_t, next_obs, weights * factor, indices)

    def update(self, state: Remembered, sample: Sample, priorities: Array) -> Remembered:
        """Gives the steps of a sample new priorities [N], 0 or more, such as |TD error|.

        Of one that is not finite, the highest so far is taken. Uniform memories stay as they are.
        """
        sampler = self.sampler.update(state.sampler, sample.indices, sample.weights, priorities)
        return state._replace(sampler=sampler)

    def cut(self, state: Remembered, which: Array) -> Remembered:
        """Marks the newest step of the environments in `which` [B] as truncated: what follows is not its future."""
        return state._replace(store=self.store.cut(state.store, which))

    def metrics(self, state: Remembered) -> dict[str, Array]:
        """[] each: `replay_size`, the steps that may be drawn, NaN where a frame store was given observations that are
        no stacks; of a prioritised memory `priority_mean`, over those steps, and `priority_max`, the highest so far,
        both to the power of alpha.
        """
        size = self.size(state)
        counted = jnp.where(self.store.sound(state.store), size.astype(jnp.float32), jnp.nan)
        return {"replay_size": counted, **self.sampler.metrics(state.sampler, size)}


def memory(
    sampling: Sampling,
    *,
    capacity: int,
    spec: Spec,
    block_length: int,
    n_steps: int = 1,
    gamma: float = 1.0,
    frame_stack: int = 1,
) -> Memory:
    """Makes a memory.

    Args:
        sampling: which steps are drawn.
        capacity: steps to hold, rounded up to whole blocks.
        spec: the task; from its spaces come shapes and types.
        block_length: T, the steps of each environment that are added at a time.
        n_steps: rewards that are summed before a value stands for the rest.
        gamma: the discount, in [0, 1].
        frame_stack: k > 1 where observations [k, ...] are the k newest frames, newest last: each is kept once then.

    Raises:
        BadSetting: the observations of the task are not stacks of so many frames.
    """
    store: Store
    if frame_stack > 1:
        store = Frames.of(capacity, spec, block_length, n_steps, gamma, frame_stack)
    else:
        store = Transitions(Drawable(Ring.of(capacity, block_length * spec.num_envs)), spec, n_steps, gamma)
    return Memory(store, sampling.sampler(store.drawable))
