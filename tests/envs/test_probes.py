"""The probes do what their docstrings promise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.envs.base import AsGymnasium
from polyak.envs.probes import PROBES
from polyak.spaces import from_rows, has_parts


def play(id: str, start: int, actions) -> tuple[list[float], list[float], str]:
    """Observations, rewards, and how the episode ended ("terminated", "truncated", or "")."""
    env = PROBES[id]()
    state, obs = env.reset(jnp.int32(start))
    seen, rewards, end = [float(obs[0])], [], ""
    for action in actions:
        state, obs, reward, terminated, truncated = env.step(state, jnp.asarray(action), jnp.int32(0))
        seen.append(float(obs[0]))
        rewards.append(float(reward))
        end = "terminated" * bool(terminated) + "truncated" * bool(truncated)
    return seen, rewards, end


@pytest.mark.parametrize("action", [0, 1])
def test_constant_reward_pays_one_and_ends(action):
    assert play("probe/constant-reward", 0, [action]) == ([0.0, 0.0], [1.0], "terminated")


@pytest.mark.parametrize(("start", "action"), list(itertools.product([0, 1], [0, 1])))
def test_observed_reward_pays_what_is_seen(start, action):
    seen, rewards, end = play("probe/observed-reward", start, [action])
    assert rewards == [seen[0]] == [2.0 * start - 1.0]
    assert end == "terminated"


def test_two_steps_pays_at_the_second():
    assert play("probe/two-steps", 0, [0]) == ([-1.0, 1.0], [0.0], "")
    assert play("probe/two-steps", 0, [0, 1]) == ([-1.0, 1.0, 1.0], [0.0, 1.0], "terminated")


@pytest.mark.parametrize(("action", "reward"), [(0, -1.0), (1, 1.0)])
def test_rewarded_action_pays_for_action_one(action, reward):
    assert play("probe/rewarded-action", 0, [action]) == ([0.0, 0.0], [reward], "terminated")


@pytest.mark.parametrize(("start", "action"), list(itertools.product([0, 1], [0, 1])))
def test_matched_action_pays_for_the_match(start, action):
    seen, rewards, end = play("probe/matched-action", start, [action])
    assert seen[0] == 2.0 * start - 1.0
    assert rewards == [1.0 if start == action else -1.0]
    assert end == "terminated"


@pytest.mark.parametrize(
    ("id", "start", "action", "reward"),
    [
        ("number", 0, [-0.5], 1.0),
        ("number", 0, [0.5], 0.0),
        ("number", 1, [1.0], 0.75),
        ("choices", 0, [0, 0], 2.0),
        ("choices", 0, [0, 1], 0.0),
        ("choices", 1, [1, 2], 2.0),
        ("choices", 1, [0, 1], -2.0),
        ("switches", 0, [0, 1], 2.0),
        ("switches", 1, [1, 0], 2.0),
        ("switches", 1, [1, 1], 0.0),
    ],
)
def test_actions_of_other_kinds_are_paid_as_they_match(id, start, action, reward):
    _, rewards, end = play(f"probe/matched-{id}", start, [action])
    assert rewards == [pytest.approx(reward)]
    assert end == "terminated"


@pytest.mark.parametrize(
    ("start", "action", "reward"),
    [(0, [0.0, -0.5], 2.0), (0, [1.0, -0.5], 0.0), (1, [1.0, 0.5], 1.0), (3, [1.0, 0.5], 2.0)],
)
def test_matched_parts_pays_for_the_choice_and_for_the_number(start, action, reward):
    assert play("probe/matched-parts", start, [action])[1:] == ([pytest.approx(reward)], "terminated")


@pytest.mark.parametrize(("action", "reward"), [(5, 1.0), (4, -1.0), (6, -100.0), (0, -100.0)])
def test_masked_action_pays_for_one_of_the_two_that_are_there(action, reward):
    assert play("probe/masked-action", 2, [action])[1:] == ([reward], "terminated")


def test_endless_reward_is_cut_by_the_clock_and_never_ends():
    _, rewards, end = play("probe/endless-reward", 0, [0] * 7)
    assert (rewards, end) == ([1.0] * 7, "")
    _, rewards, end = play("probe/endless-reward", 0, [0] * 8)
    assert (rewards, end) == ([1.0] * 8, "truncated")
    assert PROBES["probe/endless-reward"]().max_episode_steps == 8


@pytest.mark.parametrize(("start", "action"), list(itertools.product([0, 1], [0, 1])))
def test_match_then_wait_pays_for_the_match_and_then_for_nothing_until_the_clock_cuts_it(start, action):
    seen, rewards, end = play("probe/match-then-wait", start, [action] * 8)
    assert seen == [2.0 * start - 1.0] + [0.0] * 8
    assert rewards == [1.0 if start == action else -1.0] + [1.0] * 7
    assert end == "truncated"
    assert play("probe/match-then-wait", start, [action] * 7)[2] == ""


@pytest.mark.parametrize(("cue", "action"), list(itertools.product([0, 1], [0, 1])))
def test_remembered_action_shows_the_cue_once_and_pays_at_the_third_step(cue, action):
    seen, rewards, end = play("probe/remembered-action", cue, [1 - action, 1 - action, action])
    assert seen[:3] == [2.0 * cue - 1.0, 0.0, 0.0]
    assert rewards == [0.0, 0.0, 1.0 if cue == action else -1.0]
    assert end == "terminated"


@pytest.mark.parametrize("id", PROBES)
def test_every_probe_says_what_it_is(id):
    env = PROBES[id]()
    assert env.id == id
    assert (env.max_episode_steps is None) == (id not in ("probe/endless-reward", "probe/match-then-wait"))
    noise = env.noise(jax.random.key(0), (100,))
    _, obs = jax.vmap(env.reset)(noise)
    assert obs.dtype == jnp.float32
    space = env.observation_space
    members = [from_rows(space, row) for row in np.asarray(obs)] if has_parts(space) else np.asarray(obs)
    assert all(space.contains(member) for member in members)
    alike = ("probe/constant-reward", "probe/two-steps", "probe/rewarded-action", "probe/endless-reward")
    several = {"probe/matched-parts": 4, "probe/masked-action": 10}
    assert len(np.unique(obs, axis=0)) == (1 if id in alike else several.get(id, 2))


def test_a_probe_behind_gymnasiums_interface_is_the_same_probe():
    env = AsGymnasium(PROBES["probe/matched-action"]())
    for seed in range(6):
        obs, _ = env.reset(seed=seed)
        _, reward, terminated, truncated, info = env.step(1)
        assert (reward, terminated, truncated, info) == (float(obs[0]), True, False, {})


def test_the_same_seed_begins_the_same_episodes_behind_gymnasiums_interface():
    def starts(seed):
        env = AsGymnasium(PROBES["probe/observed-reward"]())
        return [float(env.reset(seed=seed if i == 0 else None)[0][0]) for i in range(40)]

    assert starts(3) == starts(3) != starts(4)
