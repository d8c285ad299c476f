"""From here to an end or a stop: one run, or those of a sweep, whose seeds the same worker processes train."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from polyak import callbacks as instruments
from polyak.agent import Algorithm
from polyak.callbacks import protocol
from polyak.envs import calls as env_calls
from polyak.errors import Diverged, Error, printable, restored
from polyak.processes import SIGNALS, Transport, Workers, accelerator_expected, cores
from polyak.recorder import Recorder
from polyak.run import Run
from polyak.runs import checkpoint, store
from polyak.runs.about import MOST_NOTICES, About
from polyak.runs.events import Closing, Event, Failed, Notice
from polyak.runs.progress import Display
from polyak.worker import Job, train_seeds


class Growing:
    """A run that is being trained.

    Attributes:
        folder: of the run.
        about: the content of `run.json`.
        algorithm: with its settings.
        show: where it is shown how it goes.
        name: what tells it from the others of a sweep; "" where it is alone.
        seeds: those that have not finished.
        recorder: makes of events what they stand for.
        calls: the callbacks.
        pieces: of its work that have not ended.
        ended: whether all is written.
    """

    def __init__(
        self,
        folder: Path,
        about: About,
        algorithm: Algorithm,
        env: Any,
        callbacks: Sequence[Any],
        show: Display,
        name: str = "",
    ):
        self.folder, self.about, self.algorithm, self.show, self.name = folder, about, algorithm, show, name
        self.seeds = [seed for seed in about.seeds if str(seed) not in {*about.returns, *about.stopped_early}]
        store.MetricWriter(folder).close()  # workers find the table there
        run = Run(folder)
        run.about, run.env = vars(about), env  # callbacks see both as they are now
        self.calls = instruments.Calls(callbacks, run, show.say)
        self.recorder = Recorder(folder, about, show, self.calls)
        self.recorder.steps |= {seed: checkpoint.newest_step(checkpoint.folder_of(folder, seed)) for seed in self.seeds}
        self.pieces = 0
        self.ended = self._begun = False

    def begin(self) -> None:
        """Calls the callbacks, once; what they raise is raised before anything of this run is trained."""
        if not self._begun:
            self._begun = True
            self.about.status = "running"
            self.recorder.begin()
            store.write_about(self.folder, self.about)
            self.calls.start()

    def take(self, event: Event, worker: int = 0) -> None:
        """Takes note of an event; the first one begins the run."""
        if not self.ended:
            self.begin()
            self.recorder.take(event, worker)
        elif isinstance(event, Notice):  # of what went wrong when all was saved
            self.recorder.note(event)
            self.recorder.write_about()

    def end(self, crashed: bool = False) -> None:
        """Writes how it ended, once; a run that has not begun stays as it is."""
        if self.ended or not self._begun:
            return
        self.ended = True
        failure, over = self.recorder.failure, {*self.about.returns, *self.about.stopped_early}
        status = "finished" if len(over) == len(self.about.seeds) else "stopped"
        self.about.status = "failed" if crashed or failure else status
        if isinstance(failure, Error) and len(self.about.notices) < MOST_NOTICES:
            self.about.notices.append({"seed": None, "text": printable(str(failure))})
        store.compact(self.folder)
        self.recorder.write_about()
        self.calls.end()
        with contextlib.suppress(OSError):
            (self.folder / "checkpoints").rmdir()  # unless there are some


class Piece(NamedTuple):
    """Work of one worker: seeds of a run, which it trains one after the other or under one `vmap`."""

    run: Growing
    seeds: tuple[int, ...]


class Sitting:
    """Trains runs until all have ended, or until it is told to stop.

    A run that fails leaves the others alone, unless it failed before anything was learnt of any, and so probably for a
    reason that they share; numbers that are not finite are the settings' own doing.

    Attributes:
        runs: one, or those of a sweep; they share environment, cluster, and how environments are called.
        others: runs of the sweep that finished before.
        failure: what ended all of them.
    """

    def __init__(self, runs: Sequence[Growing], env: Any, show: Display, others: int = 0):
        self.runs, self.env, self.show, self.others = runs, env, show, others
        self.failure: Exception | None = None
        self._interrupted = threading.Event()
        self._told = False  # that it was interrupted

    @property
    def learnt(self) -> bool:
        """Whether any run has made a step."""
        return self.others > 0 or any(any(run.recorder.steps.values()) for run in self.runs)

    def train(self, folder: Path, processes: int | None) -> None:
        """Trains all seeds that have not finished.

        Args:
            folder: of the run or the sweep.
            processes: as in `polyak.train`.

        Raises:
            Exception: what ended all runs; they are written as they then were.
        """
        crashed = True
        try:
            for run in self.runs:
                if not (run.name and run.seeds):
                    run.begin()
            with _interrupting(self._interrupted):
                self._work(folder, processes)
            crashed = False
        finally:
            for run in self.runs:
                run.end(crashed)
        if self.failure:
            raise self.failure

    def _work(self, folder: Path, processes: int | None) -> None:
        first = self.runs[0].about
        at_once = cores() if processes is None else processes
        if accelerator_expected() or first.actors:
            at_once = min(at_once, 1)  # one process, which trains all seeds of a run under one vmap
        if os.name != "posix":
            at_once = 0
        placed = first.cluster is not None and not first.actors  # each seed is trained where the cluster has room
        pieces = [
            Piece(run, tuple(run.seeds[k::count]))
            for run in self.runs
            if run.seeds
            for count in [len(run.seeds) if placed else max(1, min(len(run.seeds), at_once))]
            for k in range(count)
        ]
        if not pieces:
            return
        for piece in pieces:
            piece.run.pieces += 1
        jobs = [self._job(piece, min(len(pieces), cores() if placed else max(1, at_once))) for piece in pieces]
        if not (at_once or placed):
            self._work_here(pieces, jobs)
            return
        works = [partial(train_seeds, job) for job in jobs]
        how = (first.env, first.step_timeout, any(run.calls.callbacks for run in self.runs))
        workers: Transport
        if placed:
            from polyak.cluster.seats import Elsewhere

            workers = Elsewhere(works, [piece.seeds[0] for piece in pieces], *how, str(first.cluster), folder)
        else:
            workers = Workers(works, *how, at_once)
        self._follow(workers, [piece.run for piece in pieces])

    def _job(self, piece: Piece, side_by_side: int) -> Job:
        run = piece.run
        intervals = {every for callback in run.calls.callbacks if (every := protocol.policy_every(callback))}
        return Job(
            about=run.about,
            algorithm=run.algorithm,
            env=self.env,
            seeds=piece.seeds,
            folder=run.folder,
            policy_every=tuple(sorted(intervals)),
            side_by_side=side_by_side,
        )

    def _work_here(self, pieces: Sequence[Piece], jobs: Sequence[Job]) -> None:
        """Trains in this process."""
        for (run, _), job in zip(pieces, jobs, strict=True):
            if self._stopping():
                break
            with env_calls.alarm(run.about.env, run.about.step_timeout):
                try:
                    train_seeds(job, partial(self._take, run), self._stopping, run.calls.asked.__contains__)
                except Error as error:
                    run.begin()
                    run.recorder.failure = error
                    self._fail(run)
            self._end(run)

    def _follow(self, workers: Transport, runs: Sequence[Growing]) -> None:
        """Records what workers tell until all have ended; once it stops, they save what they have learned."""
        try:
            while workers.running:
                if self._stopping():
                    workers.stop()
                for number, event in workers.receive():
                    run = runs[number]
                    self._take(run, event, number)
                    if not self._stopping():
                        workers.answer(number, run.calls.asked)
                    if isinstance(event, Closing | Failed):
                        run.pieces -= 1
                        if run.name and not run.pieces:
                            self._end(run)
        finally:
            workers.kill()

    def _take(self, run: Growing, event: Event, worker: int = 0) -> None:
        run.take(event, worker)
        if isinstance(event, Failed):
            self._fail(run)

    def _fail(self, run: Growing) -> None:
        """Decides whether the others go on."""
        failure = run.recorder.failure
        if run.name and (self.learnt or isinstance(failure, Diverged)):
            return
        if run.name and isinstance(failure, Error):
            failure = restored(type(failure).__name__, f"{run.name}: {failure}")
        self.failure = self.failure or failure

    def _end(self, run: Growing) -> None:
        """Ends a run, and tells how it did if there are others."""
        run.end()
        if run.name and not self._stopping():
            said: Any = run.recorder.failure
            if not said:
                with contextlib.suppress(Error):  # no seed had begun when all were to finish
                    said = Run(run.folder).scores
            over = self.others + sum(one.ended for one in self.runs)
            self.show.say(f"{over} of {self.others + len(self.runs)}, {run.name}: {said or 'no scores'}")

    def _stopping(self) -> bool:
        """Whether all is to be saved and training to end."""
        if self._interrupted.is_set() and not self._told:
            self._told = True
            self.show.say("Stopping after the present chunk; what was learned is being saved. Again: at once.")
        return self._interrupted.is_set() or bool(self.failure) or any(run.calls.failure for run in self.runs)


@contextlib.contextmanager
def _interrupting(interrupted: threading.Event) -> Iterator[None]:
    """Has Ctrl-C, and what a cluster sends before it kills, set `interrupted`; a second one raises at once.

    Nothing is raised for the first, wherever it comes, so that nothing is cut off in the middle: of a save, or of what
    a worker tells. Only the main thread may handle signals; elsewhere nothing is changed.
    """

    def handle(number: int, frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in SIGNALS if here}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
