"""Learning curves."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from polyak.errors import BadFile, BadSetting, UnknownName
from polyak.pictures.picture import Picture, finished, new_axes

POINTS = 60  # of the common grid on which seeds are compared
LARGEST = 1e100  # beyond it a value is as good as infinite, and matplotlib finds no ticks for it


class RunLike(Protocol):
    """The part of a `Run` that is drawn."""

    path: Path

    @property
    def about(self) -> Mapping[str, Any]:
        """Algorithm, environment and settings."""
        ...

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        ...

    def metrics(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps [points] and values [seeds, points]."""
        ...


def draw_curves(
    runs: RunLike | Sequence[RunLike],
    metric: str = "episode_return",
    *,
    labels: Sequence[str] | None = None,
    path: str | os.PathLike | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draws a metric against steps: every seed as a thin line, their mean with its 95 % bootstrap interval in front.

    Args:
        runs: one or several, of several algorithms if you like; one colour each.
        metric: a name from the runs' metrics.
        labels: what the runs are called, one each; by default algorithm, environment, and the settings that differ.
        path: where to save it; by default `curve.png` in the first run's folder, and in a notebook nowhere: there it
            shows itself.
        title: above it; by default none.
        axes: matplotlib axes to draw into, as one picture among others; then it is saved only to `path`.

    Returns:
        The picture; `picture.path` is the file.

    Raises:
        UnknownName: a run has no such metric.
        BadFile: no run has a value of it yet.
        BadSetting: there is no run, or another number of labels.
    """
    runs = list(runs) if isinstance(runs, Sequence) else [runs]
    if not runs:
        raise BadSetting("draw_curves takes at least one run.")
    if labels is not None and (isinstance(labels, str) or len(labels) != len(runs)):
        raise BadSetting(f"draw_curves takes a label for each run: {len(runs)}, not {labels!r:.80}.")
    curves = []
    named = _labels(runs) if labels is None else [plain(label) for label in labels]
    for run, label in zip(runs, named, strict=True):
        try:
            steps, values = run.metrics(metric)
            values = np.where(np.abs(values) < LARGEST, values, np.nan)
            if np.isfinite(values).any():
                curves.append((label, steps, values))
        except UnknownName:
            if metric != "episode_return":  # which a run has as soon as an episode has ended
                raise
    if not curves:
        raise BadFile(
            f"{runs[0].path} has no {metric} to draw yet: no episode has ended, or none of its values is finite."
        )
    canvas = axes or new_axes(7, 4.2)
    for number, (label, steps, values) in enumerate(curves):
        color = f"C{number}"
        for row in values:
            seen = np.isfinite(row)
            canvas.plot(steps[seen], row[seen], color=color, alpha=0.3, linewidth=0.8)
        grid, mean, low, high = summary_band(steps, values)
        canvas.fill_between(grid, low, high, color=color, alpha=0.2, linewidth=0)
        canvas.plot(grid, mean, color=color, linewidth=2, label=label)
    canvas.set_xlabel("environment steps of each seed")
    canvas.set_ylabel(plain(metric.replace("_", " ")))
    canvas.xaxis.set_major_formatter(EngFormatter())
    canvas.spines[["top", "right"]].set_visible(False)
    canvas.grid(alpha=0.25)
    canvas.legend(frameon=False, loc="best", title="mean and 95 % interval over seeds")
    if title is not None:
        canvas.set_title(title)
    return finished(canvas, axes is None, path, runs[0].path / "curve.png")


def _labels(runs: Sequence[RunLike]) -> list[str]:
    """`dqn on CartPole-v1, 4 seeds`; of runs that would be called the same, also the settings in which they differ."""
    names = [f"{run.about['algorithm']} on {run.about['env']}" for run in runs]
    labels = []
    for run, name in zip(runs, names, strict=True):
        alike = [other.about["settings"] for other, theirs in zip(runs, names, strict=True) if theirs == name]
        settings = run.about["settings"]
        differ = [f"{key}={value}" for key, value in settings.items() if any(one.get(key) != value for one in alike)]
        if len(alike) > 1:
            name += f" ({', '.join(differ) or run.path.name})"
        seeds = len(run.seeds)
        labels.append(f"{plain(name)}, {seeds} seed{'' if seeds == 1 else 's'}")
    return labels


def plain(text: str) -> str:
    """Text that matplotlib takes for no mathematics."""
    return text.replace("$", r"\$")


def summary_band(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grid, mean, low and high of seeds whose points lie at different steps.

    Args:
        steps: [points].
        values: [seeds, points], NaN where a seed has none.

    Returns:
        Four arrays [grid]; low and high are the 95 % percentile-bootstrap interval of the mean over seeds.
    """
    grid = np.linspace(steps[0], steps[-1], min(POINTS, len(steps)))
    seen = [np.isfinite(row) for row in values]
    rows = np.stack([np.interp(grid, steps[s], row[s]) for s, row in zip(seen, values, strict=True) if s.any()])
    resamples = np.random.default_rng(0).integers(0, len(rows), (1000, len(rows)))
    low, high = np.percentile(rows[resamples].mean(1), [2.5, 97.5], axis=0)
    return grid, rows.mean(0), low, high
