"""Chapter 15: the divergence of two policies, the clipped objective, and conjugate gradients."""

from collections.abc import Callable, Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def kl(old: np.ndarray, new: np.ndarray) -> float:
    return np.sum(old * np.log(old / new))


def clipped(log_prob: np.ndarray, old_log_prob: np.ndarray, advantage: np.ndarray, epsilon: float) -> np.ndarray:
    ratio = np.exp(log_prob - old_log_prob)
    return np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


def conjugate_gradient(product: Callable[[np.ndarray], np.ndarray], g: np.ndarray, iterations: int) -> np.ndarray:
    x, r, d = np.zeros_like(g), g.copy(), g.copy()
    for _ in range(iterations):
        image = product(d)
        alpha = (r @ r) / (d @ image)
        x = x + alpha * d
        new_r = r - alpha * image
        d = new_r + (new_r @ new_r) / (r @ r) * d
        r = new_r
    return x


class Matrix:
    """A symmetric positive definite matrix, known by its products."""

    def __init__(self, F: np.ndarray):
        self.F = F

    def __call__(self, v: np.ndarray) -> np.ndarray:
        return self.F @ v

    def __repr__(self) -> str:
        return f"the product with {self.F.round(2).tolist()}"


def _policies(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([0.5, 0.5]), np.array([0.25, 0.75])
    for _ in range(3):
        yield rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))


def _ratios(rng: np.random.Generator) -> Iterator[tuple]:
    ratio = np.array([0.5, 1.5, 0.5, 1.5])
    yield np.log(ratio), np.zeros(4), np.array([1.0, 1.0, -1.0, -1.0]), 0.2
    for _ in range(3):
        old = -rng.exponential(size=6)
        yield old + 0.4 * rng.normal(size=6), old, rng.normal(size=6), 0.2


def _systems(rng: np.random.Generator) -> Iterator[tuple]:
    yield Matrix(np.diag([1.0, 2.0])), np.array([1.0, 1.0]), 1
    yield Matrix(np.diag([1.0, 2.0])), np.array([1.0, 1.0]), 2
    for size, iterations in ((4, 2), (5, 5)):
        root = rng.normal(size=(size, size))
        yield Matrix(root @ root.T + np.eye(size)), rng.normal(size=size), iterations


def _no_minimum(log_prob, old_log_prob, advantage, epsilon):
    return np.clip(np.exp(log_prob - old_log_prob), 1 - epsilon, 1 + epsilon) * advantage


def _steepest(product, g, iterations):
    x = np.zeros_like(g)
    for _ in range(iterations):
        r = g - product(x)
        x = x + (r @ r) / (r @ product(r)) * r
    return x


EXERCISES = {
    "15.1": Exercise(
        kl,
        _policies,
        (
            Mistake(lambda old, new: kl(new, old), "the policies are exchanged: the old one weighs and is above."),
            Mistake(lambda old, new: -kl(old, new), "its sign is wrong: a divergence is never negative."),
        ),
    ),
    "15.2": Exercise(
        clipped,
        _ratios,
        (
            Mistake(_no_minimum, "it forgets the minimum: a policy that moved the wrong way must be pulled back."),
            Mistake(
                lambda log_prob, old_log_prob, advantage, epsilon: -clipped(log_prob, old_log_prob, advantage, epsilon),
                "it is the loss; return the objective, which is to be maximised.",
            ),
        ),
    ),
    "15.3": Exercise(
        conjugate_gradient,
        _systems,
        (
            Mistake(
                _steepest,
                "it goes along the residual each time; the next direction keeps a part of the last one.",
            ),
        ),
    ),
}
