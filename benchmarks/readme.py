"""The README's measured parts: each stands between two marks, and the benchmark that measures it renews it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def put(mark: str, text: str) -> None:
    """Puts `text` between `<!-- mark -->` and `<!-- /mark -->`."""
    path = ROOT / "README.md"
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    before, rest = path.read_text().split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}{text}\n{end}{after}")
