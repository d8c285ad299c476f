"""EnvPool environments: many at once in C++ threads (Weng et al., 2022), for simulators that are slow in Python."""

from typing import Any

import numpy as np

from polyak.envs.base import HostStep, environment_seeds
from polyak.errors import EnvironmentFault, UnknownName
from polyak.spaces import storage_type


class EnvPoolVector:
    """A pool of B environments; see `HostEnv`.

    EnvPool by itself resets one step late. Here the environments whose episodes are over are reset at once, by name, so
    that no phantom step enters a block.
    """

    def __init__(self, id: str, num_envs: int):
        try:
            import envpool
        except ImportError:
            raise EnvironmentFault("EnvPool is not installed; `pip install polyak[pool]` brings it.") from None
        known = envpool.list_all_envs()
        if id not in known:
            raise UnknownName("EnvPool environment", id, known)
        self.id = id
        self.num_envs = num_envs
        self.faults: list[str] = []  # EnvPool's own are all that can be
        self._make = lambda seed: envpool.make(id, env_type="gymnasium", num_envs=num_envs, seed=seed)
        self._pool = self._make(0)
        self.observation_space = self._pool.observation_space
        self.action_space = self._pool.action_space
        self.max_episode_steps = self._pool.spec.config.max_episode_steps
        self._dtype = storage_type(self.observation_space)
        self._seed, self._steps = 0, 0

    def reset(self, seed: int | None = None) -> np.ndarray:
        if seed is not None:  # EnvPool takes a seed only when it is made
            self._seed = seed
            self._pool.close()
            self._pool = self._make(seed % 2**31)
        return self._cast(self._pool.reset()[0])

    def step(self, action: np.ndarray) -> HostStep:
        self._steps += 1
        next_obs, reward, terminated, truncated, _ = self._pool.step(action)
        next_obs = obs = self._cast(next_obs)
        over = np.flatnonzero(terminated | truncated)
        if over.size:
            obs = next_obs.copy()
            obs[over] = self._pool.reset(over)[0]
        return HostStep(next_obs, obs, reward.astype(np.float32), terminated, truncated)

    def snapshot(self) -> dict[str, Any]:
        """Nothing of a pool can be kept but how far it has come, so that the episodes to come are new ones."""
        return {"steps": self._steps}

    def restore(self, found: dict[str, Any], obs: np.ndarray) -> np.ndarray:
        self._steps = found["steps"]
        seed, *_ = environment_seeds(self._seed + self._steps, 1)
        obs[:] = self.reset(seed)
        return np.ones(self.num_envs, bool)

    def close(self) -> None:
        self._pool.close()

    def _cast(self, obs: np.ndarray) -> np.ndarray:
        return np.array(obs, self._dtype)  # a copy: EnvPool writes the next step into the same memory
