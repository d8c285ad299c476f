"""EnvPool environments: many at once in C++ threads (Weng et al., 2022), for simulators that are slow in Python."""

import importlib.util
from typing import Any

import numpy as np

from polyak.envs.advice import check_spaces
from polyak.envs.atari import Atari, atari_game
from polyak.envs.base import HostStep, Score, environment_seeds
from polyak.errors import EnvironmentFault, UnknownName
from polyak.spaces import has_parts, in_own_type, storage_type

# Ids that EnvPool steps some three times as fast as Gymnasium and that a test has proved to move alike. No episode of
# theirs can be kept in a checkpoint either way, so nothing is lost where it is preferred.
TWINS = ("BipedalWalker-v3",)


def make(id: str, num_envs: int) -> "EnvPoolVector":
    """A pool of environments, or of Atari games, whose ids say more than EnvPool's; see `polyak.envs.atari`.

    Raises:
        UnknownName: EnvPool has no such environment.
        EnvironmentFault: EnvPool is not installed.
    """
    atari = atari_game(id)
    if not is_installed():
        extra = "atari" if atari else "pool"
        raise EnvironmentFault(f"EnvPool is not installed; `pip install polyak[{extra}]` brings it.")
    if not atari:
        return EnvPoolVector(id, id, num_envs, {})
    own_id = "".join(part.capitalize() for part in atari.rom.split("_")) + "-v5"
    return EnvPoolVector(id, own_id, num_envs, _options(atari), keeps_score=True)


def is_installed() -> bool:
    """Whether EnvPool is installed."""
    return importlib.util.find_spec("envpool") is not None


def _options(atari: Atari) -> dict[str, Any]:
    return {
        "repeat_action_probability": atari.sticky,
        "episodic_life": atari.life_loss,
        "noop_max": atari.noops,
        "use_fire_reset": atari.fire,
        "reward_clip": atari.clip,
        "full_action_space": atari.full_actions,
        "max_episode_steps": atari.limit,
    }


class EnvPoolVector:
    """A pool of B environments; see `HostEnv`.

    EnvPool by itself begins the next episode one step late. Here the environments whose episodes are over make that
    step at once and alone, so that it enters no block. (Its `reset` would begin a new game where only a life was lost.)

    Args:
        id: how the user calls it.
        own_id: how EnvPool does.
        num_envs: B.
        options: for EnvPool.
        keeps_score: whether EnvPool tells in `info` what a step scored and whether the whole game is over.
    """

    def __init__(self, id: str, own_id: str, num_envs: int, options: dict[str, Any], *, keeps_score: bool = False):
        import envpool

        known = envpool.list_all_envs()
        if own_id not in known:
            raise UnknownName("EnvPool environment", own_id, known)
        self.id = id
        self.num_envs = num_envs
        self.faults: list[str] = []  # EnvPool's own are all that can be
        self._keeps_score = keeps_score
        self._make = lambda seed: envpool.make(
            own_id,
            env_type="gymnasium",
            num_envs=num_envs,
            # one each: of a single number EnvPool makes consecutive ones, so that neighbouring runs would share most
            seed=[word % 2**31 for word in environment_seeds(seed, num_envs)],
            **options,
        )
        spec = envpool.make_spec(own_id, **options)
        self.observation_space = spec.gymnasium_observation_space
        self.action_space = spec.gymnasium_action_space
        if has_parts(self.observation_space) or has_parts(self.action_space):
            raise EnvironmentFault(
                f"EnvPool's {own_id} has spaces of several parts, which polyak takes from Gymnasium only."
            )
        check_spaces(id, self.observation_space, self.action_space)
        self.max_episode_steps = spec.config.max_episode_steps
        self._dtype = storage_type(self.observation_space)
        self._in_own_type = in_own_type(self.action_space)
        self._pool: Any = None  # made when it is reset, because EnvPool takes a seed only then
        self._seed, self._steps = 0, 0

    def reset(self, seed: int | None = None) -> np.ndarray:
        if seed is not None or self._pool is None:
            self._seed = seed or 0
            self.close()
            self._pool = self._make(self._seed)
        return self._cast(self._pool.reset()[0])

    def step(self, action: np.ndarray) -> HostStep:
        self._steps += 1
        next_obs, reward, terminated, truncated, info = self._pool.step(self._in_own_type(action))
        next_obs = obs = self._cast(next_obs)
        score = None
        if self._keeps_score:
            score = Score(info["reward"].copy(), truncated | info["terminated"].astype(bool))
        over = np.flatnonzero(terminated | truncated)
        if over.size:
            obs = next_obs.copy()
            obs[over] = self._pool.step(self._in_own_type(action[over]), over)[0]
        return HostStep(next_obs, obs, reward.astype(np.float32), terminated, truncated, score)

    def snapshot(self) -> dict[str, Any]:
        """The number of steps made: of a pool nothing else can be kept, and after it all episodes are new.

        It has the form of Gymnasium's vectors, which may go on in its place where EnvPool is not installed: none of
        their episodes has a higher number than the steps that were made.
        """
        return {"places": [{"episode": self._steps, "seed": self._seed, "steps": 0}] * self.num_envs}

    def restore(self, found: dict[str, Any], obs: np.ndarray) -> np.ndarray:
        self._steps = max(place["episode"] for place in found["places"])
        seed, *_ = environment_seeds(self._seed + self._steps, 1)
        obs[:] = self.reset(seed)
        return np.ones(self.num_envs, bool)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def _cast(self, obs: np.ndarray) -> np.ndarray:
        return np.array(obs, self._dtype)  # a copy: EnvPool writes the next step into the same memory
