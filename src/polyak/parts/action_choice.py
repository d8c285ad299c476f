"""Discrete actions as networks have them: counted from 0."""

import dataclasses

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key


@dataclasses.dataclass(frozen=True)
class ActionChoice:
    """n actions, the first of which the task calls `start`."""

    n: int
    start: int

    def noise(self, key: Key, shape: tuple[int, ...], draws: int) -> Array:
        """Gumbel noise [*shape, n], with which the largest logit is a sample."""
        return jax.random.gumbel(key, (*shape, self.n))

    def uniform(self, noise: Array) -> Array:
        """[...] int32: the largest of Gumbel noise [..., n] alone is any action alike."""
        return jnp.argmax(noise, -1).astype(jnp.int32)

    def action(self, scaled: Array) -> Array:
        """[...] as the task calls them."""
        return scaled + self.start

    def scaled(self, action: Array) -> Array:
        """[...] counted from 0."""
        return action - self.start
