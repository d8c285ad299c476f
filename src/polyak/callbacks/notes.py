"""Callbacks as plain data in `run.json`, so that `resume` uses them again: known names and numbers, no path."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from polyak.callbacks.film import Film
from polyak.callbacks.stopping import StopAtReturn, StopWithoutImprovement, TimeLimit
from polyak.callbacks.tensorboard import TensorBoard
from polyak.errors import BadFile, Error

NOTED: dict[str, type] = {
    "stop-at-return": StopAtReturn,
    "stop-without-improvement": StopWithoutImprovement,
    "time-limit": TimeLimit,
    "film": Film,
    "tensorboard": TensorBoard,
}


def _settings_of(kind: Any) -> list[str]:
    """The names of what a callback is given, but for a folder."""
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def to_notes(callbacks: Iterable[Any]) -> list[dict[str, Any]]:
    """The built-in ones among them; what is yours, or writes outside the run folder, is left out."""
    return [
        {"name": name, **{setting: getattr(callback, setting) for setting in _settings_of(kind)}}
        for callback in callbacks
        for name, kind in NOTED.items()
        if type(callback) is kind and getattr(callback, "folder", None) is None
    ]


def from_notes(found: Any) -> list[Any]:
    """The callbacks that `to_notes` wrote down; raises `BadFile`."""
    try:
        if not isinstance(found, list):
            raise ValueError("it is no list")
        return [_from_note(**note) for note in found]
    except (TypeError, ValueError, KeyError, Error) as error:
        raise BadFile(f"What run.json says of callbacks cannot be used: {' '.join(str(error).split())}") from error


def _from_note(name: str, **settings: Any) -> Any:
    if name not in NOTED:
        raise ValueError(f"there is no callback named {name!r}.")
    if set(settings) != set(known := _settings_of(NOTED[name])):
        raise ValueError(f"{name} takes {', '.join(known) or 'nothing'}, not {', '.join(settings) or 'nothing'}.")
    return NOTED[name](**settings)
