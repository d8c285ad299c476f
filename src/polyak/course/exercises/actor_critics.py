"""Chapter 14: TD errors of a block, generalised advantage estimates, and entropy."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def td_errors(
    rewards: np.ndarray, values: np.ndarray, next_values: np.ndarray, terminated: np.ndarray, gamma: float
) -> np.ndarray:
    return rewards + gamma * (1 - terminated) * next_values - values


def advantages(errors: np.ndarray, over: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    result, following = np.zeros(len(errors)), 0.0
    for t in reversed(range(len(errors))):
        following = errors[t] + gamma * lam * (1 - over[t]) * following
        result[t] = following
    return result


def entropy(pi: np.ndarray) -> float:
    positive = pi[pi > 0]
    return -np.sum(positive * np.log(positive))


def _blocks(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.ones(2), np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.array([0, 1]), 0.5
    for _ in range(3):
        yield (*rng.normal(size=(3, 6)), rng.integers(0, 2, 6), 0.9)


def _errors(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([1.0, 2.0, 4.0]), np.array([0, 0, 0]), 1.0, 0.5
    yield np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]), 1.0, 0.5
    for lam in (0.0, 0.95, 1.0):
        yield rng.normal(size=8), rng.integers(0, 2, 8), 0.9, lam


def _policies(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([0.5, 0.5]),)
    yield (np.array([1.0, 0.0, 0.0]),)
    for _ in range(3):
        yield (rng.dirichlet(np.ones(4)),)


def _next_row(rewards, values, next_values, terminated, gamma):
    return rewards + gamma * (1 - terminated) * np.append(values[1:], 0.0) - values


EXERCISES = {
    "14.1": Exercise(
        td_errors,
        _blocks,
        (
            Mistake(
                lambda rewards, values, next_values, terminated, gamma: rewards + gamma * next_values - values,
                "it bootstraps through the end: where terminated is 1, nothing follows.",
            ),
            Mistake(_next_row, "it takes the value of the next row, which may belong to another episode."),
        ),
    ),
    "14.2": Exercise(
        advantages,
        _errors,
        (
            Mistake(
                lambda errors, over, gamma, lam: advantages(errors, 0 * over, gamma, lam),
                "it adds errors of the next episode; stop where over is 1.",
            ),
            Mistake(
                lambda errors, over, gamma, lam: advantages(errors, over, 1.0, lam),
                "it counts later errors lambda times less; they count gamma lambda times less.",
            ),
        ),
    ),
    "14.3": Exercise(
        entropy,
        _policies,
        (
            Mistake(lambda pi: -entropy(pi), "its sign is wrong: an entropy of probabilities is never negative."),
            Mistake(lambda pi: -np.sum(pi * np.log(pi)), "it is not a number where a probability is 0."),
            Mistake(lambda pi: entropy(pi) / np.log(2), "it is in bits; take the natural logarithm."),
        ),
    ),
}
