"""Workers on the machines of a cluster: each trains a seed, and is started again elsewhere when its machine is lost."""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from polyak.cluster import ray_port
from polyak.errors import BadSetting, Error
from polyak.processes import TURN, Work, Workers, cores
from polyak.runs.events import Closing, Emit, Event, Failed, Finished, Notice, Relayed, Skipped, from_json, to_json

TRIES = 5  # machines that a worker may lose in a row, without an event in between
PAUSE = 2.0  # seconds before it is started again


def place(
    works: Sequence[Work],
    seeds: Sequence[int],
    env: str,
    step_timeout: float,
    waits: bool,
    cluster: str,
    folder: Path,
    emit: Emit,
    stopping: Callable[[], bool],
    finishing: Callable[[int], bool],
) -> None:
    """Has a cluster do several pieces of work, each of which trains one of the seeds, and passes on what they tell.

    This is a piece of work itself, for a process of its own: Ray has to come before JAX, and may not come twice. What
    is to finish is named by the number of the piece, because several may train the same seed, of several runs.
    """
    seats = Seats(works, env, step_timeout, waits, cluster, folder)
    try:
        while seats.running:
            if stopping():
                seats.stop()
            for number, event in seats.receive():
                emit(Relayed(number, to_json(event).decode()))
                seats.answer(number, [seeds[number]] if finishing(number) else [])
        emit(Closing())
    finally:
        seats.kill()


class Elsewhere:
    """A `Transport` to the workers of `place`, by way of the process that this runs in.

    Args:
        works: what they do; each trains one seed.
        seeds: these seeds.
        env: the environment's name, for messages.
        step_timeout: seconds that a call of an environment may take.
        waits: whether each waits after every event until it is answered.
        cluster: as in `polyak.train`.
        folder: of the run, or of all of them, which all machines have to share.
    """

    def __init__(
        self,
        works: Sequence[Work],
        seeds: Sequence[int],
        env: str,
        step_timeout: float,
        waits: bool,
        cluster: str,
        folder: Path,
    ):
        how = (env, step_timeout, waits)
        self._workers = Workers([partial(place, works, seeds, *how, cluster, folder)], *how)
        self._seeds, self._open = seeds, dict.fromkeys(range(len(works)))

    @property
    def running(self) -> bool:
        return self._workers.running

    def receive(self) -> list[tuple[int, Event]]:
        events: list[tuple[int, Event]] = []
        for _, event in self._workers.receive():
            if isinstance(event, Relayed):
                events.append((event.worker, from_json(event.line.encode())))
                if isinstance(events[-1][1], Closing | Failed):
                    self._open.pop(event.worker, None)
                continue
            self._workers.answer(0, [])
            if isinstance(event, Failed):  # of the process itself, and with it of all that it has not heard the end of
                events += [(number, event) for number in self._open]
            elif isinstance(event, Notice):
                events.append((0, event))
        return events

    def answer(self, worker: int, finishing: Iterable[int]) -> None:
        self._workers.answer(0, [worker] if self._seeds[worker] in finishing else [])

    def stop(self) -> None:
        self._workers.stop()

    def kill(self) -> None:
        self._workers.kill()


class _Seat:
    """A process of Ray's that has one worker process beside it, and hands over what that tells."""

    def __init__(self, message: bytes, env: str, step_timeout: float, waits: bool, probe: str):
        if not Path(probe).exists():
            raise BadSetting(
                f"A machine of the cluster does not see the run's folder {str(Path(probe).parent)!r}; give --out a "
                "folder that all of them share."
            )
        self._workers = Workers([cloudpickle.loads(message)], env, step_timeout, waits)

    def receive(self) -> tuple[list[bytes], bool]:
        """The events as lines of JSON, and whether the worker runs on."""
        return [to_json(event) for _, event in self._workers.receive()], self._workers.running

    def answer(self, finishing: list[int]) -> None:
        self._workers.answer(0, finishing)

    def stop(self) -> None:
        self._workers.stop()


