"""Writes the generated pages into `docs/` and `site.yml`, the settings of the site with all pages in its navigation."""

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.tables import ROOT
from pages import algorithms, command_line, course, measured, public


def every_page(
    metrics: Callable[[str], list[str]] = measured.metrics, takes: Callable[[str], str] = measured.takes
) -> Iterator[tuple[str, str]]:
    """Path, relative to `docs/`, and text of each generated page."""
    yield from algorithms.pages(metrics, takes)
    yield from public.pages()
    yield from command_line.pages()
    yield from course.pages()


def site(settings: str, pages: list[str]) -> str:
    """The text of `mkdocs.yml` with the pages of algorithms, reference and course in the places that wait for them."""
    families = ["      - algorithms/planning.md"]
    for heading, names in algorithms.by_family().items():
        families += [f"      - {heading}:", *(f"          - algorithms/{name}.md" for name in names)]
    reference = [
        f"      - {page}"
        for page in pages
        if page.startswith("reference/") and not page.endswith(("index.md", "line.md"))
    ]
    chapters = [f"      - {page}" for page in pages if re.match(r"course/\d", page)]
    lines = {"algorithms": families, "reference": reference, "course": chapters}
    for mark, entries in lines.items():
        before, after = settings.split(f"      # {mark}\n")
        settings = before + "".join(f"{entry}\n" for entry in entries) + after
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of all pages, beside site.yml")
    out = parser.parse_args().out
    written = []
    for page, text in every_page():
        written.append(page)
        if page.startswith("course/") and course.kept(out / page):
            continue
        (out / page).parent.mkdir(parents=True, exist_ok=True)
        (out / page).write_text(text, "utf-8")
    for folder in ("algorithms", "reference", "course"):  # what is not written any more has gone
        for file in (out / folder).glob("*.md"):
            if f"{folder}/{file.name}" not in written:
                file.unlink()
    (out.parent / "site.yml").write_text(site((ROOT / "mkdocs.yml").read_text(), written))
    print(f"{len(written)} pages written to {out}")


if __name__ == "__main__":
    main()
