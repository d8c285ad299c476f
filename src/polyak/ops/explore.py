"""Exploration: choices between the action that looks best and the others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key


class EpsilonGreedyNoise(NamedTuple):
    """The noise of an epsilon-greedy choice."""

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


def any_of(allowed: Array, tie: Array) -> Array:
    """An action drawn uniformly from those that are allowed.

    Args:
        allowed: [A] bool.
        tie: [] uniform in [0, 1).

    Returns:
        [] the action, int32.
    """
    place = jnp.cumsum(allowed)  # 1 from the first that is allowed on, 2 from the second, ...
    return jnp.sum(place <= jnp.floor(tie * place[-1]), dtype=jnp.int32)


def uniform_over(allowed: Array) -> Array:
    """[A] the probabilities with which `any_of` chooses."""
    return allowed / allowed.sum()


def upper_confidence(q: Array, visits: Array, c: float) -> Array:
    """q(a) + c sqrt(log n / n_a), infinite for what was never tried; -inf stays -inf.

    Args:
        q: [A] action values.
        visits: [A] n_a, how often each action was taken here; n is their sum.
        c: the weight of what is not known yet.

    Source: Auer, Cesa-Bianchi and Fischer (2002), "Finite-time analysis of the multiarmed bandit problem"; Sutton and
    Barto (2018), equation 2.10.
    """
    doubt = jnp.sqrt(jnp.log(jnp.maximum(visits.sum(), 1)) / jnp.maximum(visits, 1))
    return jnp.where((visits > 0) | (q == -jnp.inf), q + c * doubt, jnp.inf)
