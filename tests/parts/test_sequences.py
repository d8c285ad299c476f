"""The memory of sequences against a plain list of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.parts.replay import Prioritised, Uniform, sequence_memory
from tests.parts.worlds import World

LENGTH, ROWS, NUM_ENVS, BLOCKS = 2, 3, 3, 5  # the memory holds 5 blocks of 2 steps
DRAWS = 100


@pytest.mark.parametrize("setting", [Uniform(), Prioritised()], ids=lambda setting: setting.name)
def test_sequences_are_what_a_plain_list_tells(setting):
    world = World(NUM_ENVS, 2, seed=0)
    memory = sequence_memory(
        setting,
        capacity=BLOCKS * LENGTH * NUM_ENVS,
        spec=world.spec,
        block_length=LENGTH,
        rows=ROWS,
        carry={"memory": jnp.zeros(2)},
    )

    @jax.jit
    def go_on(state, block, carry, which, key):
        before = jax.tree.map(lambda leaf: jnp.stack([leaf + 100 * t for t in range(LENGTH)]), carry)
        state = memory.cut(memory.add(state, block._replace(extras=before)), which)
        drawn = memory.sample(state, key, DRAWS, 0.0)
        drawable = memory.size(state) > 0
        changed = memory.update(state, drawn, jnp.ones(DRAWS))
        return jax.tree.map(lambda new, old: jnp.where(drawable, new, old), changed, state), drawn

    state = memory.init()
    for number in range(9):
        block = world.block(LENGTH)
        carry = {"memory": jnp.stack([jnp.full(NUM_ENVS, number), jnp.arange(NUM_ENVS)], -1).astype(jnp.float32)}
        which = world.rng.random(NUM_ENVS) < 0.3
        world.cut(which)
        state, drawn = go_on(state, block, carry, jnp.asarray(which), jax.random.key(number))
        begins = range(max(0, number + 1 - BLOCKS), number + 2 - ROWS)
        assert int(memory.size(state)) == len(begins) * NUM_ENVS == int(memory.metrics(state)["replay_size"])
        drawn = jax.device_get(drawn)
        if not begins:
            continue
        found = set()
        for i in range(DRAWS):
            (steps, carry), weight, _ = jax.tree.map(lambda leaf, i=i: leaf[i], drawn)
            first, b = map(int, carry["memory"])
            row = [step[b] for step in world.steps[first * LENGTH : (first + ROWS) * LENGTH]]
            for name, leaf in zip(steps._fields, steps, strict=True):
                np.testing.assert_array_equal(leaf, [getattr(step, name) for step in row])
            assert weight == 1.0
            found.add((first, b))
        assert found == {(first, b) for first in begins for b in range(NUM_ENVS)}


def test_there_is_room_for_a_sequence_of_every_environment():
    world = World(NUM_ENVS, 2, seed=0)
    memory = sequence_memory(Uniform(), capacity=1, spec=world.spec, block_length=LENGTH, rows=ROWS, carry=())
    assert memory.store.drawable.ring.capacity == ROWS * NUM_ENVS
