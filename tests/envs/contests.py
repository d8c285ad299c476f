"""Contests of tic-tac-toe, very many games at once: who wins how often, and who can be beaten at all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from polyak.envs.tictactoe import AFTER, EMPTY, LEGAL, NUMBERS, OVER, ROWS, TURNED, WON
from polyak.errors import BadSetting

Player = Callable[[np.ndarray], np.ndarray]  # boards [M], as the player sees them -> afterstates [M], or more of them


class Record(NamedTuple):
    """How the games of a contest ended."""

    first_won: int
    drawn: int
    second_won: int


def contest(first: Player, second: Player, games: int) -> Record:
    """Plays games from the empty board; `first` moves first in all of them."""
    won, drawn = [0, 0], 0
    boards = np.full(games, EMPTY)
    for turn in range(9):
        player = turn % 2
        after = (first, second)[player](boards)
        won[player] += int(WON[after].sum())
        drawn += int((OVER & ~WON)[after].sum())
        boards = TURNED[after[~OVER[after]]]
    return Record(won[0], drawn, won[1])


def by_chance(moves: np.ndarray, seed: int) -> Player:
    """One who chooses by chance among the moves of a table [N, 9], such as those of `OPPONENTS`."""
    rng = np.random.default_rng(seed)

    def play(boards: np.ndarray) -> np.ndarray:
        ties = rng.random((len(boards), 9))
        return AFTER[boards, np.where(moves[boards], ties, -1.0).argmax(-1)]

    return play


def by_policy(policy: Callable[[np.ndarray], np.ndarray]) -> Player:
    """One who follows a greedy policy, from rows of what is seen [M, 36] to moves [M].

    Raises:
        BadSetting: it makes a move that is not allowed.
    """
    moves = np.full(len(NUMBERS), -1)
    moves[~OVER] = policy(ROWS[~OVER].astype(np.float32))  # asked once about every board

    def play(boards: np.ndarray) -> np.ndarray:
        allowed = LEGAL[boards, moves[boards]]
        if not allowed.all():
            board = boards[~allowed][0]
            raise BadSetting(f"The policy makes move {moves[board]} on board {board}, where that cell is not free.")
        return AFTER[boards, moves[boards]]

    return play


def in_every_way(boards: np.ndarray) -> np.ndarray:
    """One who makes every move there is: a contest of one game becomes one of all the games that can be played."""
    after = AFTER[boards]
    return after[after >= 0]
