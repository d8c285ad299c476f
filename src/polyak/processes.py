"""Worker processes: started, listened to, stopped, and never left behind."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import cloudpickle  # what is pickled goes to our own child process; no file is ever read this way

from polyak.envs import calls
from polyak.errors import BadSetting, Error


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerator_expected() -> bool:
    """Whether JAX will find something better than a CPU, judged without the cost of asking it."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return False
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "jax_rocm60_plugin", "libtpu")
    return any(importlib.util.find_spec(plugin) is not None for plugin in plugins)


@dataclasses.dataclass
class _Worker:
    """A process, the note of the call that its environments are in, and what it has told."""

    process: subprocess.Popen
    note: calls.CallNote
    watch: calls.Watch
    name: str  # of the environment
    closing: bool = False  # training is over, and the environments are taken down
    looked: float = 0.0
    told: bool = False  # that it hangs

    def say(self, line: str) -> None:
        """Writes a line to its standard input, if it still listens."""
        with contextlib.suppress(OSError, ValueError):  # it has ended already, or was told to
            self.process.stdin.write(f"{line}\n".encode())  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]


class Workers:
    """One process a job; iterate over it for their events until all have ended.

    A process whose environment takes longer than the job's `step_timeout` for a call, or takes the process with it, is
    ended, and its last event names the call. While nothing is asked of an environment a process may take its time: it
    may be compiling.

    Each gets one XLA thread: with more, the small matrix products of reinforcement learning wait for threads to wake
    up, and DQN on CartPole ran at a third of its speed. Setting NPROC overrides this.
    """

    def __init__(self, jobs: list[Any]):
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        environment = {"NPROC": "1", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._workers: list[_Worker] = []
        self._finishing: set[int] = set()  # seeds that were asked to
        for job in jobs:
            try:
                message = cloudpickle.dumps(job)
            except Exception as error:
                self.kill()
                raise BadSetting(
                    f"The environment function cannot be sent to a worker process ({error}); "
                    "make what it needs inside it, or train with processes=0."
                ) from error
            shared = [calls.shared_memory(calls.PAGE)] if os.name == "posix" else []
            process = subprocess.Popen(
                [sys.executable, "-m", "polyak.worker", *map(str, shared)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                pass_fds=shared,
            )
            note = calls.CallNote(*shared)
            for fd in shared:
                os.close(fd)  # it stays mapped
            worker = _Worker(process, note, calls.Watch(note, job.step_timeout), job.name)
            self._workers.append(worker)
            assert process.stdin  # as asked for
            process.stdin.write(len(message).to_bytes(8, "big") + message)
            process.stdin.flush()
            threading.Thread(target=self._listen, args=(worker,), daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        running = len(self._workers)
        interval = min((worker.watch.interval for worker in self._workers), default=1.0)
        while running:
            try:
                event = self._events.get(timeout=interval)
            except queue.Empty:
                pass
            else:
                if event is None:
                    running -= 1
                else:
                    yield event
            for worker in self._workers:
                self._look(worker)

    def _look(self, worker: _Worker) -> None:
        """Ends a process whose environment hangs."""
        now = time.monotonic()
        if worker.told or worker.process.poll() is not None or now < worker.looked + worker.watch.interval:
            return
        worker.looked = now
        if call := worker.watch.overdue():
            worker.told = True
            self._tell(worker, worker.watch.hang(worker.name, call, worker.process.pid))
            worker.process.kill()

    def _listen(self, worker: _Worker) -> None:
        process = worker.process
        assert process.stdout  # as asked for
        with process.stdout:
            for line in process.stdout:
                event = json.loads(line)
                worker.closing |= event["kind"] == "closing"
                self._events.put(event | {"worker": process.pid})
        status = process.wait()
        if worker.told:
            pass
        elif call := worker.note.read():
            self._tell(worker, calls.death(worker.name, call, status))
        elif status != 0:
            reason = f"A worker process ended with status {status}, killed or out of memory"
            self._tell(worker, Error(f"{reason}; what it wrote is above."))
        self._events.put(None)

    def answer(self, event: dict[str, Any], finishing: Iterable[int]) -> None:
        """Lets the worker whose event it was go on, which waits for that; but first says which seeds are to finish."""
        for seed in set(finishing) - self._finishing:
            self._finishing.add(seed)
            for worker in self._workers:
                worker.say(f"finish {seed}")
        for worker in self._workers:
            if worker.process.pid == event.get("worker"):
                worker.say("go")

    def _tell(self, worker: _Worker, error: Error) -> None:
        """Puts an error where all events go; once everything is learnt and saved, it is only worth a line."""
        if worker.closing:
            self._events.put({"kind": "notice", "text": str(error), "fault": True})
        else:
            self._events.put({"kind": "error", "type": type(error).__name__, "message": str(error)})

    def stop(self) -> None:
        """Asks every worker to save what it has and end; it does so after its present chunk."""
        for worker in self._workers:
            with contextlib.suppress(OSError):  # it has ended already
                worker.process.stdin.close()  # type: ignore[union-attr]

    def kill(self) -> None:
        """Ends every worker at once; those that have ended are only cleared away."""
        self.stop()
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
