"""What layers and networks are: Equinox modules that may be sent to other processes."""

import dataclasses
from typing import Any

import equinox as eqx


class Weights(eqx.Module):
    """A tree of arrays that is called; its fields are declared as in a dataclass.

    Equinox (0.13.8) keeps every module whose `__new__` was called until its `__init__` has returned. Unpickling calls
    no `__init__`, so each module that came from another process would be kept for ever: that of a gradient, some 50 kB
    an update in a run on Ray. Here unpickling makes modules as `jax.tree.unflatten` does, without either.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


def _made(kind: type, fields: dict[str, Any]) -> Any:
    """A module with these fields."""
    module: Any = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(module, name, value)
    return module
