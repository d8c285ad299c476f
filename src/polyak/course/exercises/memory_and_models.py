"""Chapter 17: practice with a model, a memory over several episodes, and the loss of sequences."""

from collections.abc import Callable, Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake

Model = dict[tuple[int, int], tuple[float, bool, int]]


def practise(q: np.ndarray, model: Model, pairs: list[tuple[int, int]], alpha: float, gamma: float) -> np.ndarray:
    q = q.copy()
    for s, a in pairs:
        reward, terminated, s_next = model[s, a]
        q[s, a] += alpha * (reward + gamma * (1 - terminated) * q[s_next].max() - q[s, a])
    return q


def memories(
    cell: Callable[[float, float], float], h: float, observations: np.ndarray, first: np.ndarray
) -> np.ndarray:
    result = []
    for x, begins in zip(observations, first, strict=True):
        h = cell(0.0 if begins else h, x)
        result.append(h)
    return np.array(result)


def sequence_loss(losses: np.ndarray, valid: np.ndarray, burn_in: int) -> float:
    counts = valid.astype(float)
    counts[:, :burn_in] = 0
    return (counts * losses).sum() / counts.sum()


def leaky(h: float, x: float) -> float:
    return 0.5 * h + x


def _models(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([[0.0, 2.0], [3.0, 4.0]]), {(0, 0): (1.0, False, 1)}, [(0, 0), (0, 0)], 0.5, 0.5
    yield np.array([[0.0, 2.0], [3.0, 4.0]]), {(0, 0): (1.0, True, 1)}, [(0, 0)], 0.5, 0.5
    for _ in range(3):
        model = {
            (s, a): (float(rng.normal()), bool(rng.integers(2)), int(rng.integers(3)))
            for s in range(3)
            for a in range(2)
        }
        yield rng.normal(size=(3, 2)), model, [tuple(rng.integers(0, 2, 2).tolist()) for _ in range(6)], 0.5, 0.9


def _blocks(rng: np.random.Generator) -> Iterator[tuple]:
    yield leaky, 8.0, np.array([1.0, 1.0, 1.0]), np.array([False, True, False])
    for _ in range(3):
        yield leaky, float(rng.normal()), rng.normal(size=7), rng.integers(0, 2, 7).astype(bool)


def _sequences(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([[1, 1, 1], [1, 1, 0]]), 1
    for burn_in in (0, 2):
        valid = np.arange(5) < np.array([[5], [3], [4]])
        yield rng.normal(size=(3, 5)), valid.astype(int), burn_in


def _reset_after(cell, h, observations, first):
    result = []
    for x, begins in zip(observations, first, strict=True):
        h = cell(h, x)
        result.append(h)
        h = 0.0 if begins else h
    return np.array(result)


EXERCISES = {
    "17.1": Exercise(
        practise,
        _models,
        (
            Mistake(
                lambda q, model, pairs, alpha, gamma: practise(
                    q, {pair: (r, False, s) for pair, (r, _, s) in model.items()}, pairs, alpha, gamma
                ),
                "it bootstraps through the end: where the model says terminated, nothing follows.",
            ),
            Mistake(
                lambda q, model, pairs, alpha, gamma: practise(q, model, pairs[:1], alpha, gamma),
                "it practises the first pair only.",
            ),
        ),
    ),
    "17.2": Exercise(
        memories,
        _blocks,
        (
            Mistake(
                lambda cell, h, observations, first: memories(cell, h, observations, np.zeros(len(first), bool)),
                "the memory of one episode leaks into the next; begin anew where first is true.",
            ),
            Mistake(_reset_after, "it forgets after the first observation of an episode; forget before it."),
        ),
    ),
    "17.3": Exercise(
        sequence_loss,
        _sequences,
        (
            Mistake(
                lambda losses, valid, burn_in: losses[:, burn_in:].mean(),
                "it counts padding; leave it out.",
            ),
            Mistake(
                lambda losses, valid, burn_in: sequence_loss(losses, valid, 0), "it counts the steps of the burn-in."
            ),
            Mistake(
                lambda losses, valid, burn_in: (valid[:, burn_in:] * losses[:, burn_in:]).sum() / losses.size,
                "it divides by all steps; divide by those that count.",
            ),
        ),
    ),
}
