"""Chapter 12: the score of a softmax, returns to go, and whitening."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def softmax(logits: np.ndarray) -> np.ndarray:
    pi = np.exp(logits - logits.max())
    return pi / pi.sum()


def score(logits: np.ndarray, action: int) -> np.ndarray:
    return np.eye(len(logits))[action] - softmax(logits)


def returns_to_go(rewards: np.ndarray, gamma: float) -> np.ndarray:
    returns, g = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        g = rewards[t] + gamma * g
        returns[t] = g
    return returns


def whitened(returns: np.ndarray) -> np.ndarray:
    return (returns - returns.mean()) / (returns.std() + 1e-8)


def _logits(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([0.0, 0.0]), 1
    for _ in range(5):
        yield rng.normal(size=4), int(rng.integers(4))


def _rewards(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([1.0, 2.0, 4.0]), 0.5
    for length in (1, 5, 9):
        yield rng.normal(size=length), 0.9


def _returns(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([1.0, 3.0]),)
    yield (np.array([2.0, 2.0, 2.0]),)
    for _ in range(3):
        yield (5 + 3 * rng.normal(size=8),)


EXERCISES = {
    "12.1": Exercise(
        score,
        _logits,
        (
            Mistake(
                lambda logits, action: softmax(logits)[action] * score(logits, action),
                "it is the gradient of the probability; the logarithm is lost, which divides by the probability.",
            ),
            Mistake(lambda logits, action: -score(logits, action), "its sign is wrong: this makes the action rarer."),
            Mistake(
                lambda logits, action: np.eye(len(logits))[action],
                "it forgets the sum below the fraction: take the probabilities of all actions off.",
            ),
        ),
    ),
    "12.2": Exercise(
        returns_to_go,
        _rewards,
        (
            Mistake(
                lambda rewards, gamma: np.full(len(rewards), returns_to_go(rewards, gamma)[0]),
                "it gives every step the return of the whole episode; count from that step on.",
            ),
            Mistake(lambda rewards, gamma: returns_to_go(rewards, 1.0), "it adds later rewards without a discount."),
        ),
    ),
    "12.3": Exercise(
        whitened,
        _returns,
        (
            Mistake(
                lambda returns: returns - returns.mean(), "it takes the mean off, but does not divide by the deviation."
            ),
            Mistake(
                lambda returns: (returns - returns.mean()) / (returns.var() + 1e-8),
                "it divides by the variance; take its square root, the standard deviation.",
            ),
        ),
    ),
}
