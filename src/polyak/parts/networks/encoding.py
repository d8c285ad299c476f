"""Observations as the features that networks read."""

import math
from collections.abc import Callable

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from polyak.agent import Array
from polyak.errors import BadSetting
from polyak.spaces import Part, for_networks, has_parts


def read_space(space: gymnasium.Space) -> gymnasium.Space:
    """The space of what networks read: of a Dict or Tuple of which they read a single part, that part."""
    read = _read_parts(space)
    return read[0].space if len(read) == 1 else space


def num_features(space: gymnasium.Space) -> int:
    """The length of an encoded observation."""
    return sum(_length(part.space) for part in _read_parts(space))


def scaled(x: Array) -> Array:
    """Bytes as numbers from 0 to 1; all other numbers as they are."""
    return x.astype(jnp.float32) * (1.0 / 255.0) if x.dtype == jnp.uint8 else x


def encode(space: gymnasium.Space) -> Callable[[Array], Array]:
    """The function from observations [..., *shape] to features [..., num_features(space)].

    Choices become one-hot vectors, everything else is flattened as it is, to float32. Bytes stay bytes: networks divide
    them by 255 where they are needed, and a quarter of the memory is moved to get them there; in rows of several parts
    they are divided here. Of rows all parts are read, but for those that have another use by
    their name: see `spaces.for_networks`.
    """
    read = _read_parts(space)
    encoders = [_encoder(part.space) for part in read]
    if not has_parts(space):
        return encoders[0]
    if len(read) == 1:
        return lambda rows: encoders[0](read[0].of(rows))

    def encode_rows(rows: Array) -> Array:
        return jnp.concatenate([scaled(of(part.of(rows))) for part, of in zip(read, encoders, strict=True)], -1)

    return encode_rows


def _read_parts(space: gymnasium.Space) -> list[Part]:
    read = for_networks(space)
    if not read or not all(isinstance(part.space, Box | Discrete | MultiBinary | MultiDiscrete) for part in read):
        raise BadSetting(
            f"Observations of {space} are not supported; polyak reads Box, Discrete, MultiDiscrete and MultiBinary "
            "spaces, and Dict and Tuple spaces of them."
        )
    if not any(_length(part.space) for part in read):
        raise BadSetting(f"Observations of {space} hold no number; a network needs one at least, be it always 0.")
    return read


def _length(space: gymnasium.Space) -> int:
    if isinstance(space, Discrete):
        return int(space.n)
    return int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else math.prod(space.shape or ())


def _encoder(space: gymnasium.Space) -> Callable[[Array], Array]:
    """For a space without parts."""
    features = _length(space)
    if isinstance(space, Discrete):
        return lambda obs: jax.nn.one_hot(jnp.asarray(obs, jnp.int32) - int(space.start), features)
    rank = len(space.shape or ())

    def flat(obs: Array, kind: jnp.dtype) -> Array:
        return jnp.asarray(obs, kind).reshape(*obs.shape[: obs.ndim - rank], math.prod(space.shape or ()))

    if isinstance(space, MultiDiscrete):
        return lambda obs: _one_hots(flat(obs, jnp.int32) - space.start.ravel(), space.nvec.ravel())
    return lambda obs: flat(obs, jnp.uint8 if space.dtype == np.uint8 else jnp.float32)


def _one_hots(choices: Array, counts: np.ndarray) -> Array:
    """One-hot vectors of choices [..., k] in a row [..., counts.sum()]."""
    places = choices + (np.cumsum(counts) - counts).astype(np.int32)
    return jax.nn.one_hot(places, counts.sum()).sum(-2)
