"""Curves of bandits: regret, rewards and the share of best arms against pulls."""

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

from polyak.errors import BadSetting, UnknownName
from polyak.pictures.curves import plain
from polyak.pictures.picture import Picture, default_name, finished, new_axes

POINTS = 1_000  # of a line
LABELS = {"regret": "cumulative regret", "reward": "reward", "optimal": "share of best arms"}


class RegretLike(Protocol):
    """The part of a `Regret` that is drawn."""

    @property
    def algorithm(self) -> str: ...
    @property
    def bandit(self) -> str: ...
    @property
    def problems(self) -> int: ...
    @property
    def regret(self) -> np.ndarray: ...
    @property
    def low(self) -> np.ndarray: ...
    @property
    def high(self) -> np.ndarray: ...
    @property
    def reward(self) -> np.ndarray: ...
    @property
    def optimal(self) -> np.ndarray: ...


def draw_regret(
    results: RegretLike | Sequence[RegretLike],
    what: str = "regret",
    *,
    path: str | os.PathLike | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draws what `polyak.regret` measured against pulls, several results together if you like.

    Args:
        results: one or several, one colour each.
        what: "regret", cumulative, with the 95 % interval of its mean; or "reward" or "optimal", the share of problems
            in which the best arm was pulled.
        path: where to save it; by default `regret-BANDIT.png` in the working directory, and in a notebook nowhere:
            there it shows itself.
        title: above it; by default the bandit, where there is only one.
        axes: matplotlib axes to draw into, as one picture among others; then it is saved only to `path`.

    Returns:
        The picture; `picture.path` is the file.

    Raises:
        UnknownName: there is no such curve.
        BadSetting: there is nothing to draw.
    """
    results = list(results) if isinstance(results, Sequence) else [results]
    if not results:
        raise BadSetting("draw_regret takes at least one result.")
    if what not in LABELS:
        raise UnknownName("curve", what, LABELS)
    bandits = list(dict.fromkeys(result.bandit for result in results))
    canvas = axes or new_axes(7, 4.2)
    for number, result in enumerate(results):
        name = result.algorithm if len(bandits) == 1 else f"{result.algorithm} on {result.bandit}"
        ends = np.linspace(0, len(result.regret), min(POINTS, len(result.regret)) + 1).astype(int)[1:]
        if what == "regret":
            canvas.fill_between(ends, result.low[ends - 1], result.high[ends - 1], color=f"C{number}", alpha=0.2, lw=0)
            line = result.regret[ends - 1]
        else:  # means between two points, for what is of a single pull scatters
            line = np.add.reduceat(getattr(result, what), np.r_[0, ends[:-1]]) / np.diff(ends, prepend=0)
        canvas.plot(ends, line, color=f"C{number}", linewidth=1.6, label=plain(name))
    canvas.set_xlabel("pulls of each problem")
    canvas.set_ylabel(LABELS[what])
    canvas.xaxis.set_major_formatter(EngFormatter())
    if what == "optimal":
        canvas.yaxis.set_major_formatter(PercentFormatter(1.0))
    canvas.spines[["top", "right"]].set_visible(False)
    canvas.grid(alpha=0.25)
    problems = " to ".join(f"{count:,}" for count in sorted({result.problems for result in results}))
    interval = " and 95 % interval" if what == "regret" else ""
    canvas.legend(frameon=False, loc="best", title=f"mean{interval} over {problems} problems")
    if title is None and len(bandits) == 1:
        title = bandits[0]
    if title is not None:
        canvas.set_title(plain(title))
    return finished(canvas, axes is None, path, default_name("regret", bandits[0]))
