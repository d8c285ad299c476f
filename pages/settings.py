"""The hyperparameters of algorithms, as a table for their pages."""

import dataclasses
import inspect
import re
import types
import typing
from typing import Any

from benchmarks.tables import table
from pages.text import cell
from polyak import settings
from polyak.agent import Algorithm
from polyak.parts.ranges import Range
from polyak.presets import Preset

HEAD = ("setting", "what it is", "form and range", "default", "in presets")

FAR = (" and at most 1e+30", " and at most 1e+06", " and at most 2,147,483,647", " and at most 16,777,216")


def settings_table(kind: type[Algorithm], presets: list[Preset]) -> str:
    """Every hyperparameter: form, range, default, the values of the presets that change it, and its sentence."""
    hints = typing.get_type_hints(kind, include_extras=True)
    plain = typing.get_type_hints(kind)
    defaults, source = settings.describe(kind()), inspect.getsource(kind)
    rows = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name, said = field.name, metadata(hints[field.name])
        own = re.findall(rf'^    {name}: .+\n    """(.+)"""$', source, re.MULTILINE)
        shared = [one.documentation for one in said if hasattr(one, "documentation")]
        limits = [text for one in said if isinstance(one, Range) and (text := limit(one))]
        form = f"`{settings.PARTS[plain[name]].shape}`" if plain[name] in settings.PARTS else kinds(plain[name])
        rows.append(
            (
                f"`{name}`",
                cell((own + shared)[0]),
                cell(form) + "".join(f", {text}" for text in limits),
                f"`{shown(defaults[name])}`",
                in_presets(name, presets),
            )
        )
    return table(HEAD, rows)


def limit(range: Range) -> str:
    """The range in words, without ends that no one meets."""
    text = str(range)
    for end in FAR:
        text = text.removesuffix(end)
    return "" if text == "at least -1e+30" else text


def in_presets(name: str, presets: list[Preset]) -> str:
    """The values that presets give a setting, each with the environments."""
    values: dict[str, list[str]] = {}
    for preset in presets:
        if name in preset.settings:
            values.setdefault(shown(preset.settings[name]), []).append(preset.env)
    return "; ".join(f"`{value}` on {', '.join(envs)}" for value, envs in values.items())


def shown(value: Any) -> str:
    """As one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown, value)) if isinstance(value, tuple | list) else str(value)


def kinds(hint: Any) -> str:
    """`float or none`, for a bare type."""
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(map(kinds, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"several of {kinds(typing.get_args(hint)[0])}"
    names = {types.NoneType: "none", bool: "true or false", int: "whole number", float: "number"}
    return names.get(hint) or hint.__name__


def metadata(hint: Any) -> tuple[Any, ...]:
    """All that annotations say, in a hint and in the types that it is made of."""
    own = getattr(hint, "__metadata__", ())
    return own + tuple(one for inner in typing.get_args(hint) for one in metadata(inner))
