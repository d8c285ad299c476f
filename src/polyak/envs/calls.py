"""The call of an environment that is under way, noted where the note outlives the process that makes the call.

A call that never returns, or that takes its process with it, cannot tell which one it was. So every call is noted
before it is made, in memory that the parent process shares: environment, seed, step and action.
"""

import contextlib
import math
import mmap
import os
import signal
import struct
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyak.errors import BadSetting, EnvironmentFault

STEP_TIMEOUT = 60.0  # seconds that a call may take
START_TIMEOUT = 600.0  # seconds that starting a process, making an environment and its first reset may take, at least
RESTARTS, WITHIN = 10, 1_000  # environments made anew, at most, within so many environment steps

NONE, MAKE, FIRST_RESET, RESET, STEP, CLOSE = range(6)
NAMES = ("", "making it", "reset", "reset", "step", "close")

PAGE = 65_536  # bytes of a note; a multiple of what any system maps at once
HEAD = 128  # bytes before the actions, where they are not single whole numbers
CALL = struct.Struct("5q")  # kind of call, environment, seed, step, action


class Call(NamedTuple):
    """One call of an environment."""

    kind: int
    environment: int
    num_envs: int
    seed: int
    step: int
    action: str  # "" for other calls than `step`

    def where(self, id: str) -> str:
        """`CartPole-v1, environment 2 of 4, step 17 of the episode with seed 5, action 1`."""
        text = f"{id}, environment {self.environment} of {self.num_envs}"
        if self.kind in (FIRST_RESET, RESET, STEP):
            text += f", step {self.step} of the episode with seed {self.seed}"
        return f"{text}, action {self.action}" if self.action else text


