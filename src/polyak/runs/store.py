"""The files of one run: `run.json` for what it is, `metrics.sqlite` for what was measured, readable while it grows."""

import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyak.errors import BadFile
from polyak.runs.about import CHECKS, NAME_LIMIT, RUN_JSON, About
from polyak.runs.documents import read_json
from polyak.runs.files import is_link_or_special, write_atomically

LIMIT = 2**26  # bytes of `run.json`: the returns of ten thousand seeds
VALUE_LIMIT = 10_000  # bytes of one entry of the database
MOST_EMPTY = 10**7  # places of a metric's array that may be empty, whatever the number of values
DATABASE = "metrics.sqlite"
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # how a journal ends that names a file for SQLite to delete
# What SQLite keeps of `MetricWriter`'s statement. A database with more or other in it is not ours: a view or a virtual
# table would compute what we read, a trigger what we write.
SCHEMA = (
    "CREATE TABLE metrics (seed INTEGER, step INTEGER, name TEXT, value REAL,"
    " PRIMARY KEY (name, seed, step)) WITHOUT ROWID"
)

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


def write_about(folder: Path, about: About) -> None:
    """Writes `run.json`, whole or not at all."""
    write_atomically(folder / "run.json", (json.dumps(vars(about), indent=2) + "\n").encode())


