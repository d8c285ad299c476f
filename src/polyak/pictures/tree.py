"""The tree of a search: what was looked at most, what it seemed worth, and the line of best play."""

import os
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes

from polyak.errors import BadSetting
from polyak.pictures.board import COLOURS, INK, Style, add_bar, number
from polyak.pictures.picture import Picture, default_name, finished, new_axes

BEST = "#d1365a"
OTHER = "#b9b4a6"


class Searched(Protocol):
    """What is drawn of a `polyak.Search`."""

    @property
    def action(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def visits(self) -> np.ndarray: ...
    @property
    def line(self) -> tuple[int, ...]: ...
    @property
    def tree(self) -> Any: ...
    @property
    def first_action(self) -> int: ...
    @property
    def env(self) -> str: ...


class _Shown(NamedTuple):
    """An action of the tree that is drawn."""

    parent: int  # in the list of those shown; -1 for the root's
    depth: int
    action: int
    visits: int
    value: float
    is_best: bool  # whether it is in the line of best play


def draw_search(
    search: Searched, path: str | os.PathLike | None = None, *, depth: int = 3, width: int = 3, axes: Axes | None = None
) -> Picture:
    """Draws the upper part of a tree; see `Search.draw`.

    Args:
        search: what `polyak.mcts` returned.
        path: where to save it; by default `search-ENV.png`, and in a notebook nowhere.
        depth: how many actions deep.
        width: the most actions of a node that are shown, those with the most visits.
        axes: axes of your own to draw into.

    Raises:
        BadSetting: depth or width is below one.
    """
    if depth < 1 or width < 1:
        raise BadSetting(f"A tree is drawn at least one action deep and one wide, not {depth} and {width}.")
    shown = _most_visited(search, depth, width)
    places = _places(shown)
    columns = 1 + max(x for x, _ in places)
    is_ours, axes = axes is None, axes or new_axes(max(5.0, 0.62 * columns + 1.5), 1.35 * (depth + 1))
    total = max(1, int(search.visits.sum()))
    values = np.array([one.value for one in shown])
    low, high = float(values.min()), float(values.max())
    root = _centre([place for place, one in zip(places, shown, strict=True) if one.parent < 0]), 0.0
    for (x, y), one in zip(places, shown, strict=True):
        above = root if one.parent < 0 else places[one.parent]
        thick = 0.6 + 7.0 * np.sqrt(one.visits / total)
        line: Style = {"color": BEST if one.is_best else OTHER, "linewidth": thick, "solid_capstyle": "round"}
        axes.plot([above[0], x], [above[1], y], zorder=1 + one.is_best, **line)
    dots: Style = {"edgecolors": [BEST if one.is_best else INK for one in shown], "zorder": 4, "s": 430}
    x, y = np.array(places).T
    drawn = axes.scatter(x, y, c=values, cmap=COLOURS, vmin=low, vmax=max(high, low + 1e-6), **dots)
    axes.scatter(*root, c="white", edgecolors=INK, zorder=4, s=430)
    for (x, y), one in zip(places, shown, strict=True):
        axes.text(x, y, str(one.action), ha="center", va="center", color=INK, fontsize=9, fontweight="bold", zorder=5)
        told, paper = f"{one.visits:,}\n{number(one.value, 2)}", {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.text(x, y + 0.24, told, ha="center", va="top", color=INK, fontsize=7, zorder=3, bbox=paper)
    axes.set(xlim=(-0.7, columns - 0.3), ylim=(depth + 0.62, -0.3), xticks=[], yticks=range(depth + 1))
    axes.set_yticklabels(["now", *(f"{i} ahead" for i in range(1, depth + 1))], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{search.env}: {total:,} simulations, best {search.action}, worth {number(search.value, 2)}")
    add_bar(axes, drawn, "value to who moves")
    return finished(axes, is_ours, path, default_name("search", search.env))


def _most_visited(search: Searched, depth: int, width: int) -> list[_Shown]:
    """The actions that are drawn, from the root down."""
    tree, start = search.tree, search.first_action
    shown: list[_Shown] = []

    def add(node: int, parent: int, level: int, on_best: bool) -> None:
        visits = np.asarray(tree.visits[node])
        tried = np.flatnonzero(visits)
        best = search.line[level - 1] - start if on_best and level <= len(search.line) else None
        for action in sorted(tried[np.argsort(-visits[tried], kind="stable")][:width].tolist()):
            is_best = action == best
            value = float(tree.totals[node, action] / visits[action])
            place = len(shown)
            shown.append(_Shown(parent, level, action + start, int(visits[action]), value, is_best))
            if level < depth and (child := int(tree.children[node, action])):
                add(child, place, level + 1, is_best)

    add(0, -1, 1, True)
    return shown


def _places(shown: list[_Shown]) -> list[tuple[float, float]]:
    """Column and depth of each: those without followers side by side, the others above the middle of theirs."""
    columns: dict[int, float] = {}
    following: dict[int, list[int]] = {}
    for place, one in enumerate(shown):
        following.setdefault(one.parent, []).append(place)
    free = 0
    for place, _ in enumerate(shown):  # in the order in which they were added, depth first
        if place not in following:
            columns[place] = float(free)
            free += 1
    for place in reversed(range(len(shown))):
        if place in following:
            columns[place] = float(np.mean([columns[other] for other in following[place]]))
    return [(columns[place], float(one.depth)) for place, one in enumerate(shown)]


def _centre(places: list[tuple[float, float]]) -> float:
    return float(np.mean([x for x, _ in places]))
