"""Compiled twins of Gymnasium environments, written here because gymnax's differ from the originals.

`tests/envs/test_twins.py` proves, step by step, that each does what the Gymnasium version does, so it stands in for it
unasked.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from polyak.agent import Array, Key
from polyak.envs.base import CompiledEnv


class Car(NamedTuple):
    """Where an episode of the mountain car is."""

    position: Array  # float32
    velocity: Array  # float32
    clock: Array  # int32, steps taken


@cache  # what is made once is compiled once, however many copies are played
def mountain_car_continuous() -> CompiledEnv:
    """MountainCarContinuous-v0: an engine weaker than the slope (Moore, 1990).

    The force is the action, clipped to [-1, 1]. The reward is 100 at the goal, less 0.1 times the square of the action
    as it was given, not as it was clipped. A car that meets the left wall stops there, which gymnax's (1.0.1) does not.
    """
    limit, goal = 999, np.float32(0.45)
    left, right, fastest = np.float32(-1.2), np.float32(0.6), np.float32(0.07)

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(key, shape, minval=-0.6, maxval=-0.4)

    def reset(noise: Array) -> tuple[Car, Array]:
        car = Car(noise, jnp.float32(0.0), jnp.int32(0))
        return car, see(car)

    def see(car: Car) -> Array:
        return jnp.stack([car.position, car.velocity])

    def step(car: Car, action: Array, noise: Array):
        force = jnp.clip(action[0], -1.0, 1.0)
        velocity = car.velocity + 0.0015 * force - 0.0025 * jnp.cos(3.0 * car.position)
        velocity = jnp.clip(velocity, -fastest, fastest)
        position = jnp.clip(car.position + velocity, left, right)
        velocity = jnp.where((position == left) & (velocity < 0.0), 0.0, velocity)
        terminated = (position >= goal) & (velocity >= 0.0)
        reward = jnp.where(terminated, 100.0, 0.0) - 0.1 * jnp.square(action[0])
        car = Car(position, velocity, car.clock + 1)
        return car, see(car), reward, terminated, car.clock >= limit

    observations = Box(np.array([left, -fastest]), np.array([right, fastest]), dtype=np.float32)
    actions = Box(-1.0, 1.0, (1,), np.float32)
    return CompiledEnv("MountainCarContinuous-v0", observations, actions, limit, noise, reset, step)


TWINS: dict[str, Callable[[], CompiledEnv]] = {"MountainCarContinuous-v0": mountain_car_continuous}