def read_about(folder: Path) -> About:
    """The content of `run.json`, each field of the type that its users rely on.

    Names in it are only names: none is ever used as a path. Raises `BadFile` where the folder holds no run.
    """
    if not folder.is_dir():
        raise BadFile(f"There is no run folder {folder}.")
    try:
        found = read_json(folder / "run.json", RUN_JSON, LIMIT)
        about = About(**{name: found[name] for name in CHECKS if name in found})
        seeds = set(map(str, about.seeds))
        if len(seeds) < len(about.seeds) or not {*about.returns, *about.stopped_early} <= seeds:
            raise ValueError("a seed occurs twice, or returns belong to none")
        vars(about).update(found)  # what a later version wrote stays
        return about
    except FileNotFoundError:
        raise BadFile(f"{folder} holds no run.json, so it is not a run of polyak.") from None
    except (ValueError, OSError) as error:
        raise BadFile(f"{folder / 'run.json'} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


@functools.cache  # 4 ms a call, and every checkpoint tells them
def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    packages = ("polyak", "jax", "jaxlib", "equinox", "optax", "gymnasium", "gymnax", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


class MetricWriter:
    """Appends to `metrics.sqlite`: one row a seed, step and name. Several processes may write, and others read."""

    def __init__(self, folder: Path):
        self._path = folder / DATABASE
        with self._faults_named():
            self._db = sqlite3.connect(self._path, timeout=60.0)
            self._db.execute("PRAGMA journal_mode=WAL")  # readers never wait for the writer
            self._db.execute("PRAGMA synchronous=NORMAL")  # what was synced stays, also when the power fails
            self._db.execute(SCHEMA.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
            self._db.commit()

    def write(self, rows: Iterable[Row]) -> None:
        """Adds rows, or replaces those of the same seed, step and name; raises `BadFile` where the disk is full."""
        with self._faults_named(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)", rows)

    def forget(self, seed: int, step: int) -> int:
        """Removes what a seed measured after a step, because it goes on from there; returns how many rows."""
        with self._faults_named(), self._db:
            return self._db.execute("DELETE FROM metrics WHERE seed = ? AND step > ?", (seed, step)).rowcount

    def sync(self) -> None:
        """Waits until the disk has all rows: a checkpoint must not know of more steps than the curves."""
        with self._faults_named():
            self._db.execute("PRAGMA wal_checkpoint")

    @contextlib.contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise BadFile(f"{self._path} cannot be written ({error}); make room, and go on with resume.") from error

    def close(self) -> None:
        self._db.close()


def compact(folder: Path) -> None:
    """Leaves one file of measurements where there were three, if nobody else is reading them."""
    with contextlib.suppress(sqlite3.Error):
        db = sqlite3.connect(folder / "metrics.sqlite")
        db.execute("PRAGMA journal_mode=DELETE")
        db.close()


def check_writable(folder: Path) -> None:
    """Raises `BadFile` where writing metrics would reach outside the folder, or the database is damaged or not ours."""
    _refuse_links(folder)
    journal = folder / "metrics.sqlite-journal"
    if journal.exists() and journal.read_bytes().endswith(SUPER_JOURNAL):
        raise BadFile(
            f"{journal} names another file, which SQLite would delete; remove {journal.name} if you trust it."
        )
    if (folder / DATABASE).exists() and _query(folder, "PRAGMA quick_check(1)") != [("ok",)]:
        raise BadFile(f"{folder / DATABASE} is damaged; remove it, and the curves begin anew.")


def _refuse_links(folder: Path) -> None:
    """SQLite follows links when it opens a database, and writes beside what they point to."""
    for ending in ("", "-wal", "-shm", "-journal"):
        if is_link_or_special(path := folder / f"{DATABASE}{ending}"):
            raise BadFile(f"{path} is a link or no file, and polyak opens databases nowhere but in the run folder.")


def _query(folder: Path, statement: str, arguments: Sequence[Any] = ()) -> list[tuple]:
    return list(_rows(folder, statement, arguments))


def _rows(folder: Path, statement: str, arguments: Sequence[Any] = ()) -> Iterator[tuple]:
    """Rows from `metrics.sqlite`, which is not trusted: it can neither compute nor change anything."""
    path = folder / DATABASE
    if not path.exists():
        raise BadFile(f"{folder} holds no {DATABASE}.")
    _refuse_links(folder)
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        db.execute("PRAGMA query_only=ON")
        db.execute("PRAGMA trusted_schema=OFF")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_LIMIT)
        if sys.version_info >= (3, 12):
            db.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        if db.execute("SELECT sql FROM sqlite_master").fetchall() != [(SCHEMA,)]:
            raise sqlite3.DatabaseError("it has another schema than polyak's")
        yield from db.execute(statement, arguments)
    except (sqlite3.Error, ValueError, MemoryError) as error:  # ValueError: text that is not UTF-8
        raise BadFile(f"{path} cannot be read: {error or 'there is not enough memory'}.") from error
    finally:
        db.close()


def metric_names(folder: Path) -> list[str]:
    """The names of all that was measured."""
    names = [name for (name,) in _query(folder, "SELECT DISTINCT name FROM metrics ORDER BY name")]
    if not all(isinstance(name, str) and len(name) <= NAME_LIMIT and name.isprintable() for name in names):
        raise BadFile(f"{folder / DATABASE} holds a name that is no name of a metric.")
    return names


def read_metric(folder: Path, name: str, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [points] and values [seeds, points]; NaN where a seed has no value at a step."""
    rows = _query(folder, "SELECT seed, step, value FROM metrics WHERE name = ?", (name,))
    if not all(type(seed) is int and type(step) is int and type(value) in (float, int) for seed, step, value in rows):
        raise BadFile(f"{folder / DATABASE} holds something other than numbers under {name}.")
    row = {seed: i for i, seed in enumerate(seeds)}
    rows = [entry for entry in rows if entry[0] in row]
    steps = np.array(sorted({step for _, step, _ in rows}), int)
    if len(row) * len(steps) > MOST_EMPTY + 10 * len(rows):
        raise BadFile(f"{folder / DATABASE} holds too few values of {name} for so many seeds and steps.")
    column = {int(step): i for i, step in enumerate(steps)}
    values = np.full((len(seeds), len(steps)), np.nan)
    for seed, step, value in rows:
        values[row[seed], column[step]] = value
    return steps, values


def read_history(folder: Path, name: str, seed: int, before: int) -> list[float]:
    """The values of one seed at the steps before a given one, in order."""
    text = "SELECT value FROM metrics WHERE name = ? AND seed = ? AND step < ? AND value IS NOT NULL ORDER BY step"
    return [value for (value,) in _query(folder, text, (name, seed, before))]


def read_rows(folder: Path) -> Iterator[Row]:
    """Everything that was measured, by seed, step and name; None stands for what was not a number."""
    return _rows(folder, "SELECT seed, step, name, value FROM metrics ORDER BY seed, step, name")
