"""Observations of a record taken apart, and as arrays."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from polyak.envs.checks.record import ObservedCall, Record
from polyak.spaces import ARRAYS

Part = tuple[ObservedCall, str, Any, Any]  # a call, what to call the value, its space, the value


def parts(record: Record) -> Iterator[Part]:
    """The parts of every observation; where its space has none, the whole."""
    if isinstance(record.before[0], gymnasium.Space):
        for call in record.answers:
            for name, space, value in _leaves("the observation", record.before[0], call.obs):
                yield call, name, space, value


def arrays(record: Record) -> Iterator[Part]:
    """The parts of every observation that consist of numbers, as arrays."""
    for call, name, space, value in parts(record):
        array = array_of(value)
        if isinstance(space, ARRAYS) and array is not None:
            yield call, name, space, array


def array_of(value: Any) -> np.ndarray | None:
    """The value as an array of numbers; None where it is none."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None


def fits(value: np.ndarray, space: Any) -> bool:
    """Whether the shape is right, and whole numbers are where they must be."""
    whole = value.dtype.kind != "f" or bool((value == np.floor(value)).all())
    return value.shape == space.shape and (whole or np.dtype(space.dtype).kind == "f")


def _leaves(name: str, space: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(space, spaces.Dict) and isinstance(value, dict) and value.keys() == space.spaces.keys():
        for key, inner in space.spaces.items():
            yield from _leaves(f"{name}[{key!r}]", inner, value[key])
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple | list) and len(value) == len(space.spaces):
        for k, inner in enumerate(space.spaces):
            yield from _leaves(f"{name}[{k}]", inner, value[k])
    else:
        yield name, space, value
