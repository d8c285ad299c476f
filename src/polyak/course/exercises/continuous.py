"""Chapter 16: the density of a normal action, of a squashed one, and the deterministic policy gradient."""

from collections.abc import Callable, Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def log_density(action: float, mean: float, log_std: float) -> float:
    return -0.5 * ((action - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)


def squashed_log_density(u: float, mean: float, log_std: float) -> float:
    return log_density(u, mean, log_std) - np.log(1 - np.tanh(u) ** 2)


def deterministic_gradient(
    theta: np.ndarray, states: np.ndarray, slope: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    actions = states @ theta
    return (slope(states, actions)[:, None] * states).mean(0)


def bowl(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return -2 * (actions - states.sum(1))


def _numbers(rng: np.random.Generator) -> Iterator[tuple]:
    yield 0.0, 0.0, 0.5
    yield 1.0, 0.0, -0.5
    for _ in range(6):
        yield tuple(float(number) for number in rng.normal(size=3))


def _states(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([1.0, 0.0]), np.array([[1.0, 1.0], [2.0, 0.0]]), bowl
    for _ in range(3):
        yield rng.normal(size=3), rng.normal(size=(5, 3)), bowl


EXERCISES = {
    "16.1": Exercise(
        log_density,
        _numbers,
        (
            Mistake(
                lambda action, mean, log_std: log_density(action, mean, log_std) + 0.5 * np.log(2 * np.pi),
                "the constant log(2 pi) / 2 is missing.",
            ),
            Mistake(
                lambda action, mean, log_std: (
                    -0.5 * ((action - mean) / log_std) ** 2 - np.log(np.abs(log_std)) - 0.5 * np.log(2 * np.pi)
                ),
                "it takes log_std for the deviation; the deviation is exp(log_std).",
            ),
        ),
    ),
    "16.2": Exercise(
        squashed_log_density,
        _numbers,
        (
            Mistake(log_density, "it is the density of u; correct it by the slope of tanh."),
            Mistake(
                lambda u, mean, log_std: log_density(u, mean, log_std) + np.log(1 - np.tanh(u) ** 2),
                "the correction has the wrong sign: where tanh is flat the density is higher.",
            ),
        ),
    ),
    "16.3": Exercise(
        deterministic_gradient,
        _states,
        (
            Mistake(
                lambda theta, states, slope: (slope(states, states @ theta)[:, None] * states).sum(0),
                "it is the sum over the batch; take the mean.",
            ),
            Mistake(
                lambda theta, states, slope: states.mean(0) * slope(states, states @ theta).mean(),
                "it multiplies two means; multiply in each state, and then take the mean.",
            ),
        ),
    ),
}
