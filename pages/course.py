"""The course: the list of its chapters, and the pages of those that `make course` has not run."""

from collections.abc import Iterator
from pathlib import Path

from course import build


def pages() -> Iterator[tuple[str, str]]:
    """The list of `course/NN_name.py`, and each chapter without outputs."""
    chapters = build.sources()
    text = [
        "# Course",
        "Each chapter is a notebook: a little theory, exercises that answer at once, and a figure at the end. "
        "`polyak course` lists them, `polyak course 4` puts chapter 4 where you stand, and says how to open it.",
        "\n".join(entry(path) for path in chapters),
    ]
    yield "course/index.md", "\n\n".join(text) + "\n"
    for path in chapters:
        yield f"course/{path.stem}.md", build.page(path, None, build.PAGES)


def entry(path: Path) -> str:
    """A chapter as an item: its heading, and the paragraph below it."""
    heading, about, *_ = build.cells_of(path)[0].text.split("\n\n")
    return f"- [{heading.removeprefix('# ')}]({path.stem}.md): {' '.join(about.split())}"


def kept(page: Path) -> bool:
    """Whether a page has outputs of its chapter, and so stays; tells of outputs of an earlier source."""
    if not build.was_run(page):
        return False
    source = build.SOURCES / f"{page.stem}.py"
    if source.exists() and build.stamp(source) not in page.read_text("utf-8"):
        number = int(page.name[:2])
        print(f"{page} is of an earlier text of its chapter; `make course CHAPTERS={number}` renews it.")
    return True
