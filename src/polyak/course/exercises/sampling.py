"""Chapter 3: the updates of Monte Carlo and of temporal differences."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def monte_carlo(values: np.ndarray, states: list[int], rewards: list[float], alpha: float, gamma: float) -> np.ndarray:
    values, g = values.copy(), 0.0
    for state, reward in zip(reversed(states), reversed(rewards), strict=True):
        g = reward + gamma * g
        values[state] += alpha * (g - values[state])
    return values


def temporal_difference(
    values: np.ndarray, state: int, reward: float, terminated: bool, next_state: int, alpha: float, gamma: float
) -> np.ndarray:
    values = values.copy()
    error = reward + gamma * (1 - terminated) * values[next_state] - values[state]
    values[state] += alpha * error
    return values


def _episodes(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.zeros(3), [0, 1], [1.0, 2.0], 0.5, 0.5
    for length in (3, 5, 8):
        states = rng.integers(0, 4, length).tolist()
        yield rng.normal(size=4), states, rng.normal(size=length).tolist(), 0.3, 0.9


def _steps(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([0.5, 1.0]), 0, 1.0, False, 1, 0.1, 0.9
    yield np.array([0.5, 1.0]), 0, 1.0, True, 1, 0.1, 0.9
    for terminated in (False, True) * 3:
        state, next_state = rng.integers(0, 4, 2).tolist()
        yield rng.normal(size=4), state, float(rng.normal()), terminated, next_state, 0.2, 0.9


def _undiscounted(values: np.ndarray, states: list, rewards: list, alpha: float, gamma: float) -> np.ndarray:
    return monte_carlo(values, states, rewards, alpha, 1.0)


def _with_rewards(values: np.ndarray, states: list, rewards: list, alpha: float, gamma: float) -> np.ndarray:
    return monte_carlo(values, states, rewards, alpha, 0.0)


def _through_the_end(values, state, reward, terminated, next_state, alpha, gamma):
    return temporal_difference(values, state, reward, False, next_state, alpha, gamma)


def _replaced(values, state, reward, terminated, next_state, alpha, gamma):
    values = values.copy()
    values[state] = alpha * (reward + gamma * (1 - terminated) * values[next_state] - values[state])
    return values


EXERCISES = {
    "3.1": Exercise(
        monte_carlo,
        _episodes,
        (
            Mistake(_undiscounted, "it adds later rewards without a discount."),
            Mistake(_with_rewards, "it moves towards the next reward alone; the return is the sum of all that follow."),
        ),
    ),
    "3.2": Exercise(
        temporal_difference,
        _steps,
        (
            Mistake(_through_the_end, "it bootstraps through the end: where terminated is true, nothing follows."),
            Mistake(_replaced, "it replaces the value by the correction; add the correction to it."),
        ),
    ),
}
