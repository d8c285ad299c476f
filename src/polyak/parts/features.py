"""Features: vectors of numbers in which values are linear (Sutton and Barto, 2018, section 9.5).

Each kind is a small frozen dataclass with a one-line text form, `fourier:3` or `tiles:8:8`. Coordinates are first
scaled to [0, 1] by the bounds of the observation space; one without bounds is read between -4 and 4.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Spec
from polyak.errors import BadSetting, UnknownName

UNBOUNDED = 4.0  # how far a coordinate without bounds is read
MOST = 100_000  # features that are still reasonable


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

    degree: int = 2

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

    order: int = 3

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        c = _combinations(self, self.order + 1, space)
        unit = _unit(space)
        length = np.linalg.norm(c, axis=1)
        return FeatureMap(len(c), lambda obs: jnp.cos(jnp.pi * (c @ unit(obs))), 1 / np.where(length > 0, length, 1.0))


@dataclasses.dataclass(frozen=True)
class Radial:
    """exp(-|s - c|^2 / 2 sigma^2) around a grid of centres, as far apart as sigma is wide (equation 9.19)."""

    name: ClassVar[str] = "radial"

    centres: int = 5  # along each coordinate

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

    tilings: int = 8
    tiles: int = 8  # along each coordinate

    def map(self, space: gymnasium.spaces.Box) -> FeatureMap:
        dimensions, side = space.shape[0], self.tiles + (self.tilings > 1)  # one more where a shift needs it
        count = self.tilings * side**dimensions
        _check_count(self, count)
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


def features_text(features: Any) -> str:
    """`raw`, `fourier:3`, `tiles:8:8`."""
    numbers = [str(getattr(features, field.name)) for field in dataclasses.fields(features)]
    return ":".join([features.name, *numbers])


def features_from_text(text: str) -> Any:
    """Reads `raw`, `polynomial:2`, `fourier:3`, `radial:5` or `tiles:8:8` (grids, tiles along each coordinate)."""
    name, *numbers = text.split(":")
    if name not in KINDS:
        raise UnknownName("kind of features", name, KINDS)
    kind = KINDS[name]
    fields = [field.name for field in dataclasses.fields(kind)]
    if len(numbers) > len(fields) or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise BadSetting(f"The features {text!r} are not of the form {':'.join([name, *fields])}.")
    return kind(*map(int, numbers))


def _unit(space: gymnasium.spaces.Box) -> Callable[[Array], Array]:
    """The coordinates scaled to [0, 1]."""
    low = np.where(space.low < -1e6, -UNBOUNDED, space.low).astype(np.float32)
    high = np.where(space.high > 1e6, UNBOUNDED, space.high).astype(np.float32)
    return lambda obs: (obs - low) / (high - low)


def _combinations(features: Any, values: int, space: gymnasium.spaces.Box) -> np.ndarray:
    """[values^K, K] all ways to choose 0 .. values - 1 for each of K coordinates."""
    dimensions = space.shape[0]
    _check_count(features, values**dimensions)
    return np.array(list(itertools.product(range(values), repeat=dimensions)), np.float32)


def _check_count(features: Any, count: int) -> None:
    if count > MOST:
        raise BadSetting(f"The features {features_text(features)} would be {count:,}; use fewer along each coordinate.")
