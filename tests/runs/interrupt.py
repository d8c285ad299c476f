"""Interruptions: every call of a save that touches the disk is counted, and at one of them something else happens.

As a program, `python -m tests.runs.interrupt FOLDER HOW`, a process of its own, in which nothing but the protocol is
loaded: for every call of a save it forks a child that ends there, and prints what is found afterwards, as JSON.
"""

import errno
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from polyak.runs import checkpoint

FIRST = [("state.safetensors", [b"first " * 100]), ("replay-0-000000.safetensors", [b"memory ", b"of " * 100])]
SECOND = [("state.safetensors", [b"second " * 100])]
KEPT = ["replay-0-000000.safetensors"]
CALLS = ("mkdir", "link", "rename", "replace", "fsync", "unlink", "rmdir", "open")
ENDED = 77


def save_first(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.save(folder, 10, FIRST, {"position": 1})


def save_second(folder: Path, before: checkpoint.Checkpoint) -> checkpoint.Checkpoint:
    """One that shares a file with the first, and again, as where training went back from it; then what no longer counts
    is removed."""
    checkpoint.save(folder, 20, SECOND, {"position": 2}, before, KEPT)
    saved = checkpoint.save(folder, 20, SECOND, {"position": 2}, before, KEPT)
    checkpoint.prune(saved, keep=1, best=None)
    return saved


class Interruption:
    """While `installed`, does `instead` at the call with number `at`, counted from 1."""

    def __init__(self, at: int = 0, instead=None):
        self.at, self.instead, self.calls = at, instead, 0

    def around(self, call):
        def counted(*args, **options):
            self.calls += 1
            if self.calls == self.at:
                self.instead(call, *args)
            return call(*args, **options)

        return counted

    @contextmanager
    def installed(self):
        patches = [patch.object(os, name, self.around(getattr(os, name))) for name in CALLS]
        patches.append(patch("polyak.runs.files.open", self._open, create=True))
        for one in patches:
            one.start()
        try:
            yield self
        finally:
            for one in patches:
                one.stop()

    def _open(self, *args):
        file = self.around(open)(*args)
        return _CountedFile(file, self) if "x" in args[1] else file


class _CountedFile:
    """A file whose writes count too."""

    def __init__(self, file, interruption: Interruption):
        self.file, self.fileno, self.flush = file, file.fileno, file.flush
        self.write = interruption.around(file.write)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def exit_at_once(call, *args) -> None:
    os._exit(ENDED)


def exit_in_the_middle(call, *args) -> None:
    """Where a file is being written, half of it is."""
    if args and isinstance(args[0], bytes):
        call(args[0][: len(args[0]) // 2])
    os._exit(ENDED)


def disk_full(call, *args) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def calls_of_a_save(folder: Path) -> int:
    before = save_first(folder)
    with Interruption().installed() as counting:
        save_second(folder, before)
    return counting.calls


def main(folder: Path, how: str) -> None:
    outcomes = []
    for at in range(1, calls_of_a_save(folder / "whole") + 1):
        place, complaints = folder / str(at), []
        before = save_first(place)
        child = os.fork()
        if child == 0:
            with Interruption(at, globals()[how]).installed():
                save_second(place, before)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        last = checkpoint.newest(place, complaints.append)
        saved = checkpoint.save(place, 30, SECOND, {}, last, KEPT)  # what was left behind is in nobody's way
        checkpoint.prune(saved, keep=1, best=None)
        outcomes.append({"status": status, "step": last.step, "said": complaints, "left": os.listdir(place)})
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
