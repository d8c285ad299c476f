"""Scores against numbers worked by hand, and episodes against environments whose return is known."""

import gymnasium
import numpy as np
import pytest

import polyak
from polyak.errors import BadSetting
from polyak.evaluation import Scores


class Counter(gymnasium.Env):
    """Pays 1 a step for `length` steps, where length is drawn at reset; the observation is the clock."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.clock = int(self.np_random.integers(1, 20)), 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.clock += 1
        return np.full(1, self.clock, np.float32), 1.0, self.clock == self.length, False, {}


def nothing(obs):
    return np.zeros(len(obs), int)


def test_the_interquartile_mean_leaves_out_the_outer_quarters():
    scores = Scores(np.array([[0.0, 0.0], [10.0, 10.0], [20.0, 20.0], [1000.0, 1000.0]]))
    assert scores.iqm == 15.0  # of 0, 10, 20, 1000 the middle half is 10, 20
    assert scores.mean == 257.5


def test_the_interval_is_over_seeds_and_not_over_episodes():
    same_seeds = Scores(np.tile(np.arange(100.0), (8, 1)))  # episodes differ, seeds do not
    assert same_seeds.interval == (49.5, 49.5)
    assert same_seeds.over == "seeds"


def test_the_interval_holds_the_mean_and_narrows_with_more_seeds():
    draws = np.random.default_rng(0).normal(100, 10, (40, 1))
    few, many = Scores(draws[:10]).interval, Scores(draws).interval
    assert few[0] < 100 < few[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_one_seed_has_an_interval_over_its_episodes_and_says_so():
    scores = Scores(np.arange(100.0)[None])
    assert scores.over == "episodes"
    assert "over episodes" in str(scores)
    assert scores.interval[0] < 49.5 < scores.interval[1]


def test_every_episode_is_played_to_its_end_however_long_it_is():
    """Short episodes free an environment early; they must not be counted more often for that."""
    returns = polyak.evaluate(nothing, Counter, episodes=120).returns[0]
    alone = [Counter() for _ in range(120)]
    from polyak.envs.base import environment_seeds

    for env, seed in zip(alone, environment_seeds(1_000_000, 120), strict=True):
        env.reset(seed=seed)
    assert returns.tolist() == [env.length for env in alone]


def test_the_same_policy_has_the_same_score_twice():
    first, second = (polyak.evaluate(nothing, "CartPole-v1", episodes=7).returns for _ in range(2))
    assert np.array_equal(first, second)
    assert len(set(first[0])) > 1, "episodes begin with different seeds"


def test_no_episodes_is_a_mistake():
    with pytest.raises(polyak.Error, match="at least one"):
        polyak.evaluate(nothing, "CartPole-v1", episodes=0)


def test_a_function_sees_and_gives_members_of_spaces_with_parts():
    """The best answers to the probe's two cues, which pay 2; and something that is no answer."""

    def best(obs):
        return {"choice": obs["choice"]}, 0.5 * obs["inner"][0].reshape(-1, 1)

    assert polyak.evaluate(best, "probe/matched-parts", episodes=4).mean == 2.0
    with pytest.raises(BadSetting, match=r"part 0 has the parts \[\] and should have \['choice'\]"):
        polyak.evaluate(lambda obs: ({}, best(obs)[1]), "probe/matched-parts", episodes=2)
