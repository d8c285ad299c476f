"""What scores are worth to an evolution strategy, and the constants of covariance matrix adaptation."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from polyak.agent import Array


def centred_ranks(scores: Array) -> Array:
    """[P] the ranks of scores [P], from -0.5 of the least to 0.5 of the largest; equal scores share their mean rank.

    Ranks do not change when rewards are scaled or bent, and no member counts for more than another far from it. A
    population of equal scores has ranks of 0, and moves nothing.

    Source: Salimans et al. (2017), section 2.1, after Wierstra et al. (2014), "Natural evolution strategies"; equal
    scores share their rank here.
    """
    ordered = jnp.sort(scores)
    below, upto = (jnp.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return 0.5 * (below + upto - 1) / (scores.size - 1) - 0.5


class Adaptation(NamedTuple):
    """The constants of CMA-ES, named as by Hansen (2016), "The CMA evolution strategy: A tutorial", table 1."""

    weights: np.ndarray  # [P] of the members, the best first: the positive ones sum to 1
    mu_eff: float  # how many members of equal weight the positive weights are worth
    c_sigma: float  # rate of the path of the step size
    d_sigma: float  # damping of the step size
    c_c: float  # rate of the path of the covariance
    c_1: float  # rate of the rank-one update
    c_mu: float  # rate of the rank-mu update
    chi: float  # the expected length of a standard normal vector

    @staticmethod
    def of(population: int, dimension: int, active: bool = True) -> "Adaptation":
        """The constants for a population of P members in D dimensions.

        Args:
            population: P, at least 2.
            dimension: D, at least 1.
            active: whether the worse half of the members have negative weights; else their weights are 0.

        Source: equations 30, 31 and 49 to 58 of the tutorial.
        """
        n = dimension
        raw = np.log((population + 1) / 2) - np.log(np.arange(1, population + 1))
        best, worst = raw[: population // 2], raw[population // 2 :]
        mu_eff, mu_eff_minus = (np.sum(half) ** 2 / np.sum(half**2) for half in (best, worst))
        c_1 = 2.0 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = min(1.0 - c_1, 2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0) ** 2 + mu_eff))
        c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0)
        negative = min(
            1.0 + c_1 / c_mu,  # with which the covariance would not decay on the whole
            1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0),
            (1.0 - c_1 - c_mu) / (n * c_mu),  # with which it stays positive definite
        )
        positive = np.maximum(raw, 0.0) / best.sum()
        return Adaptation(
            weights=positive + active * negative * np.minimum(raw, 0.0) / -worst.sum(),
            mu_eff=float(mu_eff),
            c_sigma=float(c_sigma),
            d_sigma=float(1.0 + 2.0 * max(0.0, ((mu_eff - 1.0) / (n + 1.0)) ** 0.5 - 1.0) + c_sigma),
            c_c=float((4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n)),
            c_1=float(c_1),
            c_mu=float(c_mu),
            chi=2.0**0.5 * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)),
        )
