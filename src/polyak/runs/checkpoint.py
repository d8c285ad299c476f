"""Checkpoints on disk: each is a folder that is there whole, with a checksum of every file, or not at all.

A checkpoint is written into a folder with a temporary name, file by file, each of them synced; then its manifest, which
holds the size and the SHA-256 of all others; then it gets its name, and the folder that it lies in is synced. Whatever
interrupts that, the checkpoint before it is untouched. A reader takes only what its manifest confirms.

    checkpoints/0/step-000000102400/manifest.json    sizes, hashes, and what the checkpoint is of
                                    state.safetensors
                                    replay-0-000003.safetensors    a piece of a replay memory; those that did not change
                                                                   are hard links to those of the checkpoint before
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polyak.errors import BadFile
from polyak.runs.documents import mapping, one_of, parse_json, record, text, whole
from polyak.runs.files import Buffer, is_link_or_special, open_regular, read_limited, sync_folder, write_durably

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**24  # bytes; one of a memory of a million Atari frames has 100,000

_FOLDER = re.compile(r"step-\d{12,18}")
_FILE = re.compile(r"[a-z][a-z0-9-]*\.(safetensors|json)")


def _file_name(name: str, place: str) -> None:
    if not _FILE.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{place} is no name of a file of a checkpoint")


_SCHEMA = record(
    {
        "format": one_of([FORMAT]),
        "step": whole(0, 10**15),
        "about": record({}, closed=False),
        "files": mapping(_file_name, record({"size": whole(0, 2**62), "sha256": text(64)})),
        "sha256": text(64),
    }
)


class Checkpoint(NamedTuple):
    """A complete checkpoint whose files are what its manifest says."""

    path: Path
    step: int  # environment steps
    about: dict[str, Any]  # what `save` was given
    files: dict[str, dict[str, Any]]  # name -> size in bytes, sha256


def folder_of(run: Path, seed: int) -> Path:
    """The folder of the checkpoints of a seed."""
    return run / "checkpoints" / str(seed)


def save(
    folder: Path,
    step: int,
    fresh: Iterable[tuple[str, Sequence[Buffer]]],
    about: Mapping[str, Any],
    before: Checkpoint | None = None,
    unchanged: Iterable[str] = (),
) -> Checkpoint:
    """Writes a checkpoint, whole or not at all.

    Args:
        folder: where the checkpoints of one seed lie.
        step: environment steps so far; gives the checkpoint its name.
        fresh: names and contents of the files to write, taken one by one, each in parts that follow each other.
        about: what else a reader has to know, as JSON.
        before: an earlier checkpoint, and
        unchanged: names of files of it that are part of this one too, as hard links where the disk can do that.

    Raises:
        OSError: the disk is full, or the folder cannot be written; earlier checkpoints are as they were.
    """
    unfinished, path = folder / f".unfinished-{step:012d}", folder / f"step-{step:012d}"
    files: dict[str, dict[str, Any]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    _remove(unfinished)
    unfinished.mkdir()
    try:
        for name, parts in fresh:
            write_durably(unfinished / name, parts)
            sha = hashlib.sha256()
            for part in parts:
                sha.update(part)
            files[name] = {"size": sum(map(len, parts)), "sha256": sha.hexdigest()}
        for name in unchanged:
            assert before is not None  # whose files they are
            _link(before.path / name, unfinished / name)
            files[name] = before.files[name]
        sync_folder(unfinished)
        manifest = {"format": FORMAT, "step": step, "about": dict(about), "files": files}
        write_durably(unfinished / MANIFEST, [_sealed(manifest)])
        sync_folder(unfinished)
        _remove(path)  # there is one only if training went back from it
        unfinished.rename(path)
        sync_folder(folder)
    except OSError:
        _remove(unfinished)
        raise
    return Checkpoint(path, step, dict(about), files)


def read_manifest(path: Path) -> Checkpoint:
    """A checkpoint as its manifest tells; raises `BadFile` where a letter of that was changed."""
    try:
        data = read_limited(path / MANIFEST, LARGEST_MANIFEST)
        manifest = parse_json(data, _SCHEMA)
        if data != _sealed({key: value for key, value in manifest.items() if key != "sha256"}):
            raise ValueError("its manifest is damaged")
        if path.name != f"step-{manifest['step']:012d}":
            raise ValueError(f"it is in truth the checkpoint of step {manifest['step']}")
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} is not complete: {getattr(error, 'strerror', None) or error}.") from error
    return Checkpoint(path, manifest["step"], manifest["about"], manifest["files"])


def verify(path: Path) -> Checkpoint:
    """Reads every file of a checkpoint and compares it with the manifest; raises `BadFile` where they differ."""
    found = read_manifest(path)
    for name, known in found.files.items():
        try:
            if is_link_or_special(path / name):
                raise OSError("it is no plain file")
            file, size = open_regular(path / name)
            with file:
                if size != known["size"] or hashlib.file_digest(file, "sha256").hexdigest() != known["sha256"]:
                    raise OSError("it is not what was written")
        except OSError as error:
            raise BadFile(f"{path / name} is damaged: {error.strerror or error}.") from error
    return found


def newest(folder: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; None where none was ever written.

    Args:
        folder: where the checkpoints of one seed lie.
        tell: is told in a line of every newer one that is damaged.

    Raises:
        BadFile: there are checkpoints, and all are damaged.
    """
    faults = []
    for path in all_of(folder):
        try:
            found = verify(path)
        except BadFile as error:
            faults.append(str(error))
        else:
            for fault in faults:
                tell(f"{fault} Going back to the checkpoint before, at step {found.step:,}.")
            return found
    if faults:
        raise BadFile(f"No checkpoint in {folder} can be used, so training cannot go on from there: {faults[0]}")
    return None


def all_of(folder: Path) -> list[Path]:
    """The checkpoints in a folder by name, the newest first, whether they are whole or not; links are none."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if _FOLDER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    return [folder / name for name in sorted(names, key=_step, reverse=True)]


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint by name, whole or not; 0 where there is none."""
    return max((_step(path.name) for path in all_of(folder)), default=0)


def prune(saved: Checkpoint, keep: int, best: Path | None) -> None:
    """Removes what nobody needs once a checkpoint is saved.

    Args:
        saved: the newest. Those of later steps are of a future that training went back from, because they were damaged
            or other seeds had none of that step; what an interrupted save left goes too.
        keep: how many are kept, this one and those before it.
        best: kept besides.
    """
    folder = saved.path.parent
    kept = [path for path in all_of(folder) if _step(path.name) <= saved.step][: max(keep, 1)]
    for path in all_of(folder):
        if path not in (*kept, best):
            _remove(path)
    for path in (*folder.glob(".unfinished-*"), *folder.glob(".removed-*")):
        _remove(path)


def _step(name: str) -> int:
    return int(name.removeprefix("step-"))


def _sealed(manifest: dict[str, Any]) -> bytes:
    """A manifest as the bytes that are written, with a checksum of its own, so that no letter can change unnoticed."""
    text = json.dumps(manifest, indent=1, sort_keys=True)
    return json.dumps(manifest | {"sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1).encode() + b"\n"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        if not source.exists():
            raise
        shutil.copyfile(source, target)  # a disk without hard links
        with open(target, "rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Removes a folder if it is there, under another name: what a kill leaves of it is not taken for a checkpoint."""
    if path.is_symlink():  # whatever it leads to is not ours
        path.unlink()
    removed = path.with_name(f".removed-{path.name.removeprefix('.')}")
    with contextlib.suppress(OSError):
        path.rename(removed)
    for folder in (removed, path):
        shutil.rmtree(folder, ignore_errors=True)
