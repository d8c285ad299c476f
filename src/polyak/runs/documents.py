"""JSON that somebody else may have written: limited in size, read strictly, and checked field by field before use.

Python's `json` does the reading, because it can be told to refuse a key that occurs twice (msgspec keeps the last one
without a word). A few functions describe a document:

    record({"steps": whole(1, 10**15), "env": text(200), "returns": mapping(seed, array(number))})
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from polyak.errors import BadSetting
from polyak.runs.files import read_limited

DIGITS = 40  # of a whole number: the state of a random generator has 128 bits

Check = Callable[
    [Any, str], None
]  # value, its place in the document; raises ValueError where the value is not as wanted


def checks_of(kind: type) -> dict[str, Check]:
    """By name the checks of fields that are annotated with them, as in `steps: Annotated[int, whole(1, 10**15)]`."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(kind, include_extras=True).items()}


def check_arguments(checks: Mapping[str, Check], given: Mapping[str, Any], of: str = "") -> None:
    """Raises `BadSetting` for an argument that its check refuses; `of` says what takes it."""
    for name, value in given.items():
        try:
            checks[name](value, f"{of}{name}={value!r:.80}")
        except ValueError as error:
            raise BadSetting(f"{error}.") from None


def read_json(path: Path, schema: Check, limit: int) -> Any:
    """Reads and checks a JSON file.

    Args:
        path: the file.
        schema: what it must look like.
        limit: bytes that it may have; a larger one is not read at all.

    Raises:
        OSError: it is missing, too large, or no regular file.
        ValueError: it is not strict JSON, or not what the schema asks for; the message says where.
    """
    return parse_json(read_limited(path, limit), schema)


def parse_json(text: bytes | str, schema: Check) -> Any:
    """Reads and checks JSON: UTF-8, no key twice in one object, no NaN; raises `ValueError`.

    `Infinity` is read, because a hyperparameter may be infinite; `number` refuses it.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_int)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    schema(found, "")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("it contains NaN")
    return float(name)


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def _wrong(place: str, wanted: str) -> ValueError:
    return ValueError(f"{place or 'the whole'} is not {wanted}")


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, closed: bool = True) -> Check:
    """An object with these fields; where it is not `closed`, others are allowed and ignored."""
    known = {**required, **(optional or {})}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "an object")
        if missing := [name for name in required if name not in value]:
            raise ValueError(f"{place + '.' if place else ''}{missing[0]} is missing")
        if closed and (odd := [name for name in value if name not in known]):
            raise ValueError(f"{place + '.' if place else ''}{odd[0][:40]!r} is not known")
        for name, inner in known.items():
            if name in value:
                inner(value[name], f"{place}.{name}" if place else name)

    return check


def mapping(key: Check, inner: Check) -> Check:
    """An object with any keys that `key` accepts."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "an object")
        for name, entry in value.items():
            key(name, f"the key {name[:40]!r} of {place or 'the whole'}")
            inner(entry, f"{place}[{name[:40]!r}]")

    return check


def array(inner: Check, least: int = 0, most: int = 10**6) -> Check:
    """A list of `least` to `most` values."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _wrong(place, f"a list of {least:,} to {most:,} values")
        for i, entry in enumerate(value):
            inner(entry, f"{place}[{i}]")

    return check


def whole(low: int, high: int) -> Check:
    """A whole number from `low` to `high`; true and false are none."""

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(place, f"a whole number from {low} to {high}")

    return check


def number(value: Any, place: str) -> None:
    """A finite number."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _wrong(place, "a finite number")


def real(low: float, high: float) -> Check:
    """A number from `low` to `high`."""

    def check(value: Any, place: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high:
            raise _wrong(place, f"a number from {low:g} to {high:g}")

    return check


def boolean(value: Any, place: str) -> None:
    """True or false."""
    if type(value) is not bool:
        raise _wrong(place, "true or false")


def text(most: int) -> Check:
    """At most so many characters, all of them printable: none moves a terminal's cursor or begins a new line."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or len(value) > most or not value.isprintable():
            raise _wrong(place, f"a text of at most {most:,} printable characters")

    return check


def one_of(values: Collection[Any]) -> Check:
    """One of a few values, of the same type too: true is not 1."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            raise _wrong(place, " or ".join(map(repr, values)))

    return check


def maybe(inner: Check) -> Check:
    """The same or null."""

    def check(value: Any, place: str) -> None:
        if value is not None:
            inner(value, place)

    return check


def setting(value: Any, place: str) -> None:
    """The value of a hyperparameter as `settings.describe` writes it; `settings.build` checks whether it can work."""
    if value is None or type(value) in (bool, int, float):
        return
    text(2**21)(value, place)
