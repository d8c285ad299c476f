"""Objects as plain data that JSON can write, and back into fresh objects of the same kind, for `envs.snapshot`.

A value is a JSON scalar, or a JSON object with one of the tags below. What is mutable, so that it matters whether two
places hold the same, stands in the list `objects`, and the value is its place there. An object is its class's name and
its attributes; they are written into the object that the fresh one holds at the same place, past properties and
`__setattr__`. So no class is looked up by its name, and no code runs. What is no data (a function, a module) is taken
from the fresh object, and data cannot take its place.
"""

import base64
import enum
import functools
import inspect
import logging
import math
import random
import re
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

DEEPEST = 60  # containers and objects within each other
LARGEST = 2**28  # bytes of all arrays together
MOST_OBJECTS = 2**20
LONGEST_INTEGER = 2048  # bits; JSON is read with some thousand digits at most

KEPT = (types.ModuleType, np.dtype, logging.Logger, EnvSpec)  # not state: a fresh environment has the same
DTYPE = re.compile(r"[<>|]([biufcmM]\d{1,3}|[SU][1-9]\d{0,5})(\[\w{1,8}\])?")
GENERATORS = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
BIT_GENERATORS = {one.__name__: one for one in GENERATORS}
POSITIONS = {"pos": 624, "buffer_pos": 4}  # in a bit generator's buffer, and the last; NumPy believes what it is given
MISSING = object()


class NotPlain(Exception):
    """An object holds something that is no data."""


def to_data(x: Any) -> dict:
    """The plain data of an object and of all that it holds.

    Raises:
        NotPlain: something in it is no data, or there is too much of it.
    """
    writer = _Writer()
    return {"value": writer.value(x), "objects": writer.objects}


def from_data(data: Any, fresh: Any) -> None:
    """Writes data into a fresh object, after all of them were found to fit.

    Raises:
        Exception: of any kind, where they do not; nothing has then been changed, unless a `set_state` raised it.
    """
    reader = _Reader(data["objects"])
    if reader.value(data["value"], fresh) is not fresh:
        raise ValueError("it is no object")
    for change in reader.changes:
        change()


class _Plain:
    """A class whose objects keep all state in `__dict__`: no slots, no C memory; others are compared with its size."""


class _Writer:
    """Turns values into data."""

    def __init__(self) -> None:
        self.objects: list[dict] = []
        self.places: dict[int, int] = {}  # in `objects`, by id
        self.alive: list[Any] = []  # keeps ids from being given twice
        self.size = 0

    def value(self, x: Any, depth: int = 0) -> Any:
        kind = type(x)
        if x is None or kind is bool or kind is str:
            return x
        if kind is float:
            return x if math.isfinite(x) else {"float": repr(x)}
        if kind is int and x.bit_length() <= LONGEST_INTEGER:
            return x
        if kind is complex:
            return {"complex": [self.value(x.real), self.value(x.imag)]}
        if kind is bytes:
            return {"bytes": self.text(x)}
        if isinstance(x, np.generic):
            return {"scalar": self.text(x.tobytes()), "dtype": _dtype_name(x.dtype)}
        if depth > DEEPEST:
            raise NotPlain
        if kind is tuple:
            return {"tuple": [self.value(item, depth + 1) for item in x]}
        if isinstance(x, tuple) and hasattr(kind, "_fields"):
            return {"tuple": [self.value(item, depth + 1) for item in x], "class": kind.__name__}
        if kind is frozenset:
            return {"frozenset": [self.key(item, depth + 1) for item in x]}
        if isinstance(x, enum.Enum):
            return {"member": x.name, "class": kind.__name__}
        if _is_kept(x):
            return {"keep": kind.__name__}
        return {"at": self.place(x, depth)}

    def key(self, x: Any, depth: int) -> Any:
        code = self.value(x, depth)
        if not _is_value(code):
            raise NotPlain
        return code

    def text(self, data: bytes) -> str:
        self.size += len(data)
        if self.size > LARGEST:
            raise NotPlain
        return base64.b64encode(data).decode()

    def place(self, x: Any, depth: int) -> int:
        if id(x) not in self.places:
            place = self.places[id(x)] = len(self.objects)
            self.alive.append(x)
            self.objects.append({})
            if place >= MOST_OBJECTS:
                raise NotPlain
            self.objects[place] = self.mutable(x, depth + 1)
        return self.places[id(x)]

    def mutable(self, x: Any, depth: int) -> dict:
        if type(x) is np.ndarray:
            return self.array(x, depth)
        if type(x) is list:
            return {"list": [self.value(item, depth) for item in x]}
        if type(x) is dict:
            return {"dict": [[self.key(key, depth), self.value(item, depth)] for key, item in x.items()]}
        if type(x) is set:
            return {"set": [self.key(item, depth) for item in x]}
        if type(x) is deque:
            return {"deque": [self.value(item, depth) for item in x], "maxlen": x.maxlen}
        if type(x) is np.random.Generator:
            return {"Generator": self.value(x.bit_generator.state, depth)}
        if type(x) is np.random.RandomState:
            return {"RandomState": self.value(x.get_state(legacy=False), depth)}
        if type(x) is random.Random:
            return {"Random": self.value(x.getstate(), depth)}
        return self.attributes(x, depth)

    def attributes(self, x: Any, depth: int) -> dict:
        before = len(self.objects), self.size
        try:
            if not _is_ordinary(x):
                raise NotPlain
            state = {name: self.value(item, depth) for name, item in vars(x).items() if not _is_bound(x, item)}
            return {"object": type(x).__name__, "state": state}
        except NotPlain:
            if not _keeps_its_own(x):
                raise
            del self.objects[before[0] :], self.alive[before[0] :]
            self.places = {key: place for key, place in self.places.items() if place < before[0]}
            self.size = before[1]
            return {"own": type(x).__name__, "state": self.value(x.get_state(), depth)}

    def array(self, x: np.ndarray, depth: int) -> dict:
        layout = {"dtype": _dtype_name(x.dtype), "shape": list(x.shape)}
        owner = x
        while type(owner.base) is np.ndarray:
            owner = owner.base
        if owner is not x and 0 < x.nbytes <= owner.nbytes and owner.flags.forc and DTYPE.fullmatch(owner.dtype.str):
            offset = x.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
            return {"view": self.value(owner, depth), **layout, "strides": list(x.strides), "offset": offset}
        order: Any = "F" if x.flags.fnc else "C"  # sums of floats depend on it
        return {"array": self.text(x.tobytes(order)), **layout, "order": order}


