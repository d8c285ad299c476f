"""Hyperparameters that change while training goes on, as functions of the environment steps taken."""

import jax.numpy as jnp

from polyak.agent import Array


def linear(step: Array, start: float, end: float, duration: float) -> Array:
    """From start at step 0 to end at step `duration`, and end ever after; a duration of 0 is end at once."""
    fraction = jnp.clip(step / max(duration, 1e-9), 0.0, 1.0)
    return start + fraction * (end - start)
