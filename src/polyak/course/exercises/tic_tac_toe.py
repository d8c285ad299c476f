"""Chapter 6: a won game, one step of looking ahead, and the error of self-play."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def has_won(board: np.ndarray, player: int) -> bool:
    cells = np.reshape(board, (3, 3)) == player
    diagonals = [np.diag(cells), np.diag(np.fliplr(cells))]
    return any(line.all() for line in [*cells, *cells.T, *diagonals])


def best_move(values: np.ndarray, choices: np.ndarray) -> int:
    ahead = np.where(choices >= 0, values[choices], -np.inf)
    return int(np.argmax(ahead))


def self_play_error(
    values: np.ndarray, mine: int, reward: float, terminated: bool, next_choices: np.ndarray, gamma: float
) -> float:
    theirs = 0.0 if terminated else values[next_choices[next_choices >= 0]].max()
    return reward - gamma * theirs - values[mine]


LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


def _boards(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.zeros(9, int), 1
    for line in LINES:
        board = np.zeros(9, int)
        board[list(line)] = 2
        yield board, 2
        yield board, 1
    for _ in range(30):
        yield rng.integers(0, 3, 9), int(rng.integers(1, 3))


def _choices(rng: np.random.Generator) -> np.ndarray:
    choices = rng.permutation(12)[:9]
    choices[rng.permutation(9)[: rng.integers(1, 8)]] = -1
    return choices


def _moves(rng: np.random.Generator) -> Iterator[tuple]:
    yield -np.arange(1.0, 13.0), np.array([-1, 3, 2, -1, 5, 6, 7, 8, 9])
    for _ in range(20):
        yield rng.normal(size=12) - 1.0, _choices(rng)


def _replies(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.arange(12.0), 3, 1.0, True, np.full(9, -1), 0.5
    yield np.arange(12.0), 3, 0.0, False, np.array([-1, 4, 6, -1, -1, -1, -1, -1, -1]), 0.5
    for _ in range(10):
        yield rng.normal(size=12) - 1.0, int(rng.integers(12)), 0.0, False, _choices(rng), 0.9


def _without_diagonals(board: np.ndarray, player: int) -> bool:
    cells = np.reshape(board, (3, 3)) == player
    return bool(cells.all(0).any() or cells.all(1).any())


def _friendly(values, mine, reward, terminated, next_choices, gamma):
    theirs = 0.0 if terminated else values[next_choices[next_choices >= 0]].max()
    return reward + gamma * theirs - values[mine]


def _any_number(values, mine, reward, terminated, next_choices, gamma):
    return reward - gamma * (0.0 if terminated else values[next_choices].max()) - values[mine]


EXERCISES = {
    "6.1": Exercise(has_won, _boards, (Mistake(_without_diagonals, "it forgets the two diagonals."),)),
    "6.2": Exercise(
        best_move,
        _moves,
        (
            Mistake(
                lambda values, choices: int(np.argmax(values[choices])),
                "it may choose a move that is not allowed: -1 is no number of a board.",
            ),
            Mistake(
                lambda values, choices: int(np.argmax(np.where(choices >= 0, values[choices], 0.0))),
                "it gives moves that are not allowed the value 0, which may be the best of all.",
            ),
        ),
    ),
    "6.3": Exercise(
        self_play_error,
        _replies,
        (
            Mistake(_friendly, "it adds what the other player gains; take it off."),
            Mistake(_any_number, "it lets the other player make moves that are not allowed."),
        ),
    ),
}
