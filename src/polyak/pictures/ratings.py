"""Ratings of players with their intervals, the strongest above."""

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes

from polyak.pictures.board import INK
from polyak.pictures.curves import plain
from polyak.pictures.picture import Picture, default_name, finished, new_axes

DOT, ANCHOR = "#2a6f6b", "#b9b4a6"


class ArenaLike(Protocol):
    """The part of an `Arena` that is drawn."""

    @property
    def game(self) -> str: ...
    @property
    def players(self) -> Sequence[str]: ...
    @property
    def anchor(self) -> str | None: ...
    @property
    def order(self) -> list[int]: ...
    @property
    def ratings(self) -> np.ndarray: ...
    @property
    def intervals(self) -> np.ndarray: ...
    @property
    def openings(self) -> np.ndarray: ...
    def rating(self, place: int) -> str: ...


def draw_ratings(arena: ArenaLike, path: str | os.PathLike | None = None, *, axes: Axes | None = None) -> Picture:
    """Draws ratings and their 95 % intervals, a row a player; an arrow where an interval has no end.

    Args:
        arena: what `polyak.arena` returned.
        path: where to save it; by default `arena-GAME.png`, and in a notebook nowhere.
        axes: axes of your own to draw into.
    """
    is_ours, axes = axes is None, axes or new_axes(7, 1.3 + 0.42 * len(arena.players))
    ratings, (low, high) = arena.ratings, arena.intervals.T
    known = np.concatenate([ratings, low[np.isfinite(low)], high[np.isfinite(high)]])
    beyond = 0.06 * max(100.0, float(np.ptp(known)))  # how far an arrow reaches
    for row, place in enumerate(arena.order):
        middle, ends = float(ratings[place]), (float(low[place]), float(high[place]))
        is_anchor = arena.players[place] == arena.anchor
        color = ANCHOR if is_anchor else DOT
        reach = [end if np.isfinite(end) else middle + way * beyond for end, way in zip(ends, (-1, 1), strict=True)]
        axes.plot(reach, [row, row], color=color, linewidth=2.2, solid_capstyle="butt", zorder=2)
        for end, stop, mark in zip(ends, reach, "<>", strict=True):
            if not np.isfinite(end):
                axes.plot(stop, row, mark, color=color, markersize=7, zorder=3)
        axes.plot(middle, row, "o", color=color, markeredgecolor=INK, markersize=7, zorder=4)
        note = "anchor" if is_anchor else arena.rating(place)
        axes.annotate(note, (middle, row), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=INK)
    axes.axvline(0, color=ANCHOR, linewidth=1, linestyle=":", zorder=1)
    axes.set_yticks(range(len(arena.players)), [plain(arena.players[place]) for place in arena.order])
    axes.set_ylim(len(arena.players) - 0.5, -0.7)
    axes.margins(x=0.08)
    zero = "mean" if arena.anchor is None else plain(arena.anchor)
    axes.set_xlabel(f"Elo points, 0 is {zero}; lines are 95 % intervals")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_title(plain(f"{arena.game}: {2 * len(arena.openings):,} games a pair"))
    return finished(axes, is_ours, path, default_name("arena", arena.game))
