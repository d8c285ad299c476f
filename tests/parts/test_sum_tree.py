"""The sum tree against sums and draws that NumPy makes from a plain list of values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polyak.parts.sum_tree import FANOUT, SumTree, running_sum

CAPACITIES = (1, 31, 33, 1100)  # of 1, 1, 2 and 3 levels
SET = jax.jit(SumTree.set, static_argnums=0)
SAMPLE = jax.jit(SumTree.sample, static_argnums=0)
TOGETHER = 8  # leaves changed or drawn at a time


def sums_of(leaves: np.ndarray) -> list[np.ndarray]:
    """What every level must hold."""
    levels: list[np.ndarray] = []
    while True:
        leaves = np.pad(leaves, (0, -len(leaves) % FANOUT)).reshape(-1, FANOUT)
        levels.insert(0, leaves)
        if len(leaves) == 1:
            return levels
        leaves = leaves.sum(1)


def drawn_from(levels: list[np.ndarray], uniforms: np.ndarray) -> int:
    """The leaf that a draw must give."""
    node = 0
    for level, uniform in zip(levels, uniforms, strict=True):
        ends = np.cumsum(level[node])
        node = node * FANOUT + int(np.searchsorted(ends, uniform * ends[-1], side="right"))
    return node


# whole numbers below 2^10, so that no sum of a thousand of them is rounded
VALUES = st.lists(st.integers(0, 1000), min_size=TOGETHER, max_size=TOGETHER)
SHARES = st.lists(st.floats(0, 1, exclude_max=True, width=16), min_size=TOGETHER, max_size=TOGETHER)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(capacity=st.sampled_from(CAPACITIES), changes=st.lists(st.tuples(SHARES, VALUES), min_size=1, max_size=5))
def test_every_node_is_the_sum_of_its_children_and_draws_are_those_of_a_plain_list(capacity, changes):
    memory, leaves = SumTree(capacity), np.zeros(capacity, np.float32)
    tree = memory.init()
    for shares, values in changes:
        indices = (np.array(shares) * capacity).astype(np.int32)
        _, first = np.unique(indices, return_index=True)
        values = np.array(values, np.float32)[[list(indices).index(index) for index in indices]]  # one value a leaf
        leaves[indices[first]] = values[first]
        tree = SET(memory, tree, jnp.asarray(indices), jnp.asarray(values))
        levels = sums_of(leaves)
        assert memory.rows == tuple(map(len, levels))
        for level, expected in zip(tree, levels, strict=True):
            np.testing.assert_array_equal(level, expected)
        assert float(memory.total(tree)) == leaves.sum()
        if leaves.any():
            uniforms = np.resize(np.array(shares, np.float32), (len(levels), TOGETHER))
            drawn, found = SAMPLE(memory, tree, jnp.asarray(uniforms))
            assert drawn.tolist() == [drawn_from(levels, column) for column in uniforms.T]
            np.testing.assert_array_equal(found, leaves[drawn])


def test_leaves_are_drawn_as_often_as_their_values_say():
    values = np.random.default_rng(0).exponential(size=1100).astype(np.float32) ** 2
    values[::3] = 0
    memory, draws = SumTree(1100), 300_000
    tree = SET(memory, memory.init(), jnp.arange(1100), jnp.asarray(values))
    drawn, _ = SAMPLE(memory, tree, jax.random.uniform(jax.random.key(0), (len(memory.rows), draws)))
    counts, expected = np.bincount(drawn, minlength=1100), draws * values / values.sum()
    assert (counts[values == 0] == 0).all()
    often = expected > 20
    assert often.sum() > 400
    # the sum of squared standard deviations has mean k and variance 2 k; the key is fixed, so that nothing can flake
    squares = (counts - expected)[often] ** 2 / expected[often]
    assert abs(squares.sum() - often.sum()) < 4 * np.sqrt(2 * often.sum())


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_a_leaf_of_value_zero_is_never_drawn_however_sums_are_rounded(uniform):
    values = np.zeros(1100, np.float32)
    values[[3, 500, 501, 999]] = [1e-6, 1e30, 1e-6, 1e12]  # all but one are lost in the sums
    memory = SumTree(1100)
    tree = SET(memory, memory.init(), jnp.arange(1100), jnp.asarray(values))
    drawn, found = SAMPLE(memory, tree, jnp.full((len(memory.rows), 2), uniform))
    assert (np.asarray(found) > 0).all()
    np.testing.assert_array_equal(found, values[drawn])


def test_running_sums():
    x = np.random.default_rng(1).integers(0, 100, (3, FANOUT)).astype(np.float32)
    np.testing.assert_array_equal(running_sum(jnp.asarray(x)), np.cumsum(x, 1))
