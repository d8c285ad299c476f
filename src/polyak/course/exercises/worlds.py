"""Chapter 1: the discounted return, the target at an end and at a time limit, and the loop."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from polyak.course.checking import Exercise, Mistake


def discounted_return(rewards: list[float], gamma: float) -> float:
    g = 0.0
    for reward in reversed(rewards):
        g = reward + gamma * g
    return g


def target(reward: float, terminated: bool, truncated: bool, next_value: float, gamma: float) -> float:
    return reward + gamma * (1 - terminated) * next_value


def play(env: Any, policy: Callable[[int], int], seed: int) -> tuple[float, bool]:
    observation, _ = env.reset(seed=seed)
    total = 0.0
    while True:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total += reward
        if terminated or truncated:
            return total, terminated


class Row:
    """A row of cells, walked to the right: it ends at its last cell, or is cut by a clock. Its reward is the cell."""

    def __init__(self, length: int, limit: int):
        self.length, self.limit = length, limit
        self.over = True

    def __repr__(self) -> str:
        return f"a row of {self.length} cells, cut after {self.limit} steps"

    def reset(self, seed: int | None = None) -> tuple[int, dict]:
        self.place, self.clock, self.over = (seed or 0) % 2, 0, False
        return self.place, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        if self.over:
            raise RuntimeError("step was called after the episode was over")
        self.place, self.clock = max(0, self.place + action), self.clock + 1
        terminated, truncated = self.place >= self.length, self.clock >= self.limit
        self.over = terminated or truncated
        return self.place, float(self.place), terminated, truncated, {}


def forward(observation: int) -> int:
    return 1


def to_and_fro(observation: int) -> int:
    return 1 if observation < 2 else -1


def _rewards(rng: np.random.Generator) -> Iterator[tuple]:
    yield [1.0, 2.0, 4.0], 0.5
    yield [3.0], 0.9
    for _ in range(10):
        yield rng.normal(size=rng.integers(2, 12)).tolist(), float(rng.uniform(0, 1))


def _steps(rng: np.random.Generator) -> Iterator[tuple]:
    for terminated, truncated in [(False, False), (True, False), (False, True), (True, True)] * 3:
        reward, value = rng.normal(size=2)
        yield float(reward), terminated, truncated, float(value), 0.9


def _episodes(rng: np.random.Generator) -> Iterator[tuple]:
    yield Row(3, 10), forward, 0
    yield Row(3, 10), forward, 1
    yield Row(8, 5), forward, 0
    yield Row(5, 12), to_and_fro, 1


def _without_last_reward(env: Any, policy: Callable[[int], int], seed: int) -> tuple[float, bool]:
    observation, _ = env.reset(seed=seed)
    total = 0.0
    while True:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        if terminated or truncated:
            return total, terminated
        total += reward


EXERCISES = {
    "1.1": Exercise(
        discounted_return,
        _rewards,
        (
            Mistake(
                lambda rewards, gamma: sum(rewards),
                "it adds the rewards without a discount; each later one counts gamma times less.",
            ),
            Mistake(
                lambda rewards, gamma: gamma * discounted_return(rewards, gamma),
                "it discounts the first reward too, which counts in full.",
            ),
            Mistake(
                lambda rewards, gamma: discounted_return(rewards[::-1], gamma),
                "it goes from the first reward to the last; begin at the last one.",
            ),
        ),
    ),
    "1.2": Exercise(
        target,
        _steps,
        (
            Mistake(
                lambda reward, terminated, truncated, next_value, gamma: reward + gamma * next_value,
                "it counts the next state even where the episode terminated, and nothing follows there.",
            ),
            Mistake(
                lambda reward, terminated, truncated, next_value, gamma: (
                    reward + gamma * (not (terminated or truncated)) * next_value
                ),
                "it forgets the next state where only the clock stopped; that state keeps its value.",
            ),
        ),
    ),
    "1.3": Exercise(
        play,
        _episodes,
        (
            Mistake(_without_last_reward, "it leaves out the reward of the last step."),
            Mistake(
                lambda env, policy, seed: (play(env, policy, seed)[0], True),
                "it says of every episode that it terminated; one that the clock cut did not.",
            ),
        ),
    ),
}
