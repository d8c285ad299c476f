"""Chapter 13: hill climbing, the mirrored point of a simplex, and the estimate of an evolution strategy."""

from collections.abc import Callable, Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def climb(
    w: np.ndarray, score: float, sigma: float, noise: np.ndarray, height_of: Callable[[np.ndarray], float]
) -> tuple[np.ndarray, float, float]:
    neighbour = w + sigma * noise
    reached = height_of(neighbour)
    if reached >= score:
        return neighbour, reached, 2 * sigma
    return w, score, sigma / 2


def reflection(points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    worst = np.argmin(scores)
    middle = np.delete(points, worst, axis=0).mean(0)
    return 2 * middle - points[worst]


def evolution_gradient(noise: np.ndarray, scores: np.ndarray, sigma: float) -> np.ndarray:
    ranks = np.argsort(np.argsort(scores)) / (len(scores) - 1) - 0.5
    return ranks @ noise / (len(scores) * sigma)


def hill(w: np.ndarray) -> float:
    return -float(np.sum(w**2))


def plateau(w: np.ndarray) -> float:
    return 0.0


def _climbs(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([1.0, 0.0]), -1.0, 0.5, np.array([-1.0, 0.0]), hill
    yield np.array([1.0, 0.0]), -1.0, 0.5, np.array([1.0, 0.0]), hill
    yield np.array([1.0, 0.0]), 0.0, 0.5, np.array([1.0, 0.0]), plateau
    for _ in range(4):
        w = rng.normal(size=3)
        yield w, hill(w), 0.3, rng.normal(size=3), hill


def _simplices(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 1.0, 2.0])
    for dimensions in (2, 3, 5):
        yield rng.normal(size=(dimensions + 1, dimensions)), rng.normal(size=dimensions + 1)


def _generations(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([[1.0], [-1.0], [0.0]]), np.array([2.0, 1.0, 7.0]), 0.5
    for members in (4, 7):
        yield rng.normal(size=(members, 3)), 100 * rng.normal(size=members), 0.2


def _only_better(w, score, sigma, noise, height_of):
    neighbour = w + sigma * noise
    reached = height_of(neighbour)
    return (neighbour, reached, 2 * sigma) if reached > score else (w, score, sigma / 2)


def _old_score(w, score, sigma, noise, height_of):
    new, _, sigma = climb(w, score, sigma, noise, height_of)
    return new, score, sigma


def _mean_of_all(points, scores):
    return 2 * points.mean(0) - points[np.argmin(scores)]


EXERCISES = {
    "13.1": Exercise(
        climb,
        _climbs,
        (
            Mistake(_only_better, "it stays on a plateau; move where the neighbour is as high as well."),
            Mistake(_old_score, "it moves and keeps the old score; return the height that was reached."),
        ),
    ),
    "13.2": Exercise(
        reflection,
        _simplices,
        (
            Mistake(_mean_of_all, "it mirrors through the mean of all points; leave the worst one out of it."),
            Mistake(lambda points, scores: reflection(points, -scores), "it mirrors the best point; take the worst."),
        ),
    ),
    "13.3": Exercise(
        evolution_gradient,
        _generations,
        (
            Mistake(
                lambda noise, scores, sigma: scores @ noise / (len(scores) * sigma),
                "it uses the scores themselves; use their ranks, from -1/2 to 1/2.",
            ),
            Mistake(
                lambda noise, scores, sigma: evolution_gradient(noise, scores, 1.0), "it does not divide by sigma."
            ),
        ),
    ),
}
