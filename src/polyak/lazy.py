"""Modules that a dependency imports and hardly uses, imported when something in them is first asked for."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def imported_when_used(*modules: str) -> Iterator[None]:
    """Inside, `import` of one of these gives a stand-in that imports it when something in it is first asked for.

    Those that are imported already stay what they are, and who imports one afterwards gets the module itself.
    """
    stand_ins = {name: _StandIn(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for stand_in in stand_ins.values():
            stand_in.leave()


class _StandIn(ModuleType):
    def leave(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)
