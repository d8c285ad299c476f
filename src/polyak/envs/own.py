"""The environments that are polyak's own, by their ids."""

from collections.abc import Callable

from polyak.envs import bandits
from polyak.envs.base import CompiledEnv
from polyak.envs.bit_flipping import BIT_FLIPPING
from polyak.envs.games import GAMES
from polyak.envs.probes import PROBES
from polyak.envs.sparse import SPARSE

OWN: dict[str, Callable[[], CompiledEnv]] = {**PROBES, **GAMES, **BIT_FLIPPING, **SPARSE, **bandits.ENVS}
