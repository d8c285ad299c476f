"""Learning curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from polyak.errors import BadFile, UnknownName

if TYPE_CHECKING:
    from polyak.training import Run

POINTS = 60  # of the common grid on which seeds are compared


def draw_curve(runs: Sequence["Run"], path: Path, metric: str = "episode_return") -> Path:
    """Draws a metric against steps: every seed as a thin line, their mean with its 95 % bootstrap interval in front.

    Args:
        runs: one colour each.
        path: where the picture goes; its ending chooses the format.
        metric: a name from the run's metrics.

    Raises:
        UnknownName: a run has no such metric.
        BadFile: no run has a value of it yet.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    drawn = False
    labels = [f"{run.about['algorithm']} on {run.about['env']}" for run in runs]
    for number, run in enumerate(runs):
        try:
            steps, values = run.metrics(metric)
        except UnknownName:
            if metric != "episode_return":
                raise
            continue
        drawn = True
        color = f"C{number}"
        label = labels[number]
        if labels.count(label) > 1:
            label += f" ({run.path.name})"
        for row in values:
            seen = np.isfinite(row)
            axes.plot(steps[seen], row[seen], color=color, alpha=0.3, linewidth=0.8)
        grid, mean, low, high = summary_band(steps, values)
        axes.fill_between(grid, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(grid, mean, color=color, linewidth=2, label=f"{label}, {len(values)} seeds")
    if not drawn:
        pyplot.close(figure)
        raise BadFile(f"{runs[0].path} has no {metric} to draw yet: no episode has ended.")
    axes.set_xlabel("environment steps of each seed")
    axes.set_ylabel(metric.replace("_", " "))
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="best", title="mean and 95 % interval over seeds")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return path


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
