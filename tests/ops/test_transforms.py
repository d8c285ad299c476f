"""Rescaled values against numbers worked by hand, and against rlax."""

import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops import transforms
from tests.ops.reference import rlax

X = jnp.concatenate([-jnp.logspace(-3, 6, 40), jnp.zeros(1), jnp.logspace(-3, 6, 40)])


@pytest.mark.parametrize(("x", "h"), [(0.0, 0.0), (3.0, 1.003), (-8.0, -2.008), (99.0, 9.099)])
def test_squash_by_hand(compiled, x, h):
    assert compiled(transforms.squash)(x) == pytest.approx(h, rel=1e-6)  # sqrt(4) - 1 + 0.003, ...


def test_one_undoes_the_other(compiled):
    np.testing.assert_allclose(
        compiled(lambda x: transforms.unsquash(transforms.squash(x)))(X), X, rtol=1e-5, atol=3e-7
    )


def test_both_are_rlax(compiled):
    np.testing.assert_allclose(compiled(transforms.squash)(X), rlax.signed_hyperbolic(X, 1e-3), rtol=1e-6)
    scaled = rlax.signed_hyperbolic(X, 1e-3)
    # theirs, as it stands in the paper, takes the difference of two numbers near 1
    np.testing.assert_allclose(
        compiled(transforms.unsquash)(scaled), rlax.signed_parabolic(scaled, 1e-3), rtol=2e-3, atol=3e-4
    )


def test_squashed_double_q_learning_bootstraps_on_the_scale_of_returns(compiled):
    q_tm1, q_t, selector = jnp.array([0.5, 0.2]), jnp.array([9.0, 1.003]), jnp.array([0.0, 1.0])
    error = compiled(transforms.squashed_double_q_learning)(q_tm1, 1, 2.0, 0.5, q_t, selector)
    assert error == pytest.approx(4.5**0.5 - 1 + 0.0035 - 0.2, rel=1e-5)  # h(2 + 0.5 * 3) - 0.2
    ended = compiled(transforms.squashed_double_q_learning)(q_tm1, 0, 3.0, 0.0, q_t, selector)
    assert ended == pytest.approx(1.003 - 0.5, rel=1e-5)  # h(3) - 0.5
