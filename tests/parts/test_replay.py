"""Every memory against a plain list of steps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.parts import replay
from polyak.parts.replay import Prioritised, Uniform
from tests.parts.worlds import World

GAMMA = 0.5  # powers of it and sums of small whole numbers are exact
STACK = 3
CAPACITY = 24
LENGTH = 2  # time steps of a block
DRAWS = 256


@pytest.mark.parametrize(
    ("setting", "n_steps", "num_envs"),
    [*itertools.product([Uniform(), Prioritised()], [1, 3], [1, 3])],
    ids=lambda value: getattr(value, "name", value),
)
def test_samples_are_what_a_plain_list_tells(setting, n_steps, num_envs):
    world = World(num_envs, STACK, seed=n_steps)
    memory = replay.memory(
        setting, capacity=CAPACITY, spec=world.spec, block_length=LENGTH, n_steps=n_steps, gamma=GAMMA
    )
    add, cut = jax.jit(memory.add), jax.jit(memory.cut)
    sample = jax.jit(lambda state, key: memory.sample(state, key, DRAWS, 0.0))
    update = jax.jit(memory.update)
    state = memory.init()
    assert int(memory.size(state)) == 0
    for number in range(20):
        state = add(state, world.block(LENGTH))
        if number % 5 == 3:
            which = world.rng.random(num_envs) < 0.5
            state = cut(state, jnp.asarray(which))
            world.cut(which)
        key = jax.random.key(number)
        drawn = sample(state, key)
        held = range(max(0, len(world.steps) - CAPACITY // num_envs), len(world.steps))
        assert int(memory.size(state)) == len(held) * num_envs
        expected = {(t, b) for t in held for b in range(num_envs)}
        assert check(world, drawn, n_steps) == expected
        state = update(state, drawn, jnp.ones(DRAWS))


def check(world: World, drawn: replay.Sample, n_steps: int) -> set[tuple[int, int]]:
    """Compares a sample with the list; returns which steps [t, b] were drawn."""
    drawn = jax.device_get(drawn)
    places = {step.next_obs.tobytes(): (t, b) for t, row in enumerate(world.steps) for b, step in enumerate(row)}
    newest = {step.obs[-1].tobytes(): places[step.next_obs.tobytes()] for row in world.steps for step in row}
    found = set()
    for obs, action, r_t, discount_t, next_obs, weight, _ in zip(*drawn, strict=True):
        t, b = newest[obs[-1].tobytes()]
        step = world.steps[t][b]
        np.testing.assert_array_equal(obs, step.obs)
        assert action == step.action
        total, discount, successor = world.after(t, b, n_steps, GAMMA)
        assert (r_t, discount_t) == (total, discount)
        np.testing.assert_array_equal(next_obs, successor)
        assert weight == 1.0
        found.add((t, b))
    return found