def shared_memory(size: int) -> int:
    """A file descriptor of memory that child processes can map; it has no name, so that nothing can be left behind."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("polyak")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def map_memory(fd: int, offset: int, size: int) -> mmap.mmap:
    """A part of shared memory, or where `fd` is -1 memory of this process."""
    return mmap.mmap(fd, size, offset=offset) if fd >= 0 else mmap.mmap(-1, size)


class CallNote:
    """The call under way in a process, if any; one at a time.

    Args:
        fd: of memory that several processes share; by default it is this process's own.
        offset: where in it, in bytes.
    """

    def __init__(self, fd: int = -1, offset: int = 0):
        self._page = map_memory(fd, offset, PAGE)
        self._words = memoryview(self._page)[:HEAD].cast("q")
        self._floats = np.frombuffer(self._page, np.float64, offset=HEAD)
        self.owner = 0
        self.enter = partial(CALL.pack_into, self._page, 0)
        """Notes a call: kind, environment, seed, step, and the action if it is a whole number."""

    def begin(self, owner: int, num_envs: int, first: int = 0, actions: tuple[int, ...] = ()) -> np.ndarray | None:
        """Notes the facts that the next calls have in common.

        Args:
            owner: the number of the vector, which need not say this again while it is the owner.
            num_envs: of the whole vector.
            first: the environment whose action comes first.
            actions: the shape [B, ...] of the actions, where they are not single whole numbers.

        Returns:
            The place for such actions; None where there is none.
        """
        self.owner = owner
        size = math.prod(actions)
        fits = len(actions) > 0 and 0 < size <= self._floats.size
        self._words[5], self._words[6] = num_envs, first
        self._words[7] = (size // actions[0] if fits else 0) if actions else -1
        return self._floats[:size].reshape(actions) if fits else None

    def leave(self) -> None:
        """Notes that no call is under way."""
        self._words[0] = NONE

    def read(self) -> Call | None:
        """The call under way."""
        kind, environment, seed, step, action, num_envs, first, row = self._words.tolist()[:8]
        if kind == NONE:
            return None
        text = str(action)
        if row >= 0:
            at = (environment - first) * row
            text = show_action(self._floats[at : at + row].copy()) if row else "too large to show"
        return Call(kind, environment, num_envs, seed, step, text if kind == STEP else "")

    def close(self) -> None:
        """Releases the memory."""
        self._words.release()
        del self._floats
        with contextlib.suppress(BufferError):  # somebody holds the place for actions; the memory goes with that
            self._page.close()


HERE = CallNote()  # of this process; `attach` puts it where the parent can read it


def attach(fd: int, offset: int = 0) -> None:
    """Keeps the note of this process in memory that it was given by its parent."""
    global HERE
    HERE = CallNote(fd, offset)


def show_action(action: np.ndarray | int) -> str:
    """An action in a message."""
    if isinstance(action, int) or action.ndim == 0:
        return str(action)
    return np.array2string(action, precision=4, separator=", ", threshold=20, max_line_width=10_000)


class Patience:
    """Tells whether a call takes longer than it may, by looking at its note every `interval` seconds.

    Looks are counted and not seconds: a machine that slept, or a run that Ctrl-Z had stopped, is not a hang.

    Args:
        step_timeout: seconds that a call may take; making an environment and its first reset may take ten minutes.
    """

    def __init__(self, note: CallNote, step_timeout: float):
        self.interval = min(1.0, step_timeout / 4)
        self._note, self.step_timeout = note, step_timeout
        self._call: Call | None = None
        self.silent = 0.0  # seconds without another call than the last, or without any

    def limit(self, call: Call) -> float:
        """Seconds that a call may take."""
        return max(self.step_timeout, START_TIMEOUT) if call.kind in (MAKE, FIRST_RESET) else self.step_timeout

    def overdue(self) -> Call | None:
        """The call that should have returned by now; to be asked once an interval."""
        call = self._note.read()
        self.silent = self.silent + self.interval if call == self._call else 0.0
        self._call = call
        return call if call and self.silent >= self.limit(call) else None

    def hang(self, id: str, call: Call, pid: int | None = None) -> EnvironmentFault:
        """The fault of a call that does not return."""
        stopped = " because its process was stopped" if pid and is_stopped(pid) else ""
        return EnvironmentFault(
            f"{call.where(id)}: {NAMES[call.kind]} did not return within {self.limit(call):g} seconds{stopped}; "
            "repair it, or allow more with step_timeout."
        )


def death(id: str, call: Call, status: int) -> EnvironmentFault:
    """The fault of a call that took its process with it."""
    return EnvironmentFault(
        f"{call.where(id)}: its process {ended(status)} during {NAMES[call.kind]}; expected an answer."
    )


def ended(status: int) -> str:
    """`was killed by SIGKILL`, `ended with status 3`."""
    if status >= 0:
        return f"ended with status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by SIGSTOP for instance; False where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


@contextlib.contextmanager
def alarm(id: str, step_timeout: float) -> Iterator[None]:
    """Raises `EnvironmentFault` in calls of environments that take too long, in the main thread of a POSIX system.

    Code that never comes back to Python cannot be interrupted so; elsewhere nothing is watched.
    """
    if not hasattr(signal, "pthread_kill") or threading.current_thread() is not threading.main_thread():
        yield
        return
    patience, over = Patience(HERE, step_timeout), threading.Event()
    late: list[Call] = []

    def look() -> None:
        while not over.wait(patience.interval):
            if call := patience.overdue():
                late[:] = [call]
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def ring(number: int, frame: object) -> None:
        if late and HERE.read() == late[0]:  # it has not returned in the meantime
            raise patience.hang(id, late[0])

    before = signal.signal(signal.SIGALRM, ring)
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        signal.signal(signal.SIGALRM, before)


class Restarts:
    """Decides whether an environment at fault may be made anew, and keeps a sentence for each that was.

    Args:
        on_fault: "stop" or "restart".
    """

    def __init__(self, on_fault: str):
        if on_fault not in ("stop", "restart"):
            raise BadSetting(f"on_fault is {on_fault!r}; it takes 'stop' or 'restart'.")
        self.allowed = on_fault == "restart"
        self.faults: list[str] = []
        self._at: list[int] = []

    def count(self, fault: EnvironmentFault, step: int) -> None:
        """Notes a fault at an environment step; raises it if training may not go on."""
        if not self.allowed:
            raise fault
        self._at = [at for at in self._at if step - at < WITHIN] + [step]
        if len(self._at) > RESTARTS:
            raise EnvironmentFault(
                f"{str(fault).removesuffix('.')}; this is fault {len(self._at)} within {WITHIN:,} steps, so it stops."
            ) from fault
        self.faults.append(f"{str(fault).removesuffix('.')}; the environment was made anew.")


def check_timeout(step_timeout: float) -> None:
    """Raises `BadSetting` unless it is a number of seconds."""
    if not 0 < step_timeout < float("inf"):
        raise BadSetting(f"step_timeout is {step_timeout}; it takes more than 0 seconds.")
