"""The compiled engine: acting, stepping, remembering and learning in one XLA program.

A chunk is a loop over iterations; an iteration is a scan over the T steps of a block, then `observe`, then `learn`. The
number of iterations is an argument of the program, not a part of it, so that one compilation serves every chunk.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Algorithm, Array, Position, PyTree, Spec, Step
from polyak.engines.common import (
    ChunkNoise,
    Episodes,
    Loop,
    Metrics,
    check_iterations,
    choose,
    chunk_of,
    draw_noise,
    drawn_together,
    initial_keys,
    largest,
    named,
)
from polyak.envs.base import CompiledEnv


class CompiledEngine:
    """See `Engine`. With `batched`, one program advances several seeds under `vmap`, as suits an accelerator."""

    def __init__(
        self, algorithm: Algorithm, agent: Agent, env: CompiledEnv, spec: Spec, chunk: int, batched: bool = False
    ):
        self.algorithm, self.agent, self.env = algorithm, agent, env
        self.num_envs, self.batched = spec.num_envs, batched
        self.length = algorithm.block_length
        self.block_size = self.length * spec.num_envs
        self.starts_at_reset = algorithm.starts_at_reset
        self.shape = (self.length, spec.num_envs)
        self.together = drawn_together(algorithm, spec)
        self.warm: set[bool] = set()
        self.chunk = chunk_of(chunk, self._noise)
        over_seeds = partial(jax.vmap, in_axes=(0, None)) if batched else lambda function: function
        self._init = jax.jit(jax.vmap(self._start) if batched else self._start)
        self._fill = jax.jit(over_seeds(partial(self._chunk, learn=False)), donate_argnums=0)
        self._train = jax.jit(over_seeds(partial(self._chunk, learn=True)), donate_argnums=0)

    def init(self, seed: int | Array) -> Loop:
        return self._init(jnp.asarray(seed, jnp.uint32))

    def advance(self, loop: Loop, iterations: int, learn: bool) -> tuple[Loop, Metrics]:
        check_iterations(iterations, self.chunk)
        loop, metrics = (self._train if learn else self._fill)(loop, iterations)
        return loop, jax.device_get(metrics)

    def environments(self) -> None:
        """The loop holds everything."""

    def resume(self, loop: Loop, environments: dict[str, Any] | None) -> tuple[Loop, int]:
        return loop, 0

    def close(self) -> None:
        """Nothing to let go of."""

    def _noise(self, key: Array, first: Array, count: int) -> ChunkNoise:
        def env_noise(key: Array, shape: tuple[int, int]) -> PyTree:
            return self.env.noise(key, (shape[0] + self.starts_at_reset, shape[1]))  # one more row for the start

        return draw_noise(key, first, count, self.shape, self.agent, env_noise, self.together)

    def _start(self, seed: Array) -> Loop:
        agent_key, env_key, key = initial_keys(seed)
        env, obs = jax.vmap(self.env.reset)(self.env.noise(env_key, (self.num_envs,)))
        episodes = Episodes.of(self.num_envs)
        carry = self.agent.start(self.num_envs)
        return Loop(self.agent.init(agent_key), env, obs, carry, episodes, key, jnp.int32(0))

    def _chunk(self, loop: Loop, iterations: Array, learn: bool) -> tuple[Loop, dict[str, Array]]:
        noise = self._noise(loop.key, loop.iteration, self.chunk)
        advance = jax.jit(partial(self._iteration, learn=learn), inline=True)  # traced once, and asked for twice
        example = jax.eval_shape(advance, loop, jax.tree.map(lambda leaf: leaf[0], noise))
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example[1])

        def body(carry: tuple[Array, Loop, dict[str, Array]]):
            i, loop, sums = carry
            loop, metrics = advance(loop, jax.tree.map(lambda leaf: leaf[i], noise))
            sums = jax.tree.map(jnp.add, sums, metrics)
            if self.batched:  # one seed cannot leave the loop without the others
                return i + 1, loop, sums
            sound = jnp.isfinite(sum(sums.values(), jnp.float32(0)))
            return jnp.where(sound, i + 1, iterations), loop, sums  # after a number that is not finite nothing follows

        loop = loop._replace(episodes=loop.episodes.forget_sums())
        _, loop, sums = jax.lax.while_loop(lambda carry: carry[0] < iterations, body, (jnp.int32(0), loop, sums))
        learnt = {"largest_parameter": largest(self.agent.policy(loop.agent))} if learn else {}
        return loop, named(loop.episodes, sums, iterations) | learnt

    def _iteration(self, loop: Loop, noise: ChunkNoise, learn: bool) -> tuple[Loop, dict[str, Array]]:
        moving = Moving(loop.env, loop.obs, loop.carry, loop.episodes)
        moving, block = rollout(self.algorithm, self.agent, self.env, loop.agent, moving, noise)
        state = self.agent.observe(loop.agent, block)
        state, metrics = self.agent.learn(state, block, noise.learn) if learn else (state, {})
        return Loop(state, *moving, loop.key, loop.iteration + 1), metrics


class Moving(NamedTuple):
    """The part of the loop that changes from step to step: the agent, replay and all, stays out of the inner scan."""

    env: PyTree
    obs: PyTree
    carry: PyTree
    episodes: Episodes


def rollout(
    algorithm: Algorithm, agent: Agent, env: CompiledEnv, state: PyTree, moving: Moving, noise: ChunkNoise
) -> tuple[Moving, Step]:
    """Acts through one block [T, B, ...].

    Args:
        algorithm: says whether the block begins with fresh episodes, and what its agent sees.
        agent: acts.
        env: the environment.
        state: the agent's, or as much of it as acting needs.
        moving: where the block begins.
        noise: of the block; where it starts at a reset, that of the environments has one more row, for the reset.
    """
    env_noise, plans = noise.env, getattr(algorithm, "plans", False)
    if algorithm.starts_at_reset:
        world, obs = jax.vmap(env.reset)(jax.tree.map(lambda leaf: leaf[-1], env_noise))
        env_noise = jax.tree.map(lambda leaf: leaf[:-1], env_noise)
        carry = agent.start(moving.episodes.running.shape[-1])
        moving = Moving(world, obs, carry, moving.episodes.forget_running())

    def step(now: Moving, noise: tuple[PyTree, PyTree]) -> tuple[Moving, Step]:
        agent_noise, env_noise = noise
        seen = Position(now.obs, now.env) if plans else now.obs
        action, carry, extras = agent.act(state, now.carry, seen, agent_noise, True)
        world, next_obs, reward, terminated, truncated = jax.vmap(env.step)(now.env, action, env_noise)
        fresh_world, fresh_obs = jax.vmap(env.reset)(env_noise)
        over = terminated | truncated
        begins, goes_on = (fresh_world, fresh_obs, agent.start(len(over))), (world, next_obs, carry)
        world, obs, carry = choose(over, begins, goes_on)
        taken = Step(now.obs, action, reward, terminated, truncated, next_obs, extras)
        return Moving(world, obs, carry, now.episodes.update(reward, over)), taken

    return jax.lax.scan(step, moving, (noise.agent, env_noise))
