"""Ridge regressions that learn sample by sample: by hand, and against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.parts import ridge


def learnt(x, r, regularization: float = 1.0):
    """The posterior after all samples."""

    def one(regression, sample):
        after = ridge.fitted(regression, *sample)
        return after.ridge, (after.error, after.variance)

    prior = ridge.prior(x.shape[-1], regularization)
    return jax.jit(lambda x, r: jax.lax.scan(one, prior, (x, r)))(jnp.float32(x), jnp.float32(r))


def covariance(regression) -> np.ndarray:
    root = np.asarray(regression.root, np.float64)
    return root @ root.T


def test_two_samples_by_hand():
    (first, second) = (learnt(np.array(x), np.array(r)) for x, r in (([[1, 0]], [2]), ([[1, 0], [1, 1]], [2, 0])))
    # A = [[2, 0], [0, 1]] and b = (2, 0); then A = [[3, 1], [1, 2]] with determinant 5, and b stays
    np.testing.assert_allclose(first[0].mean, [1, 0], atol=1e-6)
    np.testing.assert_allclose(covariance(first[0]), [[1 / 2, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(second[0].mean, [4 / 5, -2 / 5], atol=1e-6)
    np.testing.assert_allclose(covariance(second[0]), [[2 / 5, -1 / 5], [-1 / 5, 3 / 5]], atol=1e-6)
    errors, variances = second[1]
    np.testing.assert_allclose(errors, [2, -1], atol=1e-6)  # 2 - 0, and 0 - (1, 1) . (1, 0)
    np.testing.assert_allclose(variances, [1, 3 / 2], atol=1e-6)


@pytest.mark.parametrize("regularization", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("samples", [3, 1_000])  # fewer than features, and more
def test_it_is_numpys_least_squares_with_a_penalty(samples, regularization):
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(samples, 8)), rng.normal(size=samples)
    regression, _ = learnt(x, r, regularization)
    x, r = x.astype(np.float32).astype(np.float64), r.astype(np.float32).astype(np.float64)
    padded = np.concatenate([x, np.sqrt(regularization) * np.eye(8)]), np.concatenate([r, np.zeros(8)])
    np.testing.assert_allclose(regression.mean, np.linalg.lstsq(*padded)[0], atol=2e-5)
    inverse = np.linalg.inv(x.T @ x + regularization * np.eye(8))
    np.testing.assert_allclose(covariance(regression), inverse, rtol=1e-3, atol=1e-5 * inverse.max())
    spread = ridge.spread(regression.root, jnp.float32(x[:5]))
    np.testing.assert_allclose(np.square(spread).sum(-1), np.einsum("ni,ij,nj->n", x[:5], inverse, x[:5]), rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "r"),
    [
        (1.0, np.nan),
        (1.0, np.inf),
        (1.0, -np.inf),
        (1.0, 2e30),
        (np.nan, 1.0),
        (np.inf, 1.0),
        (1e20, 0.0),
    ],
)
def test_a_sample_that_would_spoil_it_is_refused(x, r):
    before, _ = learnt(np.ones((1, 2)), np.ones(1))
    after = ridge.fitted(before, jnp.array([x, 1.0], jnp.float32), jnp.float32(r))
    assert np.isnan(after.error)
    jax.tree.map(np.testing.assert_array_equal, after.ridge, before)


def inverse_kept(x, r):
    """The same regression by Sherman and Morrison's formula, A^-1 times b at the end."""

    def one(state, sample):
        (inverse, b), (x, r) = state, sample
        gain = inverse @ x
        return (inverse - jnp.outer(gain, gain) / (1 + x @ gain), b + r * x), None

    start = jnp.eye(x.shape[-1]), jnp.zeros(x.shape[-1])
    (inverse, b), _ = jax.jit(lambda x, r: jax.lax.scan(one, start, (x, r)))(jnp.float32(x), jnp.float32(r))
    return np.asarray(inverse @ b, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "nearly collinear", "far from zero", "of unlike scales"])
def test_after_100_000_samples_float32_still_predicts_as_float64_does(kind):
    rng, samples, size = np.random.default_rng(0), 100_000, 20
    x = rng.normal(size=(samples, size))
    if kind == "nearly collinear":
        x = x[:, :3] @ rng.normal(size=(3, size)) + 1e-2 * x
    if kind == "far from zero":
        x = 10 + x
    if kind == "of unlike scales":
        x *= np.logspace(-2, 2, size)
    r = x @ rng.normal(size=size) + rng.normal(size=samples)
    x, r = (values.astype(np.float32).astype(np.float64) for values in (x, r))
    a = x.T @ x + np.eye(size)
    exact, seen = np.linalg.solve(a, x.T @ r), x[:1000]
    deviation = np.sqrt(np.einsum("ni,ij,nj->n", seen, np.linalg.inv(a), seen))

    regression, _ = learnt(x, r)
    width = np.linalg.norm(ridge.spread(regression.root, jnp.float32(seen)), axis=-1)
    np.testing.assert_allclose(width, deviation, rtol=2e-3)
    assert (np.abs(seen @ (np.asarray(regression.mean, np.float64) - exact)) / deviation).max() < 0.1
    if kind == "nearly collinear":  # why the root is kept, and not A^-1
        assert (np.abs(seen @ (inverse_kept(x, r) - exact)) / deviation).max() > 100
