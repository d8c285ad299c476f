"""Chapter 2: the backup, the evaluation of a policy, and value iteration."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def backup(P: np.ndarray, R: np.ndarray, values: np.ndarray, gamma: float) -> np.ndarray:
    return R + gamma * P @ values


def evaluate(P: np.ndarray, R: np.ndarray, policy: np.ndarray, gamma: float, sweeps: int) -> np.ndarray:
    values = np.zeros(len(policy))
    for _ in range(sweeps):
        values = backup(P, R, values, gamma)[np.arange(len(policy)), policy]
    return values


def value_iteration(P: np.ndarray, R: np.ndarray, gamma: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    values = np.zeros(len(R))
    while True:
        q = backup(P, R, values, gamma)
        new_values = q.max(1)
        if np.abs(new_values - values).max() <= tolerance:
            return new_values, q.argmax(1)
        values = new_values


def _world(rng: np.random.Generator, states: int, actions: int) -> tuple[np.ndarray, np.ndarray]:
    P = rng.dirichlet(np.ones(states), (states, actions))
    return P, rng.normal(size=(states, actions))


def _values(rng: np.random.Generator) -> Iterator[tuple]:
    for states, actions in [(2, 2), (3, 2), (5, 4)]:
        yield *_world(rng, states, actions), rng.normal(size=states), 0.9


def _policies(rng: np.random.Generator) -> Iterator[tuple]:
    for states, actions, sweeps in [(3, 2, 1), (4, 3, 2), (5, 4, 30)]:
        yield *_world(rng, states, actions), rng.integers(0, actions, states), 0.8, sweeps


def _worlds(rng: np.random.Generator) -> Iterator[tuple]:
    for states, actions in [(3, 2), (4, 3), (6, 4)]:
        yield *_world(rng, states, actions), 0.8, 1e-7


def _once(P: np.ndarray, R: np.ndarray, gamma: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    return R.max(1), R.argmax(1)


EXERCISES = {
    "2.1": Exercise(
        backup,
        _values,
        (
            Mistake(lambda P, R, values, gamma: R + P @ values, "it does not discount the next state; use gamma."),
            Mistake(
                lambda P, R, values, gamma: gamma * (R + P @ values), "it discounts the reward, which comes at once."
            ),
            Mistake(
                lambda P, R, values, gamma: R + gamma * (P * values[:, None, None]).sum(-1),
                "it takes the value of the state that is left, and not of the states that are reached.",
            ),
        ),
    ),
    "2.2": Exercise(
        evaluate,
        _policies,
        (
            Mistake(
                lambda P, R, policy, gamma, sweeps: backup(P, R, evaluate(P, R, policy, gamma, sweeps - 1), gamma).max(
                    1
                ),
                "it takes the best action in the last sweep; take the action of the policy.",
            ),
            Mistake(
                lambda P, R, policy, gamma, sweeps: evaluate(P, R, policy, gamma, 1),
                "it makes one sweep only; repeat it from the values that the last one left.",
            ),
        ),
    ),
    "2.3": Exercise(
        value_iteration,
        _worlds,
        (
            Mistake(_once, "it looks one step ahead and stops; sweep until the values no longer change."),
            Mistake(
                lambda P, R, gamma, tolerance: value_iteration(P, R, gamma, tolerance)[::-1],
                "it returns the policy first; return (values, policy).",
            ),
        ),
    ),
}
