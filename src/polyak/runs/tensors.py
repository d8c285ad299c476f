"""Pytrees of arrays in safetensors files, which hold numbers and names and nothing that could run."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from polyak.agent import PyTree
from polyak.errors import BadFile
from polyak.runs.files import write_atomically


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named(tree: PyTree, row: int | None = None) -> dict[str, np.ndarray]:
    """Copies of all leaves, or of a row of each, under the names of their places in the tree; keys as their numbers."""
    found = {}
    for place, leaf in jax.tree.flatten_with_path(tree)[0]:
        leaf = np.asarray(jax.random.key_data(leaf) if hasattr(leaf, "dtype") and _is_key(leaf) else leaf)
        found[jax.tree_util.keystr(place)] = np.array(leaf if row is None else leaf[row], order="C")
    return found


def as_bytes(tensors: dict[str, np.ndarray], about: dict[str, Any] | None = None) -> bytes:
    """A safetensors file; the same numbers give the same bytes."""
    metadata = None if about is None else {"polyak": json.dumps(about, sort_keys=True)}
    return safetensors.numpy.save(tensors, metadata=metadata)


def save(path: Path, tree: PyTree, about: dict[str, Any]) -> None:
    """Writes every leaf under the name of its place in the tree, and `about` as JSON; the file appears whole or not."""
    write_atomically(path, as_bytes(named(tree), about))


def about(path: Path) -> dict[str, Any]:
    """The JSON that `save` was given; raises `BadFile`."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = json.loads((file.metadata() or {})["polyak"])
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}.") from None
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise BadFile(f"{path} is not a file that polyak wrote, or it is damaged ({error}).") from error
    if not isinstance(found, dict):
        raise BadFile(f"{path} is not a file that polyak wrote.")
    return found


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; raises `BadFile`."""
    try:
        return safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}.") from None
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise BadFile(f"{path} is damaged: {error}.") from error


def load(path: Path, like: PyTree) -> PyTree:
    """Reads a tree that looks like `like` (arrays or shapes); raises `BadFile` where names, shapes or types differ."""
    tensors = read(path)
    places, tree = jax.tree.flatten_with_path(like)
    names = [jax.tree_util.keystr(place) for place, _ in places]
    if set(names) != set(tensors):
        odd = sorted(set(names) ^ set(tensors))[0]
        raise BadFile(f"{path} does not hold what its description promises: {odd} is missing or too many.")
    leaves = []
    for name, (_, shape) in zip(names, places, strict=True):
        leaf, key = tensors[name], hasattr(shape, "dtype") and _is_key(shape)
        expected = jax.eval_shape(jax.random.key_data, shape) if key else shape
        if leaf.shape != expected.shape or leaf.dtype != expected.dtype:
            raise BadFile(f"{path}: {name} is {leaf.dtype}{leaf.shape}, not {expected.dtype}{expected.shape}.")
        leaves.append(jax.random.wrap_key_data(jax.numpy.asarray(leaf)) if key else leaf)
    return jax.tree.unflatten(tree, leaves)
