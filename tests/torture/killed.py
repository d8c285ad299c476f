"""Training that is killed again and again, and what is left of it.

As a program, `python -m tests.torture.killed`, it is a mould: it has imported everything and started nothing, and for
every line of standard input it forks a process that trains, so that starting one takes no seconds of imports. A process
trains until it is killed, or until `LAST` steps are made, where it saves and stops.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from polyak.agent import Algorithm
from polyak.algorithms import ALGORITHMS
from polyak.runs import checkpoint, store
from polyak.runs.events import Chunk, Event
from polyak.worker import train_seeds
from tests import small
from tests.jobs import job

EVERY, LAST, TOTAL = 512, 8_192, 16_384  # steps between two checkpoints, at the end of a test, that schedules see
PROJECT = Path(__file__).parents[2]


class Case(NamedTuple):
    """Who learns where."""

    algorithm: Algorithm
    env: str
    num_envs: int


def case(name: str) -> Case:
    """One of `tests/small.py`; `dqn host` in Gymnasium's own environment; `dqn lake`, which starts faster."""
    kind = name.removesuffix(" host").removesuffix(" lake")
    algorithm = small.algorithm(kind)
    env = "FrozenLake-v1" if name.endswith(" lake") else small.world_of(algorithm)
    return Case(algorithm, f"gymnasium:{env}" if name.endswith(" host") else env, small.few_envs(algorithm))


def train(name: str, folder: str, seeds: list[int]) -> None:
    """Trains in this process; writes a line for every event."""
    algorithm, env, num_envs = case(name)
    asked = job(algorithm, env, Path(folder), tuple(seeds), steps=TOTAL, num_envs=num_envs, checkpoint_every=EVERY)
    reached = saved(Path(folder), seeds, [])

    def emit(event: Event) -> None:
        nonlocal reached
        if isinstance(event, Chunk):
            reached = event.step
        facts = {key: getattr(event, key, None) for key in ("seed", "step", "text")}
        print(json.dumps({"kind": type(event).__name__, **facts}), flush=True)

    train_seeds(asked, emit, lambda: reached >= LAST)


def saved(folder: Path, seeds: list[int], complaints: list[str]) -> int:
    """The step from which all seeds can go on: a kill may have come between their saves."""
    newest = [checkpoint.newest(checkpoint.folder_of(folder, seed), complaints.append) for seed in seeds]
    return min(last.step if last else 0 for last in newest)


class Mould:
    """A process from which others are forked; it is the only one that JAX has to be imported in."""

    def __init__(self, cache: Path):
        flags = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        flags |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1", "NPROC": "1", "JAX_PLATFORMS": "cpu"}
        command, pipe = [sys.executable, "-W", "ignore", "-m", "tests.torture.killed"], subprocess.PIPE
        environment = os.environ | flags
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=PROJECT, env=environment)

    def start(self, name: str, folder: Path, seeds: list[int], events: Path) -> int:
        """Forks a process that trains, and returns its number."""
        return self._ask({"train": [name, str(folder), seeds], "events": str(events)})

    def wait(self, number: int) -> int:
        """Waits for its end; returns the exit status, negative for a signal."""
        return self._ask({"wait": number})

    def _ask(self, question: dict) -> int:
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Report(NamedTuple):
    """What was seen over many kills of one run."""

    kills: int
    inside: int  # a save that was cut off
    lost: int  # steps, at most
    complaints: list[str]  # of damaged checkpoints, or of beginning anew


def kill_and_go_on(mould: Mould, name: str, folder: Path, seeds: list[int], kills: int, draw: random.Random) -> Report:
    """Kills a run `kills` times, every second time inside a save, then lets it come to its last step."""
    inside, lost, complaints = 0, 0, []
    first = min(seeds)
    place = checkpoint.folder_of(folder, first)
    folder.mkdir(parents=True)
    for number in range(kills + 1):
        events = folder.parent / f"{folder.name}-events-{number}"
        begun = saved(folder, seeds, complaints)
        process = mould.start(name, folder, seeds, events)
        if number < kills:
            # as far apart as leaves room for all of them
            wanted = begun + draw.randrange(1, max(2, (LAST - begun) // (kills - number)))
            if wait_for(place, events, first, wanted, aimed=number % 2 == 1, process=process):
                time.sleep(draw.random() * (0.002 if number % 2 else 0.1))
            os.kill(process, signal.SIGKILL)
        status = mould.wait(process)
        told = [json.loads(line) for line in events.read_text().splitlines() if line.endswith("}")]
        complaints += [event["text"] for event in told if event["kind"] == "Notice" and begun]
        if status not in (0, -signal.SIGKILL):
            complaints.append(f"ended with status {status}")
        steps = [event["step"] for event in told if event["kind"] == "Chunk" and event["seed"] == first]
        if steps and not begun < steps[0] <= begun + EVERY:
            complaints.append(f"made step {steps[0]} after {begun}")
        inside += any(place.glob(".unfinished-*"))
        if steps:
            lost = max(lost, steps[-1] - saved(folder, seeds, complaints))
    return Report(kills, inside, lost, complaints)


def wait_for(place: Path, events: Path, seed: int, step: int, aimed: bool, process: int) -> bool:
    """Until a run has made a step, or where `aimed` until it then saves; False if it ended before."""
    deadline, reached = time.monotonic() + 120, False
    while time.monotonic() < deadline and os.path.exists(f"/proc/{process}/exe"):
        if not reached:
            time.sleep(0.002)  # a step passes slowly, a save does not
            lines = events.read_text().splitlines() if events.exists() else []
            chunks = [json.loads(line) for line in lines if '"Chunk"' in line and line.endswith("}")]
            reached = any(event["step"] >= step for event in chunks if event["seed"] == seed)
            if reached and not aimed:
                return True
        elif any(name.startswith(".unfinished") for name in os.listdir(place)):
            return True
    return False


def fingerprint(folder: Path, seeds: list[int]) -> str:
    """SHA-256 of the last checkpoints, of parameters, optimisers, memories and all, and of the rows of metrics."""
    digest = hashlib.sha256()
    for seed in seeds:
        last = checkpoint.newest(checkpoint.folder_of(folder, seed), print)
        assert last is not None and last.step == LAST
        digest.update((last.path / checkpoint.MANIFEST).read_bytes())  # which holds the SHA-256 of all files
    store.compact(folder)
    db = sqlite3.connect(folder / "metrics.sqlite")
    digest.update(repr(db.execute("SELECT * FROM metrics ORDER BY seed, step, name").fetchall()).encode())
    db.close()
    return digest.hexdigest()


def check(mould: Mould, name: str, folder: Path, seeds: list[int], kills: int, draw: random.Random) -> Report:
    """Raises `AssertionError` unless a run that is killed ends as one that is not; returns what was seen."""
    kill_and_go_on(mould, name, folder / "whole", seeds, 0, draw)
    report = kill_and_go_on(mould, name, folder / "killed", seeds, kills, draw)
    assert report.complaints == [], report
    assert report.lost <= EVERY, report
    assert fingerprint(folder / "killed", seeds) == fingerprint(folder / "whole", seeds), name
    shutil.rmtree(folder)
    return report


def main() -> None:
    list(ALGORITHMS.values())  # which imports them
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            print(os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child == 0:
            events = os.open(question["events"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(events, 1)
            train(*question["train"])
            sys.stdout.flush()
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
