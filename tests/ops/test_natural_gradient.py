"""The natural gradient against linear algebra done in the open."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops import natural_gradient


def spd(seed: int, size: int) -> np.ndarray:
    """A random symmetric positive definite matrix."""
    rows = np.random.default_rng(seed).normal(size=(size, size))
    return (rows @ rows.T + 0.5 * np.eye(size)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_conjugate_gradients_solve_what_a_direct_solver_solves(compiled, seed):
    matrix, b = spd(seed, 6), np.random.default_rng(seed + 100).normal(size=6).astype(np.float32)
    x = compiled(lambda b: natural_gradient.conjugate_gradient(lambda v: jnp.asarray(matrix) @ v, b, 12))(b)
    np.testing.assert_allclose(x, np.linalg.solve(matrix.astype(np.float64), b), rtol=2e-3, atol=1e-4)


def test_conjugate_gradients_by_hand(compiled):
    # A = diag(1, 4), b = (1, 4): the first step along b is 17 / 65 long, the second arrives at (1, 1)
    diagonal = jnp.array([1.0, 4.0])
    for count, expected in ((1, [17 / 65, 68 / 65]), (2, [1.0, 1.0])):
        x = compiled(lambda b, n=count: natural_gradient.conjugate_gradient(lambda v: diagonal * v, b, n))(diagonal)
        np.testing.assert_allclose(x, expected, rtol=1e-5)


def test_conjugate_gradients_stay_where_there_is_nothing_to_solve(compiled):
    x = compiled(lambda b: natural_gradient.conjugate_gradient(lambda v: 2.0 * v, b, 5))(jnp.zeros(3))
    np.testing.assert_array_equal(x, jnp.zeros(3))


def test_the_fisher_product_is_that_of_the_matrix_written_out(compiled):
    """For softmax(W x) on two states: F = mean of (diag(p) - p p^T) kron x x^T, with parameters as a pytree."""
    x = jnp.array([[1.0, 2.0], [-1.0, 0.5]])
    rng = np.random.default_rng(0)
    parameters = {"W": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
    vector = {"W": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}

    def mean_kl(other):
        now, then = jax.nn.log_softmax(x @ parameters["W"].T), jax.nn.log_softmax(x @ other["W"].T)
        return (jnp.exp(now) * (now - then)).sum(-1).mean()

    p = np.asarray(jax.nn.softmax(x @ parameters["W"].T), np.float64)
    blocks = [np.kron(np.diag(row) - np.outer(row, row), np.outer(s, s)) for row, s in zip(p, x, strict=True)]
    expected = (np.mean(blocks, 0) + 0.1 * np.eye(6)) @ np.asarray(vector["W"]).ravel()
    product = compiled(lambda v: natural_gradient.fisher_product(mean_kl, parameters, v, 0.1))(vector)
    np.testing.assert_allclose(product["W"].ravel(), expected, rtol=1e-4, atol=1e-5)


def test_the_step_has_the_divergence_that_is_asked_for():
    # x = (1, 2), F = diag(2, 3): x^T F x = 14, so beta = sqrt(2 * 0.07 / 14) = 0.1
    x = jnp.array([1.0, 2.0])
    assert float(natural_gradient.step_length(x, jnp.array([2.0, 6.0]), 0.07)) == pytest.approx(0.1)


def test_the_line_search_takes_the_first_share_that_is_good_or_none():
    # 1, 0.8, 0.64, 0.512: the fourth is the first below 0.6
    assert float(natural_gradient.line_search(lambda share: share < 0.6, 4, 0.8)) == pytest.approx(0.512)
    assert float(natural_gradient.line_search(lambda share: share < 0.6, 3, 0.8)) == 0.0
    assert float(natural_gradient.line_search(lambda share: share > 0.6, 3, 0.8)) == 1.0
