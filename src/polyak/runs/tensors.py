"""Pytrees of arrays in safetensors files, which hold numbers and names and nothing that could run."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from polyak.agent import PyTree
from polyak.errors import BadFile


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def save(path: Path, tree: PyTree, about: dict[str, Any]) -> None:
    """Writes every leaf under the name of its place in the tree, and `about` as JSON; the file appears whole or not."""
    tensors = {}
    for place, leaf in jax.tree.flatten_with_path(tree)[0]:
        leaf = jax.random.key_data(leaf) if hasattr(leaf, "dtype") and _is_key(leaf) else leaf
        tensors[jax.tree_util.keystr(place)] = np.asarray(leaf, order="C")
    data = safetensors.numpy.save(tensors, metadata={"polyak": json.dumps(about, sort_keys=True)})
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)


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


def load(path: Path, like: PyTree) -> PyTree:
    """Reads a tree that looks like `like` (arrays or shapes); raises `BadFile` where names, shapes or types differ."""
    try:
        tensors = safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}.") from None
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise BadFile(f"{path} is damaged: {error}.") from error
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
