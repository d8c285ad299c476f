"""Noise that is added to actions, so that a policy tries others than those that it thinks best.

Each kind is a small frozen dataclass with a one-line text form, `normal:0.1` or `ou:0.2`, for the command line, presets
and run folders. Its units are those of actions scaled to [-1, 1].
"""

import dataclasses
import math
from functools import partial
from typing import Any, ClassVar, Protocol

import jax.numpy as jnp

from polyak.agent import Array
from polyak.errors import UnknownName
from polyak.parts.ranges import NotNegative, Positive
from polyak.parts.text import part_from_text, part_text


class ActionNoise(Protocol):
    """Numbers that are added to actions; a process of its own for each environment, which begins with each episode."""

    name: ClassVar[str]

    def start(self, batch: int, size: int) -> Any:
        """The state of the process where `batch` episodes begin: zeros, or () where it has none."""
        ...

    def next(self, state: Any, normal: Array) -> tuple[Any, Array]:
        """From the state [B, k] and independent standard normal numbers [B, k]: the next state, and what to add."""
        ...


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Independent normal numbers, as in TD3 (Fujimoto, van Hoof and Meger, 2018)."""

    name: ClassVar[str] = "normal"

    sigma: NotNegative = 0.1
    """The standard deviation; a tenth of the way from the middle of an action's range to its end by default."""

    def start(self, batch: int, size: int) -> tuple[()]:
        return ()

    def next(self, state: tuple[()], normal: Array) -> tuple[tuple[()], Array]:
        return state, self.sigma * normal


@dataclasses.dataclass(frozen=True)
class OrnsteinUhlenbeckNoise:
    """Normal numbers that are correlated in time, as in DDPG (Lillicrap et al., 2016): a push lasts for many steps.

        x <- x - theta x dt + sigma sqrt(dt) N(0, 1)

    It is correlated over 1 / (theta dt) steps and spreads to a deviation of sigma / sqrt(2 theta), 1.8 sigma with the
    defaults, which are those of Stable-Baselines3. The paper's own code has dt = 1.

    Source: Uhlenbeck and Ornstein (1930), "On the theory of the Brownian motion", by Euler's method.
    """

    name: ClassVar[str] = "ou"

    sigma: NotNegative = 0.2
    """The standard deviation that is added in a time of 1."""
    theta: Positive = 0.15
    """How fast it comes back to 0."""
    dt: Positive = 1e-2
    """The time of a step."""

    def start(self, batch: int, size: int) -> Array:
        return jnp.zeros((batch, size))

    def next(self, state: Array, normal: Array) -> tuple[Array, Array]:
        state = state - self.theta * self.dt * state + self.sigma * math.sqrt(self.dt) * normal
        return state, state


ACTION_NOISES: dict[str, Any] = {kind.name: kind for kind in (GaussianNoise, OrnsteinUhlenbeckNoise)}
# Reads `normal`, `normal:0.1`, `ou`, `ou:0.2` or `ou:0.2:0.15:0.01`: sigma, theta and dt.
action_noise_from_text = partial(part_from_text, "action noise", ACTION_NOISES)


def action_noise_or_none(text: str) -> ActionNoise | None:
    """The same, and `none` as None."""
    if text == "none":
        return None
    if text.partition(":")[0] not in ACTION_NOISES:
        raise UnknownName("action noise", text, ["none", *ACTION_NOISES])
    return action_noise_from_text(text)


def action_noise_text(noise: ActionNoise | None) -> str:
    """What `action_noise_or_none` reads."""
    return "none" if noise is None else part_text(noise)
