"""Running normalisation, kept inside the agent's state so that a saved policy carries it."""

from typing import NamedTuple

import jax.numpy as jnp

from polyak.agent import Array


class Moments(NamedTuple):
    """Mean and variance of everything seen so far."""

    mean: Array  # [...]
    variance: Array  # [...]
    weight: Array  # [] float32, how many samples

    @staticmethod
    def of(shape: tuple[int, ...]) -> "Moments":
        """The moments before the first sample: mean 0, variance 1, and a weight too small to matter."""
        return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.float32(1e-4))

    def update(self, batch: Array) -> "Moments":
        """The moments after a batch [N, ...] more.

        Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".
        """
        batch_mean, batch_variance, batch_count = batch.mean(0), batch.var(0), batch.shape[0]
        total = self.weight + batch_count
        delta = batch_mean - self.mean
        squares = self.variance * self.weight + batch_variance * batch_count
        squares = squares + delta**2 * self.weight * batch_count / total
        return Moments(self.mean + delta * batch_count / total, squares / total, total)

    def standardise(self, x: Array, limit: float = 10.0) -> Array:
        """(x - mean) / deviation, kept within +-limit."""
        return jnp.clip((x - self.mean) / jnp.sqrt(self.variance + 1e-8), -limit, limit)

    def scale(self, x: Array, limit: float = 10.0) -> Array:
        """x / deviation, kept within +-limit: for rewards, whose zero means something."""
        return jnp.clip(x / jnp.sqrt(self.variance + 1e-8), -limit, limit)
