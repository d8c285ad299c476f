"""Gymnasium spaces as the rest of polyak sees them.

Inside polyak an observation or an action is one array. A member of a Dict or Tuple space, however deep, is a *row*: the
numbers of its parts, one after the other in the order of the space. So memories, processes and blocks need not know of
parts; networks do, and code that gives or takes members.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

ARRAYS = (Box, Discrete, MultiDiscrete, MultiBinary)  # the spaces without parts that polyak takes
EXACT = 2**24  # up to here float32, and so a row, holds every whole number
MASK = "action_mask"  # the part of a Dict observation that says which actions there are, as PettingZoo calls it
AFTERSTATES = "afterstates"  # the part that says which afterstate each action leads to, by its number
MASKED = "ppo, a2c, trpo, reinforce, impala, appo, a3c and alphazero"  # the algorithms that obey it, for messages
ACHIEVED, DESIRED = "achieved_goal", "desired_goal"  # the parts that hold goals, as Gymnasium-Robotics calls them


class Part(NamedTuple):
    """A space without parts, and where its numbers stand in a row."""

    path: tuple[str | int, ...]  # the keys that lead to it
    space: gymnasium.Space
    begin: int
    end: int

    def of(self, rows: Any) -> Any:
        """The part's members [..., *shape] in rows [..., n]; for arrays of NumPy and of JAX."""
        return rows[..., self.begin : self.end].reshape((*rows.shape[:-1], *(self.space.shape or ())))


def has_parts(space: gymnasium.Space) -> bool:
    """Whether members of a space are kept as rows."""
    return isinstance(space, Dict | Tuple)


def parts(space: gymnasium.Space) -> list[Part]:
    """The parts of a Dict or Tuple space; any other space is its own single part."""
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
    """The shape in which a member of a space is kept: its own, or (n,) for a row."""
    if not has_parts(space):
        return space.shape or ()
    return (parts(space)[-1].end if parts(space) else 0,)


def storage_type(space: gymnasium.Space) -> np.dtype:
    """The type in which members of `space` are kept: bytes as they are, integers as int32, else, and in rows, float32.

    Whole numbers are exact in a row up to `EXACT`.
    """
    if has_parts(space):
        return np.dtype(np.float32)
    if space.dtype == np.uint8 or space.dtype == np.bool_:
        return np.dtype(space.dtype)
    return np.dtype(np.int32 if np.issubdtype(space.dtype, np.integer) else np.float32)


def kept(space: gymnasium.Space, values: Any) -> np.ndarray:
    """Values of a space without parts in the type in which they are kept.

    Raises:
        ValueError: they are no numbers, or none of that type; the message says which.
    """
    array = _numbers("the whole", values)
    stored = array.astype(storage_type(space))
    if stored.dtype.kind != "f" and (lost := stored != array).any():
        raise ValueError(f"{array[lost].flat[0]} cannot be kept as {stored.dtype}")
    return stored


def whole_range(space: gymnasium.Space) -> tuple[int, int]:
    """The least and the greatest whole number to which a space without parts binds its members; zeros where to none.

    A bound that is the last number of its type binds nothing.
    """
    if isinstance(space, Discrete):
        return int(space.start), int(space.start) + int(space.n) - 1
    if isinstance(space, MultiDiscrete):
        ends = space.start.astype(object) + space.nvec.astype(object) - 1  # Python's numbers do not wrap
        return int(space.start.min()), int(ends.max())
    if isinstance(space, Box) and np.dtype(space.dtype).kind in "iu":
        last = np.iinfo(space.dtype)
        low, high = space.low[space.low != last.min], space.high[space.high != last.max]
        return int(low.min(initial=0)), int(high.max(initial=0))
    return 0, 0


