"""Observations as the features that networks read: encoded, and standardised where that is asked for."""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium

from polyak.agent import Array, PyTree
from polyak.parts.networks import encode, num_features
from polyak.parts.normalise import Moments


class Reader(NamedTuple):
    """Functions for one observation space; the moments are part of an agent's state."""

    init: Callable[[], PyTree]  # () -> the moments before the first observation; () where nothing is standardised
    update: Callable[[PyTree, Array], PyTree]  # moments, observations [T, B, ...] -> moments
    features: Callable[[PyTree, Array], Array]  # moments, observations [..., *shape] -> features [..., n]


def reader(space: gymnasium.Space, standardises: bool) -> Reader:
    """Makes the functions; `standardises` says whether features are those of encoded observations less their running
    mean, over their running deviation."""
    encoded = encode(space)
    if not standardises:
        return Reader(tuple, lambda moments, obs: moments, lambda moments, obs: encoded(obs))
    count = num_features(space)
    return Reader(
        lambda: Moments.of((count,)),
        lambda moments, obs: moments.update(encoded(obs).reshape(-1, count)),
        lambda moments, obs: moments.standardise(encoded(obs)),
    )
