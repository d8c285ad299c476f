"""Ranks and the constants of CMA-ES, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops.evolution import Adaptation, centred_ranks


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([3.0, 1.0, 2.0], [0.5, -0.5, 0.0]),
        ([1e30, -7.0], [0.5, -0.5]),  # how far apart they are does not matter
        ([5.0, 1.0, 5.0, 0.0, 5.0], [0.25, -0.25, 0.25, -0.5, 0.25]),  # three share the places 2, 3 and 4
        ([2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]),
        ([1.0, 1.0, 3.0, 3.0], [-1 / 3, -1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_centred_ranks_by_hand(compiled, scores, ranks):
    np.testing.assert_allclose(compiled(centred_ranks)(jnp.array(scores)), ranks, atol=1e-7)


def test_constants_of_cma_es_by_hand():
    # Of 4 members in 2 dimensions: ln 2.5 - ln i = 0.91629, 0.22314, -0.18232, -0.47000
    # mu_eff = 1.13943^2 / 0.88938, mu_eff_minus = 0.65233^2 / 0.25414
    given = Adaptation.of(4, 2, active=False)
    np.testing.assert_allclose(given.weights, [0.80416, 0.19584, 0.0, 0.0], atol=1e-5)
    assert given.mu_eff == pytest.approx(1.45977, abs=1e-4)
    assert given.c_sigma == pytest.approx(3.45977 / 8.45977, abs=1e-4)
    assert given.d_sigma == pytest.approx(1.0 + given.c_sigma)  # (0.45977 / 3)^0.5 < 1
    assert given.c_c == pytest.approx(4.72989 / 7.45977, abs=1e-4)
    assert given.c_1 == pytest.approx(2.0 / (10.89 + 1.45977), abs=1e-4)
    assert given.c_mu == pytest.approx(2.0 * 0.39482 / 17.45977, abs=1e-4)
    assert given.chi == pytest.approx((np.pi / 2.0) ** 0.5)  # that of Rayleigh's distribution

    # the sum of the negative weights is the least of 4.58, 1 + 3.34889 / 3.45977 = 1.96795 and 0.79283 / 0.09046 = 8.8
    negative = Adaptation.of(4, 2).weights[2:]
    np.testing.assert_allclose(negative, [-0.55004, -1.41791], atol=1e-3)


@pytest.mark.parametrize("population", [4, 7, 16, 100])
@pytest.mark.parametrize("dimension", [1, 3, 30])
def test_the_constants_of_cma_es_keep_the_covariance_positive(population, dimension):
    given = Adaptation.of(population, dimension)
    positive, negative = np.maximum(given.weights, 0.0).sum(), -np.minimum(given.weights, 0.0).sum()
    assert positive == pytest.approx(1.0) and np.all(np.diff(given.weights) <= 0)
    # What is taken from C is at most D times the negative weights, where members count as if they were sqrt(D) long.
    assert given.c_1 + given.c_mu * (positive - negative) + dimension * given.c_mu * negative <= 1.0 + 1e-9
    assert 0.0 < given.c_1 + given.c_mu <= 1.0 and given.c_sigma < 1.0 and given.c_c < 1.0
