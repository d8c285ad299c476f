"""Runs of engines, and how two of them are compared."""

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Algorithm
from polyak.engines.common import choose, draw_noise, initial_keys
from polyak.envs.base import CompiledEnv, HostStep


def run(engine, seed, fills=(2,), trains=(4, 3)):
    """Some iterations that only observe, then some that learn; returns the loop and the metrics of every chunk."""
    loop, history = engine.init(seed), []
    for learn, chunks in ((False, fills), (True, trains)):
        for iterations in chunks:
            loop, metrics = engine.advance(loop, iterations, learn)
            history.append(metrics)
    return loop, history


def parameters_of(agent_state):
    """What is learnt, of a network, a table or linear values."""
    agent_state = learner_of(agent_state)
    names = ("parameters", "q", "v", "w", "pi", "preferences", "log_weights", "posterior")
    return next(getattr(agent_state, name) for name in names if hasattr(agent_state, name))


def learner_of(agent_state):
    """The part that learns, of an agent that acts with copies of it."""
    return getattr(agent_state, "learner", agent_state)


def assert_equal(first, second) -> None:
    """Bit by bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(bare, tree) for tree in (first, second)))


def assert_close(first, second, tolerance: float) -> None:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(bare(a), bare(b), rtol=tolerance, atol=tolerance)


def bare(leaf):
    """Keys as the numbers they are made of."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


class SameNoise:
    """A host environment that steps a compiled one with the very noise that the compiled engine would draw."""

    def __init__(self, env: CompiledEnv, algorithm: Algorithm, num_envs: int, together: int = 1):
        self.id, self.num_envs, self.max_episode_steps = env.id, num_envs, env.max_episode_steps
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.length = algorithm.block_length
        rows = self.length + algorithm.starts_at_reset
        functions = env.noise, env.reset, env.step
        self._begin, self._begin_block, self._draw, self._advance = _programs(
            *functions, self.length, rows, num_envs, together
        )

    def reset(self, seed=None):
        if seed is None:  # a block that starts at a reset
            self._state, obs = self._begin_block(self._draw(self._key, self._t // self.length))
            return np.asarray(obs)
        _, env_key, self._key = initial_keys(seed)
        self._state, obs = self._begin(env_key)
        self._t = 0
        return np.asarray(obs)

    def step(self, action):
        iteration, t = divmod(self._t, self.length)
        if t == 0:
            self._noise = self._draw(self._key, iteration)
        self._t += 1
        self._state, outcome = self._advance(self._state, action, jax.tree.map(lambda x: x[t], self._noise))
        return jax.device_get(outcome)

    def close(self):
        """Nothing to close."""


SILENT = SimpleNamespace(noise=lambda key, shape: ())  # an agent that leaves nothing to chance


@cache
def _programs(noise, reset, step, length: int, rows: int, num_envs: int, together: int):
    """What steps an environment for every algorithm whose blocks have that shape."""

    @jax.jit
    def begin(key):
        return jax.vmap(reset)(noise(key, (num_envs,)))

    @jax.jit
    def begin_block(drawn):
        return jax.vmap(reset)(jax.tree.map(lambda x: x[-1], drawn))

    @jax.jit
    def draw(key, iteration):
        def env_noise(key, shape):
            return noise(key, (shape[0] + rows - length, shape[1]))

        drawn = draw_noise(key, iteration, 1, (length, num_envs), SILENT, env_noise, together)
        return jax.tree.map(lambda x: x[0], drawn.env)

    @jax.jit
    def advance(state, action, drawn):
        state, next_obs, reward, terminated, truncated = jax.vmap(step)(state, action, drawn)
        state, obs = choose(terminated | truncated, jax.vmap(reset)(drawn), (state, next_obs))
        return state, HostStep(next_obs, obs, reward, terminated, truncated)

    return begin, begin_block, draw, advance
