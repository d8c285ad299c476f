"""The environments of one actor, and what acts in them: a share of what one engine would hold on one machine.

Noise is drawn for the environments of all actors, and each takes its own columns of it. So actors that collect the same
iteration act together as one machine would, bit by bit where sums are taken in the same order.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, published
from polyak.cluster.messages import Begin, Place, Restore, Restored, Task
from polyak.engines.collector import Collector
from polyak.engines.common import ChunkNoise, Episodes, draw_noise, drawn_together, initial_keys
from polyak.engines.compiled import Moving, rollout
from polyak.engines.packing import Packed, Packing
from polyak.envs.base import CompiledEnv, HostEnv, Score


class Share(Protocol):
    """The environments of an actor."""

    spec: Spec
    faults: list[str]  # that were recovered from; the reader removes what it has reported

    def begin(self, how: Begin) -> None:
        """Begins new episodes."""
        ...

    def collect(self, state: Packed, iteration: int) -> tuple[Step, np.ndarray]:
        """Acts through one block [T, b, ...]; returns it, and the sums of the episodes that ended."""
        ...

    def place(self) -> Place:
        """Where the share is, between two blocks."""
        ...

    def restore(self, how: Restore) -> Restored:
        """Goes where a checkpoint was, after `begin` with the same seed."""
        ...

    def snapshot(self) -> list[Any]:
        """The places of environments that live outside XLA, as JSON."""
        ...

    def close(self) -> None:
        """Lets go of the environments."""
        ...


def share_of(task: Task) -> tuple[Agent, Share]:
    """Makes the agent that acts, and its environments."""
    from polyak import envs

    env = envs.make_share(task.env, task.num_envs, task.first, task.of, task.name, task.on_fault)
    spec = Spec(env.observation_space, env.action_space, task.block_envs, env.max_episode_steps, task.total_steps)
    if isinstance(env, CompiledEnv):
        spec = spec._replace(goal=env.goal, simulator=env)
    agent = task.algorithm.agent(spec)
    kind: Any = CompiledShare if isinstance(env, CompiledEnv) else HostShare
    return agent, kind(task, agent, env, spec)


class Published:
    """How what an agent publishes is unpacked where only some of its environments are.

    Some agents keep a number of each environment that acting needs: the next action, or traces. Their leaves are those
    that would be longer with more environments.
    """

    def __init__(self, task: Task, agent: Agent, spec: Spec):
        def shapes(agent: Agent) -> PyTree:
            return jax.eval_shape(lambda key: published(agent, agent.init(key)), jax.random.key(0))

        whole, twice = shapes(agent), shapes(task.algorithm.agent(spec._replace(num_envs=2 * spec.num_envs)))
        self._packing = Packing(whole)
        self._mine = slice(task.first, task.first + task.num_envs)
        self._is_of_envs = jax.tree.map(lambda one, other: one.shape != other.shape, whole, twice)

    def unpack(self, arrays: Packed) -> PyTree:
        """The published state, with the rows of these environments."""
        state = self._packing.unpack(arrays)
        return jax.tree.map(lambda leaf, of_envs: leaf[self._mine] if of_envs else leaf, state, self._is_of_envs)


class _Noise:
    """Draws the noise of an actor's blocks."""

    def __init__(self, task: Task, agent: Agent, spec: Spec, env_noise: Callable[..., PyTree]):
        mine = slice(task.first, task.first + task.num_envs)
        shape = (task.algorithm.block_length, task.of)
        together = drawn_together(task.algorithm, spec._replace(num_envs=task.of))

        def draw(key: Key, iteration: Array) -> ChunkNoise:
            noise = draw_noise(key, iteration, 1, shape, agent, env_noise, together)
            noise = jax.tree.map(lambda leaf: leaf[0], noise)
            of_agent, of_env = jax.tree.map(lambda leaf: leaf[:, mine], (noise.agent, noise.env))
            return ChunkNoise(of_agent, of_env, noise.learn)

        self.draw = draw

    @staticmethod
    def begin(how: Begin) -> tuple[int, Key, Key]:
        """The seed of the episodes of a life, the key of their first states, and that of all noise that follows."""
        _, env_key, key = initial_keys(how.seed)
        if how.life is None:
            return how.seed, env_key, key
        words = np.random.SeedSequence((how.seed, how.life)).generate_state(1)
        return int(words[0]), jax.random.fold_in(env_key, how.life), jax.random.fold_in(key, how.life)


