"""Boards as text, and moves as people write them.

Who began is X and the other O; in chess White's pieces are capitals. Cells are named as is usual in each game:

    connect-four    c           the column
    othello         e4, pass    the column, and the row from above
    hex             e4, swap    the same; X joins the upper and the lower edge, O left and right
    go-9x9          e4, pass    the column without i, and the row from below; X is Black
    chess           e2e4        from, to; e7e8q, r, b or n promotes; castling is the king's move, e1g1
    gardner-chess   b2b3        the same on five columns and rows
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from polyak.envs.games.from_pgx import State, legal_actions
from polyak.errors import UnknownName

LETTERS = "abcdefghijklmnopqrstuvwxyz"
GO_LETTERS = "abcdefghjklmnopqrstuvwxyz"  # without i, which looks like 1
PIECES = ".pnbrqk"  # by pgx's numbers
PROMOTED = "rbn"  # by pgx's planes of moves that promote to less than a queen, three of each


class Notation(NamedTuple):
    """How a game is written."""

    marks: Callable[[State], list[list[str]]]  # state -> a letter for each cell, row by row from above
    name: Callable[[State, int], str]  # state, action -> the move, in small letters
    columns: str
    rows: Sequence[int] = ()  # the numbers of rows, from above; none where they have none
    shift: int = 0  # letters by which each row stands to the right of the one above


def draw(id: str, state: State) -> str:
    """The board of a game as lines of text, with the names of columns and rows.

    Args:
        id: of the game, one of `NOTATIONS`.
        state: of its environment, also of the one against an opponent.

    Raises:
        UnknownName: its boards are not drawn.
    """
    notation = _notation(id)
    rows = notation.marks(state)
    wide = max((len(str(number)) for number in notation.rows), default=0)
    lines = []
    for place, row in enumerate(rows):
        number = str(notation.rows[place]).rjust(wide) if notation.rows else ""
        lines.append(" " * notation.shift * place + f"{number} {' '.join(row)}")
    columns = " " * (wide + 1) + " ".join(notation.columns)
    below = " " * notation.shift * len(rows)
    return "\n".join([columns, *lines] if notation.shift else [*lines, below + columns])


def name_of_move(id: str, state: State, action: int) -> str:
    """A move as people write it.

    Raises:
        UnknownName: moves of this game have no names.
    """
    return _notation(id).name(state, int(action))


def move_named(id: str, state: State, text: str) -> int | None:
    """The action that a person means; None where no move that is allowed is called so.

    Args:
        id: of the game, one of `NOTATIONS`.
        state: of its environment.
        text: what was typed; capitals and spaces around it do not count.

    Raises:
        UnknownName: moves of this game have no names.
    """
    name, wanted = _notation(id).name, text.strip().lower()
    return next((int(a) for a in np.flatnonzero(legal_actions(id, state)) if name(state, int(a)) == wanted), None)


def _notation(id: str) -> Notation:
    game = id.partition("/")[0]
    if game not in NOTATIONS:
        raise UnknownName("game whose boards can be drawn", id, NOTATIONS)
    return NOTATIONS[game]


def _board(state: State, size: int) -> np.ndarray:
    return np.asarray(state.rules["board"]).reshape(-1, size)


def _own(state: State) -> np.ndarray | int:
    """1 where whoever began is to move, else -1: turns boards as the mover sees them to those of who began."""
    return 1 - 2 * int(state.player)


def _stones(board: np.ndarray) -> list[list[str]]:
    """Letters of a board, positive for who began, negative for the other."""
    return [[".XO"[mark] for mark in row] for row in np.sign(board)]


def _cells(columns: str, rows: Sequence[int], last: str) -> Callable[[State, int], str]:
    """The names of cells, row by row from above, and of the one action besides."""

    def name(state: State, action: int) -> str:
        row, column = divmod(action, len(columns))
        return f"{columns[column]}{rows[row]}" if row < len(rows) else last

    return name


def _chess_marks(size: int) -> Callable[[State], list[list[str]]]:
    def marks(state: State) -> list[list[str]]:
        board = _board(state, size).T[::-1]  # pgx lists columns from below, as the mover sees them
        if state.player:
            board = -board[::-1]
        return [[PIECES[mark].upper() if mark > 0 else PIECES[-mark] for mark in row] for row in board]

    return marks


def _chess_moves(size: int, targets: Callable[[], np.ndarray]) -> Callable[[State, int], str]:
    """The names of moves; `targets` are pgx's squares [size^2, planes] that a move of each plane leads to."""

    def name(state: State, action: int) -> str:
        begin, plane = divmod(action, targets().shape[1])
        end = int(targets()[begin, plane])
        promoted = ""
        if plane < 9:
            promoted = PROMOTED[plane // 3]
        elif int(state.rules["board"][begin]) == PIECES.index("p") and end % size == size - 1:
            promoted = "q"
        return square(state, begin) + square(state, end) + promoted

    def square(state: State, place: int) -> str:
        column, row = divmod(place, size)
        return f"{LETTERS[column]}{size - row if state.player else row + 1}"

    return name


@cache
def _chess_targets() -> np.ndarray:
    from pgx._src.games.chess import FROM_PLANE

    return np.asarray(FROM_PLANE)


@cache
def _gardner_targets() -> np.ndarray:
    from pgx._src.gardner_chess_utils import TO_MAP

    return np.asarray(TO_MAP)


def _connect_four_marks(state: State) -> list[list[str]]:
    return [["XO."[mark] for mark in row] for row in _board(state, 7)]  # 0, 1, and -1 for none


NOTATIONS = {
    "connect-four": Notation(_connect_four_marks, lambda state, action: LETTERS[action], LETTERS[:7]),
    "othello": Notation(
        lambda state: _stones(_board(state, 8) * _own(state)),
        _cells(LETTERS[:8], range(1, 9), "pass"),
        LETTERS[:8],
        range(1, 9),
    ),
    "hex": Notation(
        lambda state: _stones(_board(state, 11) * _own(state)),
        _cells(LETTERS[:11], range(1, 12), "swap"),
        LETTERS[:11],
        range(1, 12),
        shift=1,
    ),
    "go-9x9": Notation(
        lambda state: _stones(_board(state, 9)),
        _cells(GO_LETTERS[:9], range(9, 0, -1), "pass"),
        GO_LETTERS[:9],
        range(9, 0, -1),
    ),
    "gardner-chess": Notation(_chess_marks(5), _chess_moves(5, _gardner_targets), LETTERS[:5], range(5, 0, -1)),
    "chess": Notation(_chess_marks(8), _chess_moves(8, _chess_targets), LETTERS[:8], range(8, 0, -1)),
}
