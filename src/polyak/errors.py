"""The errors that polyak raises on purpose: one sentence that says what was wrong, where, and what to do."""

import difflib
import os
from collections.abc import Iterable, Sequence


class Error(Exception):
    """Base of every error that polyak raises on purpose."""


class UnknownName(Error):
    """A name that is in none of our lists; the sentence offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = ""):
        known = sorted(known)
        folded = {entry.lower(): entry for entry in known}
        near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
        if near:
            advice = f"did you mean {' or '.join(near)}?"
        elif hint:
            advice = hint
        else:
            advice = f"choose from {', '.join(known)}."
        super().__init__(f"There is no {kind} named {name!r}; {advice}")


class BadSetting(Error):
    """A hyperparameter or argument whose value cannot work."""


class BadFile(Error):
    """A file or run folder that is missing, damaged, or not ours."""


class EnvironmentFault(Error):
    """An environment that broke Gymnasium's interface: it names the environment, the step, and what was expected."""


class CallbackFault(Error):
    """A callback that raised, or returned what it may not: it names the callback and its method."""


class Diverged(Error):
    """Training met a number that is not finite; the update that it would have spoilt was not made."""

    def __init__(self, names: Sequence[str], seed: int, before: int, after: int, kept: str | os.PathLike | None):
        what = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        saved = f"the last good checkpoint is {os.fspath(kept)}" if kept else "no checkpoint was written yet"
        super().__init__(
            f"Training of seed {seed} stopped because {what} became infinite or NaN between steps {before:,} and "
            f"{after:,}; {saved}; try a smaller learning_rate, a smaller max_grad_norm where there is one, or rewards "
            "and observations of a smaller scale."
        )


def restored(kind: str, message: str) -> Exception:
    """An error that was raised in another process, from the name of its class, "" for one that is not polyak's."""
    if not kind:
        return RuntimeError(f"training failed in a worker:\n{message}")
    known = {one.__name__: one for one in Error.__subclasses__()}
    error = Error.__new__(known.get(kind, Error))
    Exception.__init__(error, message)
    return error


def printable(text: str) -> str:
    """Text as one line that a terminal only shows: what would move its cursor or change its colours becomes `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
