"""EnvPool environments: many at once in C++ threads (Weng et al., 2022), for simulators that are slow in Python."""

import importlib.util
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from polyak.envs.advice import check_spaces
from polyak.envs.atari import Atari, atari_game
from polyak.envs.base import HostStep, Score, environment_seeds
from polyak.errors import EnvironmentFault, UnknownName
from polyak.spaces import from_rows, has_parts, in_own_type, parts, storage_type

# Ids that EnvPool steps some three times as fast as Gymnasium and that a test has proved to move alike. No episode of
# theirs can be kept in a checkpoint either way, so nothing is lost where it is preferred.
TWINS = ("BipedalWalker-v3",)
# What EnvPool calls the time limit of episodes that have none, or whose limit each of them finds for itself.
NO_LIMIT = (np.iinfo(np.int32).max, 0)


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


def make_one(id: str) -> "EnvPoolEnv":
    """One environment that only EnvPool has, behind Gymnasium's interface.

    Raises:
        UnknownName: EnvPool has no such environment.
        EnvironmentFault: EnvPool is not installed.
    """
    return EnvPoolEnv(make(id, 1))


def is_installed() -> bool:
    """Whether EnvPool is installed."""
    return importlib.util.find_spec("envpool") is not None


def has(id: str) -> bool:
    """Whether EnvPool is installed and has an environment of that id."""
    if not is_installed():
        return False
    import envpool

    return id in envpool.list_all_envs()


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

    Observations of several parts, as in DeepMind's control suite, become rows; see `polyak.spaces`.

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
        self.observation_space = _without_false_bounds(spec.gymnasium_observation_space)
        self.action_space = spec.gymnasium_action_space
        if has_parts(self.action_space):  # EnvPool 1.2 has none
            raise EnvironmentFault(
                f"EnvPool's {own_id} has actions of several parts, which polyak takes from Gymnasium only."
            )
        check_spaces(id, self.observation_space, self.action_space)
        limit = spec.config.max_episode_steps
        self.max_episode_steps = None if limit in NO_LIMIT else limit
        self._copy = _copier(self.observation_space)
        self._in_own_type = in_own_type(self.action_space)
        self._pool: Any = None  # made when it is reset, because EnvPool takes a seed only then
        self._seed, self._steps = 0, 0

    def reset(self, seed: int | None = None) -> np.ndarray:
        if seed is not None or self._pool is None:
            self._seed = seed or 0
            self.close()
            self._pool = self._make(self._seed)
        return self._copy(self._pool.reset()[0])

    def step(self, action: np.ndarray) -> HostStep:
        self._steps += 1
        next_obs, reward, terminated, truncated, info = self._pool.step(self._in_own_type(action))
        next_obs = obs = self._copy(next_obs)
        score = None
        if self._keeps_score:
            score = Score(info["reward"].copy(), truncated | info["terminated"].astype(bool))
        over = np.flatnonzero(terminated | truncated)
        if over.size:
            obs = next_obs.copy()
            obs[over] = self._copy(self._pool.step(self._in_own_type(action[over]), over)[0])
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


def _without_false_bounds(space: gymnasium.Space) -> gymnasium.Space:
    """The space with infinite bounds where EnvPool (1.2.5) has none.

    There it names C++'s `numeric_limits::min`, the least number above zero, as the lower bound, so that half of all
    observations would lie outside.
    """
    if isinstance(space, gymnasium.spaces.Dict):
        return gymnasium.spaces.Dict([(key, _without_false_bounds(one)) for key, one in space.items()])
    if not isinstance(space, gymnasium.spaces.Box) or np.dtype(space.dtype).kind != "f":
        return space
    info = np.finfo(space.dtype)
    low, high = space.low.copy(), space.high.copy()
    high[(low == info.tiny) & (high == info.max)] = np.inf
    low[low == info.tiny] = -np.inf
    return gymnasium.spaces.Box(low, high, dtype=low.dtype.type)


def _copier(space: gymnasium.Space) -> Callable[[Any], np.ndarray]:
    """The function from a batch of EnvPool's observations to a copy as polyak keeps it.

    It must be a copy, because EnvPool writes the next step into the same memory.
    """
    if not has_parts(space):
        dtype = storage_type(space)
        return lambda obs: np.array(obs, dtype)
    # `to_rows` reads the same, but looks at every number first, for which several times as long is needed
    sources = [(part.path, part.end - part.begin) for part in parts(space)]

    def copy(obs: Any) -> np.ndarray:
        found = []
        for path, size in sources:
            part = obs
            for key in path:
                part = part[key]
            found.append(part.reshape(-1, size))
        return np.concatenate(found, 1, dtype=np.float32)

    return copy


class EnvPoolEnv(gymnasium.Env):
    """A pool of one environment behind Gymnasium's interface, for evaluation and checks; it cannot be drawn.

    EnvPool takes a seed only when a pool is made, so a reset with a seed makes it anew.
    """

    def __init__(self, pool: EnvPoolVector):
        self._pool = pool
        self._is_begun = False
        self.observation_space, self.action_space = pool.observation_space, pool.action_space
        self.max_episode_steps = pool.max_episode_steps
        self._action_type = storage_type(pool.action_space)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        if seed is None and not self._is_begun:
            seed = int(self.np_random.integers(2**31))
        self._is_begun = True
        return self._member(self._pool.reset(seed)[0]), {}

    def step(self, action):
        outcome = self._pool.step(np.asarray(action, self._action_type)[None])
        ends = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        return self._member(outcome.next_obs[0]), float(outcome.reward[0]), *ends, {}

    def close(self) -> None:
        self._pool.close()

    def _member(self, kept: np.ndarray) -> Any:
        space = self.observation_space
        return from_rows(space, kept) if has_parts(space) else kept.astype(space.dtype)
