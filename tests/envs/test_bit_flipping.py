"""Bit flipping does what its docstring promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.envs import make, make_original
from polyak.envs.bit_flipping import BIT_FLIPPING
from polyak.errors import UnknownName
from polyak.spaces import from_rows

WORDS = jnp.array([0b10010, 0b10111], jnp.uint32)  # bits 1 and 4 are set; 0, 1, 2 and 4 are wanted


def play(*actions: int) -> tuple[list[list[int]], list[float], str]:
    """The bits after each step, the rewards, and how the episode ended."""
    env = make("bit-flipping/5")
    state, _ = env.reset(WORDS)
    seen, rewards, end = [], [], ""
    for action in actions:
        state, obs, reward, terminated, truncated = env.step(state, jnp.int32(action), WORDS)
        member = from_rows(env.observation_space, np.asarray(obs))
        np.testing.assert_array_equal(member["observation"], member["achieved_goal"])
        np.testing.assert_array_equal(member["desired_goal"], [1, 1, 1, 0, 1])
        seen.append(member["observation"].tolist())
        rewards.append(float(reward))
        end = "terminated" * bool(terminated) + "truncated" * bool(truncated)
    return seen, rewards, end


def test_an_action_flips_its_bit_and_the_step_that_gets_there_costs_nothing_and_ends_the_episode():
    assert play(2, 0) == ([[0, 1, 1, 0, 1], [1, 1, 1, 0, 1]], [-1.0, 0.0], "terminated")
    assert play(3, 3)[0] == [[0, 1, 0, 1, 1], [0, 1, 0, 0, 1]]


def test_the_clock_cuts_an_episode_after_as_many_steps_as_there_are_bits():
    assert play(3, 3, 3, 3)[1:] == ([-1.0] * 4, "")
    assert play(3, 3, 3, 3, 3)[1:] == ([-1.0] * 5, "truncated")


def test_success_in_the_last_step_is_an_end_and_no_cut():
    env = make("bit-flipping/5")
    words = jnp.array([0, 0b11111], jnp.uint32)
    state, _ = env.reset(words)
    for bit in range(5):
        state, _, reward, terminated, truncated = env.step(state, jnp.int32(bit), words)
        assert (float(reward), bool(terminated), bool(truncated)) == (bit // 4 - 1, bit == 4, False)


@pytest.mark.parametrize("id", BIT_FLIPPING)
def test_starts_and_goals_are_drawn_evenly_and_apart(id):
    env = make(id)
    bits = env.action_space.n
    assert env.id == id and env.max_episode_steps == bits == int(id.removeprefix("bit-flipping/"))
    _, obs = jax.vmap(env.reset)(env.noise(jax.random.key(0), (2_000,)))
    rows = from_rows(env.observation_space, np.asarray(obs))
    assert env.observation_space.contains({name: part[0] for name, part in rows.items()})
    start, goal = rows["observation"], rows["desired_goal"]
    for drawn in (start, goal, start ^ goal):
        assert np.abs(drawn.mean(0) - 0.5).max() < 0.06  # five deviations of a mean of 2,000
    np.testing.assert_array_equal(rows["achieved_goal"], start)


def test_goals_are_paid_as_steps_are():
    goal = make("bit-flipping/5").goal
    achieved, desired = jnp.array([[[0.0, 1, 1], [0, 0, 1]]]), jnp.array([[[0.0, 1, 1], [0, 1, 1]]])
    np.testing.assert_array_equal(goal.reward(achieved, desired), [[0.0, -1.0]])
    np.testing.assert_array_equal(goal.terminated(achieved, desired), [[True, False]])


def test_behind_gymnasiums_interface_it_is_a_dictionary_of_bits():
    env = make_original("bit-flipping/8")
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    flipped = env.step(3)[0]
    assert (obs["observation"] != flipped["observation"]).tolist() == [bit == 3 for bit in range(8)]


def test_other_sizes_are_refused_with_those_that_there_are():
    with pytest.raises(UnknownName, match="bit-flipping/15"):
        make("bit-flipping/16")
