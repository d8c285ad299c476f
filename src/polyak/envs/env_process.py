"""One worker process of a `WorkerVector`, from its parent's side: started, asked, and ended in every case."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable

from polyak.envs import calls
from polyak.envs.calls import PAGE, START_TIMEOUT, Patience
from polyak.envs.env_worker import FAULT, MAKE, Job, framed, receive
from polyak.errors import EnvironmentFault, restored

TERMINATE = 0.5  # seconds between asking a process to end and ending it


class EnvProcess:
    """One process and its environments; its first command is `make`.

    Args:
        job: what it makes.
        message: the same, as it is sent.
        fd: of the shared memory.
        number: of the process, which is the place of its note in that memory.
        step_timeout: seconds that a call may take.
    """

    def __init__(self, job: Job, message: bytes, fd: int, number: int, step_timeout: float):
        self.job, self.message, self.number = job, message, number
        self.environments = range(job.first, job.first + job.size)
        self.rows = slice(job.first, job.first + job.size)
        self._note = calls.CallNote(fd, number * PAGE)
        self._note.leave()
        self._patience = Patience(self._note, step_timeout)
        self._started = False
        self._connection, theirs = socket.socketpair()
        lasting = threading.current_thread() is threading.main_thread()  # Linux ends children with the thread
        words = theirs.fileno(), fd, number * PAGE, os.getpid() if lasting else 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "polyak.envs.env_worker", *map(str, words)],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), fd),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        self.pid = self._process.pid
        theirs.close()
        self._connection.settimeout(self._patience.interval)

    def make(self) -> None:
        """Has the environments made."""
        self.send(MAKE, self.message)

    def send(self, kind: bytes, message: bytes = b"") -> None:
        """Sends a command; if the process has ended, `receive` raises that.

        Raises:
            EnvironmentFault: the process does not read it.
        """
        self._patience.silent = 0.0
        rest = memoryview(framed(kind, message))
        with contextlib.suppress(OSError):
            while rest:
                try:
                    rest = rest[self._connection.send(rest) :]
                except TimeoutError:
                    self._look()

    def receive(self) -> bytes:
        """The answer to the last command.

        Raises:
            EnvironmentFault: an environment is at fault, hangs, or has died with its process.
        """
        self._patience.silent = 0.0
        kind, message = receive(self._read)
        if kind == FAULT:
            raise restored(*json.loads(message))
        self._started = True
        return message

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = self._connection.recv(size - len(data))
            except TimeoutError:
                self._look()
                continue
            except OSError:
                more = b""
            if not more:
                raise self._death()
            data += more
        return data

    def _look(self) -> None:
        """Raises a fault if the call under way, or the process, takes too long."""
        if call := self._patience.overdue():
            raise self._patience.hang(self.job.name, call, self.pid)
        limit = self._patience.step_timeout if self._started else max(START_TIMEOUT, self._patience.step_timeout)
        if self._note.read() is None and self._patience.silent >= limit:
            stopped = " because it was stopped" if calls.is_stopped(self.pid) else ""
            raise EnvironmentFault(f"{self._all}: their process did not answer within {limit:g} seconds{stopped}.")

    def _death(self) -> EnvironmentFault:
        self._wait(TERMINATE)
        status = self._status()
        if call := self._note.read():
            return calls.death(self.job.name, call, -signal.SIGKILL if status is None else status)
        how = "closed its connection" if status is None else calls.ended(status)
        return EnvironmentFault(f"{self._all}: their process {how} between two calls, perhaps for want of memory.")

    @property
    def _all(self) -> str:
        last = self.environments[-1]
        return f"{self.job.name}, environments {self.job.first} to {last} of {self.job.of}"

    def _status(self) -> int | None:
        """How the process ended, if it has; its number stays taken, so that its group can be ended safely."""
        if self._process.returncode is not None or not hasattr(os, "waitid"):
            return self._process.poll()
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._status() is None and time.monotonic() < until:
            time.sleep(0.002)

    @staticmethod
    def end(processes: Iterable["EnvProcess"]) -> None:
        """Ends processes and whatever their environments have started: they are asked, then terminated, then killed."""
        living = [process for process in processes if process._process.returncode is None]
        for process in living:
            process._connection.close()
            if process._status() is None:
                process._process.terminate()
                process._process.send_signal(signal.SIGCONT)  # one that was stopped cannot hear
        until = time.monotonic() + TERMINATE
        for process in living:
            process._wait(until - time.monotonic())
        for process in living:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process._process.wait()
            process._note.close()
