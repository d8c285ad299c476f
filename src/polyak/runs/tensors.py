"""Pytrees of arrays in safetensors files, which hold numbers and names and nothing that could run.

The format, for readers and writers elsewhere:

- 8 bytes: n, the length of the header, unsigned, little-endian; at most 4 MiB.
- n bytes: the header, a JSON object in UTF-8, spaces at its end, no key twice in one object. Each tensor has an entry
  `name: {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}`; the types are BOOL, U8, I8, U16, I16, F16, U32,
  I32, F32, U64, I64 and F64. The key `__metadata__` holds `{"polyak": description}`.
- the rest: the tensors' data, little-endian, rows first. Offsets count from the end of the header. Sorted by them the
  tensors follow each other without gap or overlap, and the last one ends where the file ends.

That much is safetensors, and its readers read these files. Beyond it:

- A tensor's name is the place of the leaf in the tree, as `jax.tree_util.keystr` writes it: `.layers[0].weight`. A JAX
  random key is stored as its key data, uint32.
- The description is JSON as text, an object with its keys in order. Its content is up to the caller (policies:
  `polyak.policy`); the key `sha256` in it belongs to this module: 64 hexadecimal digits, lower case, the SHA-256 of the
  whole file, header and its length included, as it is with these 64 digits replaced by zeros. In the header, where the
  description is JSON within JSON, they follow the first occurrence of the 14 bytes `\\"sha256\\": \\"`.

No clock and no random number goes into a file: the same tree gives the same bytes. Files of format 1, which polyak 0.1
wrote, are the same without `sha256`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from polyak.agent import PyTree
from polyak.errors import BadFile
from polyak.runs.documents import array, mapping, one_of, parse_json, record, text, whole
from polyak.runs.files import Buffer, open_regular, write_atomically

HEADER_LIMIT = 2**22  # bytes; a header takes about a hundred a tensor, and a given policy of 100,000 states one million
PIECE = 2**20  # bytes that are hashed at a time
SEAL = rb"\"sha256\": \""  # in the header, what the digest follows
ZEROS = "0" * 64
TYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4"}
TYPES |= {"F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8"}  # as NumPy calls them
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}

_offset = whole(0, 2**63 - 1)
_tensor = record(
    {"dtype": one_of(TYPES), "shape": array(_offset, most=32), "data_offsets": array(_offset, least=2, most=2)}
)
_metadata = record({"polyak": text(HEADER_LIMIT)})


def _check_header(found: Any, place: str) -> None:
    mapping(text(1000), lambda value, place: None)(found, place)
    for name, entry in found.items():
        (_metadata if name == "__metadata__" else _tensor)(entry, repr(name)[:80])
    if "__metadata__" not in found:
        raise ValueError("it has no description")


class _Header(NamedTuple):
    raw: bytes  # with the eight bytes of its length
    description: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], np.dtype]]  # name -> shape, type


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named(tree: PyTree, row: int | None = None) -> dict[str, np.ndarray]:
    """All leaves, or a row of each, under the names of their places in the tree; keys as their numbers."""
    found = {}
    for place, leaf in jax.tree.flatten_with_path(tree)[0]:
        leaf = np.asarray(jax.random.key_data(leaf) if hasattr(leaf, "dtype") and _is_key(leaf) else leaf)
        found[jax.tree_util.keystr(place)] = leaf if row is None else leaf[row]
    return found


def as_file(tensors: Mapping[str, np.ndarray], description: str = "{}") -> list[Buffer]:
    """The parts of a file with these arrays, which are not copied; raises `BadFile` if there is too much to describe.

    The same numbers give the same bytes. The widest types come first, so that each array begins where its type may.
    """
    header: dict[str, Any] = {"__metadata__": {"polyak": description}}
    data: list[Buffer] = []
    begin = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        array = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
        end = begin + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": tensors[name].shape, "data_offsets": [begin, end]}
        data.append(array.reshape(-1).view(np.uint8).data)
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise BadFile(f"A header of {len(text):,} bytes cannot be written; {HEADER_LIMIT:,} are the most.")
    return [len(text).to_bytes(8, "little"), text, *data]


def save(path: Path, tree: PyTree, about: dict[str, Any]) -> None:
    """Writes every leaf under the name of its place in the tree, and `about` as JSON; the file appears whole or not.

    Raises:
        BadFile: there is too much to describe.
        OSError: it cannot be written; what was there before is still there.
    """
    length, header, *data = as_file(named(tree), json.dumps(about | {"sha256": ZEROS}, sort_keys=True))
    sha = hashlib.sha256()
    for part in (length, header, *data):
        sha.update(part)
    before, _, after = bytes(header).partition(SEAL + ZEROS.encode())
    write_atomically(path, [length, before + SEAL + sha.hexdigest().encode() + after, *data])


def about(path: Path) -> dict[str, Any]:
    """The description that `save` was given, with its `sha256`, once the header fits the file; no data are read.

    Raises:
        BadFile: it is missing, damaged, or not ours.
    """
    file, header = _open(path)
    file.close()
    return header.description


def verify(path: Path) -> dict[str, Any]:
    """Reads the whole file, in small pieces, and returns the JSON that `save` was given.

    Raises:
        BadFile: it is missing or not ours, or a bit of it has changed.
    """
    file, header = _open(path)
    with file:
        head, seal, rest = header.raw.partition(SEAL)
        sha = hashlib.sha256(head + seal + ZEROS.encode() + rest[64:])
        while piece := file.read(PIECE):
            sha.update(piece)
    if not seal or rest[:64] != sha.hexdigest().encode():
        raise BadFile(f"{path} is damaged: its content is not what was written; take a copy from elsewhere.")
    return {name: value for name, value in header.description.items() if name != "sha256"}


def load(path: Path, like: PyTree) -> PyTree:
    """Reads a tree that looks like `like` (arrays or shapes); raises `BadFile` where names, shapes or types differ.

    Nothing is read before all of them are found to be the same. `verify` tells whether the data are as written.
    """
    file, header = _open(path)
    file.close()
    places, tree = jax.tree.flatten_with_path(like)
    names = [jax.tree_util.keystr(place) for place, _ in places]
    if odd := sorted(set(names) ^ set(header.tensors)):
        raise BadFile(f"{path} does not hold what its description promises: {odd[0]!r} is missing or too many.")
    is_key = [hasattr(leaf, "dtype") and _is_key(leaf) for _, leaf in places]
    for name, key, (_, leaf) in zip(names, is_key, places, strict=True):
        expected = jax.eval_shape(jax.random.key_data, leaf) if key else leaf
        shape, dtype = header.tensors[name]
        if shape != expected.shape or dtype != expected.dtype:
            raise BadFile(f"{path}: {name} is {dtype}{shape}, not {expected.dtype}{expected.shape}.")
    tensors = _arrays(path)
    wrap = jax.random.wrap_key_data
    leaves = [wrap(jax.numpy.asarray(tensors[n])) if key else tensors[n] for n, key in zip(names, is_key, strict=True)]
    return jax.tree.unflatten(tree, leaves)


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name, once its header is found to fit it; raises `BadFile`."""
    file, _ = _open(path)
    file.close()
    return _arrays(path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError, MemoryError) as error:
        raise BadFile(f"{path} cannot be read: {error or 'there is not enough memory'}.") from error


