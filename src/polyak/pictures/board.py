"""The grid on which values and paths are drawn: cells, letters, walls."""

from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from polyak.envs.mdp import MDP
from polyak.errors import BadSetting
from polyak.pictures.given import check_mdp

DIRECTIONS = {  # of an arrow: to the right, down
    "←": (-1, 0), "→": (1, 0), "↑": (0, -1), "↓": (0, 1), "↖": (-1, -1), "↗": (1, -1), "↙": (-1, 1), "↘": (1, 1)
}  # fmt: skip
FREE = "#f3f0e8"
FACES = {"#": "#4a4e57", "C": "#6b4a3a", "H": "#2b4560", "G": "#f0b429"}
OTHER_END = "#b9b4a6"
INK = "#222222"  # readable on all of COLOURS
COLOURS = matplotlib.colors.LinearSegmentedColormap.from_list(
    "values", ["#8087c6", "#74b0cb", "#8fcdb4", "#cfe6ac", "#fdf8d8"]
)
Style = dict[str, Any]  # keyword arguments of matplotlib's
MOST_NUMBERS = 16  # cells a side up to which numbers are written into them


class Board(NamedTuple):
    """A world's grid."""

    letters: np.ndarray  # [rows, columns]
    ends: np.ndarray  # [rows, columns] bool: terminal, and not a wall
    blocked: np.ndarray  # [rows, columns] bool: walls and cliffs, where nobody can be
    directions: np.ndarray  # [A, 2] of each action: to the right, down; zero for one that is no arrow
    cell: float  # the side of a cell in inches

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.letters.shape
        return rows, columns

    @property
    def has_numbers(self) -> bool:
        """Whether its cells are large enough to write in."""
        return max(self.shape) <= MOST_NUMBERS

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of a picture with a colour bar and a title, in inches."""
        rows, columns = self.shape
        return columns * self.cell + 1.3, rows * self.cell + 0.6

    def place(self, state: int) -> tuple[int, int]:
        """Column and row of a state: where its cell's centre is on the axes."""
        row, column = divmod(int(state), self.shape[1])
        return column, row

    def masked(self, values: np.ndarray) -> np.ndarray:
        """[rows, columns] of values [S]; NaN in walls, cliffs and terminal cells, which have none to learn."""
        return np.where(self.blocked | self.ends, np.nan, values.reshape(self.shape))


def board_of(mdp: MDP) -> Board:
    """The grid of a world.

    Raises:
        BadSetting: it has none, or one that does not fit it.
    """
    check_mdp(mdp)
    if mdp.grid is None:
        raise BadSetting(
            f"{mdp.id} has no grid to draw on; polyak.draw_q(mdp, ...) draws any table, states by actions."
        )
    rows, arrows = mdp.grid
    width = len(rows[0])
    if len(rows) * width != mdp.num_states or any(len(row) != width for row in rows) or len(arrows) != mdp.num_actions:
        raise BadSetting(
            f"The grid of {mdp.id} has {sum(map(len, rows))} cells and {len(arrows)} arrows; it needs "
            f"{mdp.num_states} and {mdp.num_actions}, one a state and one an action."
        )
    letters = np.array([list(row) for row in rows])
    blocked = np.isin(letters, ("#", "C"))
    directions = np.array([DIRECTIONS.get(arrow, (0, 0)) for arrow in arrows], float)
    directions /= np.maximum(1, np.linalg.norm(directions, axis=1, keepdims=True))
    cell = min(0.8, 9 / max(letters.shape))
    return Board(letters, mdp.terminal.reshape(letters.shape) & ~blocked, blocked, directions, cell)


