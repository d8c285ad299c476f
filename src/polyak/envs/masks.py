"""Actions that are not always there: `polyak.MaskActions`, and `masked:Taxi-v4` for an id."""

import inspect
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete, MultiBinary, MultiDiscrete

from polyak.errors import EnvironmentFault
from polyak.spaces import MASK


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
        match env.action_space:
            case Discrete():
                self._size = int(env.action_space.n)
            case MultiDiscrete():
                self._size = int(env.action_space.nvec.sum())
            case _:
                raise EnvironmentFault(f"MaskActions needs Discrete or MultiDiscrete actions, not {env.action_space}.")
        self.observation_space = Dict({"observation": env.observation_space, MASK: MultiBinary(self._size)})
        methods = (getattr(env.unwrapped, name, None) for name in ("action_masks", "action_mask"))
        self._ask = next((method for method in methods if callable(method) and not _asks_for_more(method)), None)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(obs, info, over=False), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._with_mask(obs, info, bool(terminated or truncated)), reward, terminated, truncated, info

    def _with_mask(self, obs: Any, info: dict, over: bool) -> dict[str, Any]:
        given = self._ask() if self._ask else info.get(MASK)
        if given is None:
            raise ValueError(
                f"there is no mask: return one as info[{MASK!r}] from reset and step, or give the environment a method "
                "action_masks()"
            )
        mask = np.concatenate([np.ravel(part) for part in given]) if isinstance(given, tuple) else np.asarray(given)
        if mask.shape != (self._size,):
            raise ValueError(f"the mask has shape {mask.shape}, and there are {self._size} actions")
        mask = (mask != 0).astype(np.int8)
        if not over and not mask.any():
            raise ValueError("the mask rules out every action")
        return {"observation": obs, MASK: mask}


def _asks_for_more(method: Any) -> bool:
    """Whether it has arguments without a default, as Taxi's `action_mask(state)` has."""
    arguments = inspect.signature(method).parameters.values()
    return any(one.default is one.empty and one.kind is not one.VAR_KEYWORD for one in arguments)
