"""Environments that tell only at the end of an episode how it went: `SparseCartPole-v1`."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp

from polyak.agent import Array, PyTree
from polyak.envs import from_gymnax
from polyak.envs.base import CompiledEnv


class State(NamedTuple):
    """An episode under way."""

    env: PyTree
    total: Array  # [] its return so far


def sparse(env: CompiledEnv, id: str) -> CompiledEnv:
    """The compiled environment with the return of an episode as the reward of its last step, and none before.

    A time limit is an end like any other here, since what is asked for is the return within it.
    """

    def reset(noise: PyTree) -> tuple[State, PyTree]:
        state, obs = env.reset(noise)
        return State(state, jnp.float32(0)), obs

    def step(state: State, action: Array, noise: PyTree):
        inner, obs, reward, terminated, truncated = env.step(state.env, action, noise)
        total, over = state.total + reward, terminated | truncated
        return State(inner, total), obs, jnp.where(over, total, 0.0), over, jnp.bool_(False)

    return env._replace(id=id, max_episode_steps=None, reset=reset, step=step)


@cache  # what is made once is compiled once, however many copies are played
def sparse_cart_pole() -> CompiledEnv:
    """CartPole-v1, rewarded at the end with the steps that the pole stood, 500 at most."""
    return sparse(from_gymnax.make("CartPole-v1"), "SparseCartPole-v1")


SPARSE: dict[str, Callable[[], CompiledEnv]] = {"SparseCartPole-v1": sparse_cart_pole}
