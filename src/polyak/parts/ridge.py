"""Ridge regressions that learn from one sample after the other: the posterior of linear rewards.

    r = x . theta + noise of variance 1,    theta ~ N(0, I / regularization)
    A = regularization I + sum_i x_i x_i^T,    b = sum_i r_i x_i
    theta | samples ~ N(A^-1 b, A^-1)

What is kept is the mean A^-1 b and a square root S of the covariance, S S^T = A^-1, which a sample changes in d^2
operations (Potter's update). The root is what bounds need, |S^T x| = sqrt(x^T A^-1 x), and what samples of theta need,
mean + S z. It is also what float32 needs: rounding cannot make a variance negative, and a root has the square root of
the condition number of A^-1. After 100,000 samples of nearly collinear features the predictions are within 0.5 % of
their deviation of those in float64; those from A^-1 by Sherman and Morrison's formula times b are 1,800 deviations off,
and the Cholesky decomposition of A fails.

Sources: Hoerl and Kennard (1970), "Ridge regression"; Bierman (1977), "Factorization methods for discrete sequential
estimation", section II.3, on Potter's update.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, PyTree
from polyak.parts.finite import LARGEST

HIGHEST = jax.lax.Precision.HIGHEST  # accelerators multiply in less than float32 unless told


class Ridge(NamedTuple):
    """The posterior of one regression, or with leading axes of several."""

    mean: Array  # [d] A^-1 b
    root: PyTree  # [d, d] S; () where only the mean is needed


class Fitted(NamedTuple):
    """A regression after a sample."""

    ridge: Ridge
    error: Array  # [] r - x . mean before it; NaN where it was refused
    variance: Array  # [] x^T A^-1 x before it, in units of the noise's variance


def prior(features: int, regularization: float) -> Ridge:
    """The posterior before the first sample, N(0, I / regularization), of `features` coefficients."""
    return Ridge(jnp.zeros(features), jnp.eye(features) / jnp.sqrt(jnp.float32(regularization)))


def spread(root: Array, x: Array) -> Array:
    """S^T x, whose norm is the deviation of x . theta, and whose product with z ~ N(0, I) is a sample of it.

    Args:
        root: [d, d] S.
        x: [..., d] features.
    """
    return jnp.matmul(x, root, precision=HIGHEST)


def fitted(ridge: Ridge, x: Array, r: Array) -> Fitted:
    """The posterior after one more sample; as it was where the error or the variance is not below 1e30.

        v = S^T x,    c = 1 + v . v
        mean <- mean + S v (r - x . mean) / c
        S <- S - S v v^T / (c + sqrt(c))

    Args:
        ridge: of one regression.
        x: [d] features.
        r: [] target.
    """
    v, error = spread(ridge.root, x), r - jnp.dot(x, ridge.mean, precision=HIGHEST)
    variance = v @ v
    sound = (jnp.abs(error) < LARGEST) & (variance < LARGEST)
    used, v = jnp.where(sound, error, 0.0), jnp.where(sound, v, 0.0)
    c = 1.0 + v @ v
    gain = jnp.matmul(ridge.root, v, precision=HIGHEST)
    mean, root = ridge.mean + gain * (used / c), ridge.root - jnp.outer(gain, v / (c + jnp.sqrt(c)))
    return Fitted(Ridge(mean, root), jnp.where(sound, error, jnp.nan), variance)
