"""Vectors of environments that go on in another process's place: exactly, or with episodes that are known to be cut."""

import json
import random

import gymnasium
import numpy as np
import pytest

from polyak.envs import make
from tests.speeds import slow


class Drifting(gymnasium.Env):
    """Draws from Python's own generator, which no seed of its resets."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.array([random.random()], np.float32), {}

    def step(self, action):
        return np.array([random.random()], np.float32), 0.0, random.random() < 0.1, False, {}


def play(vector, steps: int, seed: int) -> list:
    draws, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        if isinstance(vector.action_space, gymnasium.spaces.Box):
            action = draws.uniform(-1.0, 1.0, (vector.num_envs, *vector.action_space.shape)).astype(np.float32)
        else:
            action = draws.integers(0, vector.action_space.n, vector.num_envs).astype(np.int32)
        seen.append(vector.step(action))
    return seen


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D's bindings
@pytest.mark.parametrize(
    ("env", "workers", "kept"),
    [
        ("CartPole-v1", 0, "state"),
        ("CartPole-v1", 2, "state"),
        ("LunarLander-v3", 0, "actions"),
        slow("Hopper-v5", 0, "actions"),
    ],
)
def test_a_snapshot_is_gone_on_from_as_if_nothing_had_happened(env, workers, kept):
    first = make(f"gymnasium:{env}", 3, workers=workers)
    first.reset(5)
    obs = play(first, 40, seed=0)[-1].obs
    found = json.loads(json.dumps(first.snapshot()))
    assert all(kept in place for place in found["places"])
    expected = play(first, 150, seed=1)
    first.close()

    second = make(f"gymnasium:{env}", 3, workers=workers)
    second.reset(5)
    shown = obs.copy()
    assert not second.restore(found, shown).any()
    np.testing.assert_array_equal(shown, obs)
    for ours, theirs in zip(play(second, 150, seed=1), expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert sum((step.terminated | step.truncated).sum() for step in expected) > 2
    assert json.loads(json.dumps(second.snapshot()))["places"] == json.loads(json.dumps(second.snapshot()))["places"]
    second.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_had_again_is_cut_and_a_new_episode_begins(workers):
    first = make(Drifting, 2, workers=workers)
    first.reset(5)
    obs = play(first, 7, seed=0)[-1].obs
    found = first.snapshot()
    episodes = list(first.episodes)
    first.close()
    second = make(Drifting, 2, workers=workers)
    second.reset(5)
    shown = obs.copy()
    assert second.restore(found, shown).all() and (shown != obs).all()
    assert second.episodes == [number + 1 for number in episodes] and second.steps == [0, 0]
    second.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_replay_that_comes_to_something_else_is_cut():
    vector = make("gymnasium:LunarLander-v3", 1)
    vector.reset(5)
    obs = play(vector, 20, seed=0)[-1].obs
    found = vector.snapshot()
    shown = obs + 0.1  # another simulator version
    assert vector.restore(found, shown).all()
    vector.close()


@pytest.mark.parametrize("ways", [("envpool:", "gymnasium:"), ("gymnasium:", "envpool:")])
def test_one_simulator_goes_on_in_the_place_of_another_with_episodes_that_are_new(ways):
    """As where a run was begun with EnvPool, and is resumed on a machine without."""
    pytest.importorskip("envpool")
    before, after = (make(f"{way}CartPole-v1", 3) for way in ways)
    begun = [vector.reset(5) for vector in (before, after)]
    play(before, 40, seed=0)
    found = json.loads(json.dumps(before.snapshot()))
    shown = begun[1].copy()
    assert after.restore(found, shown).all()
    assert (shown != begun[1]).any(1).all() and (shown != begun[0]).any(1).all()
    for vector in (before, after):
        vector.close()
