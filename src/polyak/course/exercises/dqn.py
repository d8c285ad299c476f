"""Chapter 9: the replay ring, targets of a batch, the target network, and the Huber loss."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def add(ring: np.ndarray, count: int, step: np.ndarray) -> tuple[np.ndarray, int]:
    ring = ring.copy()
    ring[count % len(ring)] = step
    return ring, min(count + 1, len(ring))


def targets(
    reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, q_next: np.ndarray, gamma: float
) -> np.ndarray:
    return reward + gamma * (1 - terminated) * q_next.max(1)


def follow(target_weights: list[np.ndarray], weights: list[np.ndarray], tau: float) -> list[np.ndarray]:
    return [old + tau * (new - old) for old, new in zip(target_weights, weights, strict=True)]


def huber(error: np.ndarray) -> np.ndarray:
    size = np.abs(error)
    return np.where(size <= 1, 0.5 * size**2, size - 0.5)


def _counts(rng: np.random.Generator) -> Iterator[tuple]:
    for count in (0, 2, 3, 4, 7):
        yield np.arange(4.0), count, 9.0
    yield rng.normal(size=(3, 2)), 5, rng.normal(size=2)


def _batches(rng: np.random.Generator) -> Iterator[tuple]:
    flags = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]).T
    yield np.ones(4), *flags, np.array([[1.0, 2.0]] * 4), 0.5
    for _ in range(3):
        flags = rng.integers(0, 2, (2, 6))
        yield rng.normal(size=6), *flags, rng.normal(size=(6, 3)), 0.9


def _networks(rng: np.random.Generator) -> Iterator[tuple]:
    for tau in (0.0, 0.25, 1.0):
        yield [rng.normal(size=(2, 3)), rng.normal(size=3)], [rng.normal(size=(2, 3)), rng.normal(size=3)], tau


def _errors(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([0.0, 0.5, -0.5, 1.0, 3.0, -3.0]),)
    yield (3 * rng.normal(size=6),)


def _same_place(ring, count, step):
    ring = ring.copy()
    ring[min(count, len(ring) - 1)] = step
    return ring, min(count + 1, len(ring))


EXERCISES = {
    "9.1": Exercise(
        add,
        _counts,
        (
            Mistake(
                _same_place, "when the ring is full it overwrites the last entry again and again; begin at the first."
            ),
            Mistake(
                lambda ring, count, step: (add(ring, count, step)[0], count + 1),
                "it counts more entries than the ring has.",
            ),
        ),
    ),
    "9.2": Exercise(
        targets,
        _batches,
        (
            Mistake(
                lambda reward, terminated, truncated, q_next, gamma: reward + gamma * q_next.max(1),
                "it bootstraps through the end: where terminated is 1, nothing follows.",
            ),
            Mistake(
                lambda reward, terminated, truncated, q_next, gamma: (
                    reward + gamma * (1 - np.maximum(terminated, truncated)) * q_next.max(1)
                ),
                "it forgets the next state where only the clock stopped; that state keeps its value.",
            ),
        ),
    ),
    "9.3": Exercise(
        follow,
        _networks,
        (
            Mistake(
                lambda target_weights, weights, tau: follow(weights, target_weights, tau),
                "it moves the network towards its copy; move the copy towards the network.",
            ),
        ),
    ),
    "9.4": Exercise(
        huber,
        _errors,
        (
            Mistake(lambda error: 0.5 * error**2, "it is squared everywhere; beyond 1 it should be straight."),
            Mistake(
                lambda error: np.where(np.abs(error) <= 1, 0.5 * error**2, np.abs(error)),
                "it jumps at 1: take 1/2 off the straight part.",
            ),
        ),
    ),
}
