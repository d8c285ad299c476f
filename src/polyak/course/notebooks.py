"""The chapters: notebooks without outputs, which `course/` in the repository is the source of."""

import dataclasses
import json
import re
from pathlib import Path

from polyak.errors import BadFile, UnknownName
from polyak.runs.files import write_atomically

FOLDER = Path(__file__).parent / "notebooks"
LINK = re.compile(r"\]\(\.\./\.\./")  # to a file of the library, from there


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A chapter of the course.

    Attributes:
        number: from 1.
        title: a word or two.
        about: what you will build, in a sentence.
        path: the notebook, as it came with the library.
    """

    number: int
    title: str
    about: str
    path: Path


def chapters() -> list[Chapter]:
    """The chapters in their order."""
    return [_read(path) for path in sorted(FOLDER.glob("*.ipynb"))]


def copy(chapter: int | str, folder: str | Path = ".") -> Path:
    """Puts the notebook of a chapter into a folder; returns its path.

    Args:
        chapter: its number, or the name of its notebook.
        folder: where to.

    Raises:
        UnknownName: there is no such chapter.
        BadFile: there is a file of that name already, which may hold your answers; or none can be written.
    """
    known = {key: one for one in chapters() for key in (str(one.number), one.path.stem)}
    if str(chapter).lstrip("0") not in known and str(chapter) not in known:
        raise UnknownName("chapter", str(chapter), known, hint="`polyak course` lists them.")
    source = known.get(str(chapter).lstrip("0")) or known[str(chapter)]
    path = Path(folder) / source.path.name
    if path.exists():
        raise BadFile(f"{path} is there already, perhaps with your answers; move it, or open it.")
    library = FOLDER.parents[1]
    text = LINK.sub(lambda _: f"]({library.as_posix()}/", source.path.read_text("utf-8"))
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise BadFile(f"{path} cannot be written: {error.strerror}; choose another folder.") from error
    return path


def _read(path: Path) -> Chapter:
    """A chapter, from the first cell of its notebook: a heading, an empty line, and a sentence."""
    first = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
    heading, _, rest = first.partition("\n\n")
    number, _, title = heading.removeprefix("# ").partition(". ")
    return Chapter(int(number), title, " ".join(rest.partition("\n\n")[0].split()), path)
