"""A memory of sequences for recurrent agents (Kapturowski et al., 2019, "Recurrent experience replay", R2D2).

A row of the ring is a block of T steps of one environment and the agent's carry at its start. A sequence is m rows
that follow each other, so that sequences of m T steps begin every T steps and overlap. It may run over the end of an
episode: who unrolls a network over it begins anew there, as it did when the steps were made.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.parts.replay import Remembered
from polyak.parts.ring import Replay, Ring, take
from polyak.parts.sampling import Drawable, Sampler, Sampling
from polyak.parts.transitions import Transition, transition_of


class Row(NamedTuple):
    """T steps of one environment; leaves [capacity, ...] in a memory."""

    steps: Transition  # leaves [T, ...]
    carry: PyTree  # what the agent remembered before the first of them


class Sequences(NamedTuple):
    """What a gradient step is made of; N = batch_size."""

    steps: Transition  # leaves [N, m T, ...]
    carry: PyTree  # leaves [N, ...], before the first step
    weights: Array  # [N] importance weights, the largest of them 1
    indices: Array  # [N] int32, which rows of the memory they begin with


@dataclasses.dataclass(frozen=True)
class SequenceMemory:
    """See `Memory`, whose methods these are; make one with `sequence_memory`."""

    drawable: Drawable
    sampler: Sampler
    example: Row
    rows: int  # m
    num_envs: int

    def init(self) -> Remembered:
        """Nothing is remembered."""
        return Remembered(self.drawable.ring.init(self.example), self.sampler.init())

    def add(self, state: Remembered, block: Step, carry: PyTree) -> Remembered:
        """Remembers a block of steps [T, B, ...], actions counted from 0, and the carry [B, ...] before it."""
        steps = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), Transition(*block[:6]))
        rows = jax.tree.map(lambda leaf: leaf[None], Row(steps, carry))
        store = self.drawable.ring.add(state.store, rows)
        return Remembered(store, self.sampler.added(state.sampler, store))

    def size(self, state: Remembered) -> Array:
        """[] how many sequences may be drawn; while it is 0, `sample` must not be asked."""
        return self.drawable.count(state.store)

    def sample(self, state: Remembered, key: Key, batch_size: int, progress: Array | float) -> Sequences:
        """Draws sequences, with repetition; see `Memory.sample`."""
        ring, store = self.drawable.ring, state.store
        indices, weights = self.sampler.draw(state.sampler, store, key, batch_size, progress)
        rows = (indices[:, None] + self.num_envs * jnp.arange(self.rows)) % ring.capacity
        steps = jax.tree.map(
            lambda leaf: leaf.reshape(batch_size, -1, *leaf.shape[3:]), take(store.storage.steps, rows)
        )
        return Sequences(steps, take(store.storage.carry, indices), weights, indices)

    def update(self, state: Remembered, sample: Sequences, priorities: Array) -> Remembered:
        """Gives the sequences of a sample new priorities [N], 0 or more.

        R2D2 takes 0.9 of the largest |TD error| in the sequence and 0.1 of their mean.
        """
        sampler = self.sampler.update(state.sampler, sample.indices, sample.weights, priorities)
        return state._replace(sampler=sampler)

    def cut(self, state: Remembered, which: Array) -> Remembered:
        """Marks the newest step of the environments in `which` [B] as truncated: what follows is not its future."""
        store: Replay = state.store
        newest, steps = self.drawable.ring.newest(store, self.num_envs), store.storage.steps
        ended = steps.terminated[newest, -1] | steps.truncated[newest, -1]
        truncated = steps.truncated.at[newest, -1].set(
            steps.truncated[newest, -1] | (which & ~ended & (store.size > 0))
        )
        storage = store.storage._replace(steps=steps._replace(truncated=truncated))
        return state._replace(store=store._replace(storage=storage))

    def metrics(self, state: Remembered) -> dict[str, Array]:
        """See `Memory.metrics`; `replay_size` counts sequences."""
        size = self.size(state)
        return {"replay_size": size.astype(jnp.float32), **self.sampler.metrics(state.sampler, size)}


def sequence_memory(
    sampling: Sampling, *, capacity: int, spec: Spec, block_length: int, rows: int, carry: PyTree
) -> SequenceMemory:
    """Makes a memory of sequences.

    Args:
        sampling: which sequences are drawn.
        capacity: steps to hold, rounded up to whole blocks of all environments, and to one sequence more than one.
        spec: the task; from its spaces come shapes and types.
        block_length: T, the steps of each environment that are added at a time.
        rows: m, the blocks of a sequence.
        carry: the carry of one environment, leaves [...], for shapes and types.
    """
    step = jax.tree.map(lambda leaf: jnp.zeros((block_length, *leaf.shape), leaf.dtype), transition_of(spec))
    waiting = (rows - 1) * spec.num_envs
    ring = Ring.of(max(-(-capacity // block_length), waiting + spec.num_envs), spec.num_envs)
    drawable = Drawable(ring, newest=waiting)
    return SequenceMemory(drawable, sampling.sampler(drawable), Row(step, carry), rows, spec.num_envs)
