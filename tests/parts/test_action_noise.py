"""Noise that is added to actions: its deviation, how long it lasts, and where it begins."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from polyak.errors import BadSetting, UnknownName
from polyak.parts.action_noise import (
    GaussianNoise,
    OrnsteinUhlenbeckNoise,
    action_noise_from_text,
    action_noise_or_none,
    action_noise_text,
)


def path(noise, steps: int, envs: int, seed: int = 0) -> np.ndarray:
    """[steps, envs] what is added in each of some environments."""
    normal = jax.random.normal(jax.random.key(seed), (steps, envs, 1))
    _, added = jax.lax.scan(noise.next, noise.start(envs, 1), normal)
    return np.float64(added[..., 0])


def test_a_step_of_ornstein_and_uhlenbecks_by_hand():
    # 1 - 0.5 * 1 * 0.25 + 2 * sqrt(0.25) * 3 = 0.875 + 3
    noise = OrnsteinUhlenbeckNoise(sigma=2.0, theta=0.5, dt=0.25)
    state, added = noise.next(jnp.array([[1.0]]), jnp.array([[3.0]]))
    assert state.tolist() == added.tolist() == [[3.875]]


THICK = OrnsteinUhlenbeckNoise(sigma=0.3, theta=0.5, dt=0.1)  # correlated over 20 steps


def test_it_spreads_to_the_deviation_of_the_formula():
    late = path(THICK, 400, 4_000)[-1]  # after 20 times as long as it is correlated
    assert late.std() == pytest.approx(0.3 / math.sqrt(2 * 0.5), rel=0.04)
    assert abs(late.mean()) < 4 * late.std() / math.sqrt(4_000)
    assert scipy.stats.kstest(late / late.std(), "norm").pvalue > 1e-3


def test_with_long_steps_its_deviation_is_that_of_the_recursion():
    # x <- 0.85 x + 0.2 n: the variance v solves v = 0.85^2 v + 0.2^2
    late = path(OrnsteinUhlenbeckNoise(dt=1.0), 100, 4_000)[-1]
    assert late.std() == pytest.approx(0.2 / math.sqrt(1 - 0.85**2), rel=0.04)


def test_the_defaults_spread_to_what_they_say():
    default = OrnsteinUhlenbeckNoise()
    assert default.sigma / math.sqrt(2 * default.theta) == pytest.approx(1.8 * default.sigma, rel=0.02)


@pytest.mark.parametrize("lag", [1, 20, 40])
def test_it_is_correlated_over_the_time_that_it_says(lag):
    early, late = path(THICK, 440, 4_000)[[399, 399 + lag]]
    correlation = np.corrcoef(early, late)[0, 1]
    assert correlation == pytest.approx(math.exp(-0.5 * 0.1 * lag), abs=4 / math.sqrt(4_000))


def test_independent_numbers_have_their_deviation_and_no_past():
    added = path(GaussianNoise(0.3), 100, 1_000)
    assert added.std() == pytest.approx(0.3, rel=0.02)
    assert abs(np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]) < 4 / math.sqrt(99_000)
    assert GaussianNoise().start(3, 2) == ()


def test_it_begins_at_zero_and_each_environment_has_its_own():
    start = THICK.start(3, 2)
    assert start.tolist() == [[0.0, 0.0]] * 3
    normal = jnp.array([[1.0, -2.0], [0.0, 0.0], [3.0, 0.5]])
    state, added = THICK.next(start, normal)
    np.testing.assert_allclose(added, 0.3 * math.sqrt(0.1) * normal, rtol=1e-6)
    # one that begins anew leaves the others as they are
    forgotten, _ = THICK.next(state.at[0].set(0.0), normal)
    kept, _ = THICK.next(state, normal)
    np.testing.assert_array_equal(forgotten[1:], kept[1:])
    np.testing.assert_allclose(forgotten[0], added[0])


@pytest.mark.parametrize(
    ("text", "noise"),
    [
        ("normal", GaussianNoise()),
        ("normal:0.3", GaussianNoise(0.3)),
        ("ou", OrnsteinUhlenbeckNoise()),
        ("ou:0.3", OrnsteinUhlenbeckNoise(0.3)),
        ("ou:0.3:0.2:1", OrnsteinUhlenbeckNoise(0.3, 0.2, 1.0)),
    ],
)
def test_noise_is_read_from_its_text_and_written_to_it(text, noise):
    assert action_noise_from_text(text) == action_noise_or_none(text) == noise
    assert action_noise_from_text(action_noise_text(noise)) == noise


def test_no_noise_has_a_text_where_it_may_be_left_out():
    assert action_noise_or_none("none") is None
    assert action_noise_text(None) == "none"
    with pytest.raises(UnknownName, match="action noise"):
        action_noise_from_text("none")


@pytest.mark.parametrize("text", ["normal:much", "normal:0.1:0.2", "ou:0.1:0.2:0.3:0.4", "ou::1", "normal:none"])
def test_a_text_that_is_no_noise_is_refused_in_one_sentence(text):
    with pytest.raises(BadSetting, match=r"action noise must be of the form (normal:sigma|ou:sigma:theta:dt)"):
        action_noise_or_none(text)
