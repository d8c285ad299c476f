"""The half of an engine that moves environments which live outside XLA: it collects blocks with a policy's state."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Algorithm, Array, PyTree, Spec, Step
from polyak.engines.common import Episodes, choose
from polyak.engines.packing import Packed
from polyak.envs.base import HostEnv, Score


class Unpacking(Protocol):
    """How a state is unpacked: a `Packing`, or one that leaves something out."""

    def unpack(self, arrays: Packed) -> PyTree: ...


class Collector:
    """Collects blocks of steps, for which it needs a state to act with and noise, and counts episodes.

    At every step the state crosses into compiled code, and the noise with it; so both come taken apart, the state into
    few arrays, because doing that at every step would cost as much as a small network.

    Args:
        algorithm: says how long a block is, and whether it begins with fresh episodes.
        agent: acts, with all of its state or as much of it as acting needs.
        env: the environments.
        spec: of the task.
        packing: of the states that `collect` is given.
    """

    def __init__(self, algorithm: Algorithm, agent: Agent, env: HostEnv, spec: Spec, packing: Unpacking):
        self.agent, self.env, self.num_envs = agent, env, spec.num_envs
        self._length, self._starts_at_reset = algorithm.block_length, algorithm.starts_at_reset
        self._packing = packing
        key = jax.random.key(0)  # only shapes are asked for
        self._noise_tree: Any = jax.tree.structure(jax.eval_shape(lambda key: agent.noise(key, (1,)), key))
        self._remembers = bool(jax.tree.leaves(jax.eval_shape(lambda: agent.start(spec.num_envs))))
        self._act = jax.jit(self._explore)
        self._count = jax.jit(self._count_blocks)

    def begin(self, seed: int) -> tuple[np.ndarray, PyTree]:
        """The first observations [B, ...] of a run, and the agent's memory before them."""
        return self.env.reset(seed), self.agent.start(self.num_envs)

    def collect(
        self, state: Packed, obs: np.ndarray, carry: PyTree, noise: list[np.ndarray]
    ) -> tuple[np.ndarray, PyTree, Step, Score]:
        """Acts through one block.

        Args:
            state: what the agent acts with, packed.
            obs: [B, ...] what it sees first.
            carry: its memory.
            noise: the leaves of its noise, each [T, B, ...].

        Returns:
            What it sees next and its memory, the block [T, B, ...], and what episodes are counted from [T, B].
        """
        if self._starts_at_reset:
            obs, carry = self.env.reset(), self.agent.start(self.num_envs)
        steps: list[Step] = []
        scores: list[Score | None] = []
        for t in range(self._length):
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
        block: Any = jax.tree.map(_stack, *steps)
        score = jax.tree.map(_stack, *scores) or Score(block.reward, block.terminated | block.truncated)
        return obs, carry, block, score

    def count(self, episodes: Episodes, scores: Score, blocks: int) -> Episodes:
        """Counts the episodes of the first `blocks` of some blocks [N, T, B] that follow each other."""
        return self._count(episodes, scores, blocks)

    def resume(
        self, environments: dict[str, Any], obs: np.ndarray, carry: PyTree, episodes: Episodes
    ) -> tuple[np.ndarray, PyTree, Episodes, np.ndarray]:
        """Puts environments that have begun with the same seed where a snapshot found them.

        Returns:
            Observations, memory and episodes as they are then, and which environments [B] began a new episode instead.
        """
        obs = np.array(obs)
        lost = self.env.restore(environments, obs)
        if lost.any():
            carry = choose(jnp.asarray(lost), self.agent.start(self.num_envs), carry)
            episodes = episodes._replace(running=jnp.where(lost, 0.0, episodes.running))
        return obs, carry, episodes, lost

    def _explore(self, state: Packed, carry: PyTree, obs: PyTree, noise: list[Array]) -> tuple[PyTree, PyTree, PyTree]:
        agent_noise = self._noise_tree.unflatten(noise)
        return self.agent.act(self._packing.unpack(state), carry, obs, agent_noise, True)

    def _count_blocks(self, episodes: Episodes, scores: Score, blocks: Array) -> Episodes:
        def count(i: Array, episodes: Episodes) -> Episodes:
            if self._starts_at_reset:
                episodes = episodes.forget_running()
            return episodes.update_block(*(leaf[i] for leaf in scores))

        return jax.lax.fori_loop(0, blocks, count, episodes)


def _stack(*leaves: Any) -> np.ndarray:
    return np.array(leaves) if len(leaves) > 1 else np.asarray(leaves[0])[None]
