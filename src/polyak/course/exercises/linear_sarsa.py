"""Chapter 8: Fourier features, tiles, and the update of linear action-values."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def fourier(scaled: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.cos(np.pi * (c @ scaled))


def active_tiles(scaled: float, tilings: int, tiles: int) -> np.ndarray:
    grid = np.arange(tilings)
    return grid * (tiles + 1) + np.floor(scaled * tiles + grid / tilings).astype(int)


def update(
    w: np.ndarray,
    x: np.ndarray,
    a: int,
    reward: float,
    terminated: bool,
    x_next: np.ndarray,
    a_next: int,
    alpha: float | np.ndarray,
    gamma: float,
) -> np.ndarray:
    w = w.copy()
    error = reward + gamma * (1 - terminated) * (w[a_next] @ x_next) - w[a] @ x
    w[a] += alpha * error * x
    return w


def _observations(rng: np.random.Generator) -> Iterator[tuple]:
    c = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    yield np.array([0.0, 1.0]), c
    for _ in range(5):
        yield rng.uniform(size=2), c


def _numbers(rng: np.random.Generator) -> Iterator[tuple]:
    yield 0.5, 2, 4
    yield 0.6, 4, 4
    yield 0.99, 4, 4
    for _ in range(10):
        yield float(rng.uniform()), int(rng.integers(1, 6)), int(rng.integers(2, 9))


def _steps(rng: np.random.Generator) -> Iterator[tuple]:
    for terminated in (False, True) * 3:
        w, x, x_next = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=3)
        a, a_next = (int(rng.integers(2)) for _ in range(2))
        yield w, x, a, float(rng.normal()), terminated, x_next, a_next, 0.1, 0.9


def _all_actions(w, x, a, reward, terminated, x_next, a_next, alpha, gamma):
    error = reward + gamma * (1 - terminated) * (w[a_next] @ x_next) - w[a] @ x
    return w + alpha * error * x


def _through_the_end(w, x, a, reward, terminated, x_next, a_next, alpha, gamma):
    return update(w, x, a, reward, False, x_next, a_next, alpha, gamma)


def _full_gradient(w, x, a, reward, terminated, x_next, a_next, alpha, gamma):
    error = reward + gamma * (1 - terminated) * (w[a_next] @ x_next) - w[a] @ x
    new = update(w, x, a, reward, terminated, x_next, a_next, alpha, gamma)
    new[a_next] -= alpha * error * gamma * (1 - terminated) * x_next
    return new


EXERCISES = {
    "8.1": Exercise(
        fourier,
        _observations,
        (
            Mistake(lambda scaled, c: np.cos(c @ scaled), "pi is missing in the cosine."),
            Mistake(lambda scaled, c: np.sin(np.pi * (c @ scaled)), "it takes sines, which are 0 for c = 0."),
        ),
    ),
    "8.2": Exercise(
        active_tiles,
        _numbers,
        (
            Mistake(
                lambda scaled, tilings, tiles: (
                    np.arange(tilings) * tiles + np.floor(scaled * tiles + np.arange(tilings) / tilings).astype(int)
                ),
                "two grids share a box: a shifted grid needs one box more, so each has tiles + 1.",
            ),
            Mistake(
                lambda scaled, tilings, tiles: np.arange(tilings) * (tiles + 1) + int(scaled * tiles),
                "the grids are not shifted; add i / tilings before you round down.",
            ),
        ),
    ),
    "8.3": Exercise(
        update,
        _steps,
        (
            Mistake(_all_actions, "it changes the weights of all actions; change those of the one that was taken."),
            Mistake(_through_the_end, "it bootstraps through the end: where terminated is true, nothing follows."),
            Mistake(_full_gradient, "it differentiates the target too; a semi-gradient leaves it alone."),
        ),
    ),
}
