"""Values compared, and put into words."""

from typing import Any

import numpy as np


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays within them included; NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    try:
        left, right = np.asarray(one), np.asarray(other)
        return np.array_equal(left, right, equal_nan=left.dtype.kind == right.dtype.kind == "f")
    except (TypeError, ValueError):
        return bool(one == other)


def short(value: Any) -> str:
    """A value in at most sixty letters and on one line."""
    if isinstance(value, np.ndarray):
        value = np.array2string(value, separator=", ", threshold=30, max_line_width=10_000)
    elif isinstance(value, np.generic):
        value = str(value)  # without its type
    else:
        value = repr(value)
    text = " ".join(value.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def count(number: int, noun: str) -> str:
    """`1 step`, `1,000 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def capital(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]
