"""One file an algorithm, grouped as a textbook does; `ALGORITHMS` finds those that train on blocks of steps.

They are listed with all public names in `polyak/__init__.pyi`. An algorithm is named as its module is, with hyphens.
"""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from polyak.agent import Algorithm


class _Registry(Mapping[str, type[Algorithm]]):
    """The classes of algorithms by name; each is imported when it is asked for."""

    def __init__(self) -> None:
        listed = ast.parse((Path(__file__).parents[1] / "__init__.pyi").read_text())
        imports = [node for node in listed.body if isinstance(node, ast.ImportFrom) and node.module]
        groups = {node.module: node.names[0].name for node in imports if f"{node.module}".startswith("algorithms.")}
        self._homes = {
            module.rpartition(".")[2].replace("_", "-"): (f"polyak.{module}", name)
            for module, name in groups.items()
            if module and not module.startswith("algorithms.planning")
        }

    def __getitem__(self, name: str) -> type[Algorithm]:
        module, kind = self._homes[name]
        return getattr(importlib.import_module(module), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


ALGORITHMS: Mapping[str, type[Algorithm]] = _Registry()