class HostShare:
    """Environments that are stepped from Python; see `Share`."""

    def __init__(self, task: Task, agent: Agent, env: HostEnv, spec: Spec):
        self.spec, self.faults, self._env = spec, env.faults, env
        self._noise = _Noise(task, agent, spec, lambda key, shape: ())
        self._draw = jax.jit(self._noise.draw)
        mine = spec._replace(num_envs=task.num_envs)
        self._collector = Collector(task.algorithm, agent, env, mine, Published(task, agent, spec))
        self._num_envs = task.num_envs

    def begin(self, how: Begin) -> None:
        seed, _, self._key = self._noise.begin(how)
        self._obs, self._carry = self._collector.begin(seed)
        self._episodes = Episodes.of(self._num_envs)

    def collect(self, state: Packed, iteration: int) -> tuple[Step, np.ndarray]:
        noise = jax.tree.leaves(jax.device_get(self._draw(self._key, iteration).agent))
        self._obs, self._carry, block, score = self._collector.collect(state, self._obs, self._carry, noise)
        scores = Score(*(np.asarray(leaf)[None] for leaf in score))
        self._episodes = self._collector.count(self._episodes.forget_sums(), scores, 1)
        return jax.device_get(block), np.asarray(self._episodes.sums)

    def place(self) -> Place:
        return Place((), *jax.device_get((self._obs, self._carry, self._episodes.running)))

    def restore(self, how: Restore) -> Restored:
        episodes = Episodes(jnp.asarray(how.place.running), jnp.zeros(3))
        self._obs, self._carry, self._episodes, lost = self._collector.resume(
            {"places": how.places}, how.place.obs, jax.tree.map(jnp.asarray, how.place.carry), episodes
        )
        return Restored(self.place(), lost)

    def snapshot(self) -> list[Any]:
        return self._env.snapshot()["places"]

    def close(self) -> None:
        self._env.close()


class CompiledShare:
    """Environments inside one XLA program with what acts in them; see `Share`."""

    def __init__(self, task: Task, agent: Agent, env: CompiledEnv, spec: Spec):
        self.spec, self.faults = spec, list[str]()
        self._agent, self._env, self._task = agent, env, task
        starts_at_reset = task.algorithm.starts_at_reset
        state_of = Published(task, agent, spec)

        def env_noise(key: Key, shape: tuple[int, int]) -> PyTree:
            return env.noise(key, (shape[0] + starts_at_reset, shape[1]))

        self._noise = _Noise(task, agent, spec, env_noise)

        def block(state: Packed, moving: Moving, key: Key, iteration: Array) -> tuple[Moving, Step]:
            moving = moving._replace(episodes=moving.episodes.forget_sums())
            noise = self._noise.draw(key, iteration)
            return rollout(task.algorithm, agent, env, state_of.unpack(state), moving, noise)

        self._block = jax.jit(block)
        self._reset = jax.jit(self._first)

    def begin(self, how: Begin) -> None:
        _, env_key, self._key = self._noise.begin(how)
        self._moving = self._reset(env_key)

    def collect(self, state: Packed, iteration: int) -> tuple[Step, np.ndarray]:
        self._moving, block = self._block(state, self._moving, self._key, iteration)
        return jax.device_get((block, self._moving.episodes.sums))

    def place(self) -> Place:
        env, obs, carry, episodes = jax.device_get(self._moving)
        return Place(env, obs, carry, episodes.running)

    def restore(self, how: Restore) -> Restored:
        env, obs, carry, running = jax.tree.map(jnp.asarray, how.place)
        self._moving = Moving(env, obs, carry, Episodes(running, jnp.zeros(3)))
        return Restored(how.place, np.zeros(self._task.num_envs, bool))

    def snapshot(self) -> list[Any]:
        return []

    def close(self) -> None:
        """Nothing to let go of."""

    def _first(self, key: Key) -> Moving:
        task = self._task
        noise = self._env.noise(key, (task.of,))
        mine = jax.tree.map(lambda leaf: leaf[task.first : task.first + task.num_envs], noise)
        return Moving(*jax.vmap(self._env.reset)(mine), self._agent.start(task.num_envs), Episodes.of(task.num_envs))
