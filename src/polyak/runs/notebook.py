"""What a notebook shows: lines that are renewed in their place, and HTML that loads nothing and runs no script.

Jupyter, Colab and VS Code run IPython's kernel. Marimo has its own, and shows `_repr_html_` and `_repr_png_` too.
"""

import base64
import html
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

CELL = "text-align: left; vertical-align: top; padding: 2px 8px"
HEADING, TEXT = f"{CELL}; white-space: nowrap", f"{CELL}; max-width: 26em; overflow-wrap: anywhere"


def in_notebook() -> bool:
    """Whether this is a notebook, Jupyter, Colab, VS Code, marimo or alike, which shows the value of a cell."""
    return _of_ipython() or _marimo() is not None


def live_text() -> Callable[[str], None] | None:
    """A function that shows a text in the present cell, in the place of the text before; None outside of notebooks."""
    if _of_ipython():
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)
        return lambda text: handle.update({"text/plain": text}, raw=True)
    if marimo := _marimo():
        return lambda text: marimo.output.replace(marimo.plain_text(text))
    return None


def _of_ipython() -> bool:
    ipython = sys.modules.get("IPython")  # which a notebook has loaded
    shell = ipython.get_ipython() if ipython else None
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def _marimo() -> Any:
    """The module, where its kernel runs this; a script that merely imports it is no notebook."""
    marimo = sys.modules.get("marimo")
    return marimo if marimo and marimo.running_in_notebook() else None


def table(rows: Iterable[tuple[str, str | Iterable[str]]]) -> str:
    """A table in HTML, a heading and a text or several lines in each row; nothing in them is taken for markup.

    It has the colours of the notebook, light or dark.
    """
    lines = []
    for heading, texts in rows:
        text = "<br>".join(html.escape(line) for line in ([texts] if isinstance(texts, str) else texts))
        heading = f'<th scope="row" style="{HEADING}">{html.escape(heading)}</th>'
        lines.append(f'<tr>{heading}<td style="{TEXT}">{text}</td></tr>')
    return f'<table style="border-collapse: collapse; margin: 0">{"".join(lines)}</table>'


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML with a heading above each column; nothing in it is taken for markup."""
    head = "".join(f'<th scope="col" style="{HEADING}">{html.escape(heading)}</th>' for heading in headings)
    lines = ["".join(f'<td style="{TEXT}">{html.escape(cell)}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="border-collapse: collapse; margin: 0"><tr>{head}</tr>{body}</table>'


def embedded(kind: str, content: bytes) -> str:
    """The content of a file as an address, so that nothing need be loaded; `kind` as `image/png`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
