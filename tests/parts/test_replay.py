"""Every memory against a plain list of steps."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.errors import BadSetting
from polyak.parts import replay
from polyak.parts.replay import Prioritised, Uniform
from polyak.parts.ring import Ring
from tests.parts.worlds import World
from tests.speeds import slow

GAMMA = 0.5  # powers of it and sums of small whole numbers are exact
STACK = 3
LENGTH = 2  # time steps of a block
TIMES = 8  # time steps that are held
DRAWS = 256


def memory_of(world: World, setting, n_steps: int, frame_stack: int, finals: int | None = None):
    """A memory of 8 time steps; of a frame store, how many final frames it keeps."""
    memory = replay.memory(
        setting,
        capacity=TIMES * world.num_envs,
        spec=world.spec,
        block_length=LENGTH,
        n_steps=n_steps,
        gamma=GAMMA,
        frame_stack=frame_stack,
    )
    if finals:
        store = dataclasses.replace(memory.store, finals=Ring(finals, LENGTH * world.num_envs))
        memory = dataclasses.replace(memory, store=store)
    return memory


def go_on(memory):
    """Adds a block, cuts some episodes, and draws."""

    @jax.jit
    def function(state, block, which, key):
        state = memory.cut(memory.add(state, block), which)
        drawn = memory.sample(state, key, DRAWS, 0.0)
        return memory.update(state, drawn, jnp.ones(DRAWS)), drawn

    return function


def check(world: World, drawn: replay.Sample, n_steps: int, finals: int | None = None) -> tuple[set, set]:
    """Compares a sample with the list; returns the steps [t, b] that were drawn, and those of weight 0.

    These must be the ones that need a final frame that is gone, because only the last `finals` are kept.
    """
    drawn, places = jax.device_get(drawn), world.places()
    gone = world.final_frames()[:-finals] if finals else []
    read, lost = set(), set()
    for obs, action, r_t, discount_t, next_obs, weight in zip(*drawn.steps, drawn.weights, strict=True):
        t, b = places[obs[-1].tobytes()]
        step = world.steps[t][b]
        total, discount, successor = world.after(t, b, n_steps, GAMMA)
        assert (action, r_t, discount_t) == (step.action, total, discount)
        misses = [any(frame.tobytes() in gone for frame in stack) for stack in (step.obs, successor)]
        if misses[0] or (misses[1] and discount):
            assert weight == 0.0
            lost.add((t, b))
            continue
        assert weight == 1.0
        np.testing.assert_array_equal(obs, step.obs)
        if not misses[1]:
            np.testing.assert_array_equal(next_obs, successor)
        read.add((t, b))
    return read, lost


FAST = [(Uniform(), STACK, 3, 3), (Prioritised(), 1, 3, 3)]
COMBINATIONS = itertools.product([Uniform(), Prioritised()], [1, STACK], [1, 3], [1, 3])


@pytest.mark.parametrize(
    ("setting", "frame_stack", "n_steps", "num_envs"),
    [row if row in FAST else slow(*row) for row in COMBINATIONS],
    ids=lambda value: getattr(value, "name", value),
)
def test_samples_are_what_a_plain_list_tells(setting, frame_stack, n_steps, num_envs):
    world = World(num_envs, STACK, seed=n_steps)
    memory = memory_of(world, setting, n_steps, frame_stack, finals=60 if frame_stack > 1 else None)
    advance, state = go_on(memory), memory.init()
    assert int(memory.size(state)) == 0
    for number in range(16):
        block = world.block(LENGTH)
        which = world.rng.random(num_envs) < 0.5 * (number % 3 == 2)
        world.cut(which)
        state, drawn = advance(state, block, jnp.asarray(which), jax.random.key(number))
        now = len(world.steps)
        held = TIMES - (frame_stack - 1) if now >= TIMES else now  # of a full ring the oldest lack older frames
        expected = set(itertools.product(range(now - held, now), range(num_envs)))
        assert int(memory.size(state)) == len(expected)
        assert check(world, drawn, n_steps) == (expected, set())


@pytest.mark.parametrize("setting", [Uniform(), slow(Prioritised())], ids=lambda setting: setting.name)
def test_steps_whose_final_frames_are_gone_weigh_nothing(setting):
    world = World(3, STACK, seed=5, end=0.5)
    memory = memory_of(world, setting, n_steps=2, frame_stack=STACK, finals=6)
    advance, state, ever = go_on(memory), memory.init(), set()
    for number in range(16):
        state, drawn = advance(state, world.block(LENGTH), jnp.zeros(3, bool), jax.random.key(number))
        _, lost = check(world, drawn, 2, finals=6)
        ever |= lost
        if setting.name == "prioritised":  # they are not drawn again
            drawn = jax.jit(memory.sample, static_argnums=2)(state, jax.random.key(100 + number), DRAWS, 0.0)
            assert not check(world, drawn, 2, finals=6)[1]
    assert len(ever) > 10


class Turns:
    """Actors with environments of their own, whose blocks come in any order, some side by side."""

    def __init__(self, actors: int, num_envs: int, together: int, end: float, seed: int):
        self.actors = [World(num_envs, STACK, seed + i, end, frames=20_000 * i) for i in range(actors)]
        self.rng, self.together = np.random.default_rng(seed), together
        self.blocks: list[
            list[tuple[int, int]]
        ] = []  # of each that was added, the actor and the time of its first step

    @property
    def spec(self):
        spec = self.actors[0].spec
        return spec._replace(num_envs=self.together * spec.num_envs, streamed=True)

    def block(self, length: int):
        who = self.rng.integers(len(self.actors), size=self.together)
        came = [(int(i), len(self.actors[i].steps), self.actors[i].block(length)) for i in who]
        self.blocks.append([(i, t) for i, t, _ in came])
        return jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), *(block for _, _, block in came))


def check_turns(turns: Turns, drawn: replay.Sample, n_steps: int, length: int) -> set:
    """Compares a sample with the true episodes, cut at the end of each block; returns the steps that were drawn."""
    drawn = jax.device_get(drawn)
    places = {newest: (i, *place) for i, world in enumerate(turns.actors) for newest, place in world.places().items()}
    read = set()
    for obs, action, r_t, discount_t, next_obs, weight in zip(*drawn.steps, drawn.weights, strict=True):
        i, t, b = places[obs[-1].tobytes()]
        steps = turns.actors[i].steps
        left = length - t % length  # steps of the block from there on
        total, discount, successor = turns.actors[i].after(t, b, min(n_steps, left), GAMMA)
        assert (action, r_t, discount_t, weight) == (steps[t][b].action, total, discount, 1.0)
        np.testing.assert_array_equal(obs, steps[t][b].obs)
        np.testing.assert_array_equal(next_obs, successor)
        read.add((i, t, b))
    return read


@pytest.mark.parametrize(
    ("setting", "n_steps", "length", "num_envs", "together"),
    [
        (Uniform(), 3, 2, 2, 2),  # stacks are longer than blocks
        slow(Prioritised(), 2, 4, 2, 2),
        slow(Uniform(), 1, 1, 3, 1),
        slow(Uniform(), 5, 4, 1, 3),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_stacks_of_actors_that_take_turns_are_those_that_they_saw(setting, n_steps, length, num_envs, together):
    turns = Turns(3, num_envs, together, 0.2, seed=n_steps)
    width, held = num_envs * together, 8 // length  # blocks
    memory = replay.memory(
        setting,
        capacity=8 * width,
        spec=turns.spec,
        block_length=length,
        n_steps=n_steps,
        gamma=GAMMA,
        frame_stack=STACK,
    )
    store = memory.store
    # The heads, and a final frame for each block of each environment besides those that there are in any case.
    assert store.heads.capacity == (STACK - 1) * held * width and store.finals.capacity == (length + held) * width
    memory = dataclasses.replace(memory, store=dataclasses.replace(store, finals=Ring(9 * width, length * width)))
    advance, state = go_on(memory), memory.init()
    for number in range(12):
        state, drawn = advance(state, turns.block(length), jnp.ones(width, bool), jax.random.key(number))
        expected = {
            (i, t, b)
            for block in turns.blocks[-held:]
            for i, first in block
            for t in range(first, first + length)
            for b in range(num_envs)
        }
        assert int(memory.metrics(state)["replay_size"]) == len(expected)  # every step of the memory can be drawn
        assert check_turns(turns, drawn, n_steps, length) == expected


def test_blocks_of_turns_whose_observations_are_no_stacks_do_not_pass_silently():
    turns = Turns(1, 1, 1, 0.0, seed=0)
    memory = replay.memory(Uniform(), capacity=8, spec=turns.spec, block_length=LENGTH, frame_stack=STACK)
    block = turns.block(LENGTH)
    spoilt_middle(block.obs, block.next_obs)
    assert np.isnan(memory.metrics(jax.jit(memory.add)(memory.init(), block))["replay_size"])


def test_the_capacity_is_rounded_up_to_whole_blocks():
    world = World(3, STACK, seed=0)
    for frame_stack, capacity, rows in ((1, 10, 12), (1, 1, 6), (STACK, 10, 12), (STACK, 1, 12)):
        memory = replay.memory(
            Uniform(), capacity=capacity, spec=world.spec, block_length=LENGTH, frame_stack=frame_stack
        )
        assert memory.store.drawable.ring.capacity == rows


def spoilt_first(obs, next_obs):
    """A first stack with older frames that are neither copies nor blank."""
    obs[0, 0, 0] = 7


def spoilt_middle(obs, next_obs):
    """A frame that was not in the stack before."""
    obs[1, 0, 1] += 1


def spoilt_successor(obs, next_obs):
    """A successor in which more than the newest frame is new."""
    next_obs[1, 0, 0] += 1


@pytest.mark.parametrize("spoil", [None, spoilt_first, spoilt_middle, spoilt_successor])
def test_observations_that_are_no_stacks_do_not_pass_silently(spoil):
    world = World(1, STACK, seed=0, end=0.0)
    memory = memory_of(world, Uniform(), 1, STACK)
    block = world.block(LENGTH)
    if spoil:
        spoil(block.obs, block.next_obs)
    state = jax.jit(memory.add)(memory.init(), block)
    assert np.isnan(memory.metrics(state)["replay_size"]) == bool(spoil)
    assert np.isnan(jax.jit(memory.sample, static_argnums=2)(state, jax.random.key(0), 4, 0.0).weights).all() == bool(
        spoil
    )


def test_a_space_that_holds_no_stacks_is_refused_in_a_sentence():
    world = World(1, STACK, seed=0)
    with pytest.raises(BadSetting, match=r"frame_stack is 4, but observations of .* are not stacks"):
        replay.memory(Uniform(), capacity=10, spec=world.spec, block_length=1, frame_stack=4)
