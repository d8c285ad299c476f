"""Gymnasium spaces as JSON, in files that somebody else may have written."""

import math
from collections import OrderedDict
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from polyak.errors import BadSetting
from polyak.runs.documents import array, one_of, record, text, whole

PARTS = 1_000  # of a Dict or Tuple space
DEEPEST = 20  # spaces within one another
SMALL = 2**16  # entries that a space may have whatever the size of the file
INTEGERS = "int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()
BOX_TYPES = ["bool", *INTEGERS, "float16", "float32", "float64"]

_ENTRIES, _FAR = 2**40, 2**62
_shape = array(whole(0, _ENTRIES), most=32)
_numbers_as_text = array(text(40), most=2**24)
_integers = {"dtype": one_of(INTEGERS)}  # left out where it is Gymnasium's default, int64
_KINDS = {
    "Discrete": record({"kind": text(8), "n": whole(1, _ENTRIES), "start": whole(-_FAR, _FAR)}, _integers),
    "Box": record(
        {
            "kind": text(8),
            "shape": _shape,
            "dtype": one_of(BOX_TYPES),
            "low": _numbers_as_text,
            "high": _numbers_as_text,
        }
    ),
    "MultiDiscrete": record(
        {
            "kind": text(16),
            "shape": _shape,
            "nvec": array(whole(1, _ENTRIES), least=1, most=SMALL),
            "start": array(whole(-_FAR, _FAR), least=1, most=SMALL),
        },
        _integers,
    ),
    "MultiBinary": record({"kind": text(16), "shape": _shape}, {"n_is_tuple": one_of([True])}),  # where it has one axis
}


def check_space(value: Any, place: str) -> None:
    """Checks the description of a space; a `documents.Check`."""
    record({"kind": one_of(_KINDS)}, closed=False)(value, place)
    if place.count(".parts") > DEEPEST:
        raise ValueError(f"spaces stand in one another more than {DEEPEST} deep")
    _KINDS[value["kind"]](value, place)


_KINDS["Tuple"] = record({"kind": text(8), "parts": array(check_space, most=PARTS)})
_KINDS["Dict"] = record(
    {"kind": text(8), "keys": array(text(200), most=PARTS), "parts": array(check_space, most=PARTS)}
)


def check_can_be_kept(space: gymnasium.Space) -> None:
    """Raises `BadSetting` where a policy for such a space could not be saved and read again."""
    found = space_to_json(space)
    try:
        check_space(found, "")
    except ValueError as error:
        raise BadSetting(f"A policy for {str(space)[:200]} cannot be saved: {error}.") from None


def space_to_json(space: gymnasium.Space) -> dict[str, Any]:
    """A space as plain data; raises `BadSetting` where it is of a kind that is not kept."""
    match space:
        case Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), **_integer_type(space)}
        case Box():
            bounds = {"low": _numbers(space.low), "high": _numbers(space.high)}
            return {"kind": "Box", "shape": list(space.shape), "dtype": np.dtype(space.dtype).name, **bounds}
        case MultiDiscrete():
            entries = {"nvec": space.nvec.ravel().tolist(), "start": space.start.ravel().tolist()}
            return {"kind": "MultiDiscrete", "shape": list(space.shape), **entries, **_integer_type(space)}
        case MultiBinary():
            is_tuple = {"n_is_tuple": True} if space.n == (*space.shape,) and len(space.shape) == 1 else {}
            return {"kind": "MultiBinary", "shape": list(space.shape), **is_tuple}
        case Tuple():
            return {"kind": "Tuple", "parts": [space_to_json(part) for part in space.spaces]}
        case Dict() if all(isinstance(key, str) for key in space.spaces):
            inner = [space_to_json(part) for part in space.spaces.values()]
            return {"kind": "Dict", "keys": list(space.spaces), "parts": inner}
    raise BadSetting(
        f"A policy for {space} cannot be saved; polyak keeps Discrete, Box, MultiDiscrete and MultiBinary spaces, and "
        "Tuple and Dict spaces of them."
    )


def space_from_json(found: dict[str, Any], file_size: int) -> gymnasium.Space:
    """A space that has passed `check_space`; raises `ValueError`, before it allocates, if its file is too small.

    A policy has at least one number for each entry of an observation or an action, so that an honest file is larger.
    """
    if (entries := _entries(found)) > max(SMALL, file_size):
        raise ValueError(f"its file is too small for a space of {entries:,} entries")
    return _made(found)


def _entries(found: dict[str, Any]) -> int:
    """The numbers of a member, or its choices where these are more."""
    if found["kind"] in ("Dict", "Tuple"):
        return sum(map(_entries, found["parts"]))
    shape = (found["n"],) if found["kind"] == "Discrete" else found["shape"]
    return max(math.prod(shape), sum(found.get("nvec", ())))


def _made(found: dict[str, Any]) -> gymnasium.Space:
    kind = found["kind"]
    if kind in ("Dict", "Tuple"):
        inner = [_made(part) for part in found["parts"]]
        if kind == "Tuple":
            return Tuple(inner)
        if not len(set(found["keys"])) == len(found["keys"]) == len(inner):
            raise ValueError("a Dict space has not one key for each of its parts")
        return Dict(OrderedDict(zip(found["keys"], inner, strict=True)))  # else Gymnasium sorts the keys
    dtype = np.dtype(found.get("dtype", "int64"))
    if kind == "Discrete":
        return Discrete(found["n"], start=found["start"], dtype=dtype.type)
    shape = tuple(found["shape"])
    if kind == "MultiBinary":
        return MultiBinary(shape if len(shape) > 1 or "n_is_tuple" in found else shape[0])
    if kind == "MultiDiscrete":
        nvec, start = (np.array(found[name], dtype).reshape(shape) for name in ("nvec", "start"))
        return MultiDiscrete(nvec, dtype=dtype.type, start=start)
    with np.errstate(all="raise"):
        low, high = (_bound(found[end], shape, dtype) for end in ("low", "high"))
    return Box(low, high, shape, dtype.type)


def _integer_type(space: Discrete | MultiDiscrete) -> dict[str, str]:
    """The type of its members, where it is not Gymnasium's default."""
    return {} if space.dtype == np.int64 else {"dtype": np.dtype(space.dtype).name}


def _numbers(bound: np.ndarray) -> list[str]:
    """One number if all are equal, else all of them; as text, because JSON has no infinity."""
    values = bound.ravel()
    return [repr(value.item()) for value in (values[:1] if (values == values[:1]).all() else values)]


def _bound(numbers: list[str], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    read = float if dtype.kind == "f" else int if dtype.kind in "iu" else ("False", "True").index
    values = np.array([read(number) for number in numbers], dtype)
    if np.isnan(values).any():
        raise ValueError("a bound is not a number")
    return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
