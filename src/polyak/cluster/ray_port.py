"""Ray, in one place: started for this run alone or joined where it was asked for, and what carries messages on it.

What this file guards against was measured with version 2.60.
`ray.init()` without an address joins whatever cluster a file of another run names, so an address is always given; a
Ray of its own listens on every network interface unless RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is 0 before the import; it
tells its makers of every use unless RAY_USAGE_STATS_ENABLED is 0; an address where nobody listens is tried for minutes;
and it takes over the handling of SIGTERM.
"""

import contextlib
import importlib.util
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

from polyak.cluster.fleet import Gone
from polyak.cluster.messages import Task
from polyak.errors import BadSetting, Error

PRIVATE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every listener on loopback, on Linux too
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
REACHABLE = 5.0  # seconds in which a cluster's head has to take a connection
TRIES, SLOW_START = 3, "timed out during startup"  # a busy machine may need more than the 30 s that Ray grants itself
OBJECT_STORE = 2**28  # bytes of shared memory for blocks under way, on a Ray of our own


def check_installed() -> None:
    """Raises `BadSetting` where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise BadSetting("Training with actors needs Ray; `pip install polyak[cluster]` brings it.")


def start(cluster: str | None, actors: int) -> None:
    """Starts a Ray for this process alone, or joins a cluster.

    It comes before anything that starts JAX's threads, which a fork would leave behind.

    Args:
        cluster: HOST:PORT of a cluster's head; "auto" for the one that RAY_ADDRESS or this machine's Ray names; None or
            "local" for a private Ray, which listens on loopback only and ends with this process.
        actors: how many processes will be started, for each of which a private Ray makes room.

    Raises:
        BadSetting: Ray is missing.
        polyak.Error: the cluster cannot be reached, or Ray cannot be started.
    """
    check_installed()
    if cluster == "local":
        cluster = None
    if cluster is None:
        os.environ.update(PRIVATE)
    else:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        _check_reachable(cluster)
    import ray

    how: dict[str, Any] = {"log_to_driver": True, "logging_level": "error", "ignore_reinit_error": False}
    if cluster is None:
        how |= {"num_cpus": actors + 1, "num_gpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    for attempt in range(TRIES):
        try:
            with _signals_kept():
                ray.init(cluster or "local", **how)
            return
        except Exception as error:
            said = " ".join(str(error).split())
            if SLOW_START in said and attempt + 1 < TRIES:
                ray.shutdown()
                continue
            where = f"The cluster {cluster} could not be joined" if cluster else "A private Ray could not be started"
            raise Error(f"{where}: {said.rstrip('.')}.") from error


def stop() -> None:
    """Leaves the cluster, or ends the private Ray."""
    import ray

    with contextlib.suppress(Exception):
        ray.shutdown()


def _check_reachable(cluster: str) -> None:
    """Raises an error within seconds where nobody listens: Ray itself would try for minutes."""
    if cluster == "auto":
        return
    host, colon, port = cluster.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise BadSetting(f"cluster is {cluster!r}; it takes the HOST:PORT of a Ray head, or auto.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHABLE).close()
    except (OSError, OverflowError) as error:
        raise Error(
            f"Nobody answers at {cluster} ({getattr(error, 'strerror', None) or error}); start a head there with "
            f"`ray start --head --port {port}`, or leave --cluster out to train on this machine."
        ) from error


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Puts the handlers of signals back that Ray replaces; only the main thread has any."""
    try:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


class _Process:
    """A process of Ray's that is an actor.

    It gets one XLA thread, as every process that trains does, and no accelerator; JAX reads so when it is loaded.
    """

    def __init__(self, task: Task):
        os.environ.update({"NPROC": "1", "JAX_PLATFORMS": "cpu", "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false"})
        from polyak.cluster.actor import Actor

        self._actor = Actor(task)

    def answer(self, message: Any, shared: Any) -> Any:
        return self._actor.answer(message, shared)

    def beat(self) -> None:
        """Returns, from a thread of its own, as long as the process lives."""


class RayPort:
    """See `Port`.

    Args:
        tasks: of each place.
    """

    def __init__(self, tasks: list[Task]):
        import ray

        self._ray, self._tasks = ray, tasks
        options: Any = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"beat": 1}}
        self._make = ray.remote(**options)(_Process)
        self._actors: dict[int, Any] = {}

    def start(self, slot: int) -> None:
        self._end(slot)
        self._actors[slot] = self._make.remote(self._tasks[slot])

    def share(self, value: Any) -> Any:
        return self._ray.put(value)

    def ask(self, slot: int, message: Any, shared: Any = None) -> Any:
        return self._actors[slot].answer.remote(message, shared)

    def beat(self, slot: int) -> Any:
        return self._actors[slot].beat.options(concurrency_group="beat").remote()

    def wait(self, handles: list[Any], seconds: float) -> list[Any]:
        if not handles:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(handles, num_returns=len(handles), timeout=0.0)
        if not ready and seconds:
            ready, _ = self._ray.wait(handles, num_returns=1, timeout=seconds)
        return ready

    def get(self, handle: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(handle)
        except exceptions.RayTaskError:
            raise  # a mistake of ours, with its traceback
        except exceptions.RayError as error:
            raise Gone(type(error).__name__) from error

    def close(self) -> None:
        for slot in list(self._actors):
            self._end(slot)

    def _end(self, slot: int) -> None:
        if (actor := self._actors.pop(slot, None)) is not None:
            with contextlib.suppress(Exception):
                self._ray.kill(actor, no_restart=True)
