"""The reference: every public name once, grouped as in `polyak/__init__.pyi`."""

import re
from collections.abc import Iterator
from functools import cache

from benchmarks.tables import ROOT
from polyak.algorithms import ALGORITHMS

STUB = ROOT / "src" / "polyak" / "__init__.pyi"
PAGES = {  # how a comment of the stub begins, and the page of the names below it
    "Training": ("training", "Training"),
    "Callbacks": ("callbacks", "Callbacks"),
    "Environments": ("environments", "Environments"),
    "Bandits": ("bandits", "Bandits with contexts"),
    "Algorithms": ("algorithms", "Algorithms"),
    "Planning": ("planning", "Planning"),
    "Parts": ("parts", "Parts of algorithms"),
    "Pictures": ("pictures", "Pictures"),
    "What an algorithm": ("own", "For algorithms of your own"),
}


@cache
def groups() -> dict[str, list[str]]:
    """The public names under the comment that they stand below."""
    found: dict[str, list[str]] = {}
    comment = ""
    for block in re.split(r"\n\n+", STUB.read_text()):
        names = re.findall(r"\w+ as (\w+)", block)
        lines = [line.removeprefix("# ") for line in block.splitlines() if line.startswith("#")]
        comment = " ".join(lines) or comment
        if names:
            found.setdefault(comment, []).extend(names)
    return found


def names() -> set[str]:
    """All public names."""
    return {name for group in groups().values() for name in group}


def file_and_title(comment: str) -> tuple[str, str]:
    """The page of a group; a comment that is not known yet makes a page of its own."""
    for beginning, (file, title) in PAGES.items():
        if comment.startswith(beginning):
            return f"{file}.md", title
    words = re.sub(r"\W+", "-", comment.lower()).strip("-")
    return f"{words}.md", comment


@cache
def _pages_of_names() -> dict[str, str]:
    return {name: file_and_title(comment)[0] for comment, group in groups().items() for name in group}


def page_of(name: str) -> str:
    """The file in `reference/` where a public name stands."""
    return _pages_of_names()[name]


def pages() -> Iterator[tuple[str, str]]:
    """Path and text of each page."""
    text = [
        "# Reference",
        "Every public name of `polyak`, once. `import polyak` loads a module when you first use a name of it.",
    ]
    for comment, group in groups().items():
        file, title = file_and_title(comment)
        links = ", ".join(f"[`{name}`]({file}#polyak.{name})" for name in group)
        text.append(f"## {title}\n\n{links}")
        yield f"reference/{file}", page(title, comment, group)
    text.append("## Besides\n\n[The command line](command-line.md), [metrics](../metrics.md), [files](../files.md).")
    yield "reference/index.md", "\n\n".join(text) + "\n"


def page(title: str, comment: str, group: list[str]) -> str:
    """The names of a group, in the order of the stub; algorithms without their settings, which have pages."""
    algorithms = {kind.__name__ for kind in ALGORITHMS.values()} & set(group)
    text = [f"# {title}"]
    if comment != title:
        text.append(f"{comment}.")
    if algorithms:
        text.append("Settings, updates and evidence of each stand on [its page](../algorithms/index.md).")
    for name in group:
        text.append(f"::: polyak.{name}" + ("\n    options:\n      members: []" if name in algorithms else ""))
    return "\n\n".join(text) + "\n"
