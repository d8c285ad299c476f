"""The environments that are polyak's own, by their ids."""

from collections.abc import Callable
from functools import cache

from polyak.envs import bandits, mdp
from polyak.envs.base import CompiledEnv
from polyak.envs.bit_flipping import BIT_FLIPPING
from polyak.envs.probes import PROBES
from polyak.envs.tictactoe import GAMES

WALKS: dict[str, Callable[[], CompiledEnv]] = {id: cache(lambda id=id: mdp.WALKS[id]().compiled()) for id in mdp.WALKS}
OWN: dict[str, Callable[[], CompiledEnv]] = {**PROBES, **GAMES, **BIT_FLIPPING, **WALKS, **bandits.ENVS}
