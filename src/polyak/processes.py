"""Worker processes: started, listened to, stopped, and never left behind."""

import contextlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import cloudpickle  # what is pickled goes to our own child process; no file is ever read this way

from polyak.errors import BadSetting


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerator_expected() -> bool:
    """Whether JAX will find something better than a CPU, judged without the cost of asking it."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return False
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "jax_rocm60_plugin", "libtpu")
    return any(importlib.util.find_spec(plugin) is not None for plugin in plugins)


class Workers:
    """One process a job; iterate over it for their events until all have ended.

    Each gets one XLA thread: with more, the small matrix products of reinforcement learning wait for threads to wake
    up, and DQN on CartPole ran at a third of its speed. Setting NPROC overrides this.
    """

    def __init__(self, jobs: list[Any]):
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        environment = {"NPROC": "1", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._processes: list[subprocess.Popen] = []
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
            process = subprocess.Popen(
                [sys.executable, "-m", "polyak.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            self._processes.append(process)
            assert process.stdin  # as asked for
            process.stdin.write(len(message).to_bytes(8, "big") + message)
            process.stdin.flush()
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        running = len(self._processes)
        while running:
            event = self._events.get()
            if event is None:
                running -= 1
            else:
                yield event

    def _listen(self, process: subprocess.Popen) -> None:
        assert process.stdout  # as asked for
        with process.stdout:
            for line in process.stdout:
                self._events.put(json.loads(line) | {"worker": process.pid})
        if process.wait() != 0:
            reason = f"A worker process ended with status {process.returncode}, killed or out of memory"
            self._events.put({"kind": "error", "type": "Error", "message": f"{reason}; what it wrote is above."})
        self._events.put(None)

    def answer(self, event: dict[str, Any], finishing: Iterable[int]) -> None:
        """Lets the worker whose event it was go on, which waits for that; but first says which seeds are to finish."""
        for seed in set(finishing) - self._finishing:
            self._finishing.add(seed)
            for process in self._processes:
                self._say(process, f"finish {seed}")
        for process in self._processes:
            if process.pid == event["worker"]:
                self._say(process, "go")

    def _say(self, process: subprocess.Popen, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended already, or was told to
            process.stdin.write(f"{line}\n".encode())  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

    def stop(self) -> None:
        """Asks every worker to save what it has and end; it does so after its present chunk."""
        for process in self._processes:
            with contextlib.suppress(OSError):  # it has ended already
                process.stdin.close()  # type: ignore[union-attr]

    def kill(self) -> None:
        """Ends every worker at once; those that have ended are only cleared away."""
        self.stop()
        for process in self._processes:
            process.kill()
            process.wait()
