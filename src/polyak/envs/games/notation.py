"""Boards as text, and moves as people write them.

Who began is X and the other O; in chess White's pieces are capitals. Cells are named as is usual in each game:

    tic-tac-toe     5           the number that stands in the cell
    connect-four    c           the column
    othello         e4, pass    the column, and the row from above
    hex             e4, swap    the same; X joins the upper and the lower edge, O left and right
    go-9x9          e4, pass    the column without i, and the row from below; X is Black
    chess           e2e4        from, to; e7e8q, r, b or n promotes; castling is the king's move, e1g1
    gardner-chess   b2b3        the same on five columns and rows
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from polyak.envs import tictactoe
from polyak.envs.games.from_pgx import State, legal_actions
from polyak.errors import UnknownName

LETTERS = "abcdefghijklmnopqrstuvwxyz"
GO_LETTERS = "abcdefghjklmnopqrstuvwxyz"  # without i, which looks like 1
PIECES = ".pnbrqk"  # by pgx's numbers
CHESS_SIDES = "White (capitals)", "Black (small letters)"
PROMOTED = "rbn"  # by pgx's planes of moves that promote to less than a queen, three of each


class Notation(NamedTuple):
    """How a game is written."""

    marks: Callable[[Any], list[list[str]]]  # state -> a letter for each cell, row by row from above
    name: Callable[[Any, int], str]  # state, action -> the move, in small letters
    help: str  # how a person types a move
    columns: str = ""
    rows: Sequence[int] = ()  # the numbers of rows, from above; none where they have none
    shift: int = 0  # letters by which each row stands to the right of the one above
    ruled: bool = False  # whether lines part the cells, each of which is a move
    place: str = "move"  # what a move takes
    sides: tuple[str, str] = ("X", "O")  # who begins, and the other


def draw(id: str, state: Any) -> str:
    """The board of a game as lines of text, with the names of columns and rows.

    Args:
        id: of the game, one of `NOTATIONS`.
        state: of its environment, also of the one against an opponent.

    Raises:
        UnknownName: its boards are not drawn.
    """
    notation = notation_of(id)
    rows = notation.marks(state)
    if notation.ruled:
        return "\n".join(ruled(rows, 3))
    wide = max((len(str(number)) for number in notation.rows), default=0)
    lines = []
    for place, row in enumerate(rows):
        number = str(notation.rows[place]).rjust(wide) if notation.rows else ""
        lines.append(" " * notation.shift * place + f"{number} {' '.join(row)}")
    columns = " " * (wide + 1) + " ".join(notation.columns)
    below = " " * notation.shift * len(rows)
    return "\n".join([columns, *lines] if notation.shift else [*lines, below + columns])


def name_of_move(id: str, state: Any, action: int) -> str:
    """A move as people write it.

    Raises:
        UnknownName: moves of this game have no names.
    """
    return notation_of(id).name(state, int(action))


def move_named(id: str, state: Any, text: str) -> int | None:
    """The action that a person means; None where no move that is allowed is called so.

    Args:
        id: of the game, one of `NOTATIONS`.
        state: of its environment.
        text: what was typed; capitals and spaces around it do not count.

    Raises:
        UnknownName: moves of this game have no names.
    """
    return moves(id, state).get(text.strip().lower())


def moves(id: str, state: Any) -> dict[str, int]:
    """The moves that are allowed, by their names: the numbers of the actions.

    Raises:
        UnknownName: moves of this game have no names.
    """
    name, is_ours = notation_of(id).name, id.partition("/")[0] == "tic-tac-toe"
    allowed = tictactoe.LEGAL[int(state)] if is_ours else legal_actions(id, state)
    return {name(state, int(action)): int(action) for action in np.flatnonzero(allowed)}


def notation_of(id: str) -> Notation:
    """How a game is written; raises `UnknownName` where nobody has said it."""
    game = id.partition("/")[0]
    if game not in NOTATIONS:
        raise UnknownName("game whose boards can be drawn", id, NOTATIONS)
    return NOTATIONS[game]


def ruled(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Cells of so many letters with lines between them."""
    line = "+".join(["-" * width] * len(rows[0]))
    lines = ["|".join(cell.center(width) for cell in row) for row in rows]
    return [text for pair in zip(lines, [line] * len(lines), strict=True) for text in pair][:-1]


def _tictactoe_marks(board: Any) -> list[list[str]]:
    """X began; a free cell has its number."""
    cells = tictactoe.CELLS[int(board)]
    own, other = "XO" if np.count_nonzero(cells) % 2 == 0 else "OX"
    letters = {tictactoe.OWN: own, tictactoe.OTHER: other}
    marks = [letters.get(int(mark), str(cell + 1)) for cell, mark in enumerate(cells)]
    return [marks[row : row + 3] for row in (0, 3, 6)]


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
    "tic-tac-toe": Notation(
        _tictactoe_marks,
        lambda state, action: str(action + 1),
        "Type the number of a cell to take it",
        ruled=True,
        place="free cell",
    ),
    "connect-four": Notation(
        _connect_four_marks,
        lambda state, action: LETTERS[action],
        "Type the letter of a column to drop a stone there, such as d",
        LETTERS[:7],
        place="free column",
    ),
    "othello": Notation(
        lambda state: _stones(_board(state, 8) * _own(state)),
        _cells(LETTERS[:8], range(1, 9), "pass"),
        "Type a cell by column and row, such as d3, or pass where you must",
        LETTERS[:8],
        range(1, 9),
    ),
    "hex": Notation(
        lambda state: _stones(_board(state, 11) * _own(state)),
        _cells(LETTERS[:11], range(1, 12), "swap"),
        "Type a cell by column and row, such as f6; X joins above and below, O left and right, and O may answer the "
        "first move with swap, which takes it over",
        LETTERS[:11],
        range(1, 12),
        shift=1,
    ),
    "go-9x9": Notation(
        lambda state: _stones(_board(state, 9)),
        _cells(GO_LETTERS[:9], range(9, 0, -1), "pass"),
        "Type a point by column and row, such as e5, or pass; the columns leave out i, and two passes end the game",
        GO_LETTERS[:9],
        range(9, 0, -1),
        sides=("X (Black)", "O (White)"),
    ),
    "gardner-chess": Notation(
        _chess_marks(5),
        _chess_moves(5, _gardner_targets),
        "Type a move by the squares it leads from and to, such as b2b3; a letter behind promotes, as in b4b5q",
        LETTERS[:5],
        range(5, 0, -1),
        sides=CHESS_SIDES,
    ),
    "chess": Notation(
        _chess_marks(8),
        _chess_moves(8, _chess_targets),
        "Type a move by the squares it leads from and to, such as e2e4; a letter behind promotes, as in e7e8q, and "
        "castling is the king's move, e1g1",
        LETTERS[:8],
        range(8, 0, -1),
        sides=CHESS_SIDES,
    ),
}
