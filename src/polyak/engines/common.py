"""Parts of both engines: the state of the loop, the noise of a chunk, and the counts of episodes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Algorithm, Array, Key, PyTree, Spec

Metrics = dict[str, float]

SHARED = 64  # iterations of a single step that share keys
NOISE_BYTES = 32 * 2**20  # the most memory that the noise of a chunk may take


class Episodes(NamedTuple):
    """Counts of episodes: those under way, and the sums over those that ended.

    Two arrays and not five: the time of a tiny step grows with the number of its results.
    """

    running: Array  # [2, B] return and length so far
    sums: Array  # [3] return, length and number

    @staticmethod
    def of(num_envs: int) -> "Episodes":
        return Episodes(jnp.zeros((2, num_envs)), jnp.zeros(3))

    def update(self, reward: Array, over: Array) -> "Episodes":
        """The counts after a step with rewards [B]; `over` [B] where an episode ended or was cut."""
        running = self.running + jnp.stack([reward, jnp.ones_like(reward)])
        counted = jnp.concatenate([running, jnp.ones_like(reward)[None]])
        return Episodes(jnp.where(over, 0.0, running), self.sums + jnp.sum(jnp.where(over, counted, 0.0), -1))

    def update_block(self, reward: Array, over: Array) -> "Episodes":
        """The counts after a block with rewards [T, B] and `over` [T, B]."""
        return jax.lax.scan(lambda episodes, step: (episodes.update(*step), None), self, (reward, over), unroll=8)[0]

    def forget_sums(self) -> "Episodes":
        """Without the sums, for the start of a chunk, whose metrics are of the episodes that end in it."""
        return self._replace(sums=jnp.zeros_like(self.sums))

    def forget_running(self) -> "Episodes":
        """Without the episodes under way, for a reset of all environments, which leaves them uncounted."""
        return self._replace(running=jnp.zeros_like(self.running))


class Loop(NamedTuple):
    """The state of a run that decides its future, as one pytree."""

    agent: PyTree
    env: PyTree  # the environments' states, [B, ...]; () where they live outside XLA
    obs: PyTree  # [B, ...]
    carry: PyTree  # the agent's memory
    episodes: Episodes
    key: Key  # never advanced: iteration i uses fold_in(key, i), whatever the size of the chunks
    iteration: Array  # [] int32, blocks finished; of a chunk that met a number that is not finite, up to that block


class Engine(Protocol):
    """The interface of an engine, as training uses it."""

    block_size: int  # environment steps of one iteration
    chunk: int  # the most iterations that one call of `advance` makes
    warm: set[bool]  # the programs, with learning and without, that have run before and so are compiled

    def init(self, seed: Any) -> Loop:
        """The state of a run before its first step."""
        ...

    def advance(self, loop: Loop, iterations: int, learn: bool) -> tuple[Loop, Metrics]:
        """Makes up to `chunk` iterations, with or without learning; returns the means of what was measured."""
        ...

    def environments(self) -> dict[str, Any] | None:
        """The environments' states as JSON, where they live outside the loop; else None."""
        ...

    def resume(self, loop: Loop, environments: dict[str, Any] | None) -> tuple[Loop, int]:
        """Goes on from a loop that was saved, after `init` with the same seed.

        Returns:
            The loop, and how many environments could not be put where they were: their episodes are cut as truncated.
        """
        ...

    def close(self) -> None:
        """Lets go of the environments."""
        ...


class ChunkNoise(NamedTuple):
    """The randomness of one iteration, or with a leading axis of a chunk of them."""

    agent: PyTree  # [T, B, ...]
    env: PyTree  # [T, B, ...]
    learn: Key


def draw_noise(
    key: Key,
    first: Array,
    count: int,
    shape: tuple[int, int],
    agent: Agent,
    env_noise: Callable[..., PyTree],
    together: int = 1,
) -> ChunkNoise:
    """The noise of iterations first .. first + count - 1, drawn in one go.

    Iteration i always draws from fold_in(key, i // together), so that neither the size of the chunks nor the engine
    changes a run.
    """
    length, num_envs = shape

    def of_group(group: Array) -> ChunkNoise:
        agent_key, env_key, learn_key = jax.random.split(jax.random.fold_in(key, group), 3)
        rows = (together * length, num_envs)
        learn = jax.random.split(learn_key, together) if together > 1 else learn_key
        return ChunkNoise(agent.noise(agent_key, rows), env_noise(env_key, rows), learn)

    if together == 1:
        return jax.vmap(of_group)(first + jnp.arange(count))
    groups = 1 + -(-(count - 1) // together)  # enough, wherever in its group the first iteration stands
    drawn = jax.vmap(of_group)(first // together + jnp.arange(groups))

    def cut(leaf: Array, *block: int) -> Array:
        iterations = leaf.reshape(groups * together, *block, *leaf.shape[2:])
        return jax.lax.dynamic_slice_in_dim(iterations, first % together, count)

    of_agent, of_env = jax.tree.map(lambda leaf: cut(leaf, length), (drawn.agent, drawn.env))
    return ChunkNoise(of_agent, of_env, cut(drawn.learn))


def chunk_of(limit: int, noise: Callable[[Key, Array, int], ChunkNoise]) -> int:
    """The iterations of a chunk: `limit`, or as many as have noise that fits into `NOISE_BYTES`, but at least one."""
    one = jax.eval_shape(lambda key: noise(key, jnp.int32(0), 1), jax.random.key(0))
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    return min(limit, max(1, NOISE_BYTES // size))


def initial_keys(seed: Array | int) -> tuple[Key, Key, Key]:
    """The keys of a seed: for the agent's parameters, for the first episodes, and for all that follows."""
    return tuple(jax.random.split(jax.random.key(seed), 3))


def largest(agent: PyTree) -> Array:
    """The largest absolute value [] among the numbers of an agent, NaN if one of them is.

    The moments of its observations are left out: they hold how many there were, which grows as long as it learns.
    """
    if hasattr(agent, "features"):
        agent = agent._replace(features=())
    floats = [leaf for leaf in jax.tree.leaves(agent) if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size]
    return jnp.max(jnp.array([jnp.max(jnp.abs(leaf)) for leaf in floats])) if floats else jnp.float32(0)


def named(episodes: Episodes, sums: dict[str, Array], iterations: Array | int) -> dict[str, Array]:
    """The metrics of a chunk; those of episodes are NaN where none has ended."""
    return_sum, length_sum, ended = episodes.sums
    finished = jnp.where(ended > 0, ended, jnp.nan)
    return {
        "episode_return": return_sum / finished,
        "episode_length": length_sum / finished,
        "episodes": ended,
        **{name: value / iterations for name, value in sums.items()},
    }


def drawn_together(algorithm: Algorithm, spec: Spec) -> int:
    """The iterations that share keys: several where a block is a single step, whose noise is cheaper than a key."""
    single = algorithm.block_length * spec.num_envs == 1 and not algorithm.starts_at_reset
    return SHARED if single else 1


def check_iterations(iterations: int, chunk: int) -> None:
    """Raises `ValueError` unless a chunk has noise for so many iterations."""
    if not 1 <= iterations <= chunk:
        raise ValueError(f"{iterations} iterations in one call; this engine makes 1 to {chunk}")


def choose(where: Array, yes: PyTree, no: PyTree) -> PyTree:
    """`yes` in the rows of `where` [B], else `no`; leaves [B, ...]."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (b.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)
