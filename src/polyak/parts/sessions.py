"""Sessions: blocks that begin with fresh episodes, of which only the first of each environment counts."""

import jax.numpy as jnp

from polyak.agent import Array, Step


def first_episodes(block: Step) -> Array:
    """[T, B] bool, the steps of a block [T, B] that belong to the first episode of each environment."""
    over = block.terminated | block.truncated
    return jnp.cumsum(over, 0) - over == 0


def session_returns(block: Step, gamma: float = 1.0) -> Array:
    """[B] the sum of rewards of the first episode of each environment, or of as much of it as the block holds; with a
    `gamma`, rewards count less by it with every step."""
    weight = first_episodes(block)
    if gamma != 1.0:
        weight = weight * gamma ** jnp.arange(block.reward.shape[0], dtype=jnp.float32)[:, None]
    return jnp.sum(block.reward * weight, 0)
