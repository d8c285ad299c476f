"""Makes of the events of training: progress on the screen, facts in `run.json`, calls of callbacks."""

import shutil
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from polyak import callbacks as instruments, errors
from polyak.runs import checkpoint, events, store
from polyak.runs.about import MOST_NOTICES, About
from polyak.runs.progress import Display


class Recorder:
    """Turns events into progress, facts of `run.json` and calls of callbacks.

    Attributes:
        steps: environment steps that each seed has made.
        failure: the first error that came from a worker.
    """

    def __init__(self, folder: Path, about: About, show: Display, calls: instruments.Calls):
        self.folder, self.about, self.show, self.calls = folder, about, show, calls
        self.steps = dict.fromkeys(about.seeds, 0) | {int(seed): about.steps for seed in about.returns}
        self.failure: Exception | None = None
        self._began, self._wall_seconds = time.perf_counter(), about.wall_seconds
        self._latest: dict[int, float] = {}  # returns
        self._timed: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])  # worker -> steps, seconds

    def take(self, event: events.Event, worker: int = 0) -> None:
        """Takes note of an event, and of which worker's it was."""
        match event:
            case events.Hello(device, engine, environment):
                self.about.device, self.about.engine, self.about.environment = device, engine, environment
            case events.Chunk(seed, step, metrics):
                self.steps[seed] = step
                self._latest[seed] = metrics.get("episode_return", self._latest.get(seed, np.nan))
                self._timed[worker][0] += event.timed_steps
                self._timed[worker][1] += event.timed_seconds
                values = [value for value in self._latest.values() if np.isfinite(value)]
                self.show.update(sum(self.steps.values()), float(np.mean(values)) if values else None)
            case events.Playing(seed, finished, episodes):
                self.show.playing(f"seed {seed}: evaluation, {finished} of {episodes} episodes")
            case events.CheckpointSaved():
                self.write_about()
            case events.Notice():
                self.note(event)
            case events.Finished(seed, step, returns):
                self.about.returns[str(seed)] = returns
                if step < self.about.steps:
                    self._stopped_early(seed, step)
                self.write_about()  # from here on nobody trains this seed again,
                shutil.rmtree(checkpoint.folder_of(self.folder, seed), ignore_errors=True)  # so nobody needs these
                self.show.playing("")
            case events.Skipped(seed):
                self._stopped_early(seed, 0)
                self.write_about()
            case events.Failed(kind, message):
                self.failure = self.failure or errors.restored(kind, message)
        self.calls.take(event)

    def note(self, notice: events.Notice) -> None:
        """Shows a notice, and keeps it."""
        text, seed, fault = notice
        self.about.faults += fault
        if len(self.about.notices) < MOST_NOTICES:
            self.about.notices.append({"seed": seed, "text": text})
        self.show.say(text if seed is None else f"seed {seed}: {text}")

    def begin(self) -> None:
        """Has the clock of this sitting start now."""
        self._began = time.perf_counter()

    def write_about(self) -> None:
        """Brings `run.json` up to date."""
        self.about.wall_seconds = round(self._wall_seconds + time.perf_counter() - self._began, 3)
        self.about.steps_per_second = round(self._steps_per_second(), 1)
        store.write_about(self.folder, self.about)

    def _stopped_early(self, seed: int, step: int) -> None:
        self.about.stopped_early[str(seed)] = {"step": step, "reason": self.calls.asked[seed]}

    def _steps_per_second(self) -> float:
        """All timed steps over the longest time that any worker took for its share."""
        longest = max((seconds for _, seconds in self._timed.values()), default=0.0)
        return sum(steps for steps, _ in self._timed.values()) / longest if longest else 0.0
