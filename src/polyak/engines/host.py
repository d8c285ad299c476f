"""The host engine: a Python loop around environments that live outside XLA.

A collector and a learner in one process, by turns: `act` is one compiled call a step, `observe` and `learn` are one
compiled call a block.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Algorithm, Array, Key, Spec
from polyak.engines.collector import Collector
from polyak.engines.common import (
    ChunkNoise,
    Episodes,
    Loop,
    Metrics,
    check_iterations,
    chunk_of,
    draw_noise,
    drawn_together,
    initial_keys,
    named,
)
from polyak.engines.learner import Learner
from polyak.envs.base import HostEnv, Score


class HostEngine:
    """See `Engine`."""

    def __init__(self, algorithm: Algorithm, agent: Agent, env: HostEnv, spec: Spec, chunk: int):
        self.agent = agent
        self.shape = (algorithm.block_length, spec.num_envs)
        self.block_size = algorithm.block_length * spec.num_envs
        self.together = drawn_together(algorithm, spec)
        self.warm: set[bool] = set()
        self.chunk = chunk_of(chunk, self._draw)
        self.learner = Learner(agent)
        self.collector = Collector(algorithm, agent, env, spec, self.learner.packing)
        self._noise = jax.jit(self._draw, static_argnums=2)

    def init(self, seed: int) -> Loop:
        agent_key, _, key = initial_keys(seed)
        obs, carry = self.collector.begin(seed)
        return Loop(self.learner.init(agent_key), (), obs, carry, Episodes.of(self.shape[1]), key, jnp.int32(0))

    def advance(self, loop: Loop, iterations: int, learn: bool) -> tuple[Loop, Metrics]:
        check_iterations(iterations, self.chunk)
        noise = jax.device_get(self._noise(loop.key, loop.iteration, self.chunk))
        agent_noise = jax.tree.leaves(noise.agent)
        obs, carry = loop.obs, loop.carry
        state = self.learner.packing.pack(loop.agent)
        scores = Score(*(np.zeros((self.chunk, *self.shape), kind) for kind in (np.float32, bool)))
        history: list[Array] = []
        for i in range(iterations):
            obs, carry, block, score = self.collector.collect(state, obs, carry, [leaf[i] for leaf in agent_noise])
            scores.points[i], scores.over[i] = score
            state, metrics = self.learner.update(state, block, noise.learn[i], learn)
            history.append(metrics)
        agent, means, made = self.learner.finish(state, history, learn)
        episodes = self.collector.count(loop.episodes.forget_sums(), scores, iterations)
        loop = Loop(agent, (), obs, carry, episodes, loop.key, loop.iteration + jnp.int32(made))
        return loop, jax.device_get(named(episodes, {}, 1)) | means

    def environments(self) -> dict[str, Any]:
        return self.collector.env.snapshot()

    def resume(self, loop: Loop, environments: dict[str, Any] | None) -> tuple[Loop, int]:
        assert environments is not None  # `environments` gave it
        obs, carry, episodes, lost = self.collector.resume(environments, loop.obs, loop.carry, loop.episodes)
        agent = self.agent.cut(loop.agent, jnp.asarray(lost)) if lost.any() else loop.agent
        return loop._replace(agent=agent, obs=obs, carry=carry, episodes=episodes), int(lost.sum())

    def close(self) -> None:
        self.collector.env.close()

    def _draw(self, key: Key, first: Array, count: int) -> ChunkNoise:
        noise = draw_noise(key, first, count, self.shape, self.agent, lambda key, shape: (), self.together)
        return noise._replace(learn=jax.random.key_data(noise.learn))
