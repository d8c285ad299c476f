"""A fleet of actors, as the learner sees it: whom to ask, what was asked, who is lost, and when to try again.

Nothing here knows Ray or JAX: a `Port` starts actors and carries messages, and a test may be one.
"""

import dataclasses
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from polyak.errors import Error

TURN = 0.2  # seconds that one look at the actors takes at most
BEGINNING = 600.0  # seconds in which an actor has to begin: it may have to wait for a machine, and it compiles
FIRST = 120.0  # seconds that its first blocks may take longer than others: acting is compiled
PATIENT = 10.0  # times as long as others an actor may take
BEAT, SILENT = 5.0, 20.0  # seconds between two signs of life that are asked for, and that one may take
BACK_OFF = (0.5, 30.0)  # seconds before a lost actor is started again: at first, and at most
TOO_OFTEN = 10  # actors lost in a row, without a block in between, after which the run ends


class Gone(Exception):
    """An actor has ended, or cannot be reached."""


class Port(Protocol):
    """Starts actors in numbered places, and carries messages to them. Handles are any hashable values."""

    def start(self, slot: int) -> None:
        """Starts a new actor in a place; the one that was there is ended."""
        ...

    def share(self, value: Any) -> Any:
        """Puts a value where all actors reach it; returns what `ask` takes for it."""
        ...

    def ask(self, slot: int, message: Any, shared: Any = None) -> Any:
        """Sends a message, and beside it what was shared; returns the handle of the answer. They come in order."""
        ...

    def beat(self, slot: int) -> Any:
        """Asks for a sign of life, which an actor gives while it works; returns the handle of the answer."""
        ...

    def wait(self, handles: list[Any], seconds: float) -> list[Any]:
        """Those of the handles that have an answer; waits for one, so many seconds at most, or as long if none is
        given."""
        ...

    def get(self, handle: Any) -> Any:
        """The answer; raises `Gone` where the actor has ended."""
        ...

    def close(self) -> None:
        """Ends all actors."""
        ...


class Answer(NamedTuple):
    """The answer to a message."""

    slot: int
    life: int  # of the actor in that place
    number: int  # of the message in that life
    message: Any
    content: Any


class _Asked(NamedTuple):
    """A message under way."""

    number: int
    message: Any
    since: float


@dataclasses.dataclass
class _Slot:
    """A place for an actor, and the one that is there."""

    life: int = -1  # how often one began here, less one
    lost: int = 0  # how many were lost here
    up: bool = False  # whether it has begun
    asked: int = 0  # messages of this life
    under_way: dict[Any, _Asked] = dataclasses.field(default_factory=dict)  # in order
    kept: int = 0  # answers that were given out and not released yet
    begun: Any = None  # the handle of its beginning, while it begins
    since: float = 0.0  # when that was asked for
    next_try: float = 0.0  # when a lost one is started again
    losses: int = 0  # in a row
    has_answered: bool = False  # in this life
    beat: Any = None  # the handle of a sign of life that was asked for
    beat_since: float = 0.0  # when that was asked for, or the last one came


