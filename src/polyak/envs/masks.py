"""Actions that are not always there: `polyak.MaskActions`, and `masked:Taxi-v4` for an id."""

import inspect
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, MultiBinary

from polyak.errors import EnvironmentFault
from polyak.spaces import MASK, choices


class MaskActions(gymnasium.Wrapper):
    """Puts the mask that an environment gives beside its observations, where agents read it.

    Observations become a Dict with the parts `observation` and `action_mask`: 1 for each action that there is, in the
    order of the action space; of a MultiDiscrete space one choice after the other. An environment gives its mask as
    `info["action_mask"]`, from `reset` and `step` alike, as Gymnasium's Taxi does; or by a method without arguments,
    `action_masks()` or `action_mask()`, as sb3-contrib asks for it. If it has both, the method is asked.

    Args:
        env: the environment, with Discrete or MultiDiscrete actions.

    Raises:
        EnvironmentFault: actions are of another kind.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        counts = choices(env.action_space)
        if counts is None:
            raise EnvironmentFault(f"MaskActions needs Discrete or MultiDiscrete actions, not {env.action_space}.")
        self._size = sum(counts)
        self.observation_space = Dict({"observation": env.observation_space, MASK: MultiBinary(self._size)})
        methods = (_attribute(env, name) for name in ("action_masks", "action_mask"))
        self._ask = next((method for method in methods if callable(method) and not _asks_for_more(method)), None)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(obs, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._with_mask(obs, info), reward, terminated, truncated, info

    def _with_mask(self, obs: Any, info: dict) -> dict[str, Any]:
        given = self._ask() if self._ask else info.get(MASK)
        if given is None:
            raise ValueError(
                f"there is no mask: return one as info[{MASK!r}] from reset and step, or give the environment a method "
                "action_masks()"
            )
        mask = np.concatenate([np.ravel(part) for part in given]) if isinstance(given, tuple) else np.asarray(given)
        if mask.shape != (self._size,):
            raise ValueError(f"the mask has shape {mask.shape}, and there are {self._size} actions")
        return {"observation": obs, MASK: (mask != 0).astype(np.int8)}


def _attribute(env: gymnasium.Env, name: str) -> Any:
    """Of an environment or of what it is wrapped in; None where there is none."""
    try:
        return env.get_wrapper_attr(name)
    except AttributeError:
        return None


def _asks_for_more(method: Any) -> bool:
    """Whether it has arguments without a default, as Taxi's `action_mask(state)` has."""
    arguments = inspect.signature(method).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(one.default is one.empty and one.kind not in several for one in arguments)
