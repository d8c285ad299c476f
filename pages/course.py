"""The course's page: its chapters, in order."""

import re
from collections.abc import Iterator

from benchmarks.tables import ROOT


def pages() -> Iterator[tuple[str, str]]:
    """The list of `course/NN_name.py`; a chapter is linked where `make course` has written its page."""
    text = ["# Course"]
    chapters = sorted((ROOT / "course").glob("[0-9][0-9]_*.py"))
    if chapters:
        text.append(
            "Each chapter is a notebook: a little theory, exercises that answer at once, and a figure at the end. "
            "`polyak course` lists them, `polyak course 4` puts chapter 4 where you stand, and says how to open it."
        )
        text.append("\n".join(entry(file.stem, file.read_text()) for file in chapters))
    else:
        text.append("The chapters are being written; each will be a notebook with exercises that answer at once.")
    yield "course/index.md", "\n\n".join(text) + "\n"


def entry(stem: str, source: str) -> str:
    """A chapter in percent form as an item: its heading, and the paragraph below it."""
    first = re.search(r"^# %% \[markdown\].*\n((?:#.*\n)+)", source, re.MULTILINE)
    lines = first.group(1).splitlines() if first else []
    heading, _, about = "\n".join(line.removeprefix("#").strip() for line in lines).partition("\n\n")
    title = heading.removeprefix("# ")
    if (ROOT / "docs" / "course" / f"{stem}.md").exists():
        title = f"[{title}]({stem}.md)"
    return f"- {title}: {' '.join(about.partition(chr(10) * 2)[0].split())}"
