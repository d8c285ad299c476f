"""Chapter 4: the error of Q-learning, epsilon-greedy actions, a schedule, and bins."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def td_error(q: np.ndarray, s: int, a: int, reward: float, terminated: bool, s_next: int, gamma: float) -> float:
    return reward + gamma * (1 - terminated) * q[s_next].max() - q[s, a]


def epsilon_greedy(q_row: np.ndarray, epsilon: float, coin: float, any_action: int) -> int:
    return any_action if coin < epsilon else int(np.argmax(q_row))


def decayed(step: int, steps: int, first: float, last: float) -> float:
    share = min(step / steps, 1.0)
    return first + share * (last - first)


def box_number(observation: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> int:
    share = (np.asarray(observation) - low) / (np.asarray(high) - low)
    first, second = np.minimum((share * bins).astype(int), bins - 1)
    return int(first + bins * second)


def _steps(rng: np.random.Generator) -> Iterator[tuple]:
    q = np.array([[1.0, 2.0], [3.0, 4.0]])
    yield q, 0, 1, 1.0, False, 1, 0.5
    yield q, 0, 1, 1.0, True, 1, 0.5
    for terminated in (False, True) * 4:
        s, s_next, a = (int(rng.integers(3)) for _ in range(3))
        yield rng.normal(size=(3, 3)), s, a, float(rng.normal()), terminated, s_next, 0.9


def _rows(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([0.0, 2.0, 1.0]), 0.1, 0.05, 2
    yield np.array([0.0, 2.0, 1.0]), 0.1, 0.5, 2
    yield np.array([5.0, 2.0, 1.0]), 0.0, 0.0, 2
    yield np.array([5.0, 2.0, 1.0]), 1.0, 0.999, 1
    for _ in range(20):
        yield rng.normal(size=4), float(rng.uniform()), float(rng.uniform()), int(rng.integers(4))


def _schedules(rng: np.random.Generator) -> Iterator[tuple]:
    for step in (0, 25, 50, 100, 150):
        yield step, 100, 1.0, 0.1
    yield 10, 40, 0.5, 0.0


def _observations(rng: np.random.Generator) -> Iterator[tuple]:
    low, high = np.array([-1.0, 0.0]), np.array([1.0, 4.0])
    for observation in ([-1.0, 0.0], [0.1, 0.0], [-1.0, 3.0], [1.0, 4.0]):
        yield np.array(observation), low, high, 4
    low, high = np.array([-1.2, -0.07]), np.array([0.6, 0.07])
    for _ in range(20):
        yield rng.uniform(low, high), low, high, 20


EXERCISES = {
    "4.1": Exercise(
        td_error,
        _steps,
        (
            Mistake(
                lambda q, s, a, reward, terminated, s_next, gamma: reward + gamma * q[s_next].max() - q[s, a],
                "it bootstraps through the end: where terminated is true, nothing follows.",
            ),
            Mistake(
                lambda q, s, a, reward, terminated, s_next, gamma: (
                    reward + gamma * (1 - terminated) * q[s_next, a] - q[s, a]
                ),
                "it takes the same action in the next state; take the best one there.",
            ),
            Mistake(
                lambda q, s, a, reward, terminated, s_next, gamma: reward + gamma * (1 - terminated) * q[s_next].max(),
                "it returns the target; the error is the target less q[s, a].",
            ),
        ),
    ),
    "4.2": Exercise(
        epsilon_greedy,
        _rows,
        (
            Mistake(
                lambda q_row, epsilon, coin, any_action: int(np.argmax(q_row)),
                "it never explores; take any_action where the coin falls below epsilon.",
            ),
            Mistake(
                lambda q_row, epsilon, coin, any_action: any_action if coin >= epsilon else int(np.argmax(q_row)),
                "it explores with probability 1 - epsilon; turn the comparison round.",
            ),
        ),
    ),
    "4.3": Exercise(
        decayed,
        _schedules,
        (
            Mistake(lambda step, steps, first, last: first, "epsilon never decays."),
            Mistake(
                lambda step, steps, first, last: first + step / steps * (last - first),
                "it goes on falling after the last step; it should stay at last.",
            ),
        ),
    ),
    "4.4": Exercise(
        box_number,
        _observations,
        (
            Mistake(
                lambda observation, low, high, bins: box_number(observation[::-1], low[::-1], high[::-1], bins),
                "it counts the second number first; the box is bin of the first + bins * bin of the second.",
            ),
        ),
    ),
}
