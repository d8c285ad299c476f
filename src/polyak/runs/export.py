"""The metrics of a run as CSV."""

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from polyak.errors import BadFile
from polyak.runs import store

LONG = ("seed", "step", "name", "value")


def write(folder: Path, path: Path, wide: bool) -> Path:
    """Writes the metrics of a run folder to `path`; see `Run.to_csv`."""
    _refuse_what_is_not_ours(path)
    rows = store.read_rows(folder)
    table = _wide(rows, store.metric_names(folder)) if wide else itertools.chain([LONG], rows)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "x", newline="", encoding="utf-8") as file:  # x: a link that waits there is not followed
            csv.writer(file, lineterminator="\n").writerows(table)
        os.replace(part, path)
    except OSError as error:
        raise BadFile(f"{path} cannot be written: {error.strerror}; choose another with --out.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _wide(rows: Iterable[store.Row], names: list[str]) -> Iterator[list[Any]]:
    """One row a seed and step, from rows in that order."""
    yield ["seed", "step", *names]
    for key, group in itertools.groupby(rows, key=lambda row: row[:2]):
        values = {name: value for _, _, name, value in group}
        yield [*key, *(values.get(name) for name in names)]


def _refuse_what_is_not_ours(path: Path) -> None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            ours = file.read(len("seed,step,")) == "seed,step,"
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadFile(f"{path} cannot be written: {error.strerror}; choose another with --out.") from error
    if not ours:
        raise BadFile(f"{path} is there and is no export of polyak; choose another with --out.")
