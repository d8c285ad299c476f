"""Trees as few arrays and back."""

import jax
import jax.numpy as jnp
import numpy as np

from polyak.engines.packing import SMALL, Packing

TREE = {
    "large": jnp.arange(SMALL, dtype=jnp.float32),
    "matrix": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "counter": jnp.int32(7),
    "flags": jnp.array([True, False]),
    "mean": jnp.float32(0.5),
    "other_counter": jnp.int32(8),
    "key": jax.random.key(3),
    "nothing": (),
}


def test_small_leaves_of_one_type_share_an_array():
    arrays = Packing(TREE).pack(TREE)
    assert len(arrays) == 5  # large, key, flags; the small floats, the small integers
    shared = {array.dtype.name: array for array in arrays if array.shape in ((7,), (2,))}
    np.testing.assert_array_equal(shared["float32"], [0, 1, 2, 3, 4, 5, 0.5])
    np.testing.assert_array_equal(shared["int32"], [7, 8])


def test_what_was_packed_comes_out_as_it_was():
    packing = Packing(jax.eval_shape(lambda: TREE))
    for way in (lambda f: f, jax.jit):
        there_and_back = way(lambda tree: packing.unpack(packing.pack(tree)))(TREE)
        assert jax.tree.structure(there_and_back) == jax.tree.structure(TREE)
        for before, after in zip(jax.tree.leaves(TREE), jax.tree.leaves(there_and_back), strict=True):
            assert (before.dtype, before.shape) == (after.dtype, after.shape)
            assert (before == after).all()


def test_large_arrays_are_handed_over_and_not_copied():
    """A replay of gigabytes goes this way at every chunk."""
    packing = Packing(TREE)
    arrays = packing.pack(TREE)
    assert any(array is TREE["large"] for array in arrays)
    assert packing.unpack(arrays)["large"] is TREE["large"]
