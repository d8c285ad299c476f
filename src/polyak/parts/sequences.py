"""A store of sequences for recurrent agents (Kapturowski et al., 2019, "Recurrent experience replay", R2D2).

A row of the ring is a block of T steps of one environment and the agent's carry at its start. A sequence is m rows that
follow each other, so that sequences of m T steps begin every T steps and overlap. It may run over the end of an
episode: a network that is unrolled over it begins with an empty memory there, as it did when the steps were made.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.parts.ring import Replay, Ring, take
from polyak.parts.sampling import Drawable
from polyak.parts.transitions import Transition, transition_of


class Row(NamedTuple):
    """T steps of one environment; leaves [capacity, ...] in a memory."""

    steps: Transition  # leaves [T, ...]
    carry: PyTree  # the agent's, before the first of them


class Sequences(NamedTuple):
    """N sequences of m T steps."""

    steps: Transition  # leaves [N, m T, ...]
    carry: PyTree  # leaves [N, ...], before the first step


@dataclasses.dataclass(frozen=True)
class SequenceStore:
    """Keeps blocks of steps, and reads m of them in a row."""

    draws: ClassVar[bool] = False

    drawable: Drawable
    example: Row
    rows: int  # m
    num_envs: int

    @staticmethod
    def of(capacity: int, spec: Spec, block_length: int, rows: int, carry: PyTree) -> "SequenceStore":
        """For `capacity` steps; see `replay.sequence_memory`."""
        step = jax.tree.map(lambda leaf: jnp.zeros((block_length, *leaf.shape), leaf.dtype), transition_of(spec))
        waiting = (rows - 1) * spec.num_envs
        ring = Ring.of(max(-(-capacity // block_length), waiting + spec.num_envs), spec.num_envs)
        return SequenceStore(Drawable(ring, newest=waiting), Row(step, carry), rows, spec.num_envs)

    def init(self) -> Replay:
        return self.drawable.ring.init(self.example)

    def add(self, state: Replay, block: Step) -> Replay:
        steps = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), Transition(*block[:6]))
        carry = jax.tree.map(lambda leaf: leaf[0], block.extras)
        return self.drawable.ring.add(state, jax.tree.map(lambda leaf: leaf[None], Row(steps, carry)))

    def cut(self, state: Replay, which: Array) -> Replay:
        newest, steps = self.drawable.ring.newest(state, self.num_envs), state.storage.steps
        ended = steps.terminated[newest, -1] | steps.truncated[newest, -1]
        truncated = steps.truncated.at[newest, -1].set(
            steps.truncated[newest, -1] | (which & ~ended & (state.size > 0))
        )
        return state.changed(state.storage._replace(steps=steps._replace(truncated=truncated)))

    def steps(self, state: Replay) -> Replay:
        return state

    def sound(self, state: Replay) -> bool:
        return True

    def read(self, state: Replay, indices: Array, key: Key) -> tuple[Sequences, float]:
        rows = (indices[:, None] + self.num_envs * jnp.arange(self.rows)) % self.drawable.ring.capacity
        steps = jax.tree.map(
            lambda leaf: leaf.reshape(len(indices), -1, *leaf.shape[3:]), take(state.storage.steps, rows)
        )
        return Sequences(steps, take(state.storage.carry, indices)), 1.0
