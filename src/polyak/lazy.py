"""Public names that are imported when one of them is first asked for."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def names_of(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A module's `__getattr__`.

    Args:
        package: the module's own name.
        homes: by module, the names that live there.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home_of[name]), name)
        setattr(sys.modules[package], name, value)  # so that this is not asked twice
        return value

    return find