class Fleet:
    """Actors in numbered places, each started anew when it is lost.

    Args:
        port: reaches them.
        size: the number of places.
        beginning: (slot, losses) -> the message with which an actor begins that was lost there so often before.
        most_under_way: messages and unreleased answers of an actor at most: what keeps a fast one from running ahead.
        step_timeout: seconds that an actor may take at least before it counts as hanging.
        clock: seconds, that only grow.

    Attributes:
        notices: a sentence for each loss; the reader removes what it has reported.
        restarts: how often an actor was started again.
        lost: messages whose answer was lost with their actor.
    """

    def __init__(
        self,
        port: Port,
        size: int,
        beginning: Callable[[int, int], Any],
        most_under_way: int,
        step_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.notices: list[str] = []
        self.restarts = self.lost = 0
        self._port, self._beginning, self._clock = port, beginning, clock
        self._most, self._step_timeout = most_under_way, step_timeout
        self._slots = [_Slot() for _ in range(size)]
        self._times: deque[float] = deque(maxlen=200)  # seconds of the last answers
        self._is_running: set[int] = set()  # places that have an actor, begun or not
        self._losses_in_a_row = 0

    @property
    def up(self) -> list[int]:
        """The places whose actors have begun."""
        return [number for number, slot in enumerate(self._slots) if slot.up]

    def life(self, number: int) -> int:
        """How often an actor began in a place, less one."""
        return self._slots[number].life

    def begin(self) -> None:
        """Has every actor begin, those that run already too; what was under way is forgotten."""
        for number, slot in enumerate(self._slots):
            self._begin(number, slot)

    def room(self, number: int, most: int = 0) -> bool:
        """Whether an actor has begun and may be asked for more: up to `most`, where that is more than usual."""
        slot = self._slots[number]
        return slot.up and len(slot.under_way) + slot.kept < max(self._most, most)

    def ask(self, number: int, message: Any, shared: Any = None) -> None:
        """Sends a message to an actor that has begun, and beside it what `Port.share` returned."""
        slot = self._slots[number]
        slot.under_way[self._port.ask(number, message, shared)] = _Asked(slot.asked, message, self._clock())
        slot.asked += 1

    def receive(self) -> list[Answer]:
        """The answers that have come, in the order of asking for each actor; waits a moment for them.

        An answer keeps its room until `release`. The answer to a beginning, whose message is None, is given out too.

        Raises:
            polyak.Error: actors are lost again and again.
        """
        self._restart_lost()
        answers: list[Answer] = []
        handles = [handle for slot in self._slots for handle in self._open(slot)]
        ready = set(self._port.wait(handles, self._pause()))
        for number, slot in enumerate(self._slots):
            try:
                answers += self._answers(number, slot, ready)
                self._check_patience(slot)
                self._check_life(number, slot)
            except Gone as gone:
                self._lose(number, slot, str(gone))
        return answers

    def release(self, answer: Answer) -> None:
        """Makes room again for what the answer was about."""
        slot = self._slots[answer.slot]
        if answer.life == slot.life:
            slot.kept -= 1

    def close(self) -> None:
        """Ends all actors."""
        self._port.close()

    def _open(self, slot: _Slot) -> list[Any]:
        return [slot.begun] if slot.begun is not None else list(slot.under_way)[:1]

    def _answers(self, number: int, slot: _Slot, ready: set[Any]) -> list[Answer]:
        if slot.begun is not None:
            if slot.begun not in ready:
                return []
            content = self._port.get(slot.begun)
            slot.begun, slot.up = None, True
            return [Answer(number, slot.life, -1, None, content)]
        answers = []
        while slot.under_way:
            handle, asked = next(iter(slot.under_way.items()))
            if handle not in ready and not self._port.wait([handle], 0.0):
                break
            content = self._port.get(handle)
            del slot.under_way[handle]
            slot.kept += 1
            slot.has_answered, slot.losses, self._losses_in_a_row = True, 0, 0
            self._times.append(self._clock() - asked.since)
            answers.append(Answer(number, slot.life, asked.number, asked.message, content))
        return answers

    def _begin(self, number: int, slot: _Slot) -> None:
        if number not in self._is_running:
            self._port.start(number)
            self._is_running.add(number)
        slot.life += 1
        slot.up, slot.asked, slot.kept, slot.has_answered, slot.beat = False, 0, 0, False, None
        slot.under_way.clear()
        slot.begun, slot.since = self._port.ask(number, self._beginning(number, slot.lost)), self._clock()

    def _check_patience(self, slot: _Slot) -> None:
        """Raises `Gone` where an actor takes longer than it may."""
        if slot.begun is not None:
            since, most = slot.since, BEGINNING
        elif slot.under_way:
            since = next(iter(slot.under_way.values())).since
            usual = statistics.median(self._times) if self._times else 0.0
            most = max(self._step_timeout, PATIENT * usual) + (0.0 if slot.has_answered else FIRST)
        else:
            return
        if self._clock() - since > most:
            raise Gone(f"it did not answer within {most:,.0f} s")

    def _check_life(self, number: int, slot: _Slot) -> None:
        """Raises `Gone` where an actor that has begun gives no sign of life: it was stopped, or its link was cut."""
        if not slot.up:
            return
        now = self._clock()
        if slot.beat is not None and self._port.wait([slot.beat], 0.0):
            self._port.get(slot.beat)
            slot.beat, slot.beat_since = None, now
        elif slot.beat is not None and now - slot.beat_since > SILENT:
            raise Gone(f"no sign of life for {SILENT:,.0f} s")
        elif slot.beat is None and now - slot.beat_since > BEAT:
            slot.beat, slot.beat_since = self._port.beat(number), now

    def _lose(self, number: int, slot: _Slot, why: str) -> None:
        self._losses_in_a_row += 1
        if self._losses_in_a_row >= TOO_OFTEN:
            raise Error(
                f"Actors were lost {TOO_OFTEN} times in a row, the last of them number {number}: {why}; "
                "what they wrote is above."
            )
        slot.lost += 1
        self.lost += len(slot.under_way)
        pause = min(BACK_OFF[0] * 2**slot.losses, BACK_OFF[1])
        self.notices.append(
            f"Actor {number} was lost ({why}), and with it {len(slot.under_way)} requests and its episodes; another is "
            f"started in {pause:g} s."
        )
        slot.up, slot.begun, slot.losses = False, None, slot.losses + 1
        slot.under_way.clear()
        slot.next_try = self._clock() + pause
        self._is_running.discard(number)

    def _restart_lost(self) -> None:
        for number, slot in enumerate(self._slots):
            if number not in self._is_running and slot.life >= 0 and self._clock() >= slot.next_try:
                self.restarts += 1
                self._begin(number, slot)

    def _pause(self) -> float:
        waits = [slot.next_try - self._clock() for n, slot in enumerate(self._slots) if n not in self._is_running]
        return max(0.0, min([TURN, *waits]))
