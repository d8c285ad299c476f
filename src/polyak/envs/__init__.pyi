from . import bandits as bandits
from .bandits import BANDITS as BANDITS, Bandit as Bandit
from .base import CompiledEnv as CompiledEnv, HostEnv as HostEnv
from .games import GAMES as GAMES
from .making import (
    BACKENDS as BACKENDS,
    TWINS as TWINS,
    EnvLike as EnvLike,
    make as make,
    make_judge as make_judge,
    make_original as make_original,
    make_share as make_share,
    own_environment as own_environment,
    split as split,
    without_import as without_import,
)
from .mdp import MDP as MDP
from .one import name_of as name_of
from .probes import PROBES as PROBES
