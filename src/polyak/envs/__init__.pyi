from .base import CompiledEnv as CompiledEnv, HostEnv as HostEnv
from .from_gymnasium import name_of as name_of
from .making import (
    BACKENDS as BACKENDS,
    GAMES as GAMES,
    PROBES as PROBES,
    TWINS as TWINS,
    EnvLike as EnvLike,
    make as make,
    make_original as make_original,
    split as split,
    without_import as without_import,
)
from .mdp import MDP as MDP
