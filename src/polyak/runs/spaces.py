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
BOX_TYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()

_ENTRIES, _FAR = 2**40, 2**62
_shape = array(whole(0, _ENTRIES), most=32)
_numbers_as_text = array(text(40), least=1, most=2**24)
_KINDS = {
    "Discrete": record({"kind": text(8), "n": whole(1, _ENTRIES), "start": whole(-_FAR, _FAR)}),
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
        }
    ),
    "MultiBinary": record({"kind": text(16), "shape": _shape}),
}


def check_space(value: Any, place: str) -> None:
    """What a space must look like; a `documents.Check`."""
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
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
        case Box():
            bounds = {"low": _numbers(space.low), "high": _numbers(space.high)}
            return {"kind": "Box", "shape": list(space.shape), "dtype": np.dtype(space.dtype).name, **bounds}
        case MultiDiscrete():
            entries = {"nvec": space.nvec.ravel().tolist(), "start": space.start.ravel().tolist()}
            return {"kind": "MultiDiscrete", "shape": list(space.shape), **entries}
        case MultiBinary():
            return {"kind": "MultiBinary", "shape": list(space.shape)}
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

    What is learnt has at least a number for each entry of what it reads or answers, so that an honest file is larger
    than that.
    """
    if (entries := _entries(found)) > max(SMALL, file_size):
        raise ValueError(f"its file is too small for a space of {entries:,} entries")
    return _made(found)


def _entries(found: dict[str, Any]) -> int:
    """Numbers that a member has; of choices, those that there are."""
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
    if kind == "Discrete":
        return Discrete(found["n"], start=found["start"])
    shape = tuple(found["shape"])
    if kind == "MultiBinary":
        return MultiBinary(shape if len(shape) > 1 else shape[0])
    if kind == "MultiDiscrete":
        nvec, start = (np.array(found[name]).reshape(shape) for name in ("nvec", "start"))
        return MultiDiscrete(nvec, start=start)
    dtype = np.dtype(found["dtype"])
    with np.errstate(all="raise"):
        low, high = (_bound(found[end], shape, dtype) for end in ("low", "high"))
    return Box(low, high, shape, dtype.type)


def _numbers(bound: np.ndarray) -> list[str]:
    """One number if all are equal, else all of them; as text, because JSON has no infinity."""
    values = bound.ravel()
    return [repr(value.item()) for value in (values[:1] if (values == values[0]).all() else values)]


def _bound(numbers: list[str], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    read = float if dtype.kind == "f" else int if dtype.kind in "iu" else ("False", "True").index
    values = np.array([read(number) for number in numbers], dtype)
    if np.isnan(values).any():
        raise ValueError("a bound is not a number")
    return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
