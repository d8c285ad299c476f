"""The state of training as the contents of a checkpoint.

All small arrays go into one file. A replay memory may be thousands of times larger, and between two checkpoints only a
part of it changes, so it goes into files of its own, each with so many rows of the ring: those in which nothing was
written since the checkpoint before are not copied, not hashed and not written again.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from polyak.agent import Array, PyTree
from polyak.errors import BadFile
from polyak.parts.ring import Replay
from polyak.runs import tensors
from polyak.runs.checkpoint import Checkpoint
from polyak.runs.files import Buffer

File = tuple[str, Sequence[Buffer]]  # name, contents part by part

PIECE_BYTES = 2**24
MOST_AHEAD = 2**31  # bytes that copies may take which wait for their checkpoint
STATE = "state.safetensors"


class Captured(NamedTuple):
    """A copy of one seed's state in the host's memory, which another thread can write while training goes on."""

    tensors: dict[str, np.ndarray]
    pieces: dict[str, dict[str, np.ndarray]]  # file name -> rows of a memory's arrays; those that are new
    unchanged: list[str]  # the files of pieces that are as they were in the checkpoint before
    memories: list[dict[str, int]]  # of each memory: added, rows in a piece

    @property
    def bytes(self) -> int:
        """The bytes that are to be written."""
        return sum(array.nbytes for arrays in (self.tensors, *self.pieces.values()) for array in arrays.values())

    def files(self) -> Iterator[File]:
        """Names and contents of the new files."""
        yield STATE, tensors.as_file(self.tensors)
        for name, rows in self.pieces.items():
            yield name, tensors.as_file(rows)


class Ahead:
    """Copies pieces of replay memories as soon as they are full, so that a checkpoint has little left to copy.

    A piece that is full stays as it is until the ring comes round to it again.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}  # memory -> rows added when it was last looked at
        self._copies: dict[str, tuple[int, dict[str, np.ndarray]]] = {}  # file name -> rows added then, the copy

    def look(self, tree: PyTree) -> None:
        """Copies the pieces that have become full since the last call."""
        for number, memory in enumerate(_taken_apart(tree)[0]):
            ring = _Ring.of(memory, None)
            if ring.capacity <= ring.rows:  # one piece, which is copied at the checkpoint anyway
                continue
            last = self._seen.setdefault(number, ring.added)
            self._seen[number] = ring.added
            for piece in ring.filled_since(last):
                if PIECE_BYTES * len(self._copies) >= MOST_AHEAD:
                    return
                self._copies[_name(number, piece)] = ring.added, _copy(memory, ring, piece, None)

    def take(self, name: str, ring: "_Ring", piece: int) -> dict[str, np.ndarray] | None:
        """Removes and returns the copy of a piece, if there is one and the piece has not changed since."""
        added, rows = self._copies.pop(name, (0, None))
        return None if rows is None or ring.touched(piece, added) else rows


def capture(tree: PyTree, before: Checkpoint | None, row: int | None, ahead: Ahead | None = None) -> Captured:
    """Copies a state for a checkpoint.

    Args:
        tree: the state; with leading axis [seeds] where several train in one program.
        before: the checkpoint that the new one may share files with.
        row: which seed; None where there is only one.
        ahead: the pieces that were copied already.
    """
    memories, small = _taken_apart(tree)
    pieces: dict[str, dict[str, np.ndarray]] = {}
    unchanged, abouts = [], []
    for number, memory in enumerate(memories):
        ring = _Ring.of(memory, row)
        known = before.about["memories"][number] if before else None
        old = known["added"] if known and known["rows"] == ring.rows else None
        for piece in range(-(-ring.size // ring.rows)):
            name = _name(number, piece)
            copied = ahead.take(name, ring, piece) if ahead else None
            if old is not None and before is not None and name in before.files and not ring.touched(piece, old):
                unchanged.append(name)
            else:
                pieces[name] = copied if copied is not None else _copy(memory, ring, piece, row)
        abouts.append({"added": ring.added, "rows": ring.rows})
    copies = {name: leaf.copy() for name, leaf in tensors.named(small, row).items()}  # training will overwrite them
    return Captured(copies, pieces, unchanged, abouts)


def restore(tree: PyTree, checkpoints: Sequence[Checkpoint], batched: bool) -> PyTree:
    """Fills a new state from checkpoints; the memories of `tree` are overwritten in place.

    Args:
        tree: of the same shapes.
        checkpoints: one; with `batched` one for each seed, in the order of the leading axis.

    Raises:
        BadFile: they are of another algorithm, environment or version.
    """
    memories, small = _taken_apart(tree)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[batched:], leaf.dtype), small)
    found = [_load(checkpoint, like) for checkpoint in checkpoints]
    small = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *found) if batched else found[0]
    storages = [memory.storage for memory in memories]
    for row, checkpoint in enumerate(checkpoints):
        for name in checkpoint.files:
            if piece := _PIECE.fullmatch(name):
                number, abouts = int(piece[1]), checkpoint.about["memories"]
                if number >= len(storages) or len(abouts) != len(storages):
                    raise BadFile(f"{checkpoint.path} holds another number of replay memories than this agent keeps.")
                start = int(piece[2]) * abouts[number]["rows"]
                rows = tensors.read(checkpoint.path / name)
                storages[number] = _filled(storages[number], row if batched else None, start, rows, name)
    return _put_together(small, storages)


