"""Gymnasium environments, stepped side by side from Python, with every answer checked.

Gymnasium's own vector classes would do the stepping; this one exists because it names the environment, the step and the
expectation when something is wrong, at no cost in speed (benchmarks/environments.py).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import gymnasium
import numpy as np

from polyak.envs.base import HostStep, environment_seeds
from polyak.envs.probes import PROBES
from polyak.envs.tictactoe import GAMES
from polyak.errors import EnvironmentFault, UnknownName
from polyak.spaces import storage_type


def make_one(env: str | Callable[..., gymnasium.Env], render_mode: str | None = None) -> gymnasium.Env:
    """One Gymnasium environment from its id or from a function that makes it.

    Raises:
        UnknownName: Gymnasium has no such id, nor has a package that is known to register it.
        EnvironmentFault: the environment cannot be made.
    """
    if isinstance(env, str) and env.startswith("MinAtar/"):
        register_minatar()
    try:
        if isinstance(env, str):
            return gymnasium.make(env, render_mode=render_mode, disable_env_checker=True)
        made = env() if render_mode is None else env(render_mode=render_mode)
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvironmentFault(f"{env} needs a package that is not installed: {first_line(error)}") from error
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        known = [*gymnasium.registry, *PROBES, *GAMES]
        raise UnknownName("environment", str(env), known, "see `polyak list envs`.") from error
    except Exception as error:
        raise EnvironmentFault(f"{name_of(env)} could not be made: {describe(error)}") from error
    if not isinstance(made, gymnasium.Env):
        raise EnvironmentFault(f"{name_of(env)} returned {type(made).__name__}; expected a gymnasium.Env.")
    return made


def register_minatar() -> None:
    """Registers the MinAtar ids, which that package leaves to its users."""
    if "MinAtar/Breakout-v1" in gymnasium.registry:
        return
    try:
        import minatar.gym
    except ImportError:
        raise EnvironmentFault("MinAtar is not installed; `pip install polyak[minatar]` brings it.") from None
    minatar.gym.register_envs()


def name_of(env: Any) -> str:
    """How an environment is called in messages and run folders: its id, or the name of the function that makes it."""
    return env if isinstance(env, str) else str(getattr(env, "id", getattr(env, "__name__", type(env).__name__)))


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).splitlines() or [""])[0]


def describe(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero`."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


class GymnasiumVector:
    """B Gymnasium environments, one after the other in this process; see `HostEnv`."""

    def __init__(self, env: str | Callable[[], gymnasium.Env], num_envs: int, name: str | None = None):
        self.id = name or name_of(env)
        self.num_envs = num_envs
        self.envs = [make_one(env) for _ in range(num_envs)]
        first = self.envs[0]
        self.observation_space = first.observation_space
        self.action_space = first.action_space
        own_limit = getattr(first, "max_episode_steps", None)
        self.max_episode_steps = first.spec.max_episode_steps if first.spec else own_limit
        self._discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        self._shape = self.observation_space.shape or ()
        self._dtype = storage_type(self.observation_space)
        self._steps = [0] * num_envs  # taken in the current episode, for messages

    def reset(self, seed: int | None = None) -> np.ndarray:
        return self.begin([None] * self.num_envs if seed is None else environment_seeds(seed, self.num_envs))

    def step(self, action: np.ndarray) -> HostStep:
        outcome, over = self._advance(action, range(self.num_envs))
        if not over:
            return outcome
        obs = outcome.next_obs.copy()
        for i in over:
            self.begin_one(i, obs)
        return outcome._replace(obs=obs)

    def begin(self, seeds: list[int] | list[None]) -> np.ndarray:
        """Begins an episode in each environment, with a seed for each; returns obs [B, ...]."""
        obs = np.empty((self.num_envs, *self._shape), self._dtype)
        for i, seed in enumerate(seeds):
            self.begin_one(i, obs, seed)
        return obs

    def begin_one(self, i: int, obs: np.ndarray, seed: int | None = None) -> None:
        """Begins an episode in environment i and writes its first observation into row i."""
        self._steps[i] = 0
        try:
            answer = self.envs[i].reset(seed=seed)
        except Exception as error:
            self._fault(i, f"reset raised {describe(error)}", "an observation and an info dictionary", error)
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._fault(i, f"reset returned {type(answer).__name__}", "a tuple (observation, info)")
        self._store(i, obs, answer[0])
        if not _all_finite(obs[i]):
            self._fault(i, "reset returned an observation with NaN or infinity in it", "finite numbers")

    def step_some(self, action: np.ndarray, active: np.ndarray) -> HostStep:
        """One step of the environments in `active` [B], without beginning anew; the other rows are zero."""
        return self._advance(action, np.flatnonzero(active).tolist())[0]

    def _advance(self, action: np.ndarray, active: Iterable[int]) -> tuple[HostStep, list[int]]:
        """One step of some environments, and which of their episodes ended or were cut."""
        actions = action.tolist() if self._discrete else action
        next_obs = np.zeros((self.num_envs, *self._shape), self._dtype)
        reward = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        over: list[int] = []
        for i in active:
            self._steps[i] += 1
            try:
                answer: Any = self.envs[i].step(actions[i])
            except Exception as error:
                self._fault(i, f"step raised {describe(error)}", "an observation and a reward", error)
            try:
                seen, paid, ended, cut, _ = answer
                reward[i], terminated[i], truncated[i] = paid + ZERO, FLAGS[ended], FLAGS[cut]
                if ended or cut:
                    over.append(i)
            except (TypeError, ValueError, KeyError) as error:
                self._explain(i, answer, error)
            self._store(i, next_obs, seen)
        if not _all_finite(reward):
            i = int(np.argmin(np.isfinite(reward)))
            self._fault(i, f"step returned the reward {reward[i]}", "a finite number")
        if not _all_finite(next_obs):
            i = int(np.argmin(np.isfinite(next_obs.reshape(self.num_envs, -1)).all(1)))
            self._fault(i, "step returned an observation with NaN or infinity in it", "finite numbers")
        return HostStep(next_obs, next_obs, reward, terminated, truncated), over

    def snapshot(self) -> dict[str, Any]:
        return {}

    def restore(self, snapshot: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        return self.begin([None] * self.num_envs), np.ones(self.num_envs, bool)

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _store(self, i: int, rows: np.ndarray, seen: Any) -> None:
        shape = seen.shape if isinstance(seen, np.ndarray) else np.shape(seen)
        if shape != self._shape:
            self._fault(i, f"the observation has shape {shape}", f"{self._shape}, as in {self.observation_space}")
        try:
            rows[i] = seen
        except (TypeError, ValueError) as error:
            self._fault(i, f"the observation is {seen!r}", f"a member of {self.observation_space}", error)

    def _explain(self, i: int, answer: Any, cause: Exception) -> NoReturn:
        """Finds what is wrong with an answer of `step` that could not be taken in."""
        if not isinstance(answer, tuple) or len(answer) != 5:
            given = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
            self._fault(i, f"step returned {given}", "(observation, reward, terminated, truncated, info)", cause)
        _, reward, terminated, truncated, _ = answer
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, bool | np.bool_):
                self._fault(i, f"step returned {name}={value!r}", "True or False", cause)
        self._fault(i, f"step returned reward={reward!r}", "a number", cause)

    def _fault(self, i: int, what: str, expected: str, cause: Exception | None = None) -> NoReturn:
        where = f"{self.id}, environment {i} of {self.num_envs}, step {self._steps[i]} of its episode"
        raise EnvironmentFault(f"{where}: {what}; expected {expected}.") from cause


def _all_finite(x: np.ndarray) -> bool:
    """Whether float32 numbers are; a sum of squares tells it in one call, unless it overflows."""
    return x.dtype != np.float32 or math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())


FLAGS = {True: True, False: False}  # takes numpy's booleans and 0 and 1 too; None and text are not in it
ZERO = 0.0  # added to a reward, it refuses None and text, which NumPy would take for NaN or read as a number
