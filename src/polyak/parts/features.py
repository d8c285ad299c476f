"""Features: vectors of numbers in which values are linear (Sutton and Barto, 2018, section 9.5).

Each kind is a small frozen dataclass with a one-line text form, `fourier:3` or `tiles:8:8`. Coordinates are first
scaled to [0, 1] by the bounds of the observation space; one without bounds is read between -4 and 4, and one with a
single bound up to 8 from it.
"""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import gymnasium
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Spec
from polyak.errors import BadSetting
from polyak.parts.ranges import Range
from polyak.parts.text import part_from_text, part_text

UNBOUNDED = 4.0  # how far to each side a coordinate without bounds is read
FAR = 1e6  # where a bound stands for none, unless the other one is near it
MOST = 100_000  # features that are still reasonable
Number = Annotated[int, Range(1, MOST)]


class FeatureMap(NamedTuple):
    """Features for one observation space."""

    size: int  # F
    of: Callable[[Array], Array]  # observation [K] -> features [F]
    scale: np.ndarray  # [F], by which the step size of each feature is multiplied


class Features(Protocol):
    """A kind of features."""

    name: ClassVar[str]

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        """The features for observations of `space`; raises `BadSetting` where they would be too many."""
        ...


@dataclasses.dataclass(frozen=True)
class Raw:
    """The coordinates as they are: q(s, a) = w_a . s."""

    name: ClassVar[str] = "raw"

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        return FeatureMap(space.shape[0], lambda obs: obs, np.ones(space.shape[0]))


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """All products of powers of the coordinates, each power up to the degree (equation 9.17)."""

    name: ClassVar[str] = "polynomial"

    degree: Number = 2

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        powers = _combinations(self, self.degree + 1, space)
        unit = _unit(space)
        return FeatureMap(len(powers), lambda obs: jnp.prod(unit(obs) ** powers, -1), np.ones(len(powers)))


@dataclasses.dataclass(frozen=True)
class Fourier:
    """cos(pi c . s) for all whole c up to the order, with alpha / |c| for each (equation 9.18).

    Source: Konidaris, Osentoski and Thomas (2011), "Value function approximation in reinforcement learning using the
    Fourier basis".
    """

    name: ClassVar[str] = "fourier"

    order: Number = 3

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        c = _combinations(self, self.order + 1, space)
        unit = _unit(space)
        length = np.linalg.norm(c, axis=1)
        return FeatureMap(len(c), lambda obs: jnp.cos(jnp.pi * (c @ unit(obs))), 1 / np.where(length > 0, length, 1.0))


@dataclasses.dataclass(frozen=True)
class Radial:
    """exp(-|s - c|^2 / 2 sigma^2) around a grid of centres, as far apart as sigma is wide (equation 9.19)."""

    name: ClassVar[str] = "radial"

    centres: Number = 5  # along each coordinate

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        spacing = 1 / max(self.centres - 1, 1)
        centres = _combinations(self, self.centres, space) * spacing
        unit = _unit(space)

        def of(obs: Array) -> Array:
            return jnp.exp(-jnp.sum(jnp.square(unit(obs) - centres), -1) / (2 * spacing**2))

        return FeatureMap(len(centres), of, np.ones(len(centres)))


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Tile coding: grids laid over each other, each shifted a little; one tile of each holds the observation.

    Grid i is shifted by i (1, 3, 5, ...) / tilings of a tile, so that the shifts do not line up (section 9.5.4). The
    step size is divided by the number of grids. One grid alone is a table over bins.
    """

    name: ClassVar[str] = "tiles"

    tilings: Number = 8
    tiles: Number = 8  # along each coordinate

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        dimensions, side = space.shape[0], self.tiles + (self.tilings > 1)  # one more where a shift needs it
        count = _count(self, side, dimensions, self.tilings)
        shifts = np.outer(np.arange(self.tilings), 1 + 2 * np.arange(dimensions)) / self.tilings % 1.0
        strides = side ** np.arange(dimensions)
        first = np.arange(self.tilings) * side**dimensions
        unit = _unit(space)

        def of(obs: Array) -> Array:
            inside = jnp.clip(unit(obs), 0.0, 1.0 - 1e-6)
            tile = jnp.floor(inside * self.tiles + shifts).astype(jnp.int32)  # [tilings, K]
            return jnp.zeros(count).at[first + tile @ strides].set(1.0)

        return FeatureMap(count, of, np.full(count, 1 / self.tilings))


KINDS: dict[str, type] = {kind.name: kind for kind in (Raw, Polynomial, Fourier, Radial, Tiles)}


def linear_in(features: Features, spec: Spec, algorithm: str) -> tuple[FeatureMap, int, int]:
    """The features for a task, its number of actions and the first of them; raises `BadSetting` where it has none."""
    observed, acted = spec.observation_space, spec.action_space
    if not isinstance(acted, gymnasium.spaces.Discrete):
        raise BadSetting(f"{algorithm} needs discrete actions, and this environment's are {acted}.")
    if not isinstance(observed, gymnasium.spaces.Box) or len(observed.shape) != 1:
        raise BadSetting(f"{algorithm} reads vectors of numbers, and this environment shows {observed}.")
    return features.map(observed), int(acted.n), int(acted.start)


# Reads `raw`, `polynomial:2`, `fourier:3`, `radial:5` or `tiles:8:8` (grids, tiles along each coordinate).
features_from_text = partial(part_from_text, "kind of features", KINDS)


def _unit(space: gymnasium.spaces.Box) -> Callable[[Array], Array]:
    """The coordinates scaled to [0, 1]; one that never changes to 0."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    far = high - low > 2 * FAR
    no_low, no_high = far & (low < -FAR), far & (high > FAR)
    low = np.where(no_low, np.where(no_high, -UNBOUNDED, high - 2 * UNBOUNDED), low)
    high = np.where(no_high, low + 2 * UNBOUNDED, high)
    low, high = low.astype(np.float32), high.astype(np.float32)
    width = np.where(high - low < np.finfo(np.float32).tiny, np.float32(1), high - low)
    return lambda obs: (obs - low) / width


def _combinations(features: Any, values: int, space: gymnasium.spaces.Box) -> np.ndarray:
    """[values^K, K] all ways to choose 0 .. values - 1 for each of K coordinates."""
    dimensions = space.shape[0]
    _count(features, values, dimensions)
    return np.array(list(itertools.product(range(values), repeat=dimensions)), np.float32)


def _count(features: Any, values: int, dimensions: int, times: int = 1) -> int:
    """times values^dimensions; raises `BadSetting` for more than `MOST`."""
    count = times * values ** min(dimensions, MOST.bit_length())  # 2 to the power of so many is too many already
    if count > MOST:
        number = f"{values:,}^{dimensions:,}" + f" x {times:,}" * (times > 1)
        raise BadSetting(
            f"The features {part_text(features)} would be {number}, and {MOST:,} are the most; use fewer along each "
            "coordinate."
        )
    return count
