"""The host engine: a Python loop around environments that live outside XLA.

`act` is one compiled call a step, `observe` and `learn` are one compiled call a block, with the state donated.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Algorithm, Array, PyTree, Spec, Step
from polyak.engines.common import (
    ChunkNoise,
    Episodes,
    Loop,
    Metrics,
    check_iterations,
    choose,
    draw_noise,
    drawn_together,
    initial_keys,
    largest,
    named,
)
from polyak.engines.packing import Packing
from polyak.envs.base import HostEnv, Score


class HostEngine:
    """See `Engine`.

    At every step the agent's state crosses into compiled code, and the noise with it; so both are taken apart once a
    chunk, the state into few arrays, because doing that at every step would cost as much as a small network.
    """

    def __init__(self, algorithm: Algorithm, agent: Agent, env: HostEnv, spec: Spec, chunk: int):
        self.agent, self.env, self.num_envs, self.chunk = agent, env, spec.num_envs, chunk
        self.warm: set[bool] = set()
        self.length = algorithm.block_length
        self.block_size = self.length * spec.num_envs
        self.starts_at_reset = algorithm.starts_at_reset
        self.together = drawn_together(algorithm, spec)
        key = jax.random.key(0)  # only shapes are asked for
        self._packing = Packing(jax.eval_shape(lambda key: (agent.init(key), Episodes.of(spec.num_envs)), key))
        self._noise_tree: Any = jax.tree.structure(jax.eval_shape(lambda key: agent.noise(key, (1,)), key))
        self._names: dict[bool, tuple[str, ...]] = {}  # of the metrics, with learning and without; known once traced
        self._remembers = bool(jax.tree.leaves(jax.eval_shape(lambda: agent.start(spec.num_envs))))
        self._init = jax.jit(agent.init)
        self._noise = jax.jit(self._draw)
        self._act = jax.jit(self._explore)
        self._largest = jax.jit(lambda state: largest(agent.policy(state)))
        self._finish = {
            learn: jax.jit(partial(self._observe_and_learn, learn=learn), donate_argnums=0) for learn in (False, True)
        }

    def init(self, seed: int) -> Loop:
        agent_key, _, key = initial_keys(seed)
        obs = self.env.reset(seed)
        carry = self.agent.start(self.num_envs)
        return Loop(self._init(agent_key), (), obs, carry, Episodes.of(self.num_envs), key, jnp.int32(0))

    def advance(self, loop: Loop, iterations: int, learn: bool) -> tuple[Loop, Metrics]:
        check_iterations(iterations, self.chunk)
        noise = jax.device_get(self._noise(loop.key, loop.iteration))
        agent_noise = jax.tree.leaves(noise.agent)
        obs, carry = loop.obs, loop.carry
        state = self._packing.pack((loop.agent, loop.episodes.forget_sums()))
        history: list[Array] = []
        for i in range(iterations):
            obs, carry, block, score = self._block(state, obs, carry, [leaf[i] for leaf in agent_noise])
            state, metrics = self._finish[learn](state, block, score, noise.learn[i])
            history.append(metrics)
        measured = np.stack(jax.device_get(history))  # [iterations, metrics]
        means = dict(zip(self._names[learn], measured.mean(0).tolist(), strict=True))
        agent, episodes = self._packing.unpack(state)
        if learn:
            means["largest_parameter"] = float(self._largest(agent))
        sound = np.isfinite(measured).all(1)
        made = iterations if sound.all() else 1 + int(sound.argmin())
        loop = Loop(agent, (), obs, carry, episodes, loop.key, loop.iteration + jnp.int32(made))
        return loop, jax.device_get(named(episodes, {}, 1)) | means

    def environments(self) -> dict[str, Any]:
        return self.env.snapshot()

    def resume(self, loop: Loop, environments: dict[str, Any] | None) -> tuple[Loop, int]:
        assert environments is not None  # `environments` gave it
        obs = np.array(loop.obs)
        cut = self.env.restore(environments, obs)
        loop = loop._replace(obs=obs)
        if cut.any():
            lost = jnp.asarray(cut)
            carry = choose(lost, self.agent.start(self.num_envs), loop.carry)
            episodes = loop.episodes._replace(running=jnp.where(lost, 0.0, loop.episodes.running))
            loop = loop._replace(agent=self.agent.cut(loop.agent, lost), carry=carry, episodes=episodes)
        return loop, int(cut.sum())

    def close(self) -> None:
        self.env.close()

    def _draw(self, key: Array, first: Array) -> ChunkNoise:
        shape = (self.length, self.num_envs)
        noise = draw_noise(key, first, self.chunk, shape, self.agent, lambda key, shape: (), self.together)
        return noise._replace(learn=jax.random.key_data(noise.learn))

    def _block(
        self, state: tuple[Array, ...], obs: np.ndarray, carry: PyTree, noise: list[np.ndarray]
    ) -> tuple[np.ndarray, PyTree, Step, Score | None]:
        if self.starts_at_reset:
            obs, carry = self.env.reset(), self.agent.start(self.num_envs)
        steps: list[Step] = []
        scores: list[Score | None] = []
        for t in range(self.length):
            action, carry, extras = self._act(state, carry, obs, [leaf[t] for leaf in noise])
            action = np.asarray(action)
            outcome: Any = self.env.step(action)
            steps.append(
                Step(obs, action, outcome.reward, outcome.terminated, outcome.truncated, outcome.next_obs, extras)
            )
            scores.append(outcome.score)
            if self._remembers and (over := outcome.terminated | outcome.truncated).any():
                carry = choose(over, self.agent.start(self.num_envs), carry)
            obs = outcome.obs
        return obs, carry, jax.tree.map(_stack, *steps), jax.tree.map(_stack, *scores)

    def _explore(self, state: tuple[Array, ...], carry: PyTree, obs: PyTree, noise: list[Array]):
        state = self._packing.unpack(state)[0]
        return self.agent.act(state, carry, obs, self._noise_tree.unflatten(noise), True)

    def _observe_and_learn(
        self, state: tuple[Array, ...], block: Step, score: Score | None, key_data: Array, learn: bool
    ) -> tuple[tuple[Array, ...], Array]:
        agent, episodes = self._packing.unpack(state)
        if self.starts_at_reset:
            episodes = episodes.forget_running()
        episodes = episodes.update_block(*(score or (block.reward, block.terminated | block.truncated)))
        agent = self.agent.observe(agent, block)
        agent, metrics = self.agent.learn(agent, block, jax.random.wrap_key_data(key_data)) if learn else (agent, {})
        self._names[learn] = tuple(metrics)
        return self._packing.pack((agent, episodes)), jnp.array(list(metrics.values()))


def _stack(*leaves: Any) -> np.ndarray:
    return np.array(leaves) if len(leaves) > 1 else np.asarray(leaves[0])[None]