def to_rows(space: gymnasium.Space, members: Any) -> np.ndarray:
    """Rows that hold members of a Dict or Tuple space.

    Args:
        space: theirs.
        members: a member [*shape of each part], or a batch of them with one more axis in front of every part.

    Returns:
        The row [n], or rows [N, n], float32.

    Raises:
        ValueError: they are no members; the message names the part that is wrong.
    """
    found: list[np.ndarray] = []
    lead: tuple[int, ...] | None = None
    for where, inner, value in _leaves("", space, members):
        array = _numbers(where, value)
        if array.dtype.kind == "f" and np.dtype(inner.dtype).kind in "iu" and (array != np.rint(array)).any():
            raise ValueError(f"{where} is {value!r}, which is no whole number")
        if _is_wide(inner) and _goes_beyond(array):
            raise ValueError(f"{where} is {value!r}, and beside other parts whole numbers are kept up to {EXACT:,}")
        shape = inner.shape or ()
        front = array.shape[: array.ndim - len(shape)]
        if array.shape[len(front) :] != shape or len(front) > 1 or front != (front if lead is None else lead):
            raise ValueError(f"{where} has shape {array.shape} in place of {(*(lead or ()), *shape)}")
        lead = front
        found.append(array.reshape(*front, -1))
    return np.concatenate(found, -1).astype(np.float32) if found else np.zeros(0, np.float32)


def in_own_type(space: gymnasium.Space) -> Callable[[np.ndarray], np.ndarray]:
    """The function from actions [..., *shape], as agents give them, to the type of their space.

    Bounds of 64 bits may lie outside of themselves as float32. What lies within those is brought within the space; what
    lies elsewhere, or would lose fractions, is left as it is, and so are single choices and rows.
    """
    if isinstance(space, Discrete) or has_parts(space):
        return lambda values: values
    dtype = np.dtype(space.dtype)

    def cast(values: np.ndarray) -> np.ndarray:
        if values.dtype == dtype or not np.can_cast(values.dtype, dtype, "same_kind"):
            return values
        return values.astype(dtype)

    if not isinstance(space, Box) or dtype.kind != "f":
        return cast
    with np.errstate(over="ignore"):
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    if (low >= space.low).all() and (high <= space.high).all():
        return cast

    def cast_and_clip(values: np.ndarray) -> np.ndarray:
        within = (low <= values) & (values <= high)
        return np.where(within, np.minimum(np.maximum(values, space.low), space.high), cast(values))

    return cast_and_clip


def members(space: gymnasium.Space) -> Callable[[np.ndarray], Any]:
    """The function from actions [B, ...], as agents give them, to B actions as Gymnasium environments take them."""
    if isinstance(space, Discrete):
        return lambda values: values.tolist()
    if has_parts(space):
        return lambda rows: [from_rows(space, row) for row in rows]
    return in_own_type(space)


def from_rows(space: gymnasium.Space, rows: np.ndarray) -> Any:
    """Members of a Dict or Tuple space from rows [..., n]: each part [..., *shape], in its own type."""
    by_path = {part.path: part for part in parts(space)}

    def member(path: tuple[str | int, ...], space: gymnasium.Space) -> Any:
        if not has_parts(space):
            value = by_path[path].of(rows)
            if np.dtype(space.dtype).kind != "f":
                value = np.rint(value).astype(space.dtype)
            value = in_own_type(space)(value)
            return value[()] if isinstance(space, Discrete) else np.asarray(value)
        inner = {key: member((*path, key), one) for key, one in _entries(space)}
        return inner if isinstance(space, Dict) else tuple(inner.values())

    return member((), space)


def mask_of(space: gymnasium.Space) -> slice | None:
    """The place of the action mask in a row, an entry for each action; None where there is no mask."""
    if not isinstance(space, Dict) or MASK not in space.spaces:
        return None
    of_mask = [part for part in parts(space) if part.path[0] == MASK]
    return slice(of_mask[0].begin, of_mask[-1].end) if of_mask else None


def afterstates_of(space: gymnasium.Space) -> Part | None:
    """The part of a row that holds the numbers of afterstates; None where there is none."""
    if not isinstance(space, Dict):
        return None
    return next((part for part in parts(space) if part.path == (AFTERSTATES,)), None)


def for_networks(space: gymnasium.Space) -> list[Part]:
    """The parts of a space that networks read: all but those that are read by their name, a mask and afterstates."""
    if not isinstance(space, Dict):
        return parts(space)
    return [part for part in parts(space) if part.path[0] not in (MASK, AFTERSTATES)]


