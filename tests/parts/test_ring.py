"""The ring against a plain `collections.deque`."""

import math
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polyak.parts.ring import Ring, take
from tests.speeds import slow


def block_of(first: int, time: int, batch: int) -> dict:
    """Transitions numbered from `first`, [T, B], with a vector and a flag that tell the same number."""
    number = first + jnp.arange(time * batch, dtype=jnp.int32).reshape(time, batch)
    return {"number": number, "vector": jnp.stack([number, -number], -1).astype(jnp.float32), "odd": number % 2 == 1}


ADD_SOME = jax.jit(Ring.add_some, static_argnums=0)
EXAMPLE = {"number": jnp.int32(0), "vector": jnp.zeros(2), "odd": jnp.bool_(False)}


def oldest_first(memory: Ring, replay) -> list[int]:
    numbers = np.asarray(replay.storage["number"])
    start = int(replay.position) if int(replay.size) == memory.capacity else 0
    return np.roll(numbers, -start)[: int(replay.size)].tolist()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from([(1, 1), (1, 2), (3, 2)]), buffer_size=st.sampled_from([1, 7, 13]), blocks=st.integers(0, 9)
)
def test_it_holds_what_a_deque_of_the_same_capacity_holds(shape, buffer_size, blocks):
    time, batch = shape  # few of each: every shape is compiled
    memory = Ring.of(buffer_size, time * batch)
    replay, oracle = memory.init(EXAMPLE), deque(maxlen=memory.capacity)
    for i in range(blocks):
        block = block_of(i * time * batch, time, batch)
        replay = memory.add(replay, block)
        oracle.extend(block["number"].ravel().tolist())
        assert oldest_first(memory, replay) == list(oracle)
    assert int(replay.size) == len(oracle)


@pytest.mark.parametrize(
    ("buffer_size", "block_size", "capacity"), [(8, 4, 8), (9, 4, 12), (1, 4, 4), (10, 1, 10), (100, 7, 105)]
)
def test_the_capacity_is_rounded_up_to_whole_blocks(buffer_size, block_size, capacity):
    assert Ring.of(buffer_size, block_size).capacity == capacity


def filled(blocks: int):
    """A memory of 12 after `blocks` blocks of 2 x 2."""
    memory = Ring.of(12, 4)
    replay = memory.init(EXAMPLE)
    for i in range(blocks):
        replay = memory.add(replay, block_of(4 * i, 2, 2))
    return memory, replay


def test_all_leaves_of_a_transition_stay_together_after_the_ring_has_wrapped():
    _, replay = filled(5)
    taken = take(replay.storage, jnp.arange(210).reshape(7, 30) % 12)
    assert taken["vector"].shape == (7, 30, 2)
    assert set(np.unique(taken["number"]).tolist()) == set(range(8, 20))  # 20 written, the newest 12 kept
    np.testing.assert_array_equal(taken["vector"][..., 0], taken["number"])
    np.testing.assert_array_equal(taken["vector"][..., 1], -taken["number"])
    np.testing.assert_array_equal(taken["odd"], taken["number"] % 2 == 1)


@pytest.mark.parametrize("blocks", [1, slow(2), 3, slow(4), 5, slow(7), 10])
@pytest.mark.parametrize("count", [slow(1), slow(2), 3, slow(5)])
def test_ahead_are_the_next_steps_of_the_same_environment_up_to_its_newest(blocks, count):
    memory, replay = filled(blocks)  # 2 environments: the even numbers are the steps of one, the odd of the other
    written = 4 * blocks
    for index in range(int(replay.size)):
        number = int(replay.storage["number"][index])
        expected = range(number, written, 2)[:count]
        ahead, newest = memory.ahead(replay, jnp.int32(index), count, num_envs=2)
        known = len(expected)
        assert take(replay.storage, ahead)["number"][:known].tolist() == list(expected)
        assert newest[:known].tolist() == [step + 2 >= written for step in expected]


def test_storage_keeps_the_types_of_the_example():
    memory = Ring.of(4, 2)
    replay = memory.init({"pixels": jnp.zeros((2, 2), jnp.uint8)})
    replay = memory.add(replay, {"pixels": jnp.full((1, 2, 2, 2), 255, jnp.int32)})
    assert replay.storage["pixels"].dtype == jnp.uint8
    assert replay.storage["pixels"][1, 1, 1] == 255


def test_ages_count_the_rows_written_since():
    memory, replay = filled(4)  # 16 written into 12 places
    ages = jnp.arange(12)
    places = memory.index(replay, ages)
    np.testing.assert_array_equal(replay.storage["number"][places], 15 - ages)
    np.testing.assert_array_equal(memory.age(replay, places), ages)
    np.testing.assert_array_equal(replay.storage["number"][memory.newest(replay, 2)], [14, 15])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(blocks=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), max_size=9))
def test_of_some_rows_it_holds_what_a_deque_holds(blocks):
    memory = Ring(7, 4)
    replay, oracle, written = memory.init({"number": jnp.int32(0)}), deque(maxlen=7), 0
    for i, which in enumerate(blocks):
        rows = 4 * i + np.arange(4)
        replay = ADD_SOME(memory, replay, {"number": jnp.asarray(rows)}, jnp.asarray(which))
        oracle.extend(rows[np.array(which)].tolist())
        written += sum(which)
        assert oldest_first(memory, replay) == list(oracle)
    assert (int(replay.laps) * 7 + int(replay.position), int(replay.size)) == (written, len(oracle))


@pytest.mark.parametrize("indices", [(3,), (0, 4, 4), ((1, 2), (4, 0))])
@pytest.mark.parametrize("row", [(), (2,), (16, 16)])
def test_rows_are_taken_whatever_their_size(row, indices):
    storage = np.arange(2 * 5 * math.prod(row)).reshape(2, 5, *row).astype(np.uint8)
    indices = np.array(indices)
    np.testing.assert_array_equal(jax.jit(take)(storage[0], indices), storage[0, indices])
    both = jax.vmap(take)(storage, np.stack([indices, 4 - indices]))
    np.testing.assert_array_equal(both, np.stack([storage[0, indices], storage[1, 4 - indices]]))
