"""Epsilon-greedy choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops.explore import (
    EpsilonGreedyNoise,
    any_of,
    epsilon_greedy,
    epsilon_greedy_noise,
    uniform_over,
    upper_confidence,
)

Q = jnp.array([0.0, 3.0, 1.0])  # the greedy action is 1


@pytest.mark.parametrize(
    ("coin", "epsilon", "action"),
    [
        (0.3, 0.5, 2),  # the coin falls below epsilon: the uniform action
        (0.5, 0.5, 1),  # not below
        (0.7, 0.5, 1),
        (0.0, 0.0, 1),  # epsilon 0 never explores, even at the lowest coin
        (0.9999999, 1.0, 2),  # epsilon 1 always does: coins are below 1
    ],
)
def test_it_explores_where_the_coin_falls_below_epsilon(compiled, coin, epsilon, action):
    noise = EpsilonGreedyNoise(jnp.float32(coin), jnp.int32(2))
    answer = compiled(epsilon_greedy)(Q, epsilon, noise)
    assert answer == action
    assert answer.dtype == jnp.int32


def test_the_noise_is_uniform_and_of_the_shape_asked_for():
    noise = epsilon_greedy_noise(jax.random.key(0), (300, 100), num_actions=3)
    assert noise.coin.shape == noise.action.shape == (300, 100)
    assert ((noise.coin >= 0) & (noise.coin < 1)).all()
    share = np.bincount(noise.action.ravel(), minlength=3) / 30_000
    np.testing.assert_allclose(share, 1 / 3, atol=0.012)  # four standard errors of sqrt(2/9 / 30,000) = 0.0027
    assert float(noise.coin.mean()) == pytest.approx(0.5, abs=0.007)


def test_the_coin_and_the_action_are_independent():
    noise = epsilon_greedy_noise(jax.random.key(0), (30_000,), num_actions=2)
    assert abs(np.corrcoef(noise.coin, noise.action)[0, 1]) < 0.025


def test_the_greedy_action_has_its_share(compiled):
    noise = epsilon_greedy_noise(jax.random.key(1), (30_000,), num_actions=3)
    actions = compiled(jax.vmap(epsilon_greedy, (None, None, 0)))(Q, 0.3, noise)
    # 1 - 0.3 + 0.3 / 3 = 0.8, and 0.1 each for the others
    np.testing.assert_allclose(np.bincount(actions) / 30_000, [0.1, 0.8, 0.1], atol=0.01)


def test_any_of_the_allowed_is_chosen_alike(compiled):
    allowed, tie = jnp.array([True, False, True]), jax.random.uniform(jax.random.key(0), (30_000,))
    chosen = compiled(jax.vmap(any_of, (None, 0)))(allowed, tie)
    share = np.bincount(chosen, minlength=3) / 30_000
    np.testing.assert_allclose(share, uniform_over(allowed), atol=0.012)  # four standard errors
    assert share[1] == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 1000])
def test_the_largest_and_the_smallest_tie_are_an_action_too(compiled, count):
    allowed = jnp.arange(2 * count) % 2 == 1
    largest = np.nextafter(np.float32(1), np.float32(0))
    assert compiled(any_of)(allowed, 0.0) == 1
    assert compiled(any_of)(allowed, largest) == 2 * count - 1


def test_doubt_grows_with_the_time_since_an_action_was_tried(compiled):
    bounds = compiled(upper_confidence)(jnp.array([1.0, 2.0]), jnp.array([4.0, 1.0]), 2.0)
    doubt = np.sqrt(np.log(5) / np.array([4.0, 1.0]))
    np.testing.assert_allclose(bounds, [1.0, 2.0] + 2.0 * doubt, rtol=1e-6)
    assert compiled(upper_confidence)(jnp.array([9.0, 0.0]), jnp.array([3.0, 0.0]), 2.0).argmax() == 1  # never tried
