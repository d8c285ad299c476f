"""Worker processes: started, listened to, stopped, and never left behind; and what runs in each of them.

A worker and its parent talk over a socket that nothing else in the worker knows of. The parent sends the work, and
then, to a worker that waits, an answer to each event: the seeds that are to finish, as a line of JSON. When it says no
more, the worker stops. The worker sends its events, also as lines, and they are all that the parent takes from it.
"""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from typing import Protocol

import cloudpickle  # what is pickled goes to our own child process; no file is ever read this way

from polyak.envs import calls
from polyak.errors import BadSetting, Error
from polyak.runs.events import Closing, Emit, Event, Failed, Notice, from_json, to_json

Work = Callable[[Emit, Callable[[], bool], Callable[[int], bool]], None]
"""(emit, stopping, finishing) -> None: tells of what it does in events, the last of them `Closing`; asks between chunks
whether it is to stop, or to finish a seed."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a cluster sends before it kills
TURN = 0.2  # seconds that `receive` waits at most, so that a signal is soon seen, and an end without a word


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerator_expected() -> bool:
    """Whether JAX will find something better than a CPU, as far as installed plugins tell, which costs less."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return False
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "jax_rocm60_plugin", "libtpu")
    return any(importlib.util.find_spec(plugin) is not None for plugin in plugins)


class Transport(Protocol):
    """The connection between `train` and the workers that train for it, wherever they run; they are numbered from 0."""

    @property
    def running(self) -> bool:
        """Whether any worker has not ended."""
        ...

    def receive(self) -> list[tuple[int, Event]]:
        """The events since the last call, each with its worker; waits a moment for them.

        A worker that ends neither after `Closing` nor after `Failed` has a `Failed` made for it, as its last event.
        """
        ...

    def answer(self, worker: int, finishing: Iterable[int]) -> None:
        """Lets a worker that waits for this go on after its event, and tells it all seeds that are to finish."""
        ...

    def stop(self) -> None:
        """Asks all workers to save what they have and end; they do so after the present chunk."""
        ...

    def kill(self) -> None:
        """Ends all workers at once, also those that hang; returns when they have gone."""
        ...


class Workers:
    """A `Transport` to processes of this machine, one for each piece of work, begun in their order.

    A process whose environment takes longer than it may for a call, or takes the process with it, is ended, and its
    last event names the call. While nothing is asked of an environment a process may take its time: it may be
    compiling.

    Each gets one XLA thread: with more, the small matrix products of reinforcement learning wait for threads to wake
    up, and DQN on CartPole ran at a third of its speed. Setting NPROC overrides this. Nor is work handed from one
    thread to another, which costs time.

    Args:
        works: what they do.
        env: the environment's name, for messages.
        step_timeout: seconds that a call of an environment may take.
        waits: whether each waits after every event until it is answered.
        at_once: how many run at the same time; the others begin as these end. By default all of them.

    Raises:
        BadSetting: the work cannot be sent, because of the environment in it.
    """

    def __init__(self, works: Sequence[Work], env: str, step_timeout: float, waits: bool, at_once: int | None = None):
        try:
            messages = [cloudpickle.dumps((work, waits, step_timeout)) for work in works]
        except Exception as error:
            raise BadSetting(
                f"The environment function cannot be sent to a worker process ({error}); "
                "make what it needs inside it, or train with processes=0."
            ) from error
        self._waits, self._how, self._at_once = waits, (env, step_timeout), at_once or len(works)
        self._waiting = deque(messages)
        self._workers: list[_Worker] = []
        try:
            self._begin()
        except BaseException:
            self.kill()
            raise

    @property
    def running(self) -> bool:
        return bool(self._waiting) or any(worker.running for worker in self._workers)

    def receive(self) -> list[tuple[int, Event]]:
        self._begin()
        running = [(number, worker) for number, worker in enumerate(self._workers) if worker.running]
        timeout = min([TURN, *(worker.patience.interval for _, worker in running)])
        connection.wait([worker.connection for _, worker in running if worker.talks], timeout)
        return [(number, event) for number, worker in running for event in worker.receive()]

    def answer(self, worker: int, finishing: Iterable[int]) -> None:
        if self._waits:
            self._workers[worker].say(json.dumps(list(finishing)).encode() + b"\n")

    def stop(self) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.say_no_more()

    def kill(self) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            worker.close()

    def _begin(self) -> None:
        """Starts as many processes as may run, and then sends them their work."""
        room = self._at_once - sum(worker.running for worker in self._workers)
        messages = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        for _ in messages:
            self._workers.append(_Worker(*self._how))
        for worker, message in zip(self._workers[-len(messages) :], messages, strict=False):
            worker.say(len(message).to_bytes(8, "big") + message)


