"""Environments that break where, when and how they are told to; light to import, because worker processes do."""

import os
import signal
import time

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

HOWS = ("raise", "kill", "stop", "exit", "hang")


class Broken(gymnasium.Env):
    """Observes the steps of its life; its episodes are cut after three steps and never terminate.

    Args:
        how: raise, kill, stop, exit or hang.
        where: reset (its second), step (the second of its second episode) or close.
        seed: of the first episode of the one environment that breaks; the others work.
    """

    observation_space = Box(0, 1e6, (1,), np.float32)
    action_space = Discrete(5)

    def __init__(self, how: str, where: str, seed: int):
        self.how, self.where, self.seed = how, where, seed
        self.episode, self.life, self.breaks = -1, 0, False

    def reset(self, *, seed=None, options=None):
        self.episode, self.steps = self.episode + 1, 0
        if self.episode == 0:
            self.breaks = seed == self.seed
        self.maybe_break("reset", self.episode == 1)
        return np.array([self.life], np.float32), {}

    def step(self, action):
        self.life, self.steps = self.life + 1, self.steps + 1
        self.maybe_break("step", self.episode == 1 and self.steps == 2)
        return np.array([self.life], np.float32), 1.0, False, self.steps == 3, {}

    def close(self):
        self.maybe_break("close", True)

    def maybe_break(self, where: str, now: bool):
        if self.breaks and where == self.where and now:
            do(self.how)


class Moody(gymnasium.Env):
    """Works for some steps, then raises at every step; or misbehaves as it is told."""

    observation_space = Box(0, 255, (2,), np.uint8)
    action_space = Discrete(2)
    answer = np.zeros(2, np.uint8)

    def __init__(self, works=3):
        self.works = works

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.uint8), {}

    def step(self, action):
        self.works -= 1
        if self.works < 0:
            raise ValueError("too tired")
        return self.answer, 0.0, False, False, {}


class Grows(Moody):
    """Its space is another one after its second reset."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        if self.resets == 2:
            self.observation_space = Box(0, 1, (2,), np.uint8)
        return super().reset()


def do(how: str) -> None:
    """Raises, or does worse."""
    if how == "raise":
        raise ValueError("the motor is too hot")
    if how == "exit":
        os._exit(3)
    if how == "hang":
        time.sleep(600)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[how])
    time.sleep(1)  # a signal to oneself may take a moment to arrive


def is_alive(pid: int) -> bool:
    """Whether there is such a process, be it stopped or a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_gone(pids: list[int], seconds: float = 5.0) -> bool:
    """Whether none of the processes is left after so many seconds at most."""
    until = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(is_alive, pids))
