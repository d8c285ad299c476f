"""Saves checkpoints while training goes on, in a thread of its own: the newest and the best of every seed."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polyak.errors import BadFile
from polyak.runs import checkpoint
from polyak.runs.checkpoint import Checkpoint, folder_of
from polyak.runs.documents import array, mapping, maybe, number, read_json, record, text, whole
from polyak.runs.events import CheckpointSaved, Emit, Event, Notice
from polyak.runs.files import FolderLock
from polyak.runs.state import Captured, File
from polyak.runs.store import inner_folder

ENVIRONMENTS = "environments.json"
LARGEST_ENVIRONMENTS = 2**28  # bytes

PATIENCE = 60.0  # seconds to wait for another process that trains the same seed


class Content(NamedTuple):
    """The content of a checkpoint of one seed, all of it in the host's memory."""

    state: Captured
    environments: dict[str, Any] | None
    about: dict[str, Any]

    def files(self) -> Iterator[File]:
        """Names and contents of the new files."""
        yield from self.state.files()
        if self.environments is not None:
            yield ENVIRONMENTS, [json.dumps(self.environments).encode()]


class Keeper:
    """The checkpoints of some seeds of a run.

    Args:
        run: the run folder.
        seeds: whose checkpoints.
        keep: how many of each, the newest.
        emit: is told in events of every checkpoint, and of what went wrong.
        together: whether the seeds train in one program.

    Attributes:
        last: by seed the newest checkpoint that is whole, if there is one.
        best: by seed the score and the path of the checkpoint with the best evaluation, if there was one.
    """

    def __init__(self, run: Path, seeds: Sequence[int], keep: int, emit: Emit, together: bool = False):
        self.run, self.keep, self.emit = run, keep, emit
        self._thread = threading.Thread()
        self._news: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._locks = [self._locked(seed) for seed in seeds]
        self.last = (self._in_step(seeds) if together else None) or {seed: self._newest(seed) for seed in seeds}
        self.best = {seed: self._best_of(seed) for seed in seeds}

    @property
    def busy(self) -> bool:
        """Whether the last checkpoints are still being written."""
        return self._thread.is_alive()

    def is_best(self, seed: int, score: float) -> bool:
        """Whether no checkpoint has such a good evaluation yet."""
        best = self.best[seed]
        return best is None or score > best[0]

    def save(self, step: int, contents: Mapping[int, Content]) -> None:
        """Begins to write a checkpoint of each seed, once those before are written."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(step, contents), name="checkpoints")
        self._thread.start()

    def wait(self) -> None:
        """Waits until everything is written."""
        if self._thread.is_alive():
            self._thread.join()
        self.tell()

    def tell(self) -> None:
        """Emits what the writing thread has to tell."""
        while not self._news.empty():
            self.emit(self._news.get())

    def close(self) -> None:
        """Waits until everything is written, and lets others go on with these seeds."""
        try:
            self.wait()
        finally:
            for lock in self._locks:
                lock.close()

    def _write(self, step: int, contents: Mapping[int, Content]) -> None:
        for seed, content in contents.items():
            folder, before = folder_of(self.run, seed), self.last[seed]
            try:
                found = checkpoint.save(folder, step, content.files(), content.about, before, content.state.unchanged)
                score, self.last[seed] = content.about["score"], found
                if score is not None and self.is_best(seed, score):
                    self.best[seed] = (score, found.path)
                best = self.best[seed]
                checkpoint.prune(found, self.keep, best[1] if best else None)
            except OSError as error:
                good = f"the last good one is {before.path}" if before else "there is no earlier one"
                text = f"The checkpoint at step {step:,} could not be written ({error.strerror}); {good}."
                self._news.put(Notice(text, seed))
            else:
                self._news.put(CheckpointSaved(seed, step, str(found.path)))

    def _in_step(self, seeds: Sequence[int]) -> dict[int, Checkpoint | None] | None:
        """The newest checkpoints that all seeds have of one step; None if there are none.

        A kill may part seeds that train in one program, by one save. They go on together from the save before, because
        in another company their metrics would differ in rounding.
        """
        steps = [{path.name for path in checkpoint.all_of(folder_of(self.run, seed))} for seed in seeds]
        for name in sorted(set.intersection(*steps), reverse=True):
            with contextlib.suppress(BadFile):
                return {seed: checkpoint.verify(folder_of(self.run, seed) / name) for seed in seeds}
        in_first_save = min(map(len, steps)) == 0 and max(map(len, steps)) == 1
        return dict.fromkeys(seeds) if in_first_save else None

    def _newest(self, seed: int) -> Checkpoint | None:
        return checkpoint.newest(folder_of(self.run, seed), lambda text: self.emit(Notice(text, seed)))

    def _locked(self, seed: int) -> FolderLock:
        """The right to write checkpoints of a seed; a process that was killed may need a moment until it is gone."""
        folder = inner_folder(inner_folder(self.run, "checkpoints"), str(seed))
        deadline = time.monotonic() + PATIENCE
        while (lock := FolderLock.of(folder)) is None:
            if time.monotonic() > deadline:
                raise BadFile(f"Another process trains seed {seed} of {self.run}; wait for it, or stop it.")
            time.sleep(0.1)
        return lock

    def _best_of(self, seed: int) -> tuple[float, Path] | None:
        """The best of the checkpoints up to the last one that are whole enough to tell their score."""
        scores, last = [], self.last[seed]
        for path in checkpoint.all_of(folder_of(self.run, seed)):
            with contextlib.suppress(BadFile):
                found = _checked(checkpoint.read_manifest(path))
                if found.about["score"] is not None and last and found.step <= last.step:
                    scores.append((found.about["score"], path))
        return max(scores, default=None)


_count = whole(0, 2**63)
_ABOUT = record(
    {
        "position": _count,
        "score": maybe(number),
        "memories": array(record({"added": _count, "rows": whole(1, 2**63)}), most=100),
        "versions": mapping(text(100), text(100)),
    },
    closed=False,
)


def _checked(found: Checkpoint) -> Checkpoint:
    """The same, if it tells what training has to know of a checkpoint; raises `BadFile`."""
    try:
        _ABOUT(found.about, "about")
    except ValueError as error:
        raise BadFile(f"{found.path} does not describe a state of training: {error}.") from error
    return found


def environments_of(found: Checkpoint, num_envs: int) -> dict[str, Any] | None:
    """The environments' states that a checkpoint holds; raises `BadFile`."""
    if ENVIRONMENTS not in found.files:
        return None
    place = record({"episode": _count, "seed": _count, "steps": _count}, {"state": _any, "actions": _any})
    schema = record({"places": array(place, num_envs, num_envs)})
    try:
        return read_json(found.path / ENVIRONMENTS, schema, LARGEST_ENVIRONMENTS)
    except (OSError, ValueError) as error:
        raise BadFile(f"{found.path / ENVIRONMENTS} cannot be read: {error}.") from error


def _any(value: Any, place: str) -> None:
    """The environment's own matter: `envs.snapshot` looks at every part before it uses it."""


def refuse_other(found: Checkpoint, expected: Mapping[str, Any], block_size: int) -> None:
    """Raises `BadFile` if a checkpoint is of another seed, environment or setting than is to go on from it.

    Args:
        found: the checkpoint.
        expected: what the run says of these.
        block_size: environment steps of an iteration.
    """
    _checked(found)
    for name, value in expected.items():
        if name != "versions" and found.about.get(name) != value:
            raise BadFile(f"{found.path} is of {name} {found.about.get(name)!r}, and the run is of {value!r}.")
    if found.about["position"] * block_size != found.step:
        raise BadFile(f"{found.path} is of step {found.step:,} and of iteration {found.about['position']:,} at once.")
