"""Atari games through ale-py and Gymnasium's own wrappers (Bellemare et al., 2013; Towers et al., 2024).

The observations equal EnvPool's bit for bit, so that what was trained there can be scored and watched here. But for two
moments: the stack of frames begins anew after a lost life, where EnvPool's goes on, and the very last frame of a game
is that of the step before, if the game ends within the four frames of a step.
"""

from typing import Any

import gymnasium
import numpy as np

from polyak.envs.atari import SIZE, SKIP, STACK, Atari
from polyak.errors import EnvironmentFault

FRAMES_PER_SECOND = 60  # of the console
SAME_GAME = {"same_game": True}  # the option of `reset` that goes on after a lost life
NOOP = 0


def make_game(atari: Atari, render_mode: Any = None, *, scored: bool = False) -> gymnasium.Env:
    """One environment, for training, or with `scored` for scores; `rgb_array` draws the screen [210, 160, 3].

    For a score an episode is a whole game and rewards are its own. Where lost lives end episodes while training, the
    next life begins as it does there, with FIRE pressed: nobody could have learnt to press it.

    Raises:
        EnvironmentFault: a package is missing.
    """
    try:
        import ale_py.env
        import cv2  # noqa: F401  what AtariPreprocessing scales frames with
    except ImportError:
        raise EnvironmentFault("ale-py or OpenCV is not installed; `pip install polyak[atari]` brings both.") from None
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # it would greet on standard error
    env: gymnasium.Env = ale_py.env.AtariEnv(
        atari.rom,
        obs_type="grayscale",
        frameskip=1,
        repeat_action_probability=atari.sticky,
        full_action_space=atari.full_actions,
        render_mode=render_mode,
    )
    env = _Beginning(env, atari)
    env = gymnasium.wrappers.AtariPreprocessing(env, noop_max=0, frame_skip=SKIP, screen_size=SIZE)
    return _Game(gymnasium.wrappers.FrameStackObservation(env, STACK), atari, scored)


class _Beginning(gymnasium.Wrapper):
    """The frames before the agent's first action; around the emulator, because these are single frames."""

    def __init__(self, env: gymnasium.Env, atari: Atari):
        super().__init__(env)
        meanings = env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        self._fire = meanings.index("FIRE") if atari.fire and "FIRE" in meanings else NOOP
        self._noops = atari.noops

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        answer = (None, {}) if options == SAME_GAME else self.env.reset(seed=seed)
        count = int(self.unwrapped.np_random.integers(self._noops))
        for action in [NOOP] * count + [self._fire]:
            _, _, terminated, truncated, _ = self.env.step(action)
            if terminated or truncated:
                answer = self.env.reset()
        return answer


class _Game(gymnasium.Wrapper):
    """Lives, the limit of a game, and rewards; `info` tells the points of a step and whether the whole game is over."""

    keeps_score = True

    def __init__(self, env: gymnasium.Env, atari: Atari, scored: bool):
        super().__init__(env)
        self.metadata = {**env.metadata, "render_fps": FRAMES_PER_SECOND // SKIP}
        self.max_episode_steps = atari.limit
        self._life_loss, self._clip, self._scored = atari.life_loss, atari.clip and not scored, scored
        self._ale = env.unwrapped.ale  # type: ignore[attr-defined]
        self._steps, self._lives, self._goes_on = 0, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if not self._goes_on:
            self._steps = 0
        answer = self.env.reset(seed=seed, options=SAME_GAME if self._goes_on else None)
        self._lives, self._goes_on = self._ale.lives(), False
        return answer

    def step(self, action):
        obs, points, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        truncated = truncated or self._steps >= self.max_episode_steps
        over = terminated or truncated
        lives = self._ale.lives()
        if self._life_loss and lives < self._lives and not over:
            if self._scored:
                obs, _ = self.env.reset(options=SAME_GAME)
            else:
                self._goes_on = terminated = True
        self._lives = lives
        reward = np.sign(float(points)) if self._clip else float(points)
        return obs, reward, terminated, truncated, info | {"points": points, "game_over": over}
