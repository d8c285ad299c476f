"""Files that are there whole or not at all, also after the power has failed."""

import os
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows, where two processes can write to one run unnoticed
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces the file at `path`: a reader finds the old one or the new one, never a part."""
    unfinished = path.with_name(f"{path.name}.part")
    write_durably(unfinished, data)
    os.replace(unfinished, path)
    sync_folder(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Writes a new file and waits until the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Waits until the disk has the names in a folder; does nothing where folders cannot be opened, as on Windows."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderLock(NamedTuple):
    """The right to write into a folder, which ends with the process that holds it, however that ends."""

    descriptor: int | None

    @staticmethod
    def of(folder: Path) -> "FolderLock | None":
        """The lock, or None while another process holds it."""
        if fcntl is None:
            return FolderLock(None)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            pass  # a file system without locks
        return FolderLock(descriptor)

    def close(self) -> None:
        """Gives it up."""
        if self.descriptor is not None:
            os.close(self.descriptor)