class _Reader:
    """Turns data into values. `fresh` is what the fresh environment holds at the same place."""

    def __init__(self, objects: list):
        self.objects = objects
        self.made: dict[int, Any] = {}
        self.changes: list[Callable[[], Any]] = []  # to be made when all has been read

    def value(self, data: Any, fresh: Any = MISSING, depth: int = 0) -> Any:
        if data is None or isinstance(data, bool | int | float | str):
            return data
        if depth > DEEPEST:
            raise ValueError(f"it is more than {DEEPEST} levels deep")
        match data:
            case {"at": int(place)}:
                return self.made[place] if place in self.made else self.mutable(place, fresh, depth + 1)
            case {"tuple": list(items), **more}:
                values = (self.value(item, _item(fresh, k), depth + 1) for k, item in enumerate(items))
                if not more:
                    return tuple(values)
                kind = _class_of(fresh, more["class"], tuple)
                if len(getattr(kind, "_fields", ())) != len(items):
                    raise ValueError(f"{kind.__name__} has other fields")
                return tuple.__new__(kind, values)
            case {"frozenset": list(items)}:
                return frozenset(self.key(item, depth + 1) for item in items)
            case {"float": "nan" | "inf" | "-inf" as text}:
                return float(text)
            case {"complex": [real, imag]}:
                return complex(self.value(real), self.value(imag))
            case {"bytes": str(text)}:
                return base64.b64decode(text, validate=True)
            case {"scalar": str(text), "dtype": name}:
                return np.frombuffer(base64.b64decode(text, validate=True), _dtype(name), count=1)[0]
            case {"member": str(name), "class": kind_name}:
                return _class_of(fresh, kind_name, enum.Enum).__members__[name]
            case {"keep": kind_name}:
                _class_of(fresh, kind_name, object)
                return fresh
        raise ValueError(f"it holds {str(data)[:60]!r}")

    def key(self, data: Any, depth: int, fresh: Any = MISSING) -> Any:
        if not _is_value(data):
            raise ValueError("a key is not plain")
        return self.value(data, fresh, depth)

    def mutable(self, place: int, fresh: Any, depth: int) -> Any:
        if not 0 <= place < len(self.objects) <= MOST_OBJECTS:
            raise ValueError(f"it has no object {place}")
        made: Any
        match self.objects[place]:
            case {"list": list(items)}:
                made = self.made[place] = []
                made.extend(self.value(item, _item(fresh, k), depth) for k, item in enumerate(items))
            case {"deque": list(items), "maxlen": None | int() as maxlen}:
                made = self.made[place] = deque(maxlen=maxlen)
                made.extend(self.value(item, _item(fresh, k), depth) for k, item in enumerate(items))
            case {"dict": list(pairs)}:
                made = self.made[place] = {}
                held = fresh if type(fresh) is dict else {}
                for k, (key_data, item) in enumerate(pairs):
                    key = self.key(key_data, depth, _item(list(held), k) if isinstance(key_data, dict) else MISSING)
                    made[key] = self.value(item, held.get(key, MISSING), depth)
            case {"set": list(items)}:
                made = {self.key(item, depth) for item in items}
            case {"array": str(text), "dtype": name, "shape": list(shape), "order": "C" | "F" as order}:
                memory, dtype = base64.b64decode(text, validate=True), _dtype(name)
                if _extent(shape, dtype) != len(memory):
                    raise ValueError("an array has another size than its data")
                made = np.ndarray(tuple(shape), dtype, memory, order=order).copy(order)
            case {"view": owner, "dtype": name, "shape": list(shape), "strides": list(strides), "offset": int(offset)}:
                owner, dtype = self.value(owner, MISSING, depth), _dtype(name)
                if type(owner) is not np.ndarray or _extent(shape, dtype) > owner.nbytes:
                    raise ValueError("a view is larger than its array")
                ends = [(length - 1) * int(stride) for length, stride in zip(shape, strides, strict=True)]
                first = offset + sum(min(0, end) for end in ends)
                if first < 0 or offset + sum(max(0, end) for end in ends) + dtype.itemsize > owner.nbytes:
                    raise ValueError("a view goes beyond its array")  # NumPy's own check can overflow
                made = np.ndarray(tuple(shape), dtype, owner.reshape(-1, order="A"), offset, tuple(strides))
            case {"Generator": state}:
                state = _checked(self.value(state, MISSING, depth))
                made = np.random.Generator(BIT_GENERATORS[state["bit_generator"]](0))
                made.bit_generator.state = state
            case {"RandomState": state}:
                made = np.random.RandomState(0)
                made.set_state(_checked(self.value(state, MISSING, depth)))
            case {"Random": state}:
                made = random.Random(0)
                made.setstate(self.value(state, MISSING, depth))
            case {"object": kind_name, "state": dict(state)}:
                _class_of(fresh, kind_name, object)
                if not _is_ordinary(fresh):
                    raise ValueError(f"{kind_name} is no ordinary object")
                made = self.made[place] = fresh
                for name, item in state.items():
                    _check_name(fresh, name)
                    held = vars(fresh).get(name, MISSING)
                    value = self.value(item, held, depth)
                    if _is_kept(held) and value is not held:
                        raise ValueError(f"{kind_name}.{name} is no data")
                    self.changes.append(functools.partial(vars(fresh).__setitem__, name, value))
            case {"own": kind_name, "state": state}:
                _class_of(fresh, kind_name, object)
                if not _keeps_its_own(fresh):
                    raise ValueError(f"{kind_name} has no set_state")
                made = self.made[place] = fresh
                self.changes.append(functools.partial(fresh.set_state, self.value(state, MISSING, depth)))
            case other:
                raise ValueError(f"it holds {str(other)[:60]!r}")
        self.made[place] = made
        return made


