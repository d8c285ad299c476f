"""A ring of rows as a pytree inside the agent's state: what every memory of past steps is kept in."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, PyTree
from polyak.ops import returns

LARGE = 256  # numbers in a row, from which on a CPU copies rows faster than it gathers their numbers


class Replay(NamedTuple):
    """The contents of a ring; the oldest rows make room for the newest. Checkpoints keep it in pieces."""

    storage: PyTree  # leaves [capacity, ...]
    position: Array  # [] int32, where the next row goes
    size: Array  # [] int32, how many rows are stored
    laps: Array  # [] int32, how often the ring has come full circle, or rows were changed where they are

    def changed(self, storage: PyTree) -> "Replay":
        """The same memory with rows changed where they are: none is any longer as a checkpoint may have kept it."""
        return self._replace(storage=storage, laps=self.laps + 1)


@dataclasses.dataclass(frozen=True)
class Ring:
    """The functions that write and read a ring. The rows of a block [T, B] follow each other in time, B at a time."""

    capacity: int  # rows; a multiple of block_size, so that a block is always written in one piece
    block_size: int  # rows added at a time

    @staticmethod
    def of(rows: int, block_size: int) -> "Ring":
        """For that many rows, rounded up to whole blocks."""
        return Ring(-(-rows // block_size) * block_size, block_size)

    def init(self, example: PyTree) -> Replay:
        """An empty memory for rows that look like `example` (one row: shapes and types)."""
        storage = jax.tree.map(lambda leaf: jnp.zeros((self.capacity, *leaf.shape), leaf.dtype), example)
        return Replay(storage, jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def add(self, replay: Replay, block: PyTree) -> Replay:
        """Stores a block with leaves [T, B, ...], T * B = block_size."""

        def write(store: Array, leaf: Array) -> Array:
            rows = leaf.reshape(self.block_size, *leaf.shape[2:]).astype(store.dtype)
            return jax.lax.dynamic_update_slice_in_dim(store, rows, replay.position, 0)

        return self._moved(replay, jax.tree.map(write, replay.storage, block), self.block_size)

    def add_some(self, replay: Replay, rows: PyTree, which: Array) -> Replay:
        """Stores the rows [M, ...] where `which` [M] is true, in their order; M is at most the capacity."""
        place = (replay.position + jnp.cumsum(which) - which) % self.capacity
        place = jnp.where(which, place, self.capacity)  # beyond the end, where nothing is written

        def write(store: Array, leaf: Array) -> Array:
            return store.at[place].set(leaf.astype(store.dtype), mode="drop")

        return self._moved(replay, jax.tree.map(write, replay.storage, rows), jnp.sum(which, dtype=jnp.int32))

    def _moved(self, replay: Replay, storage: PyTree, count: Array | int) -> Replay:
        end = replay.position + count
        size = jnp.minimum(replay.size + count, self.capacity)
        return Replay(storage, end % self.capacity, size, replay.laps + end // self.capacity)

    def index(self, replay: Replay, age: Array) -> Array:
        """The index of rows by their age [...], the number of rows written after them; the newest has age 0."""
        return (replay.position - 1 - age) % self.capacity

    def age(self, replay: Replay, index: Array) -> Array:
        """The number of rows that were written after those at `index` [...]."""
        return (replay.position - 1 - index) % self.capacity

    def newest(self, replay: Replay, num_envs: int) -> Array:
        """[B] the index of the newest step of each of B environments."""
        return (replay.position - num_envs + jnp.arange(num_envs)) % self.capacity

    def cut(self, replay: Replay, which: Array) -> Replay:
        """Marks the newest step of the environments in `which` [B] as truncated: what follows is not its future.

        Rows are single steps here, with the fields `terminated` and `truncated`.
        """
        newest = self.newest(replay, which.shape[0])
        storage, ended = replay.storage, replay.storage.terminated[newest]
        truncated = storage.truncated.at[newest].set(storage.truncated[newest] | (which & ~ended & (replay.size > 0)))
        return replay.changed(storage._replace(truncated=truncated))

    def ahead(self, replay: Replay, indices: Array, count: int, num_envs: int) -> tuple[Array, Array]:
        """The next steps of the same environments.

        Args:
            replay: the memory.
            indices: [...] steps to begin from.
            count: n, how many steps, that at the index included.
            num_envs: B, the environments whose steps take turns in the memory.

        Returns:
            [..., n] indices, and [..., n] where a step is its environment's newest, so that those behind it are not
            its future.
        """
        offset = num_envs * jnp.arange(count)
        newest = self.age(replay, indices)[..., None] - offset < num_envs
        return (indices[..., None] + offset) % self.capacity, newest

    def n_step(
        self, replay: Replay, indices: Array, count: int, num_envs: int, gamma: float
    ) -> tuple[Array, Array, Array]:
        """The n-step returns from each of the indices [N], up to an end, a cut, or the newest step that is known.

        Rows are single steps here, with the fields `reward`, `terminated` and `truncated`.

        Returns:
            [N] the discounted sums, [N] the discounts of the values that follow, and [N] where the last steps are.
        """
        ahead, newest = self.ahead(replay, indices, count, num_envs)
        storage = replay.storage
        reward, terminated, truncated = take((storage.reward, storage.terminated, storage.truncated), ahead)
        over = terminated | truncated | newest
        r_t, discount_t, last = jax.vmap(returns.n_step, (0, 0, 0, None))(reward, terminated, over, gamma)
        return r_t, discount_t, jax.vmap(jnp.take)(ahead, last)


def take(storage: PyTree, indices: Array) -> PyTree:
    """The rows at `indices`, or those of their parts that `storage` has; leaves [*indices.shape, ...]."""
    return jax.tree.map(lambda store: _rows(store, indices), storage)


def _rows(store: Array, indices: Array) -> Array:
    row = store.shape[1:]
    if jax.default_backend() != "cpu" or math.prod(row) < LARGE:
        return store.at[indices].get(mode="promise_in_bounds")
    rows = jax.lax.map(lambda i: jax.lax.dynamic_index_in_dim(store, i, keepdims=False), indices.reshape(-1))
    return rows.reshape(*indices.shape, *row)
