"""`make` finds the fastest faithful version of an environment; one adapter a file.

The names are loaded when first needed: the processes that only step an environment must start fast, without JAX.
"""

from typing import TYPE_CHECKING

from polyak import lazy

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

__getattr__ = lazy.names_of(__name__, _HOMES)