def _open(path: Path) -> tuple[BinaryIO, _Header]:
    """The file, where its data begin, and its header, which fits it; raises `BadFile`."""
    try:
        file, size = open_regular(path)
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}.") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        return file, _read_header(file, size)
    except (ValueError, OSError) as error:
        file.close()
        raise BadFile(f"{path} is not a file that polyak wrote, or it is damaged: {error}.") from error


def _read_header(file: BinaryIO, size: int) -> _Header:
    """Trusts no number before the size of the file covers it; raises `ValueError`."""
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(HEADER_LIMIT, size - 8):
        raise ValueError("its header is longer than the file or than any of ours")
    raw = file.read(length)
    if len(raw) < length:
        raise ValueError("it ends within its header")
    found = parse_json(raw, _check_header)
    description = parse_json(found.pop("__metadata__")["polyak"], record({}, closed=False))
    tensors, end = {}, 0
    for name, entry in sorted(found.items(), key=lambda item: item[1]["data_offsets"]):
        shape, dtype, (begin, stop) = tuple(entry["shape"]), np.dtype(TYPES[entry["dtype"]]), entry["data_offsets"]
        if begin != end:
            raise ValueError(f"there is a gap or an overlap before {name!r}")
        if stop - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"the shape of {name!r} does not fit its data")
        tensors[name], end = (shape, dtype), stop
    if 8 + length + end != size:
        raise ValueError("it is longer or shorter than its tensors")
    return _Header(first + raw, description, tensors)
