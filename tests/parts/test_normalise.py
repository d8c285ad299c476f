"""Running moments against NumPy's over all the data at once."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polyak.parts.normalise import Moments


def after(batches) -> Moments:
    moments = Moments.of(batches[0].shape[1:])
    for batch in batches:
        moments = moments.update(jnp.asarray(batch))
    return moments


@settings(max_examples=20, deadline=None, derandomize=True)
@given(sizes=st.lists(st.sampled_from([1, 2, 7, 40]), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_moments_of_many_batches_are_those_of_all_the_data(sizes, seed):
    random = np.random.default_rng(seed)
    batches = [random.normal([3.0, -1.0], [2.0, 0.5], (size, 2)).astype(np.float32) for size in [50, *sizes]]
    everything = np.concatenate(batches)
    moments = after(batches)
    # the prior's count of 1e-4 weighs 2e-6 against the 50 samples and more
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moments.variance, everything.var(0), rtol=1e-4)
    assert float(moments.weight) == pytest.approx(len(everything), rel=1e-5)


def test_scalars_have_moments_too():
    moments = after([np.array([1.0, 2.0]), np.array([6.0])])  # mean 3; ((-2)^2 + (-1)^2 + 3^2) / 3 = 14 / 3
    assert float(moments.mean) == pytest.approx(3.0, rel=1e-3)
    assert float(moments.variance) == pytest.approx(14 / 3, rel=1e-3)


def test_before_the_first_sample_nothing_is_changed():
    moments = Moments.of((2,))
    np.testing.assert_allclose(moments.standardise(jnp.array([0.5, -2.0])), [0.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(moments.scale(jnp.array([0.5, -2.0])), [0.5, -2.0], rtol=1e-6)


def test_standardise_shifts_and_scales_and_keeps_within_the_limit():
    moments = Moments(jnp.float32(5.0), jnp.float32(4.0), jnp.float32(10))
    np.testing.assert_allclose(moments.standardise(jnp.array([5.0, 9.0, 1e6, -1e6])), [0.0, 2.0, 10.0, -10.0])
    np.testing.assert_allclose(moments.standardise(jnp.array([9.0]), limit=1.5), [1.5])


def test_scale_keeps_the_sign_and_the_zero_of_a_reward():
    moments = Moments(jnp.float32(5.0), jnp.float32(4.0), jnp.float32(10))
    np.testing.assert_allclose(moments.scale(jnp.array([0.0, 1.0, -1.0, 1e6])), [0.0, 0.5, -0.5, 10.0], rtol=1e-6)


def test_a_constant_feature_does_not_divide_by_zero():
    moments = after([np.full((1000, 1), 3.0, np.float32)] * 3)
    assert np.isfinite(moments.standardise(jnp.array([3.0]))).all()


def test_bytes_are_standardised_as_the_numbers_that_they_are():
    batch = np.random.default_rng(0).integers(0, 256, (50, 3), np.uint8)
    moments, of_floats = after([batch]), after([batch.astype(np.float32)])
    np.testing.assert_allclose(moments.variance, of_floats.variance, rtol=1e-5)
    standardised = moments.standardise(jnp.asarray(batch))
    np.testing.assert_allclose(standardised, (batch - batch.mean(0)) / batch.std(0), rtol=1e-3, atol=1e-4)
