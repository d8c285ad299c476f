"""What scores are worth to an evolution strategy."""

import jax.numpy as jnp

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
