"""Files that are written whole or not at all, and files of strangers, opened with care."""

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows, where two processes can write to one run unnoticed
    fcntl = None  # type: ignore[assignment]

Buffer = bytes | memoryview


def write_atomically(path: Path, data: bytes | Sequence[Buffer]) -> None:
    """Writes a file so that at any moment, a power cut included, either the old one is there or the new one, whole.

    The data go to `<name>.part` beside it, which then takes the name. A link of that name is replaced, not followed:
    what it points to stays as it is.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.unlink(missing_ok=True)  # left by a process that died, or a link that somebody laid there
    try:
        write_durably(unfinished, [data] if isinstance(data, bytes) else data)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_durably(path: Path, parts: Iterable[Buffer]) -> None:
    """Writes a file that must not be there yet, part by part, and waits until the disk has it; raises `OSError`."""
    with open(path, "xb") as file:  # x: whatever has come there meanwhile is not written through
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Makes the names in a folder last through a power cut; nothing where the system cannot do that to a folder."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_regular(path: Path) -> tuple[BufferedReader, int]:
    """Opens a file for reading and tells its size in bytes.

    Raises:
        OSError: it is missing, or no regular file: a pipe would keep us waiting, a device would never end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise OSError("it is no regular file")
    return os.fdopen(handle, "rb"), found.st_size


def read_limited(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes; raises `OSError` where it is larger, missing or no file."""
    file, size = open_regular(path)
    with file:
        if size > limit:
            raise OSError(f"it has {size:,} bytes, and {limit:,} are the most")
        return file.read(limit)


def is_link_or_special(path: Path) -> bool:
    """Whether there is something other than a plain file, so that writing to it would reach elsewhere."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


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
