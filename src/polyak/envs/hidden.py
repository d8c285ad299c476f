"""Environments that hide velocities, so that a policy needs memory: `CartPoleNoVel-v1` and others.

The ids are those of RL Baselines3 Zoo; velocities stay in the observation, as zeros.
"""

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from polyak.envs.base import CompiledEnv


class Hidden(NamedTuple):
    """An environment and the velocities hidden in it."""

    of: str
    velocities: tuple[int, ...]  # their places in an observation


HIDDEN = {
    "CartPoleNoVel-v1": Hidden("CartPole-v1", (1, 3)),
    "PendulumNoVel-v1": Hidden("Pendulum-v1", (2,)),
    "LunarLanderNoVel-v3": Hidden("LunarLander-v3", (2, 3, 5)),
}


class HideVelocities(gymnasium.ObservationWrapper):
    """Sets some numbers of every observation to zero."""

    def __init__(self, env: gymnasium.Env, velocities: tuple[int, ...]):
        super().__init__(env)
        self._shown = _shown(env.observation_space, velocities)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation * self._shown


def register() -> None:
    """Makes the ids known to Gymnasium."""
    for id in HIDDEN.keys() - gymnasium.registry.keys():
        limit = gymnasium.spec(HIDDEN[id].of).max_episode_steps
        gymnasium.register(id, entry_point=_Maker(*HIDDEN[id]), max_episode_steps=limit)


class _Maker(NamedTuple):
    of: str
    velocities: tuple[int, ...]

    def __call__(self, **how: Any) -> gymnasium.Env:
        env = gymnasium.make(self.of, disable_env_checker=True, max_episode_steps=-1, **how)
        return HideVelocities(env, self.velocities)


def hide(env: CompiledEnv, id: str) -> CompiledEnv:
    """The compiled environment under its other id, with its velocities hidden."""
    shown = _shown(env.observation_space, HIDDEN[id].velocities)

    def reset(noise):
        state, obs = env.reset(noise)
        return state, obs * shown

    def step(state, action, noise):
        state, obs, *outcome = env.step(state, action, noise)
        return state, obs * shown, *outcome

    return env._replace(id=id, reset=reset, step=step)


def _shown(space: gymnasium.Space, velocities: tuple[int, ...]) -> np.ndarray:
    shown = np.ones(space.shape or (), np.float32)
    shown[list(velocities)] = 0.0
    return shown
