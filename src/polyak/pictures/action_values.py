"""A table of action values as a picture."""

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from polyak.envs.mdp import MDP
from polyak.errors import BadSetting
from polyak.pictures.board import COLOURS, INK, Board, Style, add_bar, board_of, bottom, digits_of, number, paint
from polyak.pictures.given import Known, given, greedy
from polyak.pictures.picture import Picture, default_name, finished, new_axes
from polyak.pictures.values import title_of

COLUMN = 100  # states below each other where there is no grid
MOST_ROWS = 40  # states up to which numbers are written beside each other


def draw_q(
    mdp: MDP,
    known: Known,
    *,
    path: str | os.PathLike | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draws q(s, a): on a grid each cell as four triangles, one an action, else an image of states by actions.

    The best actions of a state are marked, all of those that tie. Values that lie far below all others, as a fall from
    a cliff does, take the colour at the end of the bar.

    Args:
        mdp: any world; triangles are for a grid on which the actions are left, right, up and down.
        known: a `Solution`, a trained `Policy` that keeps a table of action values, or action values [S, A].
        path: where to save it; by default `q-<world>.png`, and in a notebook nowhere: there it shows itself.
        title: above it; by default the world, and the algorithm of a `Policy`.
        axes: matplotlib axes to draw into, as one picture among others; then it is saved only to `path`.

    Returns:
        The picture; `picture.path` is the file.

    Raises:
        BadSetting: there are no action values, or they do not fit the world.
    """
    q = given(mdp, known).q
    if q is None:
        raise BadSetting("Values [S] say nothing of single actions; polyak.draw_values draws them.")
    if mdp.grid is not None and set(mdp.grid.arrows) == set("←↓→↑"):
        board = board_of(mdp)
        board = board._replace(cell=board.cell * 1.2)
        canvas, pad = axes or new_axes(*board.size), 6
        _paint_triangles(board, canvas, q)
    else:
        canvas, pad = axes or new_axes(*_size(*q.shape)), 6 if mdp.num_states <= COLUMN else 20
        _paint_table(canvas, q, mdp)
    canvas.set_title(title if title is not None else title_of(mdp, known), pad=pad)
    return finished(canvas, axes is None, path, default_name("q", mdp.id))


def _paint_triangles(board: Board, axes: Axes, q: np.ndarray) -> None:
    best = greedy(q) > 0
    triangles, values, marks, texts = [], [], [], []
    for state, row_of_q in enumerate(q):
        x, y = board.place(state)
        if board.blocked[y, x] or board.ends[y, x]:
            continue
        for action, value in enumerate(row_of_q):
            ahead = board.directions[action]
            aside = np.array([-ahead[1], ahead[0]])
            middle = np.array([x, y])
            triangles.append([middle, middle + (ahead + aside) / 2, middle + (ahead - aside) / 2])
            values.append(value)
            marks.append(best[state, action])
            texts.append(middle + ahead * (0.34 if ahead[1] else 0.30))
    shown = np.array(values)
    low, extend = bottom(shown)
    faces = PolyCollection(triangles, array=shown, cmap=COLOURS, edgecolors="white", linewidths=0.4, zorder=1)
    faces.set_clim(low, shown.max(initial=low))
    axes.add_collection(faces)
    paint(board, axes)
    add_bar(axes, faces, "q(s, a)", extend)
    digits = 0 if np.abs(shown).max(initial=0) >= 100 else digits_of(shown)
    for value, is_best, (x, y) in zip(values, marks, texts, strict=True):
        style: Style = {"color": INK, "gid": "best" if is_best else None}
        if board.has_numbers:
            style |= {"fontweight": "bold"} if is_best else {"color": "#444444"}
            style |= {"fontsize": 7.5 * board.cell, "ha": "center", "va": "center"}
            axes.text(x, y, number(value, digits), **style)
        elif is_best:
            axes.plot(x, y, ".", markersize=5 * board.cell, **style)


def _size(states: int, actions: int) -> tuple[float, float]:
    """Width and height of the picture of a table, in inches."""
    if states <= MOST_ROWS:
        return max(3.5, 2 + 0.7 * actions), max(2, 1 + 0.3 * states)
    columns = -(-states // COLUMN)
    return 1.5 + columns * (0.7 + 0.18 * actions), 1 + 0.09 * min(COLUMN, states)


def _paint_table(axes: Axes, q: np.ndarray, mdp: MDP) -> None:
    """Draws columns of up to a hundred states beside each other, with a gap between."""
    states, actions = q.shape
    columns, step = -(-states // COLUMN), actions + 3
    table = np.full((min(states, COLUMN), columns * step - 3), np.nan)
    for k in range(columns):
        part = q[k * COLUMN : (k + 1) * COLUMN]
        table[: len(part), k * step : k * step + actions] = part
    low, extend = bottom(q)
    look: Style = {"vmin": low, "aspect": "auto", "interpolation": "nearest"}
    image = axes.imshow(np.ma.masked_invalid(table), COLOURS, **look)
    add_bar(axes, image, "q(s, a)", extend)
    state, action = np.nonzero((greedy(q) > 0) & ~mdp.terminal[:, None])
    is_small = states <= MOST_ROWS
    x, y = state // COLUMN * step + action, state % COLUMN
    axes.scatter(x + 0.38 * is_small, y, s=14 if is_small else 3, color="#c8102e", linewidths=0, gid="best")
    if is_small:
        for (row, column), value in np.ndenumerate(q):
            axes.text(column, row, number(value, digits_of(q)), color=INK, ha="center", va="center", fontsize=9)
        axes.set_yticks(range(states))
    for k in range(columns if columns > 1 else 0):
        last = min(states, (k + 1) * COLUMN) - 1
        above: Style = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "fontsize": 8}
        axes.annotate(f"{k * COLUMN} to {last}", (k * step + (actions - 1) / 2, 1.005), **above)
    names = list(mdp.grid.arrows if mdp.grid else map(str, range(actions)))
    places = [k * step + a for k in range(columns) for a in range(actions)]
    axes.set_xticks(places, names * columns, fontsize=9 if is_small else 6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="action", ylabel="state" if columns == 1 else "state, from the first of its column")
