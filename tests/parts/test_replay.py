"""The replay against a plain `collections.deque`."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyak.parts.replay import UniformReplay, take


def block_of(first: int, time: int, batch: int) -> dict:
    """Transitions numbered from `first`, [T, B], with a vector and a flag that tell the same number."""
    number = first + jnp.arange(time * batch, dtype=jnp.int32).reshape(time, batch)
    return {"number": number, "vector": jnp.stack([number, -number], -1).astype(jnp.float32), "odd": number % 2 == 1}


EXAMPLE = {"number": jnp.int32(0), "vector": jnp.zeros(2), "odd": jnp.bool_(False)}


def oldest_first(memory: UniformReplay, replay) -> list[int]:
    numbers = np.asarray(replay.storage["number"])
    start = int(replay.position) if int(replay.size) == memory.capacity else 0
    return np.roll(numbers, -start)[: int(replay.size)].tolist()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(time=st.integers(1, 3), batch=st.integers(1, 2), buffer_size=st.integers(1, 13), blocks=st.integers(0, 9))
def test_it_holds_what_a_deque_of_the_same_capacity_holds(time, batch, buffer_size, blocks):
    memory = UniformReplay.of(buffer_size, time * batch)
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
    assert UniformReplay.of(buffer_size, block_size).capacity == capacity


def filled(blocks: int):
    """A memory of 12 after `blocks` blocks of 2 x 2."""
    memory = UniformReplay.of(12, 4)
    replay = memory.init(EXAMPLE)
    for i in range(blocks):
        replay = memory.add(replay, block_of(4 * i, 2, 2))
    return memory, replay


@pytest.mark.parametrize(("blocks", "stored"), [(1, 4), (2, 8), (3, 12), (4, 12), (7, 12)])
def test_indices_are_only_of_what_is_stored_and_reach_all_of_it(blocks, stored):
    memory, replay = filled(blocks)
    indices = memory.sample_indices(replay, jax.random.key(0), (40, 50))
    assert indices.shape == (40, 50)
    counts = np.bincount(np.asarray(indices).ravel(), minlength=stored)
    assert counts.shape == (stored,)  # none beyond
    # each index is expected 2000 / stored times; five standard deviations of a binomial either side
    expected = 2000 / stored
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_all_leaves_of_a_transition_stay_together_after_the_ring_has_wrapped():
    memory, replay = filled(5)
    taken = take(replay.storage, memory.sample_indices(replay, jax.random.key(1), (7, 30)))
    assert taken["vector"].shape == (7, 30, 2)
    assert set(np.unique(taken["number"]).tolist()) == set(range(8, 20))  # 20 written, the newest 12 kept
    np.testing.assert_array_equal(taken["vector"][..., 0], taken["number"])
    np.testing.assert_array_equal(taken["vector"][..., 1], -taken["number"])
    np.testing.assert_array_equal(taken["odd"], taken["number"] % 2 == 1)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
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
    memory = UniformReplay.of(4, 2)
    replay = memory.init({"pixels": jnp.zeros((2, 2), jnp.uint8)})
    replay = memory.add(replay, {"pixels": jnp.full((1, 2, 2, 2), 255, jnp.int32)})
    assert replay.storage["pixels"].dtype == jnp.uint8
    assert replay.storage["pixels"][1, 1, 1] == 255


def test_the_same_key_draws_the_same_indices():
    memory, replay = filled(3)
    first, again, other = (memory.sample_indices(replay, jax.random.key(k), (50,)) for k in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
