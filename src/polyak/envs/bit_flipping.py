"""Bit flipping (Andrychowicz et al., 2017, "Hindsight experience replay", section 3.1): a test bed for goals.

n bits, each action flips one, and n steps to turn those that were drawn into others that were drawn. Every step costs
1 but the one that gets there, so that without hindsight nothing is learnt: a random walk meets one of 2^n goals.
"""

from collections.abc import Callable
from functools import cache, partial

import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Array, Goal, Key
from polyak.envs.base import CompiledEnv

SIZES = (5, 8, 10, 15, 20, 30)


def bit_flipping(bits: int) -> CompiledEnv:
    """The environment for n bits, n up to 32; its id is `bit-flipping/n`.

    An episode ends with success, or is truncated after n steps. The return is -n where it failed, and else more, the
    steps before the last one counted as -1 each; so the share of returns above -n is the success rate. The best policy
    gets there in as many steps as bits differ.
    """
    part = gymnasium.spaces.MultiBinary(bits)
    observed = gymnasium.spaces.Dict({"observation": part, "achieved_goal": part, "desired_goal": part})

    def see(now: Array, goal: Array) -> Array:
        shown = {"observation": now, "achieved_goal": now, "desired_goal": goal}
        return jnp.concatenate([shown[name] for name in observed.spaces]).astype(jnp.float32)

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.bits(key, (*shape, 2))  # a word with the bits of the start, one with those of the goal

    def reset(noise: Array):
        now, goal = (noise[:, None] >> jnp.arange(bits, dtype=jnp.uint32)) & 1 == 1
        return (now, goal, jnp.int32(0)), see(now, goal)

    def step(state: tuple[Array, Array, Array], action: Array, noise: Array):
        now, goal, clock = state
        now, clock = now ^ (jnp.arange(bits) == action), clock + 1
        terminated = reached(now, goal)
        return (now, goal, clock), see(now, goal), reward(now, goal), terminated, (clock >= bits) & ~terminated

    actions: gymnasium.Space = gymnasium.spaces.Discrete(bits)
    return CompiledEnv(
        f"bit-flipping/{bits}", observed, actions, bits, noise, reset, step, goal=Goal(reward, terminated=reached)
    )


def reached(achieved: Array, desired: Array) -> Array:
    """[...] whether all bits [..., n] are as desired."""
    return (achieved == desired).all(-1)


def reward(achieved: Array, desired: Array) -> Array:
    """[...] 0 where all bits [..., n] are as desired, else -1."""
    return reached(achieved, desired).astype(jnp.float32) - 1


# What is made once is compiled once, however many copies are stepped side by side.
BIT_FLIPPING: dict[str, Callable[[], CompiledEnv]] = {
    f"bit-flipping/{bits}": cache(partial(bit_flipping, bits)) for bits in SIZES
}
