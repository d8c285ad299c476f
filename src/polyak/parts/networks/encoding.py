"""Observations as the features that networks read."""

from collections.abc import Callable

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array
from polyak.errors import BadSetting


def num_features(space: gymnasium.Space) -> int:
    """The length of an encoded observation."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.Box):
        return int(np.prod(space.shape))
    raise BadSetting(f"Observations of {space} are not supported; polyak reads Box and Discrete spaces.")


def encode(space: gymnasium.Space) -> Callable[[Array], Array]:
    """The function from observations [..., *space.shape] to features [..., num_features(space)], float32.

    Discrete observations become one-hot vectors, bytes are divided by 255, everything else is flattened as it is.
    """
    features = num_features(space)
    if isinstance(space, gymnasium.spaces.Discrete):
        return lambda obs: jax.nn.one_hot(obs - int(space.start), features)
    scale = 1.0 / 255.0 if space.dtype == np.uint8 else 1.0
    rank = len(space.shape or ())

    def flatten(obs: Array) -> Array:
        leading = obs.shape[: obs.ndim - rank]
        return jnp.asarray(obs, jnp.float32).reshape(*leading, features) * scale

    return flatten
