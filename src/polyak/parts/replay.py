"""Replay memories: a store that keeps steps, and a sampler that draws from it.

memory = replay.memory(Prioritised(), capacity=..., spec=spec, block_length=..., n_steps=..., gamma=...)
state = memory.add(memory.init(), block)
sample = memory.sample(state, key, batch_size, progress)
state = memory.update(state, sample, priorities)
"""

import dataclasses
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.errors import BadSetting
from polyak.parts.frames import FrameStore
from polyak.parts.hindsight import HindsightStore
from polyak.parts.ring import Replay, Ring
from polyak.parts.sampling import (
    Drawable,
    Hindsight,
    Prioritised,
    Sampler,
    Sampling,
    Uniform,
    are_appraised,
    replay_from_text,
)
from polyak.parts.sequences import SequenceStore
from polyak.parts.transitions import TransitionStore

__all__ = [
    "Hindsight",
    "Memory",
    "Prioritised",
    "Sample",
    "Sampling",
    "Uniform",
    "are_appraised",
    "memory",
    "replay_from_text",
    "sequence_memory",
]


class Store(Protocol):
    """Keeps steps, and reads them."""

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

    @property
    def draws(self) -> bool:
        """Whether something is random in `read`."""
        ...

    def read(self, state: PyTree, indices: Array, key: Key) -> tuple[PyTree, Array | float]:
        """The rows at `indices` [N] as learning reads them, leaves [N, ...]; and factors [N] of their weights: 0 where
        part of a row is lost, NaN where the store was given what it cannot keep."""
        ...


class Remembered(NamedTuple):
    """The state of a memory."""

    store: PyTree
    sampler: PyTree


class Sample(NamedTuple):
    """Rows of a memory, for one gradient step; N = batch_size."""

    steps: PyTree  # what the store reads: `NStepTransitions`, or `Sequences`
    weights: Array  # [N] importance weights, the largest of them 1; 0 where a row could not be read
    indices: Array  # [N] int32, the rows


@dataclasses.dataclass(frozen=True)
class Memory:
    """A memory of steps; make one with `memory`. The state is a pytree of arrays, to be donated and never copied."""

    store: Store
    sampler: Sampler

    def init(self) -> Remembered:
        """An empty memory."""
        return Remembered(self.store.init(), self.sampler.init())

    def add(self, state: Remembered, block: Step) -> Remembered:
        """Adds a block of steps [T, B, ...], which follow on those of the block before.

        Actions are counted from 0. New rows have the priorities of the block, where it has some, else the highest so
        far.
        """
        store, priorities = self.store.add(state.store, block), jax.tree.map(jnp.ravel, block.priority)
        return Remembered(store, self.sampler.added(state.sampler, self.store.steps(store), priorities))

    def size(self, state: Remembered) -> Array:
        """[] how many rows may be drawn; while it is 0, `sample` must not be called."""
        return self.store.drawable.count(self.store.steps(state.store))

    def sample(self, state: Remembered, key: Key, batch_size: int, progress: Array | float) -> Sample:
        """Draws rows, with repetition.

        Args:
            state: the memory, not empty.
            key: randomness.
            batch_size: N.
            progress: [] in [0, 1], the share of the run that is over, for beta.
        """
        steps = self.store.steps(state.store)
        # Where only the choice of rows is random it takes the key as it is.
        draw_key, read_key = jax.random.split(key) if self.store.draws else (key, key)
        indices, weights = self.sampler.draw(state.sampler, steps, draw_key, batch_size, progress)
        read, factor = self.store.read(state.store, indices, read_key)
        return Sample(read, weights * factor, indices)

    def update(self, state: Remembered, sample: Sample, priorities: Array) -> Remembered:
        """Gives the rows of a sample new priorities [N], 0 or more, such as |TD error|.

        One that is not finite becomes the highest so far. Uniform memories stay as they are.
        """
        sampler = self.sampler.update(state.sampler, sample.indices, sample.weights, priorities)
        return state._replace(sampler=sampler)

    def cut(self, state: Remembered, which: Array) -> Remembered:
        """Marks the newest step of the environments in `which` [B] as truncated: what follows is not its future."""
        return state._replace(store=self.store.cut(state.store, which))

    def metrics(self, state: Remembered) -> dict[str, Array]:
        """[] each: `replay_size`, the rows that may be drawn, NaN where a frame store was given observations that are
        no stacks; of a prioritised memory `priority_mean`, over those rows, and `priority_max`, the highest so far,
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
    """Makes a memory of transitions.

    Args:
        sampling: which steps are drawn, and with which goals.
        capacity: steps to hold, rounded up to whole blocks.
        spec: the task; from its spaces come shapes and types.
        block_length: T, the steps of each environment that are added at a time.
        n_steps: rewards that are summed before a value stands for the rest.
        gamma: the discount, in [0, 1].
        frame_stack: k > 1 where observations [k, ...] are the k newest frames, newest last: each is kept once then.

    Raises:
        BadSetting: the observations of the task are not stacks of so many frames, or have no goals where `sampling`
            changes them.
    """
    store: Store
    drawable = Drawable(Ring.of(capacity, block_length * spec.num_envs))
    if isinstance(sampling, Hindsight):
        if frame_stack > 1:
            raise BadSetting(f"Hindsight replay keeps observations whole; frame_stack is {frame_stack}, set it to 1.")
        store = HindsightStore.of(drawable, spec, n_steps, gamma, sampling.relabelled)
    elif frame_stack > 1:
        store = FrameStore.of(capacity, spec, block_length, n_steps, gamma, frame_stack)
    else:
        store = TransitionStore(drawable, spec, n_steps, gamma)
    return Memory(store, sampling.sampler(store.drawable))


def sequence_memory(
    sampling: Sampling, *, capacity: int, spec: Spec, block_length: int, rows: int, carry: PyTree
) -> Memory:
    """Makes a memory of sequences, for recurrent agents.

    Args:
        sampling: which sequences are drawn.
        capacity: steps to hold, rounded up to whole blocks of all environments, and to one sequence more than one.
        spec: the task; from its spaces come shapes and types.
        block_length: T, the steps of each environment that are added at a time; their extras are the carries before
            them.
        rows: m, the blocks of a sequence.
        carry: the carry of one environment, leaves [...], for shapes and types.

    Raises:
        BadSetting: `sampling` draws single steps.
    """
    if isinstance(sampling, Hindsight):
        raise BadSetting(
            "Hindsight replay changes the goals of single steps, and recurrent agents learn from sequences; choose "
            "uniform or prioritised."
        )
    if are_appraised(sampling):
        raise BadSetting("Sequences of steps come without priorities; leave `appraised` out of the replay's setting.")
    store = SequenceStore.of(capacity, spec, block_length, rows, carry)
    return Memory(store, sampling.sampler(store.drawable))
