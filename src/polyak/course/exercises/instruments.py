"""Chapter 18: the interquartile mean, its interval, and when to stop."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def interquartile_mean(scores: np.ndarray) -> float:
    cut = len(scores) // 4
    return float(np.mean(np.sort(scores)[cut : len(scores) - cut]))


def interval(scores: np.ndarray, draws: np.ndarray) -> tuple[float, float]:
    means = [interquartile_mean(scores[row]) for row in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def should_stop(evaluations: list[float], patience: int) -> bool:
    if len(evaluations) < patience + 1:
        return False
    return max(evaluations[-patience:]) <= max(evaluations[:-patience])


def _scores(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([9.0, 1.0, 2.0, 4.0]),)
    for seeds in (3, 8, 10):
        yield (rng.normal(size=seeds),)


def _draws(rng: np.random.Generator) -> Iterator[tuple]:
    for seeds in (4, 9):
        yield 10 * rng.normal(size=seeds), rng.integers(0, seeds, (50, seeds))


def _evaluations(rng: np.random.Generator) -> Iterator[tuple]:
    yield [1.0, 2.0], 2
    yield [3.0, 1.0, 2.0], 2
    yield [3.0, 1.0, 4.0], 2
    yield [3.0, 1.0, 3.0], 2
    yield [5.0, 1.0, 2.0, 3.0], 2
    yield [1.0, 2.0, 3.0, 2.0], 1


EXERCISES = {
    "18.1": Exercise(
        interquartile_mean,
        _scores,
        (
            Mistake(lambda scores: np.mean(scores), "it is the mean of all scores; drop a quarter at each end."),
            Mistake(lambda scores: np.median(scores), "it is the median; take the mean of the middle half."),
            Mistake(
                lambda scores: np.mean(scores[len(scores) // 4 : len(scores) - len(scores) // 4]),
                "it does not sort the scores first.",
            ),
        ),
    ),
    "18.2": Exercise(
        interval,
        _draws,
        (
            Mistake(
                lambda scores, draws: tuple(np.percentile(scores, [2.5, 97.5])),
                "it is the spread of the scores; resample them, and take the spread of their interquartile means.",
            ),
            Mistake(
                lambda scores, draws: tuple(np.percentile([scores[row].mean() for row in draws], [2.5, 97.5])),
                "it takes the plain mean of each resample; take the interquartile mean.",
            ),
        ),
    ),
    "18.3": Exercise(
        should_stop,
        _evaluations,
        (
            Mistake(
                lambda evaluations, patience: (
                    len(evaluations) > patience and max(evaluations[-patience:]) <= evaluations[-patience - 1]
                ),
                "it compares with one evaluation; compare with the best of all before.",
            ),
            Mistake(
                lambda evaluations, patience: (
                    len(evaluations) > patience and max(evaluations[-patience:]) < max(evaluations[:-patience])
                ),
                "it goes on where the best was only reached again; that is no improvement.",
            ),
        ),
    ),
}
