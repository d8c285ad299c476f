"""Chapter 7: the elite, and a policy refitted to what it did."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def elite(scores: np.ndarray, share: float) -> np.ndarray:
    bar = np.quantile(scores, 1 - share)
    return (scores >= bar) & (scores > scores.min())


def refit(pi: np.ndarray, states: np.ndarray, actions: np.ndarray, smoothing: float) -> np.ndarray:
    counts = np.zeros_like(pi)
    np.add.at(counts, (states, actions), 1)
    seen = counts.sum(1) > 0
    counts += smoothing
    return np.where(seen[:, None], counts / counts.sum(1, keepdims=True), pi)


def _scores(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([1.0, 4.0, 2.0, 3.0]), 0.5
    yield np.zeros(4), 0.25
    yield np.array([0.0, 0.0, 0.0, 0.0, 1.0]), 0.5
    yield rng.normal(size=8), 0.25


def _choices(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.full((2, 2), 0.5), np.array([0, 0, 0]), np.array([1, 1, 0]), 0.5
    for _ in range(3):
        states, actions = rng.integers(0, 3, 6), rng.integers(0, 2, 6)
        yield rng.dirichlet(np.ones(2), 4), states, actions, 0.1


def _unseen_uniform(pi, states, actions, smoothing):
    counts = np.full_like(pi, smoothing)
    np.add.at(counts, (states, actions), 1)
    return counts / counts.sum(1, keepdims=True)


def _each_once(pi, states, actions, smoothing):
    counts = np.zeros_like(pi)
    counts[states, actions] += 1
    seen = counts.sum(1) > 0
    counts += smoothing
    return np.where(seen[:, None], counts / counts.sum(1, keepdims=True), pi)


EXERCISES = {
    "7.1": Exercise(
        elite,
        _scores,
        (
            Mistake(
                lambda scores, share: scores >= np.quantile(scores, 1 - share),
                "where all scores are equal it chooses every session; one with the worst score is never elite.",
            ),
            Mistake(
                lambda scores, share: (scores >= np.quantile(scores, share)) & (scores > scores.min()),
                "it takes the share quantile; of the best share the bar is the (1 - share) quantile.",
            ),
        ),
    ),
    "7.2": Exercise(
        refit,
        _choices,
        (
            Mistake(_unseen_uniform, "it changes states that the elite never saw; keep the policy there."),
            Mistake(_each_once, "it counts a choice that was made twice only once; np.add.at counts them all."),
            Mistake(
                lambda pi, states, actions, smoothing: refit(pi, states, actions, 1e-9),
                "it gives what the elite never did a probability of 0; add smoothing to the counts.",
            ),
        ),
    ),
}
