"""`make` finds the fastest faithful version of an environment; one adapter a file.

The names are loaded when first needed: the processes that only step an environment must start fast, without JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyak.envs.base import CompiledEnv, HostEnv
    from polyak.envs.from_gymnasium import name_of
    from polyak.envs.making import BACKENDS, GAMES, PROBES, TWINS, EnvLike, make, make_original, split, without_import
    from polyak.envs.mdp import MDP

_HOMES = {
    "polyak.envs.base": ("CompiledEnv", "HostEnv"),
    "polyak.envs.from_gymnasium": ("name_of",),
    "polyak.envs.making": (
        "BACKENDS",
        "GAMES",
        "PROBES",
        "TWINS",
        "EnvLike",
        "make",
        "make_original",
        "split",
        "without_import",
    ),
    "polyak.envs.mdp": ("MDP",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BACKENDS",
    "GAMES",
    "MDP",
    "PROBES",
    "TWINS",
    "CompiledEnv",
    "EnvLike",
    "HostEnv",
    "make",
    "make_original",
    "name_of",
    "split",
    "without_import",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'polyak.envs' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
