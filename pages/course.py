"""The course's page: its chapters, in order."""

import re
from collections.abc import Iterator

from benchmarks.tables import ROOT


def pages() -> Iterator[tuple[str, str]]:
    """The list of `course/NN_name.py`; a chapter's page, where `make course` has written one, is linked."""
    text = ["# Course"]
    chapters = sorted((ROOT / "course").glob("[0-9][0-9]_*.py"))
    if chapters:
        text.append(
            "Each chapter is a notebook: a little theory, exercises that answer at once, and a figure at the end. "
            "`polyak course` lists them, `polyak course 4` puts chapter 4 where you stand."
        )
        text.append(
            "\n".join(f"{int(file.name[:2])}. {linked(file.stem, title(file.read_text()))}" for file in chapters)
        )
    else:
        text.append("The chapters are being written; each will be a notebook with exercises that answer at once.")
    yield "course/index.md", "\n\n".join(text) + "\n"


def title(source: str) -> str:
    """The first heading of a chapter in percent form."""
    found = re.search(r"^# # (.+)$", source, re.MULTILINE)
    return found.group(1) if found else "a chapter without a title"


def linked(stem: str, title: str) -> str:
    """The title, as a link where the chapter has a page."""
    return f"[{title}]({stem}.md)" if (ROOT / "docs" / "course" / f"{stem}.md").exists() else title
