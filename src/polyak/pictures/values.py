"""State values as a heat map, and the policy as arrows on it."""

import os
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from polyak.envs.mdp import MDP
from polyak.errors import BadSetting
from polyak.pictures.board import COLOURS, INK, Board, Style, add_bar, board_of, digits_of, number, paint
from polyak.pictures.given import Given, Known, given, probabilities
from polyak.pictures.picture import Picture, default_name, finished, new_axes
from polyak.policy import Policy

RARELY = 0.02  # actions less probable get no arrow


def draw_values(
    mdp: MDP,
    known: Known | None = None,
    *,
    policy: Known | None = None,
    path: str | os.PathLike | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draws v(s) as a heat map on the grid, with an arrow for each action that is best; those that tie share the cell.

    Walls, cliffs and terminal cells have colours of their own.

    Args:
        mdp: a world with a grid.
        known: a `Solution`, a trained `Policy` that keeps a table, values [S] or action values [S, A]. A table of q
            is drawn as max_a q(s, a).
        policy: the arrows, where they are not those that `known` thinks best: actions [S], probabilities [S, A], a
            `Policy` or a `Solution`; an improbable action is pale.
        path: where to save it; by default `values-<world>.png`, and in a notebook nowhere: there it shows itself.
        title: above it; by default the world, and the algorithm of a `Policy`.
        axes: matplotlib axes to draw into, as one picture among others; then it is saved only to `path`.

    Returns:
        The picture; `picture.path` is the file.

    Raises:
        BadSetting: the world has no grid, or values or policy do not fit it.
    """
    if known is None and policy is None:
        raise BadSetting("draw_values needs something to draw: a Solution, a Policy, values [S] or policy=actions.")
    about = given(mdp, known) if known is not None else Given(None, None, None)
    pi = probabilities(mdp, policy) if policy is not None else about.pi
    board = board_of(mdp)
    canvas = axes or new_axes(*board.size)
    values = None if about.values is None else board.masked(about.values)
    if values is not None:
        paint_values(canvas, values)
    paint(board, canvas)
    has_numbers = values is not None and board.has_numbers
    if pi is not None:
        paint_arrows(board, canvas, pi, lift=0.08 if has_numbers else 0.0)
    if values is not None and has_numbers:
        _write_numbers(board, canvas, values, below=0.35 if pi is not None else 0.0)
    canvas.set_title(title if title is not None else title_of(mdp, known if known is not None else policy))
    return finished(canvas, axes is None, path, default_name("values", mdp.id))


def title_of(mdp: MDP, known: Any) -> str:
    """`q-learning on CliffWalking-v1`, or the world alone."""
    return f"{known.algorithm.name} on {mdp.id}" if isinstance(known, Policy) else mdp.id


def paint_values(axes: Axes, values: np.ndarray) -> None:
    """Draws the heat map of values [rows, columns], and its bar."""
    add_bar(axes, axes.imshow(np.ma.masked_invalid(values), COLOURS, zorder=1), "v(s)")


def paint_arrows(board: Board, axes: Axes, pi: np.ndarray, lift: float = 0.0, strength: float = 1.0) -> None:
    """Draws one arrow through the middle of a cell, or several from the middle outwards."""
    tails, aheads, strengths = [], [], []
    for state, probability in enumerate(pi):
        column, row = board.place(state)
        if board.blocked[row, column] or board.ends[row, column]:
            continue
        chosen = np.flatnonzero(probability > RARELY)
        for action in chosen:
            ahead = board.directions[action] * (0.46 if len(chosen) == 1 else 0.27)
            tails.append(np.array([column, row - lift]) - (ahead / 2 if len(chosen) == 1 else 0))
            aheads.append(ahead)
            strengths.append(strength * probability[action] / probability.max())
    axes.quiver(
        *np.reshape(tails, (-1, 2)).T, *np.reshape(aheads, (-1, 2)).T, color=INK, alpha=strengths, angles="xy",
        scale_units="xy", scale=1, units="xy", width=0.04, headwidth=4, headlength=4, headaxislength=3.6, zorder=3,
    )  # fmt: skip


def _write_numbers(board: Board, axes: Axes, values: np.ndarray, below: float) -> None:
    digits = digits_of(values)
    style: Style = {"ha": "center", "va": "center", "fontsize": (10 if below else 13) * board.cell}
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(column, row + below, number(value, digits), color=INK, zorder=4, **style)
