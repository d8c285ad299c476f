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


def scaled(x: Array) -> Array:
    """Bytes as numbers from 0 to 1; all other numbers as they are."""
    return x.astype(jnp.float32) * (1.0 / 255.0) if x.dtype == jnp.uint8 else x


def encode(space: gymnasium.Space) -> Callable[[Array], Array]:
    """The function from observations [..., *space.shape] to features [..., num_features(space)].

    Discrete observations become one-hot vectors, everything else is flattened as it is, to float32. Bytes stay bytes:
    networks divide them by 255 where they are needed, and a quarter of the memory is moved to get them there.
    """
    features = num_features(space)
    if isinstance(space, gymnasium.spaces.Discrete):
        return lambda obs: jax.nn.one_hot(obs - int(space.start), features)
    kind = jnp.uint8 if space.dtype == np.uint8 else jnp.float32
    rank = len(space.shape or ())
    return lambda obs: jnp.asarray(obs, kind).reshape(*obs.shape[: obs.ndim - rank], features)