def in_row(space: Dict, member: Mapping[str, Any]) -> Any:
    """The row [n] float32 of a member of a Dict space whose parts are arrays of JAX, in compiled code too."""
    import jax.numpy as jnp  # processes that only step do without

    return jnp.concatenate([jnp.ravel(member[key]).astype(jnp.float32) for key in space.spaces])


def goals_of(space: gymnasium.Space) -> tuple[Part, Part] | None:
    """The arrays of a row that hold the achieved and the desired goal; None where an observation lacks one of them."""
    if not isinstance(space, Dict):
        return None
    found = {part.path: part for part in parts(space)}
    achieved, desired = found.get((ACHIEVED,)), found.get((DESIRED,))
    return (achieved, desired) if achieved and desired else None


def choices(space: gymnasium.Space) -> list[int] | None:
    """The number of actions of each choice: one choice in a Discrete space, several in a MultiDiscrete; else None."""
    if isinstance(space, Discrete):
        return [int(space.n)]
    return space.nvec.ravel().tolist() if isinstance(space, MultiDiscrete) else None


def leaves_a_choice(mask: np.ndarray, space: gymnasium.Space) -> bool:
    """Whether a mask of actions [n] leaves at least one action of every choice."""
    counts = choices(space)
    if counts is None or mask.size != sum(counts):
        return True  # agents refuse such a mask
    return all((one != 0).any() for one in np.split(mask, np.cumsum(counts)[:-1]))


def sample(space: gymnasium.Space, observation_space: Any, obs: Any) -> Any:
    """A random action, none of those that the mask in an observation rules out."""
    action, counts = space.sample(), choices(space)
    where = mask_of(observation_space) if isinstance(observation_space, gymnasium.Space) else None
    if where is None or counts is None:
        return action
    try:
        mask = to_rows(observation_space, obs)[where] != 0
    except ValueError:
        return action
    if mask.size != sum(counts) or not leaves_a_choice(mask, space):
        return action
    drawn = [space.np_random.choice(np.flatnonzero(one)) for one in np.split(mask, np.cumsum(counts)[:-1])]
    return (np.reshape(drawn, space.shape or ()) + space.start).astype(space.dtype)[()]  # type: ignore[attr-defined]


def _numbers(where: str, value: Any) -> np.ndarray:
    """A value as an array; raises `ValueError` if it is none of numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        raise ValueError(f"{where} is {value!r}, which is no array") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where} is {value!r}, which is no number")
    return array


def _is_wide(space: gymnasium.Space) -> bool:
    """Whether members may hold whole numbers that a row cannot."""
    dtype = np.dtype(space.dtype)
    return dtype.kind in "iu" and dtype.itemsize > 2


def _goes_beyond(array: np.ndarray) -> bool:
    """Whether a number in it is larger than a row may hold."""
    if array.ndim == 0:
        return abs(array.item()) > EXACT
    return bool(np.count_nonzero((array > EXACT) | (array < -EXACT)))


def _leaves(where: str, space: gymnasium.Space, value: Any) -> Iterator[tuple[str, gymnasium.Space, Any]]:
    """The parts of a member, each with its name and its space; raises `ValueError` where they are not the space's."""
    if not has_parts(space):
        yield where or "the whole", space, value
        return
    if isinstance(space, Dict):
        held = dict(value) if isinstance(value, Mapping) else None
    else:
        held = dict(enumerate(value)) if isinstance(value, tuple | list) else None
    entries = dict(_entries(space))
    if held is None or held.keys() != entries.keys():
        has = f"is a {type(value).__name__}" if held is None else f"has the parts {list(held)}"
        raise ValueError(f"{where or 'the whole'} {has} and should have {list(entries)}")
    for key, inner in entries.items():
        yield from _leaves(f"{where}[{key!r}]" if where else f"part {key!r}", inner, held[key])


def _entries(space: gymnasium.Space) -> Iterator[tuple[str | int, gymnasium.Space]]:
    yield from space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)  # type: ignore[attr-defined]
