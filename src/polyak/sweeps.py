"""A sweep, read from its folder: runs that differ in some settings, which of them is best, and their curves."""

import dataclasses
import functools
import html
import itertools
import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from polyak import errors
from polyak.errors import BadFile
from polyak.evaluation import decimals
from polyak.run import Run, span
from polyak.runs import documents as doc, notebook, store
from polyak.runs.about import NAME_LIMIT, Name
from polyak.runs.files import write_atomically

if TYPE_CHECKING:
    from polyak.envs import EnvLike
    from polyak.pictures.picture import Picture

FILE = "sweep.json"
LIMIT = 2**24  # bytes of it
MOST_COMBINATIONS = 256
MOST_CURVES = 8  # in one picture, the best
MOST_ROWS = 10  # of the table that training prints
NAME_LENGTH = 80  # of a run's folder
HEADINGS = ("mean", "IQM", "95 % interval", "seeds", "steps")


@dataclasses.dataclass(kw_only=True)
class AboutSweep:
    """The content of `sweep.json`; all else is in each run's `run.json`."""

    format: Annotated[int, doc.one_of([1])] = 1
    algorithm: Name
    env: Name
    settings: Annotated[
        dict[str, list[Any]],
        doc.mapping(doc.text(NAME_LIMIT), doc.array(doc.setting, least=1, most=MOST_COMBINATIONS)),
    ]  # by name the values of what varies; each combination of them is a run


SWEEP_JSON = doc.record(doc.checks_of(AboutSweep), closed=False)  # later versions may write more


def write(folder: Path, about: AboutSweep) -> None:
    """Writes `sweep.json`, by which a folder is known as that of a sweep."""
    write_atomically(folder / FILE, (json.dumps(vars(about), indent=2) + "\n").encode())


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / FILE).is_file()