def _load(checkpoint: Checkpoint, like: PyTree) -> PyTree:
    """The small arrays of a checkpoint; raises `BadFile` where they are not those that the agent of today keeps."""
    path = checkpoint.path / STATE
    try:
        return tensors.load(path, like)
    except BadFile as error:
        reason = str(error).replace(str(path), STATE, 1).rstrip(".")
        raise BadFile(
            f"Training cannot go on from {checkpoint.path}, as this version of polyak keeps another state ({reason}); "
            "finish the run with the version that wrote it, or train anew."
        ) from error


class _Ring(NamedTuple):
    """The place in a memory's ring up to which it was written."""

    capacity: int
    size: int
    added: int  # rows, since the beginning
    rows: int  # of a piece

    @staticmethod
    def of(memory: Replay, row: int | None) -> "_Ring":
        shapes = [leaf.shape if row is None else leaf.shape[1:] for leaf in jax.tree.leaves(memory.storage)]
        types = [leaf.dtype for leaf in jax.tree.leaves(memory.storage)]
        bytes_a_row = sum(int(np.prod(shape[1:])) * kind.itemsize for shape, kind in zip(shapes, types, strict=True))
        position, size, laps = (
            int(np.asarray(count)[... if row is None else row]) for count in (memory.position, memory.size, memory.laps)
        )
        capacity = shapes[0][0]
        return _Ring(capacity, size, laps * capacity + position, max(1, PIECE_BYTES // bytes_a_row))

    def filled_since(self, old: int) -> Iterator[int]:
        """The pieces whose last row was written since `old` rows had been added, each once."""
        for piece in range(-(-self.capacity // self.rows)):
            end = min((piece + 1) * self.rows, self.capacity)
            if (self.added - end) // self.capacity > (old - end) // self.capacity:
                yield piece

    def touched(self, piece: int, old: int) -> bool:
        """Whether a row of a piece was written since `old` rows had been added."""
        start, end = piece * self.rows, min((piece + 1) * self.rows, self.capacity)
        first = start + -(-(old - end + 1) // self.capacity) * self.capacity  # the first lap that is not before `old`
        return max(first, old) < self.added


def _copy(memory: Replay, ring: _Ring, piece: int, row: int | None) -> dict[str, np.ndarray]:
    """The rows of a piece, in the host's memory."""
    start = piece * ring.rows
    count = min(ring.rows, ring.capacity - start)
    return tensors.named(jax.tree.map(partial(_cut, row, start, count), memory.storage))


def _taken_apart(tree: PyTree) -> tuple[list[Replay], PyTree]:
    """The replay memories of a state, and the state with empty memories."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_memory)
    memories = [leaf for leaf in leaves if isinstance(leaf, Replay)]
    emptied = [leaf._replace(storage=()) if isinstance(leaf, Replay) else leaf for leaf in leaves]
    return memories, jax.tree.unflatten(structure, emptied)


def _put_together(small: PyTree, storages: list[PyTree]) -> PyTree:
    waiting = iter(storages)
    return jax.tree.map(
        lambda node: node._replace(storage=next(waiting)) if isinstance(node, Replay) else node,
        small,
        is_leaf=_is_memory,
    )


def _is_memory(node: PyTree) -> bool:
    return isinstance(node, Replay)


def _name(number: int, piece: int) -> str:
    return f"replay-{number}-{piece:06d}.safetensors"


_PIECE = re.compile(r"replay-(\d+)-(\d{6,})\.safetensors")


def _filled(storage: PyTree, row: int | None, start: int, rows: dict[str, np.ndarray], name: str) -> PyTree:
    """The memory with the rows of a file put where they belong."""
    places, structure = jax.tree.flatten_with_path(storage)
    leaves = []
    for place, leaf in places:
        found, (capacity, *shape) = rows.get(jax.tree_util.keystr(place)), leaf.shape[0 if row is None else 1 :]
        fits = found is not None and found.shape[1:] == tuple(shape) and found.dtype == leaf.dtype
        if found is None or not fits or len(rows) != len(places) or start + len(found) > capacity:
            raise BadFile(f"{name} in the checkpoint does not hold what this replay memory keeps.")
        leaves.append(_put(leaf, row, start, found))
    return jax.tree.unflatten(structure, leaves)


@partial(jax.jit, static_argnums=2)
def _cut(row: int | None, start: int, count: int, leaf: Array) -> Array:
    """Some rows of an array [capacity, ...], or of row `row` of an array [seeds, capacity, ...]."""
    if row is None:
        return jax.lax.dynamic_slice_in_dim(leaf, start, count)
    rest = leaf.shape[2:]
    return jax.lax.dynamic_slice(leaf, (row, start, *[0] * len(rest)), (1, count, *rest))[0]


@partial(jax.jit, donate_argnums=0)
def _put(leaf: Array, row: int | None, start: int, rows: Array) -> Array:
    """The array with some of its rows replaced, in place."""
    if row is None:
        return jax.lax.dynamic_update_slice_in_dim(leaf, rows, start, 0)
    return jax.lax.dynamic_update_slice(leaf, rows[None], (row, start, *[0] * (leaf.ndim - 2)))
