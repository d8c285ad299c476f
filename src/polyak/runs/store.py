"""The files of one run: `run.json` for what it is, `metrics.sqlite` for what was measured, readable while it grows."""

import datetime
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyak.errors import BadFile

Row = tuple[int, int, str, float]  # seed, step, name, value


def new_folder(out: str | os.PathLike, algorithm: str, env: str) -> Path:
    """Makes `out/dqn-CartPole-v1-20261121-093000`, with a number behind it where that is taken."""
    stem = f"{algorithm}-{slug(env)}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for attempt in range(1, 1000):
        path = Path(out) / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not path.is_dir():
                raise BadFile(f"{path} is a file; runs need a folder to be written to.") from None
        except OSError as error:
            raise BadFile(f"The folder {path} cannot be made: {error.strerror}; choose another with --out.") from error
    raise BadFile(f"There is no free name for a run in {out}.")


def slug(env: str) -> str:
    """An environment's name as a part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in env).strip(".-") or "env"


def inner_folder(folder: Path, name: str) -> Path:
    """`folder/name`, made if it is missing; a link that stands there is not followed out of the run folder."""
    inner = folder / name
    if inner.is_symlink():
        raise BadFile(f"{inner} is a link; polyak writes nothing outside the run folder, so remove it.")
    try:
        inner.mkdir(exist_ok=True)
    except OSError as error:
        raise BadFile(f"The folder {inner} cannot be made: {error.strerror}.") from error
    return inner


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Writes `run.json`, whole or not at all."""
    unfinished = folder / "run.json.part"
    unfinished.write_text(json.dumps(about, indent=2) + "\n")
    os.replace(unfinished, folder / "run.json")


def read_about(folder: Path) -> dict[str, Any]:
    """What `run.json` says; raises `BadFile` where the folder holds no run."""
    if not folder.is_dir():
        raise BadFile(f"There is no run folder {folder}.")
    try:
        about = json.loads((folder / "run.json").read_text())
        if not isinstance(about, dict) or about.get("format") != 1:
            raise ValueError("its format is not 1")
        return about
    except FileNotFoundError:
        raise BadFile(f"{folder} holds no run.json, so it is not a run of polyak.") from None
    except (ValueError, OSError) as error:
        raise BadFile(f"{folder / 'run.json'} cannot be read: {error}.") from error


class MetricWriter:
    """Appends to `metrics.sqlite`: one row a seed, step and name."""

    def __init__(self, folder: Path):
        self._db = sqlite3.connect(folder / "metrics.sqlite")
        self._db.execute("PRAGMA journal_mode=WAL")  # readers never wait for the writer
        self._db.execute("PRAGMA synchronous=OFF")  # a lost row is a lost point of a curve, not a lost run
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS metrics (seed INTEGER, step INTEGER, name TEXT, value REAL,"
            " PRIMARY KEY (name, seed, step)) WITHOUT ROWID"
        )
        self._db.commit()

    def write(self, rows: Iterable[Row]) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._db.execute("PRAGMA journal_mode=DELETE")  # leaves one file where there were three
        self._db.close()


def _query(folder: Path, text: str, arguments: Sequence[Any] = ()) -> list[tuple]:
    return list(_rows(folder, text, arguments))


def _rows(folder: Path, text: str, arguments: Sequence[Any] = ()) -> Iterator[tuple]:
    path = folder / "metrics.sqlite"
    if not path.exists():
        raise BadFile(f"{folder} holds no metrics.sqlite.")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield from db.execute(text, arguments)
    except sqlite3.DatabaseError as error:
        raise BadFile(f"{path} cannot be read: {error}.") from error
    finally:
        db.close()


def metric_names(folder: Path) -> list[str]:
    """The names of all that was measured."""
    return [name for (name,) in _query(folder, "SELECT DISTINCT name FROM metrics ORDER BY name")]


def read_metric(folder: Path, name: str, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [points] and values [seeds, points]; NaN where a seed has no value at a step."""
    rows = _query(folder, "SELECT seed, step, value FROM metrics WHERE name = ?", (name,))
    steps = np.array(sorted({step for _, step, _ in rows}), int)
    column = {int(step): i for i, step in enumerate(steps)}
    row = {seed: i for i, seed in enumerate(seeds)}
    values = np.full((len(seeds), len(steps)), np.nan)
    for seed, step, value in rows:
        if seed in row:
            values[row[seed], column[step]] = value
    return steps, values


def read_history(folder: Path, name: str, seed: int, before: int) -> list[float]:
    """The values of one seed at the steps before a given one, in order."""
    text = "SELECT value FROM metrics WHERE name = ? AND seed = ? AND step < ? AND value IS NOT NULL ORDER BY step"
    return [value for (value,) in _query(folder, text, (name, seed, before))]


def read_rows(folder: Path) -> Iterator[Row]:
    """Everything that was measured, by seed, step and name; None stands for what was not a number."""
    return _rows(folder, "SELECT seed, step, name, value FROM metrics ORDER BY seed, step, name")
