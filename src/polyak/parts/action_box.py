"""Actions of a bounded Box as networks answer them: one number between -1 and 1 for each coordinate."""

import dataclasses
import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key
from polyak.errors import BadSetting
from polyak.spaces import storage_type

WIDEST = 1e30  # a bound beyond it is none: the products of such actions leave float32


@dataclasses.dataclass(frozen=True)
class ActionBox:
    """Scales the actions of a Box, coordinate by coordinate, to [-1, 1] and back. Bounds may differ and be asymmetric.

    A coordinate whose bounds are equal is always 0.
    """

    space: gymnasium.spaces.Box

    @staticmethod
    def of(name: str, space: gymnasium.Space) -> "ActionBox":
        """For the actions of a task.

        Args:
            name: the algorithm's, for errors.
            space: the actions.

        Raises:
            BadSetting: it is no Box of real numbers, or has a coordinate without bounds.
        """
        if not isinstance(space, gymnasium.spaces.Box) or storage_type(space).kind != "f":
            raise BadSetting(f"{name} needs actions that are real numbers, and this environment's are {space}.")
        if not space.shape or not math.prod(space.shape):
            raise BadSetting(f"{name} needs actions of at least one coordinate, and this environment's are {space}.")
        widest = max(np.abs(space.low).max(), np.abs(space.high).max())
        if not widest <= WIDEST:
            raise BadSetting(
                f"{name} scales actions by their bounds, and this environment's have none: {space}; give them finite "
                "ones, by gymnasium.wrappers.RescaleAction for example."
            )
        return ActionBox(space)

    @property
    def size(self) -> int:
        """k, the coordinates of an action."""
        return math.prod(self.space.shape)

    @property
    def unit(self) -> gymnasium.spaces.Box:
        """The space of the scaled actions."""
        return gymnasium.spaces.Box(-1.0, 1.0, (self.size,), np.float32)

    @property
    def _middle_and_half(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.space.low.astype(np.float64).ravel(), self.space.high.astype(np.float64).ravel()
        half = 0.5 * (high - low)
        half = np.where(half < np.finfo(np.float32).tiny, 0.0, half)  # XLA takes what is less for 0 in a quotient
        return (0.5 * (low + high)).astype(np.float32), half.astype(np.float32)

    def noise(self, key: Key, shape: tuple[int, ...], draws: int) -> Array:
        """Standard normal numbers [*shape, draws k]."""
        return jax.random.normal(key, (*shape, draws * self.size))

    def uniform(self, noise: Array) -> Array:
        """Scaled actions [..., k], uniform between -1 and 1, of normal numbers: erf(n / sqrt(2)) of the first k."""
        return jax.lax.erf(noise[..., : self.size] / math.sqrt(2.0))

    def action(self, scaled: Array) -> Array:
        """Actions [..., *shape] from scaled ones [..., k]; rounding does not take them beyond their bounds."""
        middle, half = self._middle_and_half
        stretched = (middle + half * scaled).reshape(*scaled.shape[:-1], *self.space.shape)
        return jnp.clip(stretched, self.space.low.astype(np.float32), self.space.high.astype(np.float32))

    def scaled(self, action: Array) -> Array:
        """Scaled actions [..., k] from actions [..., *shape]."""
        middle, half = self._middle_and_half
        flat = action.reshape(*action.shape[: action.ndim - len(self.space.shape)], self.size)
        return jnp.clip(jnp.where(half > 0, (flat - middle) / np.where(half > 0, half, 1), 0.0), -1.0, 1.0)
