"""What becomes of the events of training: progress on the screen, facts in `run.json`, calls of callbacks."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from polyak import callbacks as instruments, errors
from polyak.runs import store
from polyak.runs.progress import Display
from polyak.worker import Event


class Recorder:
    """Turns events into progress, facts of `run.json` and calls of callbacks."""

    def __init__(self, folder: Path, about: dict[str, Any], show: Display, calls: instruments.Calls):
        self.folder, self.about, self.show, self.calls = folder, about, show, calls
        self.began, self.wall_seconds = time.perf_counter(), about["wall_seconds"]
        self.steps = dict.fromkeys(about["seeds"], 0) | {int(seed): about["steps"] for seed in about["returns"]}
        self.latest: dict[int, float] = {}
        self.timed: dict[str, list[float]] = {}  # worker -> steps, seconds

    def take(self, event: Event) -> None:
        kind, seed, step = event["kind"], event.get("seed", -1), event.get("step", -1)
        if kind == "hello":
            self.about |= {key: event[key] for key in ("device", "engine", "environment")}
        elif kind == "chunk":
            self.latest[seed] = event["metrics"].get("episode_return", self.latest.get(seed, np.nan))
            self.steps[seed] = step
            timed = self.timed.setdefault(event.get("worker", ""), [0.0, 0.0])
            timed[0] += event["timed_steps"]
            timed[1] += event["timed_seconds"]
            values = [value for value in self.latest.values() if np.isfinite(value)]
            self.show.update(sum(self.steps.values()), float(np.mean(values)) if values else None)
        elif kind == "checkpoint":
            self.write_about()
        elif kind == "notice":
            self.about["faults"] = self.about.get("faults", 0) + bool(event.get("fault"))
            self.show.say(f"seed {seed}: {event['text']}" if seed >= 0 else event["text"])
        elif kind == "finished":
            self.about["returns"][str(seed)] = event["returns"]
            if step < self.about["steps"]:
                self.about["stopped_early"][str(seed)] = {"step": step, "reason": self.calls.asked[seed]}
            self.write_about()  # from here on nobody trains this seed again,
            shutil.rmtree(self.folder / "checkpoints" / str(seed), ignore_errors=True)  # so nobody needs these
        elif kind == "skipped":
            self.about["stopped_early"][str(seed)] = {"step": 0, "reason": self.calls.asked[seed]}
            self.write_about()
        elif kind == "error":
            if not event["type"]:
                raise RuntimeError(f"training failed in a worker:\n{event['message']}")
            raise errors.restored(event["type"], event["message"])
        self.calls.take(event)

    def write_about(self) -> None:
        """Brings `run.json` up to date."""
        self.about["wall_seconds"] = round(self.wall_seconds + time.perf_counter() - self.began, 3)
        self.about["steps_per_second"] = round(self.steps_per_second, 1)
        store.write_about(self.folder, self.about)

    @property
    def steps_per_second(self) -> float:
        """All timed steps over the longest time that any worker took for its share."""
        longest = max((seconds for _, seconds in self.timed.values()), default=0.0)
        return sum(steps for steps, _ in self.timed.values()) / longest if longest else 0.0
