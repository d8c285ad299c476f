"""The events of training, as types, and as the lines of JSON that worker processes send."""

import json
from collections.abc import Callable
from typing import NamedTuple, get_args


class Hello(NamedTuple):
    """Training begins."""

    device: str
    engine: str  # compiled or host
    environment: str  # the class that steps it


class Chunk(NamedTuple):
    """A seed was trained for some more steps."""

    seed: int
    step: int  # environment steps so far
    metrics: dict[str, float]  # of these steps; the finite ones
    timed_steps: int  # of them, without those that were mostly compilation
    timed_seconds: float


class Playing(NamedTuple):
    """An evaluation takes its time."""

    seed: int
    finished: int
    episodes: int


class Evaluation(NamedTuple):
    """The greedy policy of a seed has played while training goes on."""

    seed: int
    step: int
    returns: list[float]


class PolicySaved(NamedTuple):
    """The policy of a seed was written while training goes on."""

    seed: int
    step: int
    path: str
    due: list[int]  # the intervals, of those asked for, after which it was written


class CheckpointSaved(NamedTuple):
    """A checkpoint of a seed was written."""

    seed: int
    step: int
    path: str


class Notice(NamedTuple):
    """A line for the user."""

    text: str
    seed: int | None = None
    fault: bool = False  # of an environment, after which training goes on


class Finished(NamedTuple):
    """A seed is over: its policy is saved and scored."""

    seed: int
    step: int
    returns: list[float]


class Skipped(NamedTuple):
    """A seed was asked to finish before it had begun."""

    seed: int


class Closing(NamedTuple):
    """All is saved; what goes wrong from here on can harm nothing."""


class Failed(NamedTuple):
    """Training ended with an error."""

    kind: str  # the name of a class of `polyak.errors`; "" for any other
    message: str


class Relayed(NamedTuple):
    """What a worker elsewhere has told, passed on by the process that listens to several."""

    worker: int
    line: str  # its event, as `to_json` writes it


Event = (
    Hello
    | Chunk
    | Playing
    | Evaluation
    | PolicySaved
    | CheckpointSaved
    | Notice
    | Finished
    | Skipped
    | Closing
    | Failed
    | Relayed
)
Emit = Callable[[Event], None]

_KINDS = {kind.__name__: kind for kind in get_args(Event)}


def to_json(event: Event) -> bytes:
    """The event as one line."""
    return json.dumps([type(event).__name__, *event]).encode() + b"\n"


def from_json(line: bytes) -> Event:
    """The event of a line; raises `ValueError` where it is none."""
    try:
        kind, *fields = json.loads(line)
        return _KINDS[kind](*fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{line[:80]!r} is no event") from error
