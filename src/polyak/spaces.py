"""What the rest of polyak needs to know about Gymnasium spaces.

Inside polyak an observation or an action is one array. A member of a Dict or Tuple space, however deep, is a *row*: the
numbers of its parts, one after the other in the order of the space. So memories, processes and blocks need not know of
parts; networks do, and whoever gives or takes members.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete, MultiDiscrete, Tuple

MASK = "action_mask"  # the part of a Dict observation that says which actions there are, as PettingZoo calls it


class Part(NamedTuple):
    """A space without parts, and where its numbers stand in a row."""

    path: tuple[str | int, ...]  # the keys that lead to it
    space: gymnasium.Space
    begin: int
    end: int

    def of(self, rows: Any) -> Any:
        """Its members in rows [..., n], as [..., *shape]; for arrays of NumPy and of JAX."""
        return rows[..., self.begin : self.end].reshape((*rows.shape[:-1], *(self.space.shape or ())))


def has_parts(space: gymnasium.Space) -> bool:
    """Whether its members are kept as rows."""
    return isinstance(space, Dict | Tuple)


def parts(space: gymnasium.Space) -> list[Part]:
    """The parts of a Dict or Tuple space; of another, itself."""
    found: list[Part] = []

    def add(path: tuple[str | int, ...], space: gymnasium.Space) -> None:
        if has_parts(space):
            for key, inner in _entries(space):
                add((*path, key), inner)
        else:
            begin = found[-1].end if found else 0
            found.append(Part(path, space, begin, begin + math.prod(space.shape or ())))

    add((), space)
    return found


def row_shape(space: gymnasium.Space) -> tuple[int, ...]:
    """The shape in which a member is kept: its own, or (n,) for a row."""
    if not has_parts(space):
        return space.shape or ()
    return (parts(space)[-1].end if parts(space) else 0,)


def storage_type(space: gymnasium.Space) -> np.dtype:
    """The type in which members of `space` are kept: bytes as they are, integers as int32, else, and in rows, float32.

    Whole numbers are exact in a row up to 2^24.
    """
    if has_parts(space):
        return np.dtype(np.float32)
    if space.dtype == np.uint8 or space.dtype == np.bool_:
        return np.dtype(space.dtype)
    return np.dtype(np.int32 if np.issubdtype(space.dtype, np.integer) else np.float32)


def to_rows(space: gymnasium.Space, members: Any) -> np.ndarray:
    """Members of a Dict or Tuple space as rows.

    Args:
        space: theirs.
        members: a member [*shape of each part], or a batch of them with one more axis in front of every part.

    Returns:
        The row [n], or rows [N, n], float32.

    Raises:
        ValueError: it is no such thing; the message says which part is wrong.
    """
    found: list[np.ndarray] = []
    lead: tuple[int, ...] | None = None
    for part in parts(space):
        value, where = members, "the whole"
        for key in part.path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                raise ValueError(f"{where} has no part {key!r}") from None
            where = f"part {key!r}" if where == "the whole" else f"{where}[{key!r}]"
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{where} is {value!r}, which is no number")
        shape = part.space.shape or ()
        front = array.shape[: array.ndim - len(shape)]
        if array.shape[len(front) :] != shape or len(front) > 1 or front != (front if lead is None else lead):
            raise ValueError(f"{where} has shape {array.shape} in place of {(*(lead or ()), *shape)}")
        lead = front
        found.append(array.reshape(*front, -1))
    return np.concatenate(found, -1).astype(np.float32) if found else np.zeros(0, np.float32)


def from_rows(space: gymnasium.Space, rows: np.ndarray) -> Any:
    """The members of a Dict or Tuple space that rows [..., n] stand for: each part [..., *shape], in its own type."""
    by_path = {part.path: part for part in parts(space)}

    def member(path: tuple[str | int, ...], space: gymnasium.Space) -> Any:
        if not has_parts(space):
            value = by_path[path].of(rows)
            value = (np.rint(value) if np.dtype(space.dtype).kind in "iu" else value).astype(space.dtype)
            return value[()] if isinstance(space, Discrete) else np.asarray(value)
        inner = {key: member((*path, key), one) for key, one in _entries(space)}
        return inner if isinstance(space, Dict) else tuple(inner.values())

    return member((), space)


def mask_of(space: gymnasium.Space) -> Part | None:
    """The part of an observation that says which actions there are; None where all are, always."""
    if not isinstance(space, Dict) or MASK not in space.spaces:
        return None
    return next(part for part in parts(space) if part.path == (MASK,))


def sample(space: gymnasium.Space, observation_space: Any, obs: Any) -> Any:
    """A random action of a space, none of those that the mask of an observation rules out."""
    if isinstance(observation_space, Dict) and MASK in observation_space.spaces and isinstance(obs, dict):
        mask = np.asarray(obs.get(MASK), np.int8)
        if isinstance(space, Discrete) and mask.shape == (space.n,):
            return space.sample(mask=mask)
        if isinstance(space, MultiDiscrete) and mask.shape == (space.nvec.sum(),):
            return space.sample(mask=tuple(np.split(mask, np.cumsum(space.nvec.ravel())[:-1])))
    return space.sample()


def _entries(space: gymnasium.Space) -> Iterator[tuple[str | int, gymnasium.Space]]:
    yield from space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)  # type: ignore[attr-defined]