class _Worker:
    """A process, and what is known of it.

    Attributes:
        running: whether its end has not been seen.
        talks: whether there may be more to read.
    """

    def __init__(self, env: str, step_timeout: float):
        environment = {"NPROC": "1", "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false", **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self.connection, theirs = socket.socketpair()
        memory = calls.shared_memory(calls.PAGE)
        self._note = calls.CallNote(memory)
        try:
            with theirs, os.fdopen(memory), _held_back():  # the memory stays mapped
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "polyak.processes", str(theirs.fileno()), str(memory)],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # what environments print must not be taken for a result of ours
                    env=environment,
                    pass_fds=[theirs.fileno(), memory],
                )
        except BaseException:
            self.connection.close()
            raise
        self.env, self.patience = env, calls.Patience(self._note, step_timeout)
        self.running = self.talks = True
        self._closing = self._failed = False
        self._looked = 0.0
        self._rest = b""  # of a line

    def say(self, message: bytes) -> None:
        """Sends it, if the process still listens."""
        with contextlib.suppress(OSError):
            self.connection.sendall(message)

    def say_no_more(self) -> None:
        """Ends what can be said."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def receive(self) -> list[Event]:
        """The events since the last call; the event that tells what went wrong with it comes last, and once."""
        status = self.process.poll()  # asked before reading: a process that has ended has told all
        events: list[Event] = []
        try:
            for line in self._lines():
                events.append(from_json(line))
                self._closing |= isinstance(events[-1], Closing)
                self._failed |= isinstance(events[-1], Failed)
        except ValueError as error:
            events += self._fail(Error(f"A worker process told what cannot be understood: {error}."))
        if status is None and not self.talks:  # it is about to end, or would never tell of it
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(1.0)
        if status is not None:
            events += self._fail(self._reason(status))
            self.close()
        elif call := self._overdue():
            events += self._fail(self.patience.hang(self.env, call, self.process.pid))
        return events

    def _lines(self) -> Iterator[bytes]:
        while self.talks:
            try:
                data = self.connection.recv(2**20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # it ended with answers unread
                data = b""
            self.talks = bool(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from lines

    def _overdue(self) -> calls.Call | None:
        """The call that should have returned, looked for once an interval."""
        if time.monotonic() < self._looked + self.patience.interval:
            return None
        self._looked = time.monotonic()
        return self.patience.overdue()

    def _reason(self, status: int) -> Error | None:
        """Why it ended, if that was no end of its work."""
        if call := self._note.read():
            return calls.death(self.env, call, status)
        if status == 0 and self._closing:
            return None
        how = f"{calls.ended(status)} in the middle of its work, perhaps for want of memory"
        return Error(f"A worker process {how}; what it wrote is above.")

    def _fail(self, reason: Error | None) -> list[Event]:
        """The event that tells why it ends, if none has told so yet; it is not listened to any more."""
        self.talks = False
        if reason is None or self._failed:
            return []
        self._failed = True
        if self._closing:  # all is saved, so it is only worth a line
            return [Notice(str(reason), fault=True)]
        return [Failed(type(reason).__name__, str(reason))]

    def close(self) -> None:
        """Lets go of what is held for a process that has ended."""
        if self.running:
            self.running = False
            self.connection.close()
            self._note.close()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Keeps signals from a process that is started here until `main` can handle them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> None:
    """`python -m polyak.processes SOCKET MEMORY`: two descriptors. Does the work that comes through the socket.

    The memory is where the parent sees what environments are asked for.
    """
    parent = socket.socket(fileno=int(sys.argv[1]))
    parent.set_inheritable(False)
    calls.attach(int(sys.argv[2]))
    source = parent.makefile("rb")
    stop, answers, finishing = threading.Event(), threading.Semaphore(0), set[int]()
    waits, step_timeout, parent_id = False, 0.0, os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's, sent to every process; the parent decides
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def listen() -> None:
        with contextlib.suppress(OSError):  # the parent was killed, and had not read everything
            for line in source:
                finishing.update(json.loads(line))
                answers.release()
        stop.set()
        answers.release()  # `emit`, if it waits; it does not from now on
        patience = calls.Patience(calls.HERE, step_timeout)
        while not (patience.overdue() and os.getppid() != parent_id):
            time.sleep(patience.interval)
        os._exit(1)  # an environment hangs, and nobody else is left to end that

    def emit(event: Event) -> None:
        try:
            parent.sendall(to_json(event))
        except OSError:  # the parent is gone; what was learned is saved all the same
            stop.set()
        if waits and not stop.is_set():
            answers.acquire()

    try:
        work, waits, step_timeout = cloudpickle.loads(source.read(int.from_bytes(source.read(8), "big")))
        threading.Thread(target=listen, daemon=True).start()
        work(emit, stop.is_set, finishing.__contains__)
    except Error as error:
        emit(Failed(type(error).__name__, str(error)))
    except BaseException:
        emit(Failed("", traceback.format_exc()))
    with contextlib.suppress(Exception):
        sys.stdout.flush()  # what environments have printed
    os._exit(0)  # a simulator that hangs while it is taken down must not keep the run waiting


if __name__ == "__main__":
    main()
