"""Categorical against SciPy and against frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from scipy.special import softmax

from polyak.parts.distributions import Categorical

LOGITS = jnp.array([[0.0, 1.0, 2.0], [-3.0, 50.0, 1.0], [2.0, 2.0, 2.0]])  # unnormalised, one nearly certain, one flat


def test_log_prob_is_that_of_the_normalised_logits():
    for action in range(3):
        expected = np.log(softmax(np.asarray(LOGITS, np.float64), -1)[:, action])
        actions = jnp.full(3, action, jnp.int32)
        np.testing.assert_allclose(Categorical.log_prob(LOGITS, actions), expected, rtol=1e-5, atol=1e-6)


def test_entropy_is_that_of_scipy():
    expected = scipy.stats.entropy(softmax(np.asarray(LOGITS, np.float64), -1), axis=-1)
    np.testing.assert_allclose(Categorical.entropy(LOGITS), expected, rtol=1e-5, atol=1e-6)


def test_an_action_ruled_out_leaves_the_others_alone():
    logits = jnp.array([0.0, 0.0, -1e30])
    np.testing.assert_allclose(Categorical.entropy(logits), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(Categorical.log_prob(logits, jnp.int32(1)), -np.log(2), rtol=1e-6)


def test_the_mode_is_the_likeliest_action():
    mode = Categorical.mode(LOGITS)
    assert mode[:2].tolist() == [2, 1]
    assert mode.dtype == jnp.int32


def test_gumbel_noise_gives_each_action_its_probability():
    logits, draws = LOGITS[0], 40_000
    sample = Categorical.sample(logits, jax.random.gumbel(jax.random.key(0), (draws, 3)))
    assert sample.shape == (draws,)
    assert sample.dtype == jnp.int32
    expected = softmax(np.asarray(logits))
    error = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(np.bincount(sample, minlength=3) / draws - expected) < 4 * error).all()


def test_leading_axes_are_kept():
    logits = jnp.zeros((4, 5, 3))
    actions = Categorical.sample(logits, jax.random.gumbel(jax.random.key(0), logits.shape))
    shapes = {array.shape for array in (actions, Categorical.log_prob(logits, actions), Categorical.entropy(logits))}
    assert shapes == {(4, 5)}
