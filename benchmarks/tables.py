"""The measured tables of README and documentation: each stands between two marks, and its benchmark renews it.

python -m benchmarks.tables     # all of them, from the files of results; nothing is measured
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Place(NamedTuple):
    """Where a table stands: between `<!-- mark -->` and `<!-- /mark -->` in a page."""

    page: str  # relative to the repository
    mark: str


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def found(place: Place) -> str:
    """The text that stands there."""
    return _parts(place)[1]


def put(tables: Mapping[Place, str]) -> None:
    """Puts each text into its place."""
    for place, text in tables.items():
        before, _, after = _parts(place)
        (ROOT / place.page).write_text(f"{before}{text}{after}")


def _parts(place: Place) -> tuple[str, str, str]:
    """What stands before, in and behind a place, the marks outside."""
    begin, end = f"<!-- {place.mark} -->\n", f"\n<!-- /{place.mark} -->"
    before, rest = (ROOT / place.page).read_text().split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after


def every() -> dict[Place, str]:
    """All tables, made anew from the files of results."""
    from benchmarks import evidence, family, speed, tabular

    return {**evidence.tables(), **family.tables(), **speed.tables(), **tabular.tables()}


if __name__ == "__main__":
    put(every())
