"""Docstrings as Markdown."""

import re


def cell(text: str) -> str:
    """Text for a cell of a table; in code, where a bar divides no cells, a backslash would be seen."""
    pieces = re.split(r"(`[^`]*`)", prose(text))
    return "".join(piece if piece.startswith("`") else piece.replace("|", "\\|") for piece in pieces)


def prose(text: str) -> str:
    """Running text, in which Markdown sees no tags and no emphasis but code in backticks stays code."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(piece if piece.startswith("`") else re.sub(r"([<*_\[\]])", r"\\\1", piece) for piece in pieces)


def parts(docstring: str) -> tuple[str, str]:
    """A module's docstring as Markdown: the source and the update with what is said of it, and the deviations.

    Indented paragraphs are equations. The deviations, where there are any, are the last paragraph.
    """
    paragraphs = re.split(r"\n\s*\n", docstring.strip("\n"))
    found: list[str] = []
    deviations = ""
    for paragraph in paragraphs:
        head, _, rest = paragraph.partition(":")
        if paragraph.startswith(" "):
            lines = "\n".join(line.removeprefix("    ") for line in paragraph.splitlines())
            found.append(f"```text\n{lines}\n```")
        elif head in ("Deviation", "Deviations"):
            deviations = prose(rest.strip()[:1].upper() + rest.strip()[1:])
        else:
            found.append(prose(paragraph))
    return "\n\n".join(found), deviations
