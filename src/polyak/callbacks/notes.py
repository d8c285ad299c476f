"""Callbacks as plain data in `run.json`, so that `resume` uses them again: known names and numbers, no path."""

from collections.abc import Iterable
from typing import Any

from polyak.callbacks.film import Film
from polyak.callbacks.stopping import StopAtReturn, StopWithoutImprovement, TimeLimit
from polyak.callbacks.tensorboard import TensorBoard
from polyak.errors import BadFile, Error

NOTED: dict[str, tuple[Any, tuple[str, ...]]] = {  # name -> class, and what it is given
    "stop-at-return": (StopAtReturn, ("value", "metric", "consecutive")),
    "stop-without-improvement": (StopWithoutImprovement, ("patience", "min_delta", "metric")),
    "time-limit": (TimeLimit, ("seconds",)),
    "film": (Film, ("every", "episodes")),
    "tensorboard": (TensorBoard, ()),
}


def to_notes(callbacks: Iterable[Any]) -> list[dict[str, Any]]:
    """The built-in ones among them; what is yours, or writes outside the run folder, is left out."""
    return [
        {"name": name, **{field: getattr(callback, field) for field in fields}}
        for callback in callbacks
        for name, (kind, fields) in NOTED.items()
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
    kind, fields = NOTED[name]
    if set(settings) != set(fields):
        raise ValueError(f"{name} takes {', '.join(fields) or 'nothing'}, not {', '.join(settings) or 'nothing'}.")
    return kind(**settings)