def combinations(settings: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The Cartesian product: every value with every other, the last setting varying fastest."""
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


def folder_names(settings: Mapping[str, Sequence[Any]]) -> list[str]:
    """`01-learning_rate-0.001-batch_size-32`, ...: the folders of the runs, which follow from what varies."""
    found = combinations(settings)
    digits = len(str(len(found)))
    names = ["-".join(f"{name}={value}" for name, value in one.items()) for one in found]
    return [f"{number:0{digits}}-{store.slug(name)[:NAME_LENGTH]}" for number, name in enumerate(names, 1)]


def label(combination: Mapping[str, Any]) -> str:
    """`learning_rate=0.001, batch_size=32`."""
    return ", ".join(f"{name}={value}" for name, value in combination.items())


class Sweep:
    """A finished, stopped or growing sweep, as its folder was when it was read.

    Attributes:
        path: the sweep's folder, in which each combination of settings is an ordinary run.
        about: the content of `sweep.json`: algorithm, environment, and by name the values of the settings that vary.
        runs: one for each combination, the last setting varying fastest.

    Raises:
        BadFile: the folder holds no sweep, or one of its runs is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike, env: "EnvLike | None" = None):
        self.path = Path(path)
        self.about = vars(_read(self.path))
        settings = self.about["settings"]
        self.runs = [Run(self.path / name) for name in folder_names(settings)]
        self._labels = dict(zip([run.path for run in self.runs], map(label, combinations(settings)), strict=True))
        for run in self.runs if env is not None else ():
            run.env = env

    @property
    def status(self) -> str:
        """`finished` once every run has finished or failed, `failed` if all have; else `running` or `stopped`."""
        found = {run.about["status"] for run in self.runs}
        if found == {"failed"}:
            return "failed"
        if found <= {"finished", "failed"}:
            return "finished"
        return "running" if "running" in found else "stopped"

    @property
    def ranked(self) -> list[Run]:
        """The runs, the best first: by the lower end of the 95 % interval of the IQM of their final policies.

        What is good for certain comes before what was good once. Where the lower ends are the same, the larger IQM
        comes first, and then the fewer steps. Runs without scores come last.
        """

        def key(run: Run) -> tuple[float, float, float]:
            row = self._rows[run.path]
            return (math.inf, 0, 0) if row["iqm"] is None else (-row["low"], -row["iqm"], row["steps"])

        return sorted(self.runs, key=key)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each run, the best first: the settings that vary, and what came of them.

        After these settings come `mean`, `iqm`, `low` and `high` of `Run.scores`, None where there are none; `over`,
        what the interval is over; `seeds`, how many have finished; `steps`, of each, their mean where some were stopped
        early; `status` and `path` of the run. `pandas.DataFrame(sweep.table)` takes it as it is.
        """
        return [dict(self._rows[run.path]) for run in self.ranked]

    @property
    def best(self) -> Run:
        """The first of `ranked`; raises `BadFile` while no run has scores."""
        if not (run := self.ranked[0]).about["returns"]:
            raise BadFile(f"No seed of {self.path} has finished yet, so no combination is the best.")
        return run

    def label(self, run: Run) -> str:
        """The settings by which a run differs from the others, `learning_rate=0.001, batch_size=32`."""
        return self._labels[run.path]

    def plot(self, count: int = MOST_CURVES) -> "Picture":
        """Draws `curves.png`, return against steps of the best runs; see `polyak.draw_curves`.

        Args:
            count: how many runs.
        """
        from polyak.pictures.curves import draw_curves

        doc.check_arguments({"count": doc.whole(1, MOST_COMBINATIONS)}, {"count": count})
        drawn = self.ranked[:count]
        return draw_curves(drawn, labels=[self.label(run) for run in drawn], path=self.path / "curves.png")

    def summary(self, most: int = MOST_COMBINATIONS) -> str:
        """The table as text, under a line that says what was swept."""
        heading, *rows = self._cells()
        shown = [heading, *rows[:most]]
        widths = [max(len(row[column]) for row in shown) for column in range(len(heading))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
        ]
        more = [f"and {len(rows) - most:,} more"] if len(rows) > most else []
        return "\n".join([f"{self.title}: {self.status}", *lines, *more])

    def next_command(self) -> str | None:
        """The `polyak train` of the best combination, on ten seeds or more that did not choose it.

        None where the command line does not know the algorithm, because it is yours.
        """
        from polyak.algorithms import ALGORITHMS

        about = self.best.about
        if about["algorithm"] not in ALGORITHMS:
            return None
        seeds = max(about["seeds"]) + 1
        return train_command(self.best, seed=seeds, seeds=max(10, len(about["seeds"])))

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}): {self.summary(MOST_ROWS)}"

    def _repr_html_(self) -> str:
        """The table, and the curves of the best beside it; no file is written."""
        from polyak.pictures.curves import draw_curves
        from polyak.pictures.picture import new_axes

        drawn = self.ranked[:MOST_CURVES]
        try:
            axes = new_axes(6, 3.6)
            png = draw_curves(drawn, labels=[self.label(run) for run in drawn], axes=axes)._repr_png_()
            source = notebook.embedded("image/png", png)
            curves = f'<img alt="return against steps" src="{source}" style="max-width: 100%; background: white">'
        except errors.Error as error:
            curves = f"<p>{html.escape(str(error))}</p>"
        heading, *rows = self._cells()
        title = html.escape(f"{self.title}: {self.status}; {self.path}")
        style = "display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start"
        return f'<p>{title}</p><div style="{style}"><div>{notebook.grid(heading, rows)}</div>{curves}</div>'

    @property
    def title(self) -> str:
        """What is swept, on which seeds."""
        first, settings = self.runs[0], self.about["settings"]
        varied = ", ".join(f"{name} ({len(values)})" for name, values in settings.items())
        of = f"{len(self.runs)} combinations of " if len(self.runs) > 1 else ""
        return f"{self.about['algorithm']} on {self.about['env']}, {of}{varied}, seeds {span(first.seeds)}"

    @functools.cached_property
    def _rows(self) -> dict[Path, dict[str, Any]]:
        """Of each run, by its folder; an interval takes a while."""
        return {run.path: self._row(run) for run in self.runs}

    def _row(self, run: Run) -> dict[str, Any]:
        about, early = run.about, run.stopped_early
        row = {name: about["settings"].get(name, about.get(name)) for name in self.about["settings"]}
        facts: dict[str, Any] = dict.fromkeys(("mean", "iqm", "low", "high", "over"))
        over = [int(seed) for seed in about["returns"]]
        if over:
            scores = run.scores
            low, high = scores.interval
            facts = {"mean": scores.mean, "iqm": scores.iqm, "low": low, "high": high, "over": scores.over}
        steps = [early[seed]["step"] if seed in early else about["steps"] for seed in over]
        facts |= {"seeds": len(over), "steps": round(sum(steps) / len(steps)) if steps else 0}
        return row | facts | {"status": about["status"], "path": str(run.path)}

    def _cells(self) -> list[list[str]]:
        """The table as texts, its heading first."""
        names, rows = list(self.about["settings"]), self.table
        cells = [[*names, *HEADINGS]]
        for row in rows:
            digits = decimals(row["iqm"] or 0.0)
            scores = [row["status"], "", ""]
            if row["iqm"] is not None:
                interval = f"[{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
                interval += "" if row["over"] == "seeds" else f" over {row['over']}"
                scores = [f"{row['mean']:.{digits}f}", f"{row['iqm']:.{digits}f}", interval]
            cells.append([*(str(row[name]) for name in names), *scores, str(row["seeds"]), f"{row['steps']:,}"])
        return cells


def _read(folder: Path) -> AboutSweep:
    if not folder.is_dir():
        raise BadFile(f"There is no sweep folder {folder}.")
    try:
        found = doc.read_json(folder / FILE, SWEEP_JSON, LIMIT)
        about = AboutSweep(**{name: found[name] for name in doc.checks_of(AboutSweep)})
        if not about.settings or math.prod(map(len, about.settings.values())) > MOST_COMBINATIONS:
            raise ValueError(f"settings are no 1 to {MOST_COMBINATIONS} combinations")
        return about
    except FileNotFoundError:
        raise BadFile(f"{folder} holds no {FILE}, so it is not a sweep of polyak.") from None
    except (ValueError, OSError) as error:
        raise BadFile(f"{folder / FILE} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def train_command(run: Run, seed: int, seeds: int) -> str:
    """The `polyak train` that trains the combination of a run on other seeds."""
    from polyak import presets, settings

    about = run.about
    preset = presets.preset(about["algorithm"], about["env"])
    usual = settings.describe(settings.build(about["algorithm"], preset.settings if preset else {}))
    words = [
        "polyak",
        "train",
        about["algorithm"],
        f"package.module:{about['env']}" if callable(run.env) else about["env"],
    ]
    for name, value in about["settings"].items():
        flag = name.replace("_", "-")
        if usual.get(name) == value and type(usual.get(name)) is type(value):
            continue
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    default = preset.num_envs if preset else settings.algorithm_named(about["algorithm"]).default_num_envs
    if about["num_envs"] != default:
        words += ["--num-envs", str(about["num_envs"])]
    if not preset or about["steps"] != preset.steps:
        words += ["--steps", str(about["steps"])]
    return shlex.join([*words, "--seed", str(seed), "--seeds", str(seeds)])
