"""Parts on one line, `epsilon:0.1` or `tiles:8:8`, for the command line, presets and run folders.

Such a part is a frozen dataclass with a `name`, whose fields are whole numbers, numbers, or numbers or None. The last
of them may be True or False, and is written as its name where it is True.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from polyak.errors import BadSetting, UnknownName

DIGITS = 20  # that a whole number may have


def number_text(number: float) -> str:
    """The shortest text that is read back as the same number: `0.1`, `1`, `1e16`."""
    return repr(float(number)).removesuffix(".0").replace("e+", "e")


def quoted(text: str) -> str:
    """The text for an error's sentence, shortened to 100 characters."""
    return repr(text if len(text) <= 100 else f"{text[:97]}...")


def whole_number(text: str) -> int:
    """Reads up to `DIGITS` digits; raises `ValueError` for anything else."""
    if not text.isdecimal() or len(text) > DIGITS:
        raise ValueError
    return int(text)


def part_text(part: Any) -> str:
    """`epsilon:0.1`, `tiles:8:8`, `noise:1.0:none:1.0`: the name and the numbers, in order; `default` for None.

    From a None or False on, defaults are left out. Checkpoints are compared by these texts, so a form that changes
    would keep old runs from being resumed.
    """
    if part is None:
        return "default"
    fields, hints = dataclasses.fields(part), typing.get_type_hints(type(part))
    numbers, defaults = [getattr(part, field.name) for field in fields], [field.default for field in fields]
    end = next(
        (i for i, one in enumerate(numbers) if (one is None or one is False) and numbers[i:] == defaults[i:]), None
    )
    texts = [_text(number, field.name, hints[field.name]) for field, number in zip(fields, numbers, strict=True)]
    return ":".join([part.name, *texts[:end]])


def part_from_text(what: str, kinds: Mapping[str, Any], text: str) -> Any:
    """Reads what `part_text` writes of one of `kinds`; numbers that are left out at the end have their defaults.

    Raises:
        UnknownName: the name is none of theirs.
        BadSetting: the numbers are not those of that kind.
    """
    name, *numbers = text.split(":")
    if name not in kinds:
        raise UnknownName(what, name, kinds)
    hints = typing.get_type_hints(kinds[name])
    fields = [field.name for field in dataclasses.fields(kinds[name])]
    try:
        values = [_number(number, field, hints[field]) for number, field in zip(numbers, fields, strict=False)]
    except ValueError:
        values = []
    if len(values) < len(numbers):
        raise BadSetting(f"The {what} must be of the form {':'.join([name, *fields])}, not {quoted(text)}.")
    return kinds[name](*values)


def _text(number: Any, name: str, hint: Any) -> str:
    if hint is bool:
        return name
    return "none" if number is None else str(number) if hint is int else repr(float(number))


def _number(text: str, name: str, hint: Any) -> float | None:
    if hint is bool:
        if text != name:
            raise ValueError
        return True
    if hint is int:
        return whole_number(text)
    return None if text == "none" and hint == float | None else float(text)
