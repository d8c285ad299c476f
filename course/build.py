"""Makes the notebooks of the course and the pages of the site from the chapters in this folder.

    python -m course.build notebooks          write src/polyak/course/notebooks
    python -m course.build pages [4 9 ...]    run chapters, solved, and write docs/course; fails where a cell does

`make docs` writes the pages of chapters that were not run, without outputs.

A chapter is a Python file in jupytext's percent format. Its cells may have tags: `exercise`, the answer between the
marks SOLUTION and END; `train`, which takes more than a moment; `result`, what a whole run must have shown, for
`pages` alone.
"""

import argparse
import base64
import dataclasses
import hashlib
import html
import json
import re
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "course"
NOTEBOOKS = ROOT / "src" / "polyak" / "course" / "notebooks"
PAGES = ROOT / "docs" / "course"

SOLUTION, END = "# <solution>", "# </solution>"
HERE = "...  # your code"
HEADER = re.compile(r"# %%( \[markdown\])?( tags=(\[.*\]))?$")
LINK = re.compile(r"\[([^\]]*)\]\(src/polyak/([^)]*)\)")
GUIDE = re.compile(r"\[([^\]]*)\]\(docs/([^)]*)\)")  # which the library does not come with
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({})"  # of notebooks alone
NOT_RUN = "This page was written without running the chapter"
INSTALL = """\
# On Colab, or wherever polyak is not installed yet:
# %pip install polyak"""
FORMULA = re.compile(r"(`[^`]*`)|\$\$(.+?)\$\$|\$([^$]+?)\$", re.S)  # but not in code
PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>(&#x0203[23];)</mi></msup>")  # a raised prime: fonts raise it already
LONGEST = 180  # seconds of a chapter, with everything that it trains


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a chapter."""

    kind: str  # markdown or code
    tags: tuple[str, ...]
    text: str


def sources() -> list[Path]:
    """The chapters, in order."""
    return sorted(SOURCES.glob("[0-9][0-9]_*.py"))


def cells_of(path: Path) -> list[Cell]:
    """The cells of a chapter, solved."""
    cells: list[Cell] = []
    for line in path.read_text("utf-8").splitlines():
        header = HEADER.match(line)
        if header:
            tags = tuple(json.loads(header[3])) if header[3] else ()
            cells.append(Cell("markdown" if header[1] else "code", tags, ""))
        elif line.startswith("# %%"):
            raise ValueError(f"{path.name}: {line!r} is no header of a cell")
        elif cells:
            text = line.removeprefix("#").removeprefix(" ") if cells[-1].kind == "markdown" else line
            cells[-1] = dataclasses.replace(cells[-1], text=f"{cells[-1].text}{text}\n")
        elif line:
            raise ValueError(f"{path.name}: {line!r} stands before the first cell")
    return [dataclasses.replace(cell, text=cell.text.strip("\n")) for cell in cells]


def unsolved(cell: Cell) -> Cell:
    """An exercise with a place for the reader's code where the answer was."""
    lines = cell.text.splitlines()
    start, end = (next(i for i, line in enumerate(lines) if line.strip() == mark) for mark in (SOLUTION, END))
    indent = lines[start][: -len(SOLUTION)]
    return dataclasses.replace(cell, text="\n".join([*lines[:start], indent + HERE, *lines[end + 1 :]]))


def solved(cell: Cell) -> Cell:
    """An exercise with its answer and without the marks."""
    lines = [line for line in cell.text.splitlines() if line.strip() not in (SOLUTION, END)]
    return dataclasses.replace(cell, text="\n".join(lines))


def without_marks(cells: list[Cell], with_answers: bool) -> list[Cell]:
    """The cells of a reader who has solved all exercises, or none."""
    choose = solved if with_answers else unsolved
    return [choose(cell) if "exercise" in cell.tags else cell for cell in cells]


# ---- notebooks


def notebook(path: Path) -> str:
    """The notebook that readers open, without outputs, as JSON."""
    cells: list[dict[str, Any]] = []

    def add(kind: str, text: str, **metadata: Any) -> None:
        cell = {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": metadata, "source": text.splitlines(True)}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))

    for cell in cells_of(path):
        if "result" in cell.tags:
            continue
        if "exercise" not in cell.tags:
            text = cell.text
            if cell.kind == "markdown":
                text = GUIDE.sub(r"\1, `docs/\2` of the repository", LINK.sub(r"[\1](../../\2)", text))
            add(cell.kind, text, **({"tags": list(cell.tags)} if cell.tags else {}))
        else:
            add("code", unsolved(cell).text, tags=["exercise"])
            commented = "\n".join(f"# {line}".rstrip() for line in solved(cell).text.splitlines())
            title = f"#@title Solution of {number_of(cell)}: open it, and take the comment marks away to run it"
            hidden = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["solution"]}
            add("code", f"{title}\n{commented}", **hidden)
        if len(cells) == 1:
            for link in links_to_colab(path):
                add("markdown", BADGE.format(link))
            add("code", INSTALL)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def links_to_colab(path: Path) -> list[str]:
    """The address under which Colab opens a chapter; none while no repository on GitHub is named in pyproject.toml."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {})
    found = re.match(r"https://github\.com/([^/]+/[^/.]+)", urls.get("Repository", ""))
    name = path.with_suffix(".ipynb").name
    place = (NOTEBOOKS / name).relative_to(ROOT).as_posix()
    return [f"https://colab.research.google.com/github/{found[1]}/blob/main/{place}"] if found else []


def number_of(cell: Cell) -> str:
    """The number of an exercise, "4.1"."""
    found = re.search(r'check\("([\d.]+)"', cell.text)
    if not found:
        raise ValueError(f"an exercise is never checked: {cell.text[:60]!r}")
    return found[1]


def write_notebooks() -> None:
    """Writes all notebooks, and takes away those whose chapter is gone."""
    NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    wanted = {path.with_suffix(".ipynb").name: notebook(path) for path in sources()}
    for path in NOTEBOOKS.glob("*.ipynb"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (NOTEBOOKS / name).write_text(text, "utf-8")
        print(NOTEBOOKS / name)


# ---- pages


def run(path: Path, folder: Path) -> tuple[list[list[dict[str, Any]]], float]:
    """Runs a chapter, solved, in a kernel of its own; the outputs of each code cell, and the seconds it took.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised, those with the results among them.
    """
    import nbclient
    import nbformat
    from traitlets.config import Config

    code = [cell for cell in without_marks(cells_of(path), True) if cell.kind == "code"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.text) for cell in code])
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as sockets:  # over TCP the kernel would warn that others could listen
        alone = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        client = nbclient.NotebookClient(book, timeout=1800, startup_timeout=600, kernel_name="python3", config=alone)
        client.execute(cwd=str(folder))
    return [cell.outputs for cell in book.cells], time.perf_counter() - start


def mathml(latex: str, display: str) -> str:
    """A formula as MathML, which browsers draw without any script."""
    from latex2mathml.converter import convert

    return PRIME.sub(r'<mrow>\1<mo lspace="0em" rspace="0em">\2</mo></mrow>', convert(latex, display=display))


def with_files(text: str, folder: Path, stem: str) -> str:
    """HTML whose pictures and films, which a notebook holds in itself, are files in `folder`."""

    def kept(found: re.Match) -> str:
        content = base64.b64decode(found[2])
        file = folder / f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.{found[1]}"
        file.write_bytes(content)
        return f'src="{file.name}"'

    return re.sub(r'src="data:\w+/(\w+);base64,([^"]*)"', kept, text)


def with_formulas(text: str, formula: Callable[[str, str], str]) -> str:
    """Markdown whose formulas are elements of HTML; `formula` makes one from LaTeX, "block" or "inline"."""

    def element(found: re.Match) -> str:
        code, block, inline = found.groups()
        if code:
            return code
        latex = " ".join((block or inline).split())
        return (
            f'<div class="formula">{formula(latex, "block")}</div>'
            if block
            else f"<span>{formula(latex, 'inline')}</span>"
        )

    return FORMULA.sub(element, text)


def page(
    path: Path,
    outputs: list[list[dict[str, Any]]] | None,
    folder: Path,
    formula: Callable[[str, str], str] = mathml,
) -> str:
    """A chapter as Markdown, with outputs where it was run; figures become files in `folder`."""
    parts: list[str] = []
    figures = 0
    ran = iter(outputs) if outputs is not None else None
    for cell in cells_of(path):
        if cell.kind == "markdown":
            text = GUIDE.sub(r"[\1](../\2)", LINK.sub(r"`polyak/\2`", cell.text))
            parts.append(with_formulas(text, formula))
            if len(parts) == 1:
                parts.append(ways_to_open(path))
            if len(parts) == 2 and outputs is None:
                parts.append(without_outputs(path))
            continue
        shown = next(ran) if ran is not None else []
        if "result" in cell.tags:
            continue
        if "exercise" in cell.tags:
            parts.append(fenced(unsolved(cell).text, "python"))
            answer = html.escape(solved(cell).text)
            parts.append(f"<details><summary>Solution</summary><pre><code>{answer}</code></pre></details>")
        else:
            parts.append(fenced(cell.text, "python"))
        for output in joined(shown):
            data = output.get("data", {})
            if "image/png" in data:
                figures += 1
                file = folder / f"{path.stem}-{figures}.png"
                file.write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![Figure {figures} of this chapter]({file.name})")
            elif "text/html" in data:
                parts.append(with_files(data["text/html"], folder, path.stem))
            elif output.get("name") != "stderr":
                parts.append(fenced(output.get("text") or data.get("text/plain", ""), "text"))
    if outputs is not None:
        parts.append(stamp(path))
    return "\n\n".join(parts) + "\n"


def ways_to_open(path: Path) -> str:
    """How to open the notebook of a chapter; the badge would be a picture from another host, so Colab is a link."""
    colab = "".join(f" [Open it on Colab]({link})." for link in links_to_colab(path))
    return f"`polyak course {int(path.name[:2])}` puts this chapter where you stand, as a notebook.{colab}"


def without_outputs(path: Path) -> str:
    """What the page of a chapter that was not run says of itself."""
    how = f"`make course CHAPTERS={int(path.name[:2])}` runs it, and `make docs` then shows them"
    return f'!!! note "Without outputs"\n\n    {NOT_RUN}, so outputs and figures are missing. {how}.'


def stamp(path: Path) -> str:
    """A line that readers do not see, by which the page of a chapter that was run is known to be of this source."""
    return f"<!-- of {hashlib.sha256(path.read_bytes()).hexdigest()[:16]} -->"


def was_run(page: Path) -> bool:
    """Whether a page is there and has the outputs of its chapter."""
    return page.exists() and NOT_RUN not in page.read_text("utf-8")


def joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with what was printed piece by piece in one."""
    whole: list[dict[str, Any]] = []
    for output in outputs:
        if whole and "text" in output and output.get("name") == whole[-1].get("name"):
            whole[-1] = {**whole[-1], "text": whole[-1]["text"] + output["text"]}
        else:
            whole.append(output)
    return whole


def fenced(text: str, language: str) -> str:
    """Text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def write_pages(chosen: list[int]) -> None:
    """Runs chapters and writes their pages; raises where one fails, and says so where one takes too long."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in sources():
        if chosen and int(path.name[:2]) not in chosen:
            continue
        outputs, seconds = run(path, ROOT / "runs" / "course" / path.stem)
        (PAGES / f"{path.stem}.md").write_text(page(path, outputs, PAGES), "utf-8")
        print(f"{path.stem}: {seconds:.0f} s", flush=True)
        if seconds > LONGEST:
            print(f"{path.stem} should take {LONGEST} s at most")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="course.build", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=["notebooks", "pages"])
    parser.add_argument("chapters", nargs="*", type=int, help="their numbers; by default all")
    given = parser.parse_args()
    if given.what == "notebooks":
        write_notebooks()
    else:
        write_pages(given.chapters)


if __name__ == "__main__":
    main()
