"""A tree of many small arrays as few large ones.

The time that it takes to call a compiled program from Python grows with the number of arrays that go in and come out,
by some 3 us for each pair: a small network, its target, two moments of each parameter and a few counters are forty.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, PyTree

Packed = tuple[Array, ...]

SMALL = 4_096  # bytes up to which an array is packed; larger ones would be copied at every call


class Packing:
    """Packs trees that look like `example` (arrays or shapes): small leaves of one type go into one vector.

    Packing and unpacking may be traced or not; large arrays are handed over without a copy.
    """

    def __init__(self, example: PyTree):
        leaves, tree = jax.tree.flatten(example)
        self._tree: Any = tree
        self._shapes = [leaf.shape for leaf in leaves]
        groups: dict[Any, list[int]] = {}
        for number, leaf in enumerate(leaves):
            groups.setdefault(leaf.dtype if _is_small(leaf) else number, []).append(number)
        self._groups = list(groups.values())  # the leaves, by number, that share an array

    def pack(self, tree: PyTree) -> Packed:
        """The arrays of `tree`, as many as there are groups."""
        leaves = self._tree.flatten_up_to(tree)
        return tuple(
            _join([leaves[number] for number in group]) if len(group) > 1 else leaves[group[0]]
            for group in self._groups
        )

    def unpack(self, arrays: Packed) -> PyTree:
        """The tree again."""
        leaves: dict[int, Array] = {}
        for group, array in zip(self._groups, arrays, strict=True):
            parts = _split(array, tuple(self._shapes[number] for number in group)) if len(group) > 1 else [array]
            leaves |= zip(group, parts, strict=True)
        return self._tree.unflatten([leaves[number] for number in range(len(self._shapes))])


@jax.jit
def _join(leaves: list[Array]) -> Array:
    return jnp.concatenate([leaf.reshape(-1) for leaf in leaves])


@partial(jax.jit, static_argnums=1)
def _split(vector: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [vector[end - math.prod(shape) : end].reshape(shape) for end, shape in zip(ends, shapes, strict=True)]


def _is_small(leaf: Any) -> bool:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return not is_key and math.prod(leaf.shape) * leaf.dtype.itemsize <= SMALL
