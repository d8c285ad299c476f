"""Ways to try what is not known to be best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key


class EpsilonGreedyNoise(NamedTuple):
    """The two numbers that an epsilon-greedy choice throws."""

    coin: Array  # uniform in [0, 1): explores where it falls below epsilon
    action: Array  # uniform over the actions: what exploring does


def epsilon_greedy_noise(key: Key, shape: tuple[int, ...], num_actions: int) -> EpsilonGreedyNoise:
    """Draws the noise of `prod(shape)` choices at once."""
    coin_key, action_key = jax.random.split(key)
    return EpsilonGreedyNoise(
        jax.random.uniform(coin_key, shape), jax.random.randint(action_key, shape, 0, num_actions)
    )


def epsilon_greedy(q: Array, epsilon: Array | float, noise: EpsilonGreedyNoise) -> Array:
    """argmax_a q(a) with probability 1 - epsilon, else a uniform action.

    Args:
        q: [A] action values.
        epsilon: [] in [0, 1].
        noise: leaves [].

    Returns:
        [] the action, int32.

    Source: Sutton and Barto (2018), "Reinforcement learning", section 2.2.
    """
    return jnp.where(noise.coin < epsilon, noise.action, jnp.argmax(q).astype(noise.action.dtype))