def _is_ordinary(x: Any) -> bool:
    """Whether all that an object knows is in its `__dict__`."""
    size = type(x).__basicsize__, type(x).__itemsize__
    return hasattr(x, "__dict__") and size == (_Plain.__basicsize__, 0) and not isinstance(x, KEPT)


def _is_kept(x: Any) -> bool:
    """Whether it is taken from the fresh environment: functions, classes, modules."""
    return x is not MISSING and (isinstance(x, KEPT) or (callable(x) and not _is_ordinary(x)))


def _keeps_its_own(x: Any) -> bool:
    """Whether an object offers its state as data."""
    methods = (getattr(x, name, None) for name in ("get_state", "set_state"))
    return _is_ordinary(x) and all(map(callable, methods))


def _is_bound(x: Any, attribute: Any) -> bool:
    """Whether it is the bound of a space, which is large and does not change."""
    return isinstance(x, gymnasium.Space) and isinstance(attribute, np.ndarray)


def _is_value(code: Any) -> bool:
    """Whether data stand for something that has no identity, and so can be a key."""
    if not isinstance(code, dict):
        return True
    return "at" not in code and "keep" not in code and all(map(_is_value, code.get("tuple", ())))


def _item(fresh: Any, k: int) -> Any:
    return fresh[k] if isinstance(fresh, list | tuple | deque) and k < len(fresh) else MISSING


def _class_of(fresh: Any, name: Any, base: type) -> Any:
    """The class of what the fresh environment holds, if that is its name."""
    kind = type(fresh)
    if fresh is MISSING or kind.__name__ != name or not issubclass(kind, base):
        has = "nothing" if fresh is MISSING else kind.__name__
        raise ValueError(f"it holds {str(name)[:60]!r} where the environment has {has}")
    return kind


def _check_name(target: Any, name: str) -> None:
    hidden = not name.isidentifier() or name.startswith("__")
    if name not in vars(target) and (hidden or callable(inspect.getattr_static(type(target), name, None))):
        raise ValueError(f"{type(target).__name__} has no attribute {name[:60]!r}")


def _dtype_name(dtype: np.dtype) -> str:
    if not DTYPE.fullmatch(dtype.str):
        raise NotPlain
    return dtype.str


def _dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or not DTYPE.fullmatch(name):
        raise ValueError(f"{str(name)[:60]!r} is no type of numbers")
    return np.dtype(name)


def _extent(shape: list, dtype: np.dtype) -> int:
    """Bytes of an array."""
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"it holds the shape {str(shape)[:60]}")
    return math.prod(shape) * dtype.itemsize


def _checked(state: dict) -> dict:
    """The state of a bit generator whose place in its buffer is one."""
    inner = state["state"]
    for name, last in POSITIONS.items():
        for part in (state, inner):
            if name in part and not (type(part[name]) is int and 0 <= part[name] <= last):
                raise ValueError(f"a random generator has the {name} {str(part[name])[:60]}")
    return state
