"""Chapter 5: the errors of SARSA and expected SARSA, and the probabilities of an epsilon-greedy policy."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def sarsa_error(
    q: np.ndarray, s: int, a: int, reward: float, terminated: bool, s_next: int, a_next: int, gamma: float
) -> float:
    return reward + gamma * (1 - terminated) * q[s_next, a_next] - q[s, a]


def probabilities(q_row: np.ndarray, epsilon: float) -> np.ndarray:
    pi = np.full(len(q_row), epsilon / len(q_row))
    pi[np.argmax(q_row)] += 1 - epsilon
    return pi


def expected_sarsa_error(
    q: np.ndarray, s: int, a: int, reward: float, terminated: bool, s_next: int, epsilon: float, gamma: float
) -> float:
    mean = probabilities(q[s_next], epsilon) @ q[s_next]
    return reward + gamma * (1 - terminated) * mean - q[s, a]


def _sarsa(rng: np.random.Generator) -> Iterator[tuple]:
    q = np.array([[1.0, 2.0], [3.0, 4.0]])
    yield q, 0, 1, 1.0, False, 1, 0, 0.5
    yield q, 0, 1, 1.0, True, 1, 0, 0.5
    for terminated in (False, True) * 4:
        s, s_next, a, a_next = (int(rng.integers(3)) for _ in range(4))
        yield rng.normal(size=(3, 3)), s, a, float(rng.normal()), terminated, s_next, a_next, 0.9


def _rows(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([1.0, 3.0, 2.0, 0.0]), 0.2
    yield np.array([1.0, 1.0]), 0.5
    for _ in range(5):
        yield rng.normal(size=4), float(rng.uniform())


def _expected(rng: np.random.Generator) -> Iterator[tuple]:
    q = np.array([[1.0, 2.0], [3.0, 4.0]])
    yield q, 0, 1, 1.0, False, 1, 0.5, 0.5
    yield q, 0, 1, 1.0, True, 1, 0.5, 0.5
    for terminated in (False, True) * 4:
        s, s_next, a = (int(rng.integers(3)) for _ in range(3))
        yield rng.normal(size=(3, 3)), s, a, float(rng.normal()), terminated, s_next, 0.3, 0.9


def _greedy(q, s, a, reward, terminated, s_next, a_next, gamma):
    return reward + gamma * (1 - terminated) * q[s_next].max() - q[s, a]


def _never_the_best(q_row, epsilon):
    pi = np.full(len(q_row), epsilon / len(q_row))
    pi[np.argmax(q_row)] = 1 - epsilon
    return pi


def _uniform(q, s, a, reward, terminated, s_next, epsilon, gamma):
    return reward + gamma * (1 - terminated) * q[s_next].mean() - q[s, a]


THROUGH_THE_END = "it bootstraps through the end: where terminated is true, nothing follows."

EXERCISES = {
    "5.1": Exercise(
        sarsa_error,
        _sarsa,
        (
            Mistake(_greedy, "it takes the best next action, as Q-learning does; take a_next."),
            Mistake(
                lambda q, s, a, reward, terminated, s_next, a_next, gamma: sarsa_error(
                    q, s, a, reward, False, s_next, a_next, gamma
                ),
                THROUGH_THE_END,
            ),
        ),
    ),
    "5.2": Exercise(
        probabilities,
        _rows,
        (
            Mistake(
                _never_the_best,
                "they do not sum to one: exploring takes the best action too, so it has 1 - epsilon and its share.",
            ),
        ),
    ),
    "5.3": Exercise(
        expected_sarsa_error,
        _expected,
        (
            Mistake(
                lambda q, s, a, reward, terminated, s_next, epsilon, gamma: expected_sarsa_error(
                    q, s, a, reward, False, s_next, epsilon, gamma
                ),
                THROUGH_THE_END,
            ),
            Mistake(_uniform, "it takes the plain mean of all actions; weight them by their probabilities."),
        ),
    ),
}
