"""Memories of past steps, as pytrees inside the agent's state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree


class Replay(NamedTuple):
    """A ring of single transitions; the oldest make room for the newest."""

    storage: PyTree  # leaves [capacity, ...]
    position: Array  # [] int32, where the next block goes
    size: Array  # [] int32, how many transitions are stored
    laps: Array  # [] int32, how often the ring has come full circle


class UniformReplay(NamedTuple):
    """Every stored transition is as likely as any other (Lin, 1992; Mnih et al., 2015)."""

    capacity: int  # transitions; a multiple of block_size, so that a block is always written in one piece
    block_size: int  # transitions added at a time

    @staticmethod
    def of(buffer_size: int, block_size: int) -> "UniformReplay":
        """For `buffer_size` transitions, rounded up to whole blocks."""
        return UniformReplay(-(-buffer_size // block_size) * block_size, block_size)

    def init(self, example: PyTree) -> Replay:
        """An empty memory for transitions that look like `example` (one transition, shapes and types)."""
        storage = jax.tree.map(lambda leaf: jnp.zeros((self.capacity, *leaf.shape), leaf.dtype), example)
        return Replay(storage, jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def add(self, replay: Replay, block: PyTree) -> Replay:
        """Stores a block with leaves [T, B, ...], T * B = block_size."""

        def write(store: Array, leaf: Array) -> Array:
            rows = leaf.reshape(self.block_size, *leaf.shape[2:]).astype(store.dtype)
            return jax.lax.dynamic_update_slice_in_dim(store, rows, replay.position, 0)

        end = replay.position + self.block_size
        return Replay(
            jax.tree.map(write, replay.storage, block),
            end % self.capacity,
            jnp.minimum(replay.size + self.block_size, self.capacity),
            replay.laps + end // self.capacity,
        )

    def cut(self, replay: Replay, which: Array) -> Replay:
        """Marks the newest transition of the environments in `which` [B] as truncated: what follows is not its future.

        As in every memory of steps, the storage has the fields `terminated` and `truncated`.
        """
        num_envs = which.shape[0]
        newest = (replay.position - num_envs + jnp.arange(num_envs)) % self.capacity
        storage, ended = replay.storage, replay.storage.terminated[newest]
        truncated = storage.truncated.at[newest].set(storage.truncated[newest] | (which & ~ended & (replay.size > 0)))
        return replay._replace(storage=storage._replace(truncated=truncated))

    def sample_indices(self, replay: Replay, key: Key, shape: tuple[int, ...]) -> Array:
        """Indices of `shape`, uniform over what is stored, with repetition.

        The remainder of 32 random bits: it favours small indices by size / 2^32, which is nothing, and takes a third of
        the time of `jax.random.randint`, which matters where an update takes half a millisecond.
        """
        return (jax.random.bits(key, shape) % replay.size.astype(jnp.uint32)).astype(jnp.int32)

    def ahead(self, replay: Replay, indices: Array, count: int, num_envs: int) -> tuple[Array, Array]:
        """The next steps of the same environments.

        Args:
            replay: the memory.
            indices: [...] transitions to begin from.
            count: n, how many steps, that at the index included.
            num_envs: B, the environments whose steps take turns in the memory.

        Returns:
            [..., n] indices, and [..., n] where a step is its environment's newest, so that those behind it are not
            its future.
        """
        offset = num_envs * jnp.arange(count)
        written_since = (replay.position - 1 - indices) % self.capacity
        newest = written_since[..., None] - offset < num_envs
        return (indices[..., None] + offset) % self.capacity, newest


def take(storage: PyTree, indices: Array) -> PyTree:
    """The transitions at `indices`, or those of their parts that `storage` has; leaves [*indices.shape, ...]."""
    return jax.tree.map(lambda store: store.at[indices].get(mode="promise_in_bounds"), storage)