def paint(board: Board, axes: Axes, busy: bool = False) -> None:
    """Draws cells and letters, around a heat map if there is one.

    Args:
        board: the grid.
        axes: to draw into.
        busy: whether something is drawn in the middle of terminal cells, so that letters must keep to the corner.
    """
    rows, columns = board.shape
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor(FREE)
    axes.spines[:].set(color=FACES["#"], linewidth=1.2)
    for (row, column), letter in np.ndenumerate(board.letters):
        face = face_of(board, row, column)
        if face:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor="none", zorder=1.2))
        is_end = board.ends[row, column]
        style: Style = {"color": "white" if letter == "H" and is_end else INK, "fontweight": "bold", "zorder": 4}
        if is_end and not busy:
            style |= {"ha": "center", "va": "center", "fontsize": 20 * board.cell}
            axes.text(column, row, letter, **style)
        elif letter == "S" or is_end:
            style |= {"ha": "left", "va": "top", "fontsize": max(5, 10 * board.cell)}
            tag: Style = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            axes.text(column - 0.43, row - 0.42, letter, bbox=None if is_end else tag, **style)
    lines: Style = {"color": "white", "linewidth": 1.2 * min(1.0, board.cell / 0.5), "zorder": 1.5}
    axes.hlines(np.arange(rows - 1) + 0.5, -0.5, columns - 0.5, **lines)
    axes.vlines(np.arange(columns - 1) + 0.5, -0.5, rows - 0.5, **lines)
    _name_the_cliffs(board, axes)


def _name_the_cliffs(board: Board, axes: Axes) -> None:
    """Writes one word for all cliff cells beside each other."""
    for row, letters in enumerate(board.letters):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], letters == "C", [0]])))
        for first, after in edges.reshape(-1, 2):
            name = "c l i f f" if after - first > 2 else "C"
            style: Style = {"ha": "center", "va": "center", "fontsize": 14 * board.cell, "fontstyle": "italic"}
            axes.add_patch(
                Rectangle(
                    (first - 0.5, row - 0.5), after - first, 1,
                    facecolor=FACES["C"], edgecolor="#8a6552", hatch="///", linewidth=0, zorder=2,
                )
            )  # fmt: skip
            axes.text((first + after - 1) / 2, row, name, color="#f2e4da", zorder=4, **style)


def face_of(board: Board, row: int, column: int) -> str | None:
    """The colour of a cell that has one of its own: a wall, a cliff, an end."""
    letter = board.letters[row, column]
    if board.blocked[row, column]:
        return FACES[letter]
    if board.ends[row, column]:
        return FACES.get(letter, OTHER_END)
    return None


def bottom(values: np.ndarray) -> tuple[float, str]:
    """The lowest action value with a colour of its own, and the end of the bar that is open: "neither" or "min".

    A few values far below all others, as a fall from a cliff has, would leave one colour to all the rest. Far is more
    than three times the interquartile range (Tukey, 1977, "Exploratory data analysis").
    """
    if not values.size:
        return 0.0, "neither"
    first, third = np.percentile(values, [25, 75])
    inner = values[values >= first - 3 * (third - first)]
    low = float(inner.min())
    if low == inner.max():
        return float(values.min()), "neither"
    return low, "min" if low > values.min() else "neither"


def digits_of(values: np.ndarray) -> int:
    """The number of decimals to write, so that numbers are short and neighbours differ."""
    values = values[np.isfinite(values)]
    if not len(values) or np.abs(values - np.round(values)).max() < 1e-6:
        return 0
    return 2 if np.abs(values).max() < 10 else 1


def number(value: float, digits: int) -> str:
    """A number with that many decimals, without a sign before zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.removeprefix("-")


def add_bar(axes: Axes, what: Any, label: str, extend: str = "neither") -> None:
    """Adds a colour bar as high as the axes, with its name below it, out of reach of a long title."""
    width = axes.bbox.width / axes.figure.dpi
    bar = axes.figure.colorbar(what, cax=axes.inset_axes((1 + 0.12 / width, 0, 0.18 / width, 1)), extend=extend)
    below: Style = {"xycoords": "axes fraction", "xytext": (0, -7), "textcoords": "offset points"}
    axes.annotate(label, (1 + 0.12 / width, 0), ha="left", va="top", fontsize=10, **below)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
