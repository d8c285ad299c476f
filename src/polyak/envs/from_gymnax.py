"""gymnax environments as compiled environments, and which of them equal their Gymnasium originals.

gymnax's MountainCarContinuous is not among them: its car does not stop at the left wall (gymnax 1.0.1); see `twins`.
`TWINS` lists the ids for which `tests/envs/test_twins.py` proves, step by step, that the compiled version does what the
Gymnasium version does; only those may stand in for it unasked.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree
from polyak.envs.base import CompiledEnv
from polyak.errors import UnknownName
from polyak.lazy import imported_when_used


class Twin(NamedTuple):
    """How a Gymnasium id is rebuilt from a gymnax environment."""

    gymnax_id: str
    sticky: float | None = None  # probability with which the last action is repeated instead of the new one
    unlimited: bool = False  # the original has no time limit where gymnax has one


TWINS = {
    "CartPole-v1": Twin("CartPole-v1"),
    "Acrobot-v1": Twin("Acrobot-v1"),
    "MountainCar-v0": Twin("MountainCar-v0"),
    "Pendulum-v1": Twin("Pendulum-v1"),
    "MinAtar/Breakout-v1": Twin("Breakout-MinAtar", sticky=0.1, unlimited=True),
}


class Noise(NamedTuple):
    """The randomness of one step."""

    step: Key  # for gymnax's own dynamics; most ignore it
    start: PyTree  # the state of a fresh episode, should one begin here


@cache  # what is made once is compiled once, however many copies are played
def make(id: str) -> CompiledEnv:
    """The gymnax environment named `id`, either by gymnax's own name or, for a twin, by Gymnasium's.

    Raises:
        UnknownName: gymnax has no such environment.
    """
    with imported_when_used("matplotlib.pyplot", "seaborn"):  # with which it draws, and which take most of its time
        import gymnax

    if id in TWINS:
        twin = TWINS[id]
    elif id in gymnax.registered_envs:
        twin = Twin(id)
    else:
        raise UnknownName("gymnax environment", id, [*gymnax.registered_envs, *TWINS])
    env, params = gymnax.make(twin.gymnax_id)
    if twin.unlimited:
        params = params.replace(max_steps_in_episode=np.iinfo(np.int32).max)

    example = jax.random.key(0)
    _, start = jax.eval_shape(env.reset_env, example, params)
    action = jax.eval_shape(env.action_space(params).sample, example)
    _, state_shape, *_ = jax.eval_shape(env.step_env, example, start, action, params)

    def fresh(key: Key) -> PyTree:
        # gymnax resets to Python numbers here and there, whose types differ from those its `step_env` returns
        _, state = env.reset_env(key, params)
        return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), state, state_shape)

    def noise(key: Key, shape: tuple[int, ...]) -> Noise:
        step_key, start_key = jax.random.split(key)
        count = int(np.prod(shape))
        starts = jax.vmap(fresh)(jax.random.split(start_key, count))
        starts = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), starts)
        return Noise(jax.random.split(step_key, shape), starts)

    def reset(noise: Noise) -> tuple[PyTree, Array]:
        return noise.start, env.observe(noise.step, noise.start, None, params)

    def step(state: PyTree, action: Array, noise: Noise):
        obs, state, reward, terminated, _ = env.step_env(noise.step, state, action, params)
        truncated = env.is_truncated(state, params)
        return state, obs, jnp.float32(reward), jnp.bool_(terminated), jnp.bool_(truncated)

    limit = None if twin.unlimited else int(params.max_steps_in_episode)
    compiled = CompiledEnv(
        id, _space(env.observation_space(params)), _space(env.action_space(params)), limit, noise, reset, step
    )
    return compiled if twin.sticky is None else sticky_actions(compiled, twin.sticky)


class StickyState(NamedTuple):
    """The state of an environment with sticky actions."""

    env: PyTree
    last_action: Array


class StickyNoise(NamedTuple):
    """The randomness of one step with sticky actions."""

    env: PyTree
    coin: Array  # uniform in [0, 1): repeats the last action where it falls below the probability


def sticky_actions(env: CompiledEnv, probability: float) -> CompiledEnv:
    """The environment with each action replaced, with a probability, by the one before (Machado et al., 2018)."""

    def noise(key: Key, shape: tuple[int, ...]) -> StickyNoise:
        env_key, coin_key = jax.random.split(key)
        return StickyNoise(env.noise(env_key, shape), jax.random.uniform(coin_key, shape))

    def reset(noise: StickyNoise) -> tuple[StickyState, PyTree]:
        state, obs = env.reset(noise.env)
        return StickyState(state, jnp.int32(0)), obs

    def step(state: StickyState, action: Array, noise: StickyNoise):
        action = jnp.where(noise.coin < probability, state.last_action, jnp.int32(action))
        inner, *outcome = env.step(state.env, action, noise.env)
        return StickyState(inner, action), *outcome

    return env._replace(noise=noise, reset=reset, step=step)


def _space(space) -> gymnasium.Space:
    """The Gymnasium space of a gymnax one, with bounds as NumPy arrays."""
    convert: Callable = _converters()[type(space).__name__]
    return convert(space)


def _converters() -> dict[str, Callable]:
    def box(space) -> gymnasium.spaces.Box:
        low, high = (np.broadcast_to(np.asarray(bound, space.dtype), space.shape) for bound in (space.low, space.high))
        return gymnasium.spaces.Box(low, high, space.shape, space.dtype)

    return {"Discrete": lambda space: gymnasium.spaces.Discrete(space.n), "Box": box}
