"""A run, read from its folder: scores, metrics, policies, curves."""

import html
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyak import errors
from polyak.errors import BadFile, BadSetting
from polyak.evaluation import Scores
from polyak.runs import store

if TYPE_CHECKING:
    from polyak.envs import EnvLike
    from polyak.pictures.picture import Picture
    from polyak.policy import Policy

MOST_LINES = 10  # of notices, and of seeds stopped early, in the table that a notebook shows


class Run:
    """A finished, stopped or growing run, read from its folder.

    Attributes:
        path: the run folder.
        about: the content of `run.json`: algorithm, settings, environment, versions, device, seeds, scores.
        env: the environment; None for a function, which no file can hold, except while it is trained.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.about = vars(store.read_about(self.path))
        self.env: EnvLike | None = None if self.about["custom_env"] else self.about["env"]

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return list(self.about["seeds"])

    @property
    def scores(self) -> Scores:
        """Returns [seeds, episodes] of the final greedy policies in the Gymnasium environment."""
        returns = [self.about["returns"][str(seed)] for seed in self.seeds if str(seed) in self.about["returns"]]
        if not returns:
            raise BadFile(f"No seed of {self.path} has finished yet, so there are no scores.")
        if len({len(row) for row in returns}) > 1:
            raise BadFile(f"The seeds of {self.path} have scores of different numbers of episodes.")
        return Scores(np.array(returns))

    @property
    def steps_per_second(self) -> float:
        """Environment steps of all seeds together per second of training; compilation and evaluation left out."""
        return self.about["steps_per_second"]

    @property
    def stopped_early(self) -> dict[int, dict[str, Any]]:
        """Of each seed that a callback has stopped: `step`, zero if it had not begun, and `reason`."""
        return {int(seed): stop for seed, stop in self.about["stopped_early"].items()}

    @property
    def notices(self) -> list[str]:
        """What was said while it trained: of its environments, its files, and of numbers that look wrong."""
        seeds = len(self.seeds) > 1
        return [
            f"seed {notice['seed']}: {notice['text']}" if seeds and notice["seed"] is not None else notice["text"]
            for notice in self.about["notices"]
        ]

    def metrics(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps [points] and the values [seeds, points] of a metric."""
        names = store.metric_names(self.path)
        if name not in names:
            raise errors.UnknownName("metric", name, names)
        return store.read_metric(self.path, name, self.seeds)

    def policy(self, seed: int | None = None) -> "Policy":
        """The final policy of a seed, by default of the best one in the final evaluation."""
        from polyak import policy

        if seed is None:
            returns = self.about["returns"]
            kept = [s for s in self.seeds if (self.path / f"policy-{s}.safetensors").exists()]
            if not kept:
                raise BadFile(f"{self.path} holds no policy yet.")
            seed = max(kept, key=lambda s: np.mean(returns.get(str(s), -np.inf)))
        elif seed not in self.seeds:
            raise BadSetting(f"{self.path} has the seeds {', '.join(map(str, self.seeds))}, not {seed}.")
        return policy.load(self.path / f"policy-{seed}.safetensors")

    def summary(self) -> str:
        """Algorithm, environment, scores and speed in two lines, or three if seeds were stopped early."""
        about = self.about
        head = f"{about['algorithm']} on {about['env']}, {about['steps']:,} steps, seeds {span(self.seeds)}"
        if about["status"] != "finished":
            return f"{head}: {about['status']}"
        speed = f"{self.steps_per_second:,.0f} steps/s" if self.steps_per_second else "speed not measured"
        early = [f"seed {seed} after {stop['step']:,} steps" for seed, stop in self.stopped_early.items()]
        cut = f"\nstopped early: {', '.join(early)}" if early else ""
        return f"{head}, {speed}{cut}\nfinal policy: {self.scores}"

    def to_csv(self, path: str | os.PathLike | None = None, *, wide: bool = False) -> Path:
        """Writes everything that was measured as CSV, whole or not at all.

        Args:
            path: the file, by default `metrics.csv` in the run folder; one that is there is replaced if it is such an
                export.
            wide: one row a seed and step and one column a metric, empty where it was not measured; by default the
                columns are seed, step, name, value.

        Returns:
            The file.

        Raises:
            BadFile: it cannot be written, or another file is there.
        """
        from polyak.runs import export

        return export.write(self.path, Path(path) if path is not None else self.path / "metrics.csv", wide)

    def plot(self) -> "Picture":
        """Draws `curve.png`, return against steps; the picture shows itself in a notebook."""
        from polyak.pictures.curves import draw_curves

        return draw_curves(self, path=self.path / "curve.png")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {self.summary()}"

    def _repr_html_(self) -> str:
        """A table of what is known so far, and the curve beside it; no file is written."""
        from polyak.pictures.curves import draw_curves
        from polyak.pictures.picture import new_axes
        from polyak.runs import notebook

        about = self.about
        try:
            scores = str(self.scores)
        except errors.Error:
            scores = "no scores yet"
        try:
            label = f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'}"  # the table says of what
            png = draw_curves(self, labels=[label], axes=new_axes(6, 3.6))._repr_png_()
            source = notebook.embedded("image/png", png)
            curve = f'<img alt="return against steps" src="{source}" style="max-width: 100%; background: white">'
        except errors.Error as error:
            curve = f"<p>{html.escape(str(error))}</p>"
        early = [f"seed {n} after {stop['step']:,} steps: {stop['reason']}" for n, stop in self.stopped_early.items()]
        rows: dict[str, str | list[str]] = {
            "algorithm": about["algorithm"],
            "environment": about["env"],
            "status": about["status"],
            "steps": f"{about['steps']:,} of each seed",
            "seeds": span(self.seeds),
            "speed": f"{self.steps_per_second:,.0f} steps/s" if self.steps_per_second else "not measured",
            "stopped early": _beginning(early, "stopped_early"),
            "final policy": scores,
            "notices": _beginning(self.notices, "notices"),
            "folder": str(self.path),
        }
        table = notebook.table((heading, text) for heading, text in rows.items() if text)
        style = "display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start"
        return f'<div style="{style}"><div>{table}</div>{curve}</div>'


def _beginning(lines: list[str], name: str) -> list[str]:
    """The first of many lines, and where the others are."""
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"and {more:,} more in run.{name}"] if more > 0 else [])]


def span(seeds: Iterable[int]) -> str:
    """`0-7`, for titles."""
    seeds = list(seeds)
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}"
