"""What both engines share: the loop's state, the noise of a chunk, and what is counted while stepping."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Algorithm, Array, Key, PyTree, Spec

Metrics = dict[str, float]


class Episodes(NamedTuple):
    """What is known of the episodes: those under way, and the sums over those that ended."""

    running_return: Array  # [B]
    running_length: Array  # [B] int32
    return_sum: Array  # []
    length_sum: Array  # []
    finished: Array  # []

    @staticmethod
    def of(num_envs: int) -> "Episodes":
        sums = (jnp.float32(0), jnp.float32(0), jnp.float32(0))  # three buffers: one cannot be donated three times
        return Episodes(jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32), *sums)

    def update(self, reward: Array, over: Array) -> "Episodes":
        """After one step with rewards [B]; `over` [B] where an episode ended or was cut."""
        total, length = self.running_return + reward, self.running_length + 1
        return Episodes(
            jnp.where(over, 0.0, total),
            jnp.where(over, 0, length),
            self.return_sum + jnp.sum(jnp.where(over, total, 0.0)),
            self.length_sum + jnp.sum(jnp.where(over, length, 0)),
            self.finished + jnp.sum(over),
        )

    def update_block(self, reward: Array, over: Array) -> "Episodes":
        """After a block with rewards [T, B] and `over` [T, B]."""
        return jax.lax.scan(lambda episodes, step: (episodes.update(*step), None), self, (reward, over), unroll=8)[0]

    def forget_sums(self) -> "Episodes":
        """At the start of a chunk, which tells only of the episodes that end in it."""
        sums = (self.return_sum, self.length_sum, self.finished)
        return Episodes(self.running_return, self.running_length, *map(jnp.zeros_like, sums))

    def forget_running(self) -> "Episodes":
        """Where all environments begin anew, and what they were in the middle of is not counted."""
        return self._replace(running_return=0 * self.running_return, running_length=0 * self.running_length)


class Loop(NamedTuple):
    """Everything that decides the future of a run, as one pytree."""

    agent: PyTree
    env: PyTree  # the environments' states, [B, ...]; () where they live outside XLA
    obs: PyTree  # [B, ...]
    carry: PyTree  # the agent's memory
    episodes: Episodes
    key: Key  # never advanced: iteration i uses fold_in(key, i), whatever the size of the chunks
    iteration: Array  # [] int32, blocks finished


class Engine(Protocol):
    """What `train` asks of an engine."""

    block_size: int  # environment steps of one iteration
    chunk: int  # the most iterations that one call of `advance` makes
    warm: set[bool]  # the programs, with learning and without, that have run before and so are compiled

    def init(self, seed: Any) -> Loop:
        """The state of a run that has not begun."""
        ...

    def advance(self, loop: Loop, iterations: int, learn: bool) -> tuple[Loop, Metrics]:
        """Makes up to `chunk` iterations, with or without learning; returns the means of what was measured."""
        ...

    def portable(self, loop: Loop) -> PyTree:
        """The part of the loop's state that a file can keep."""
        ...

    def resume(self, loop: Loop, found: PyTree) -> Loop:
        """The loop to go on with, from a new one and what `portable` had kept."""
        ...

    def close(self) -> None:
        """Lets go of the environments."""
        ...


class ChunkNoise(NamedTuple):
    """All that is random in one iteration, or with a leading axis in a chunk of them."""

    agent: PyTree  # [T, B, ...]
    env: PyTree  # [T, B, ...]
    learn: Key


def draw_noise(
    key: Key, first: Array, count: int, shape: tuple[int, int], agent: Agent, env_noise: Callable[..., PyTree]
) -> ChunkNoise:
    """The noise of iterations first .. first + count - 1, drawn in one go.

    Iteration i always draws from fold_in(key, i), so that neither the size of the chunks nor the engine changes a run.
    """

    def of_iteration(i: Array) -> ChunkNoise:
        agent_key, env_key, learn_key = jax.random.split(jax.random.fold_in(key, i), 3)
        return ChunkNoise(agent.noise(agent_key, shape), env_noise(env_key, shape), learn_key)

    return jax.vmap(of_iteration)(first + jnp.arange(count))


def initial_keys(seed: Array | int) -> tuple[Key, Key, Key]:
    """The keys of a seed: for the agent's parameters, for the first episodes, and for all that follows."""
    return tuple(jax.random.split(jax.random.key(seed), 3))


def named(episodes: Episodes, sums: dict[str, Array], iterations: Array | int) -> dict[str, Array]:
    """The metrics of a chunk; NaN stands for what was not measured."""
    finished = jnp.where(episodes.finished > 0, episodes.finished, jnp.nan)
    return {
        "episode_return": episodes.return_sum / finished,
        "episode_length": episodes.length_sum / finished,
        "episodes": episodes.finished,
        **{name: value / iterations for name, value in sums.items()},
    }


def chunk_of(algorithm: Algorithm, spec: Spec, wanted_steps: int) -> int:
    """Iterations per chunk for about `wanted_steps` environment steps, at least one."""
    return max(1, wanted_steps // (algorithm.block_length * spec.num_envs))


def check_iterations(iterations: int, chunk: int) -> None:
    """The noise of a chunk is drawn for `chunk` iterations; more would use its last row again."""
    if not 1 <= iterations <= chunk:
        raise ValueError(f"{iterations} iterations in one call; this engine makes 1 to {chunk}")


def choose(where: Array, yes: PyTree, no: PyTree) -> PyTree:
    """`yes` in the rows of `where` [B], else `no`; leaves [B, ...]."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (b.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)
