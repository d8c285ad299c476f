"""Chapter 10: double targets, dueling, a sum tree of eight leaves, and importance weights."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def double_targets(
    reward: np.ndarray, terminated: np.ndarray, q_next: np.ndarray, q_next_target: np.ndarray, gamma: float
) -> np.ndarray:
    best = q_next.argmax(1)
    return reward + gamma * (1 - terminated) * q_next_target[np.arange(len(best)), best]


def dueling(value: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    return value + advantage - advantage.mean(1, keepdims=True)


def find(tree: np.ndarray, number: float) -> int:
    node = 1
    while node < 8:
        node = 2 * node
        if number >= tree[node]:
            number -= tree[node]
            node += 1
    return node - 8


def importance_weights(probability: np.ndarray, size: int, beta: float) -> np.ndarray:
    weights = (size * probability) ** -beta
    return weights / weights.max()


def _batches(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.ones(2), np.array([0, 1]), np.array([[1.0, 2.0]] * 2), np.array([[5.0, 3.0]] * 2), 0.5
    for _ in range(3):
        q = rng.normal(size=(2, 6, 3))
        yield rng.normal(size=6), rng.integers(0, 2, 6), *q, 0.9


def _heads(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([[1.0], [2.0]]), np.array([[0.0, 2.0], [4.0, 0.0]])
    for _ in range(3):
        yield rng.normal(size=(5, 1)), rng.normal(size=(5, 3))


def sums(leaves: np.ndarray) -> np.ndarray:
    tree = np.concatenate([np.zeros(8), leaves])
    for node in range(7, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]
    return tree


def _numbers(rng: np.random.Generator) -> Iterator[tuple]:
    tree = sums(np.array([1.0, 0.0, 4.0, 0.0, 2.0, 0.0, 0.0, 1.0]))
    for number in (0.0, 0.5, 1.0, 4.9, 5.0, 6.9, 7.0, 7.9):
        yield tree, number
    for _ in range(20):
        tree = sums(rng.uniform(size=8))
        yield tree, float(rng.uniform(0, tree[1]))


def _draws(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([0.5, 0.25]), 2, 1.0
    for beta in (0.0, 0.4, 1.0):
        yield rng.uniform(0.001, 0.1, 6), 50, beta


def _through_the_end(reward, terminated, q_next, q_next_target, gamma):
    return double_targets(reward, 0 * terminated, q_next, q_next_target, gamma)


def _keeps_the_number(tree, number):
    node = 1
    while node < 8:
        node = 2 * node + (number >= tree[2 * node])
    return node - 8


EXERCISES = {
    "10.1": Exercise(
        double_targets,
        _batches,
        (
            Mistake(
                lambda reward, terminated, q_next, q_next_target, gamma: (
                    reward + gamma * (1 - terminated) * q_next_target.max(1)
                ),
                "it takes the largest value of the target network; let the network choose the action.",
            ),
            Mistake(
                lambda reward, terminated, q_next, q_next_target, gamma: double_targets(
                    reward, terminated, q_next_target, q_next, gamma
                ),
                "the two networks are exchanged: the network chooses, the target network gives the value.",
            ),
            Mistake(_through_the_end, "it bootstraps through the end: where terminated is 1, nothing follows."),
        ),
    ),
    "10.2": Exercise(
        dueling,
        _heads,
        (
            Mistake(
                lambda value, advantage: value + advantage - advantage.mean(),
                "it takes the mean over the whole batch; take it over the actions of each state.",
            ),
            Mistake(lambda value, advantage: value + advantage, "it does not take the mean advantage off."),
            Mistake(
                lambda value, advantage: value + advantage - advantage.max(1, keepdims=True),
                "it takes the largest advantage off; take the mean.",
            ),
        ),
    ),
    "10.3": Exercise(
        find,
        _numbers,
        (
            Mistake(_keeps_the_number, "it goes right and keeps the number; take the left child off it first."),
            Mistake(lambda tree, number: find(tree, number) + 8, "it returns the node; the leaves count from 0."),
        ),
    ),
    "10.4": Exercise(
        importance_weights,
        _draws,
        (
            Mistake(
                lambda probability, size, beta: (size * probability) ** -beta,
                "it does not divide by the largest weight.",
            ),
            Mistake(
                lambda probability, size, beta: (size * probability) ** beta / ((size * probability) ** beta).max(),
                "it makes steps that are drawn often count more; the exponent is -beta.",
            ),
        ),
    ),
}
