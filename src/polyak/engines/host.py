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
    initial_keys,
    named,
)
from polyak.envs.base import HostEnv


class HostEngine:
    """See `Engine`.

    The agent's state crosses into compiled code as a flat tuple of arrays, and into `act` only the part that it reads:
    taking a tree of modules apart, or handing over a replay, at every step would cost as much as a small network.
    """

    def __init__(self, algorithm: Algorithm, agent: Agent, env: HostEnv, spec: Spec, chunk: int):
        self.agent, self.env, self.num_envs, self.chunk = agent, env, spec.num_envs, chunk
        self.warm: set[bool] = set()
        self.length = algorithm.block_length
        self.block_size = self.length * spec.num_envs
        self.starts_at_reset = algorithm.starts_at_reset
        example = jax.eval_shape(lambda key: (agent.init(key), Episodes.of(spec.num_envs)), jax.random.key(0))
        leaves, tree = jax.tree.flatten(example)
        self._tree: Any = tree
        numbered = agent.policy(jax.tree.unflatten(tree, range(len(leaves)))[0])
        self._read: list[int] = jax.tree.leaves(numbered)  # the leaves that `act` reads, by their numbers
        self._acting_tree: Any = jax.tree.structure(numbered)
        self._names: dict[bool, tuple[str, ...]] = {}  # of the metrics, with learning and without; known once traced
        self._remembers = bool(jax.tree.leaves(jax.eval_shape(lambda: agent.start(spec.num_envs))))
        self._init = jax.jit(agent.init)
        self._noise = jax.jit(self._draw)
        self._act = jax.jit(self._explore)
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
        obs, carry = loop.obs, loop.carry
        state = tuple(jax.tree.leaves((loop.agent, loop.episodes.forget_sums())))
        history: list[Array] = []
        for i in range(iterations):
            acting = tuple(state[leaf] for leaf in self._read)
            obs, carry, block = self._block(acting, obs, carry, _row(noise.agent, i))
            state, metrics = self._finish[learn](state, block, noise.learn[i])
            history.append(metrics)
        means = dict(zip(self._names[learn], np.mean(jax.device_get(history), 0).tolist(), strict=True))
        agent, episodes = self._tree.unflatten(state)
        loop = Loop(agent, (), obs, carry, episodes, loop.key, loop.iteration + jnp.int32(iterations))
        return loop, jax.device_get(named(episodes, {}, 1)) | means

    def portable(self, loop: Loop) -> PyTree:
        """The agent and the counters; the environments' own states cannot be kept, so fresh episodes follow."""
        return {"agent": loop.agent, "iteration": loop.iteration}

    def resume(self, loop: Loop, found: PyTree) -> Loop:
        obs = self.env.reset(int(found["iteration"]))
        return loop._replace(agent=found["agent"], iteration=found["iteration"], obs=obs)

    def close(self) -> None:
        self.env.close()

    def _draw(self, key: Array, first: Array) -> ChunkNoise:
        shape = (self.length, self.num_envs)
        noise = draw_noise(key, first, self.chunk, shape, self.agent, lambda key, shape: ())
        return noise._replace(learn=jax.random.key_data(noise.learn))

    def _block(
        self, acting: tuple[Array, ...], obs: np.ndarray, carry: PyTree, noise: PyTree
    ) -> tuple[np.ndarray, PyTree, Step]:
        if self.starts_at_reset:
            obs, carry = self.env.reset(), self.agent.start(self.num_envs)
        steps: list[Step] = []
        for t in range(self.length):
            action, carry, extras = self._act(acting, carry, obs, _row(noise, t))
            action = np.asarray(action)
            outcome: Any = self.env.step(action)
            steps.append(
                Step(obs, action, outcome.reward, outcome.terminated, outcome.truncated, outcome.next_obs, extras)
            )
            if self._remembers and (over := outcome.terminated | outcome.truncated).any():
                carry = choose(over, self.agent.start(self.num_envs), carry)
            obs = outcome.obs
        return obs, carry, jax.tree.map(_stack, *steps)

    def _explore(self, acting: tuple[Array, ...], carry: PyTree, obs: PyTree, noise: PyTree):
        return self.agent.act(self._acting_tree.unflatten(acting), carry, obs, noise, True)

    def _observe_and_learn(
        self, state: tuple[Array, ...], block: Step, key_data: Array, learn: bool
    ) -> tuple[tuple[Array, ...], Array]:
        agent, episodes = self._tree.unflatten(state)
        if self.starts_at_reset:
            episodes = episodes.forget_running()
        episodes = episodes.update_block(block.reward, block.terminated | block.truncated)
        agent = self.agent.observe(agent, block)
        agent, metrics = self.agent.learn(agent, block, jax.random.wrap_key_data(key_data)) if learn else (agent, {})
        self._names[learn] = tuple(metrics)
        return tuple(jax.tree.leaves((agent, episodes))), jnp.array(list(metrics.values()))


def _stack(*leaves: Any) -> np.ndarray:
    return np.stack(leaves) if len(leaves) > 1 else np.asarray(leaves[0])[None]


def _row(tree: PyTree, i: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)
