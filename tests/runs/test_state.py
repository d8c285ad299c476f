"""A state in and out of checkpoints, and how little of a replay memory each of them writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polyak.errors import BadFile
from polyak.parts import replay
from polyak.parts.ring import Ring
from polyak.runs import checkpoint, state
from tests.parts.worlds import World

ROWS = 8  # of a piece


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(state, "PIECE_BYTES", ROWS * 4)


def block_of(first: int) -> dict:
    return {"number": first + jnp.arange(4, dtype=jnp.int32).reshape(2, 2)}


MEMORY = Ring.of(52, 4)  # six pieces of 8 rows and one of 4
ADD = jax.jit(MEMORY.add)
EMPTY = {"replay": MEMORY.init({"number": jnp.int32(0)}), "key": jax.random.key(3), "w": jnp.arange(3.0)}


def save(folder, step: int, tree, before, row=None) -> tuple[checkpoint.Checkpoint, state.Captured]:
    captured = state.capture(tree, before, row)
    about = {"memories": captured.memories}
    return checkpoint.save(folder, step, captured.files(), about, before, captured.unchanged), captured


def assert_equal(first, second) -> None:
    def bare(leaf):
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    jax.tree.map(lambda a, b: np.testing.assert_array_equal(bare(a), bare(b)), first, second)


def fresh():
    """A new state; the arrays of the last one may have been given away."""
    return jax.tree.map(jnp.copy, EMPTY) | {"w": jnp.zeros(3)}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(gaps=st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_every_checkpoint_restores_what_it_was_made_of_and_writes_only_what_changed(gaps, tmp_path_factory):
    folder, tree, before, added = tmp_path_factory.mktemp("saves"), dict(EMPTY), None, 0
    for number, gap in enumerate(gaps):
        was = added
        for _ in range(gap):
            tree["replay"] = ADD(tree["replay"], block_of(added))
            added += 4
        before, captured = save(folder, number, tree, before)
        touched = {(row % MEMORY.capacity) // ROWS for row in range(was, added)}
        assert len(captured.pieces) == len(touched)
        assert len(captured.unchanged) == -(-min(added, MEMORY.capacity) // ROWS) - len(touched)
        assert_equal(state.restore(fresh(), [checkpoint.verify(before.path)], batched=False), tree)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(gaps=st.lists(st.integers(0, 30), min_size=1, max_size=6), chunk=st.integers(1, 5))
def test_what_was_copied_ahead_is_what_a_checkpoint_would_copy(gaps, chunk, tmp_path_factory):
    folder, tree, before, added, ahead = tmp_path_factory.mktemp("saves"), dict(EMPTY), None, 0, state.Ahead()
    for number, gap in enumerate(gaps):
        for i in range(gap):
            tree["replay"] = ADD(tree["replay"], block_of(added))
            added += 4
            if i % chunk == 0:
                ahead.look(tree)
        plain, helped = state.capture(tree, before, None), state.capture(tree, before, None, ahead)
        assert plain.unchanged == helped.unchanged and plain.pieces.keys() == helped.pieces.keys()
        for name, rows in plain.pieces.items():
            for leaf in rows:
                np.testing.assert_array_equal(rows[leaf], helped.pieces[name][leaf])
        before, _ = save(folder, number, tree, before)


def test_full_pieces_are_copied_ahead_and_a_checkpoint_copies_the_rest():
    tree, ahead = dict(EMPTY), state.Ahead()
    for i in range(5):  # 20 rows: two pieces full, the third half
        tree["replay"] = ADD(tree["replay"], block_of(4 * i))
        ahead.look(tree)
    copies = {name: rows for name, (_, rows) in ahead._copies.items()}
    assert len(copies) == 2
    helped = state.capture(tree, None, None, ahead)
    assert len(helped.pieces) == 3 and all(helped.pieces[name] is rows for name, rows in copies.items())


def test_seeds_that_share_a_program_are_saved_one_by_one(tmp_path):
    trees = []
    for seed in (0, 1):
        tree = dict(EMPTY) | {"w": jnp.arange(3.0) + seed}
        for i in range(3 + 9 * seed):
            tree["replay"] = ADD(tree["replay"], block_of(100 * seed + 4 * i))
        trees.append(tree)
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    saved = [save(tmp_path / str(row), 1, together, None, row)[0] for row in (0, 1)]
    for row in (0, 1):
        assert_equal(state.restore(fresh(), [saved[row]], batched=False), trees[row])
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), fresh(), fresh())
    assert_equal(state.restore(both, saved, batched=True), together)


def test_a_checkpoint_of_another_state_is_refused(tmp_path):
    saved, _ = save(tmp_path, 1, EMPTY | {"replay": ADD(fresh()["replay"], block_of(0))}, None)
    other = Ring.of(52, 4).init({"number": jnp.float32(0)})
    with pytest.raises(BadFile, match="replay"):
        state.restore(fresh() | {"replay": other}, [saved], batched=False)
    with pytest.raises(BadFile, match="float32"):
        state.restore(fresh() | {"w": jnp.zeros(4)}, [saved], batched=False)
    with pytest.raises(
        BadFile, match=r"cannot go on from .*step-\d*1, .*'learnt'.* is missing .*; finish the run with"
    ):
        state.restore(fresh() | {"learnt": jnp.int32(0)}, [saved], batched=False)  # as of a version before the count


@pytest.mark.slow
def test_a_prioritised_memory_of_frames_comes_back_bit_for_bit(tmp_path):
    world = World(2, 3, seed=0)
    memory = replay.memory(
        replay.Prioritised(), capacity=48, spec=world.spec, block_length=4, n_steps=2, gamma=0.9, frame_stack=3
    )
    add, sample = jax.jit(memory.add), jax.jit(memory.sample, static_argnums=2)
    update, before = jax.jit(memory.update), None
    tree = memory.init()
    for number in range(9):  # once around the steps and more than once around the final frames
        tree = add(tree, world.block(4))
        drawn = sample(tree, jax.random.key(number), 16, 0.0)
        tree = update(tree, drawn, jnp.arange(16.0))
        if number % 4 == 0:
            before, captured = save(tmp_path, number, tree, before)
    assert {"replay-0", "replay-1"} == {name[:8] for name in captured.pieces}  # steps and final frames
    assert captured.unchanged
    assert any("tree" in name for name in captured.tensors)
    found = state.restore(memory.init(), [checkpoint.verify(before.path)], batched=False)
    assert_equal(found, tree)
    block = world.block(4)
    assert_equal(*(sample(add(each, block), jax.random.key(9), 16, 0.5) for each in (found, tree)))


WORLD = World(2, 3, seed=1, end=0.1)
KEPT = {"capacity": 48, "spec": WORLD.spec, "block_length": 4}
MEMORIES = {
    "steps": replay.memory(replay.Uniform(), **KEPT, n_steps=1, gamma=0.9, frame_stack=1),
    "frames": replay.memory(replay.Uniform(), **KEPT, n_steps=1, gamma=0.9, frame_stack=3),
    "streamed frames": replay.memory(
        replay.Uniform(), **KEPT | {"spec": WORLD.spec._replace(streamed=True)}, n_steps=1, gamma=0.9, frame_stack=3
    ),
    "sequences": replay.sequence_memory(replay.Uniform(), **KEPT, rows=2, carry=jnp.zeros(1)),
}


@pytest.mark.parametrize("name", MEMORIES)
def test_steps_that_a_resume_cuts_are_written_again(name, tmp_path, monkeypatch):
    """Also where the cut rows fill up a piece, so that nothing is added to it afterwards."""
    monkeypatch.setattr(state, "PIECE_BYTES", 1)  # each row is a piece
    memory = MEMORIES[name]
    add, cut = jax.jit(memory.add), jax.jit(memory.cut)
    tree, before, changed = memory.init(), None, 0
    for number in range(8):
        block = WORLD.block(4)._replace(extras=jnp.zeros((4, 2, 1)))
        tree = add(tree, block)
        before, _ = save(tmp_path, number, tree, before)
        lost = cut(tree, jnp.array([True, False]))
        changed += any(
            not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(lost), strict=True)
        )
        tree = lost
        after, _ = save(tmp_path, 100 + number, add(tree, block), before)
        assert_equal(state.restore(memory.init(), [checkpoint.verify(after.path)], batched=False), add(tree, block))
    assert changed
