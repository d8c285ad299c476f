"""Pictures, which show themselves in a notebook and are files elsewhere.

Figures are made without pyplot, so that nothing is left open and no backend of the user's is changed.
"""

import io
import os
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyak.errors import BadFile, BadSetting
from polyak.runs.files import write_atomically
from polyak.runs.notebook import in_notebook
from polyak.runs.store import slug

ENDINGS = (".png", ".svg", ".pdf")
DPI = 150  # of saved pictures
SCREEN_DPI = 96  # of those in a notebook
CROP: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.08}


class Picture:
    """A figure that the drawing functions made, and its file.

    Attributes:
        figure: the matplotlib figure, to change what you like before it is saved again.
        path: the file that holds it; None where it was not saved.
    """

    def __init__(self, figure: Figure, path: Path | None = None):
        self.figure, self.path = figure, path

    @property
    def title(self) -> str:
        """The title of its axes, or of the first of several."""
        return self.figure.axes[0].get_title()

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the picture and returns its path; the ending chooses the format: .png, .svg or .pdf.

        Raises:
            BadSetting: another ending.
            BadFile: the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in ENDINGS:
            raise BadSetting(f"{path} cannot be drawn: the ending of a picture is {', '.join(ENDINGS[:-1])} or .pdf.")
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format=path.suffix.lower()[1:], dpi=DPI, **CROP)
        try:
            write_atomically(path, buffer.getvalue())
        except OSError as error:
            raise BadFile(f"{path} cannot be written: {error.strerror}; choose another place.") from error
        self.path = path
        return path

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=SCREEN_DPI, **CROP)
        return buffer.getvalue()

    def __str__(self) -> str:
        return str(self.path) if self.path else "a picture that is in no file; picture.save(path) writes it"

    def __repr__(self) -> str:
        return f"Picture({str(self.path)!r})" if self.path else "Picture()"


def new_axes(width: float, height: float) -> Axes:
    """The axes of a fresh figure, which pyplot does not know; in inches."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def finished(axes: Axes, is_ours: bool, path: str | os.PathLike | None, default: str | Path) -> Picture:
    """The picture of `axes`, saved to `path`, or to `default` where nothing else would show it.

    Axes that the caller gave are part of a picture that is still growing, which is saved only to `path`.
    """
    picture = Picture(axes.figure.canvas.figure)
    if path is not None:
        picture.save(path)
    elif is_ours and not in_notebook():
        picture.save(default)
    return picture


def default_name(what: str, id: str) -> str:
    """`values-FrozenLake-v1.png`, in the working directory."""
    return f"{what}-{slug(id)}.png"