class Seats:
    """A `Transport` to workers that Ray places, one for each piece of work; see `polyak.processes.Workers`.

    All are asked for at once, and those for which there is no room yet begin when others end. A worker whose machine is
    lost is started again where there is room, and goes on from its newest checkpoint.

    Args:
        works: what they do; each trains a single seed.
        env: the environment's name, for messages.
        step_timeout: seconds that a call of an environment may take.
        waits: whether each waits after every event until it is answered.
        cluster: as in `polyak.train`.
        folder: of the run, or of all of them, which all machines have to share.

    Raises:
        BadSetting: the work cannot be sent, because of the environment in it; or Ray is missing.
        polyak.Error: the cluster cannot be reached.
    """

    def __init__(self, works: Sequence[Work], env: str, step_timeout: float, waits: bool, cluster: str, folder: Path):
        try:
            messages = [cloudpickle.dumps(work) for work in works]
        except Exception as error:
            raise BadSetting(
                f"The environment function cannot be sent to another machine ({error}); make what it needs inside it."
            ) from error
        ray_port.start(cluster, min(len(works), cores()))
        import ray

        self._ray, self._waits = ray, waits
        self._kind: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Seat)
        self._probe = folder.absolute() / f".shared-{uuid.uuid4().hex}"
        self._probe.touch()
        self._arguments = [(message, env, step_timeout, waits, str(self._probe)) for message in messages]
        self._seats: list[Any] = [self._kind.remote(*arguments) for arguments in self._arguments]
        self._asked: dict[int, Any] = {number: seat.receive.remote() for number, seat in enumerate(self._seats)}
        self._lost: dict[int, tuple[int, float]] = {}  # how often in a row, and when it is started again
        self._heard: set[int] = set()  # workers that have a place
        self._ended: set[int] = set()  # workers of which nothing more will come
        self._closed: set[int] = set()  # those that have told all
        self._stopping = False

    @property
    def running(self) -> bool:
        return len(self._ended) < len(self._seats)

    def receive(self) -> list[tuple[int, Event]]:
        self._start_lost()
        events: list[tuple[int, Event]] = []
        if not self._asked:
            time.sleep(TURN)
            return events
        numbers = {reference: number for number, reference in self._asked.items()}
        ready, _ = self._ray.wait(list(numbers), num_returns=1, timeout=TURN)
        for reference in ready:
            number = numbers[reference]
            del self._asked[number]
            events += [(number, event) for event in self._hear(number, reference)]
        return events

    def answer(self, worker: int, finishing: Iterable[int]) -> None:
        if self._waits and worker not in self._ended:
            self._seats[worker].answer.remote(list(finishing))

    def stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            for number, seat in enumerate(self._seats):
                if number in self._lost or number not in self._heard:  # it has saved what it could, or has nothing
                    self._end(number)
                elif number not in self._ended:
                    seat.stop.remote()

    def kill(self) -> None:
        for number in range(len(self._seats)):
            self._end(number)
        self._probe.unlink(missing_ok=True)
        ray_port.stop()

    def _hear(self, number: int, reference: Any) -> list[Event]:
        try:
            lines, runs = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return self._fail(number, error.cause if isinstance(error.cause, Error) else error)
        except self._ray.exceptions.ActorDiedError as error:
            cause = getattr(error, "__cause__", None)
            return self._lose(number, cause or error)
        except self._ray.exceptions.RayError as error:
            return self._lose(number, error)
        if number in self._ended:
            return []
        self._heard.add(number)
        events = [from_json(line) for line in lines]
        if events:
            self._lost.pop(number, None)
        if any(isinstance(event, Closing | Finished | Skipped) for event in events):
            self._closed.add(number)
        if runs:
            self._asked[number] = self._seats[number].receive.remote()
        else:
            self._end(number)
        return events

    def _end(self, number: int) -> None:
        """Makes room for another worker."""
        if number not in self._ended:
            self._ended.add(number)
            self._ray.kill(self._seats[number], no_restart=True)

    def _lose(self, number: int, error: BaseException) -> list[Event]:
        if number in self._closed or self._stopping:
            self._end(number)
            return []
        times, _ = self._lost.get(number, (0, 0.0))
        said = " ".join(str(error).split())
        if "BadSetting" in said:  # what its constructor raised comes as the death of the actor
            return self._fail(number, BadSetting(said.partition("BadSetting: ")[2] or said))
        if times + 1 >= TRIES:
            return self._fail(
                number, Error(f"Worker {number} was lost {TRIES} times in a row: {type(error).__name__}.")
            )
        self._heard.discard(number)
        self._lost[number] = times + 1, time.monotonic() + PAUSE
        what = f"Worker {number} was lost ({type(error).__name__}); it goes on elsewhere, from its newest checkpoint."
        return [Notice(what, fault=True)]

    def _fail(self, number: int, error: BaseException) -> list[Event]:
        self._end(number)
        return [Failed(type(error).__name__ if isinstance(error, Error) else "", str(error))]

    def _start_lost(self) -> None:
        for number, (_, when) in self._lost.items():
            if number not in self._ended and number not in self._asked and time.monotonic() >= when:
                self._seats[number] = self._kind.remote(*self._arguments[number])
                self._asked[number] = self._seats[number].receive.remote()
