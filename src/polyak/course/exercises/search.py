"""Chapter 19: looking ahead in a game, UCB1, the backup of a result, and what AlphaZero learns of a game."""

from collections.abc import Iterator, Sequence

import numpy as np

from polyak.course.checking import Exercise, Mistake

Follows = Sequence[Sequence[int]]
Path = Sequence[tuple[int, int]]


def negamax(position: int, depth: int, follows: Follows, values: Sequence[float]) -> float:
    if depth == 0 or len(follows[position]) == 0:
        return values[position]
    return max(-negamax(after, depth - 1, follows, values) for after in follows[position])


def ucb1(visits: np.ndarray, totals: np.ndarray, c: float) -> int:
    untried = np.flatnonzero(visits == 0)
    if len(untried):
        return int(untried[0])
    bounds = totals / visits + c * np.sqrt(np.log(visits.sum()) / visits)
    return int(np.argmax(bounds))


def backup(visits: np.ndarray, totals: np.ndarray, path: Path, result: float) -> tuple[np.ndarray, np.ndarray]:
    for node, move in reversed(path):
        visits[node, move] += 1
        totals[node, move] += result
        result = -result
    return visits, totals


def targets(result: float, values: np.ndarray, is_random: np.ndarray) -> np.ndarray:
    learnt, following = np.zeros(len(values)), -result
    for t in reversed(range(len(values))):
        following = values[t] if is_random[t] else -following
        learnt[t] = following
    return learnt


def _games(rng: np.random.Generator) -> Iterator[tuple]:
    yield 0, 1, [[1, 2], [], []], [0.0, 1.0, -1.0]
    yield 0, 2, [[1, 2], [3], [4], [], []], [0.0, 0.0, 0.0, 1.0, -1.0]
    yield 0, 0, [[1], []], [0.5, 1.0]
    for depth in (1, 2, 3, 4, 12):
        for _ in range(3):
            follows = [(place + 1 + rng.permutation(4)[: rng.integers(1, 4)]).tolist() for place in range(8)]
            yield 0, depth, [*follows, *[[]] * 4], rng.integers(-3, 4, 12).astype(float).tolist()


def _nodes(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([10, 2]), np.array([6.0, 0.8]), 1.4
    yield np.array([10, 2]), np.array([6.0, 0.8]), 0.0
    yield np.array([3, 0, 0]), np.array([3.0, 0.0, 0.0]), 1.4
    yield np.array([1, 0]), np.array([1.0, 0.0]), 0.1
    for _ in range(30):
        visits = rng.integers(1, 40, 5)
        yield visits, visits * rng.uniform(-1, 1, 5), float(rng.uniform(0.2, 2.0))
    for _ in range(5):
        visits = rng.integers(1, 5, 6) * (rng.permutation(6) > 1)
        yield visits, visits * rng.uniform(-1, 1, 6), 1.4


def _paths(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.zeros((2, 2), int), np.zeros((2, 2)), [(0, 1), (1, 0)], 1.0
    for steps in (1, 2, 3, 4):
        nodes, moves = [0, *(1 + rng.permutation(4)[: steps - 1])], rng.integers(0, 3, steps)
        path = [(int(node), int(move)) for node, move in zip(nodes, moves, strict=True)]
        yield rng.integers(0, 9, (5, 3)), rng.integers(-4, 5, (5, 3)).astype(float), path, float(rng.choice([-1, 1]))


def _played(rng: np.random.Generator) -> Iterator[tuple]:
    yield 1.0, np.array([0.1, 0.2, 0.3]), np.array([False, False, False])
    yield 1.0, np.array([0.1, 0.2, 0.3]), np.array([False, True, False])
    yield 0.0, np.array([0.1, 0.2, 0.3]), np.array([False, False, True])
    for length in (4, 7, 8):
        yield 1.0, rng.uniform(-1, 1, length).round(2), rng.uniform(size=length) < 0.3


def _friendly(position, depth, follows, values):
    if depth == 0 or len(follows[position]) == 0:
        return values[position]
    return max(_friendly(after, depth - 1, follows, values) for after in follows[position])


def _without_untried(visits, totals, c):
    tried = np.maximum(visits, 1)
    return int(np.argmax(totals / tried + c * np.sqrt(np.log(visits.sum()) / tried)))


def _own_logarithm(visits, totals, c):
    untried = np.flatnonzero(visits == 0)
    return int(untried[0] if len(untried) else np.argmax(totals / visits + c * np.sqrt(np.log(visits) / visits)))


def _one_sided(visits, totals, path, result):
    for node, move in path:
        visits[node, move] += 1
        totals[node, move] += result
    return visits, totals


def _from_the_root(visits, totals, path, result):
    return backup(visits, totals, path[::-1], result)


def _all_from_the_end(result, values, is_random):
    return targets(result, values, np.zeros(len(values), bool))


def _before_random_from_the_end(result, values, is_random):
    return np.where(is_random, values, _all_from_the_end(result, values, is_random))


def _one_sided_targets(result, values, is_random):
    learnt = np.zeros(len(values))
    for t in reversed(range(len(values))):
        result = learnt[t] = values[t] if is_random[t] else result
    return learnt


EXERCISES = {
    "19.1": Exercise(
        negamax,
        _games,
        (
            Mistake(_friendly, "what follows is the other player's: its value to you has the opposite sign."),
            Mistake(
                lambda position, depth, follows, values: negamax(position, 99, follows, values),
                "it looks on to the end of the game; stop where depth is 0.",
            ),
        ),
    ),
    "19.2": Exercise(
        ucb1,
        _nodes,
        (
            Mistake(_without_untried, "a move that was never tried comes before all others."),
            Mistake(_own_logarithm, "the logarithm is that of all visits of the node, not of the move's own."),
            Mistake(
                lambda visits, totals, c: ucb1(visits, totals, 0.0),
                "it takes the largest mean; add what the move may be underestimated by.",
            ),
        ),
    ),
    "19.3": Exercise(
        backup,
        _paths,
        (
            Mistake(_one_sided, "the sign must turn at every step: moves are made by turns."),
            Mistake(_from_the_root, "it begins at the root; the result is that of who made the last move of the path."),
        ),
    ),
    "19.4": Exercise(
        targets,
        _played,
        (
            Mistake(_all_from_the_end, "it takes the end of the game for all; a random move cuts it off."),
            Mistake(
                _before_random_from_the_end,
                "positions before a random move must not learn from what followed it either.",
            ),
            Mistake(_one_sided_targets, "the sign must turn at every move: positions are those of two players."),
        ),
    ),
}
