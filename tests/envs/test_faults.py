"""What is expected of an environment from outside, and what is said when it does otherwise."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete

from polyak.envs import CompiledEnv, make, make_original, split
from polyak.envs.answers import all_finite
from polyak.envs.base import environment_seeds
from polyak.errors import BadSetting, EnvironmentFault, Error, UnknownName

OBS = np.zeros(2, np.float32)
GOOD = (OBS, 1.0, False, False, {})


class Custom(gymnasium.Env):
    """Answers well once, then what it is told to."""

    observation_space = Box(-1.0, 1.0, (2,), np.float32)
    action_space = Discrete(2)

    def __init__(self, answer=GOOD, first=(OBS, {})):
        self.answer, self.first = answer, first

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        if isinstance(self.first, Exception):
            raise self.first
        return self.first

    def step(self, action):
        self.steps += 1
        if self.steps == 1:
            return GOOD
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


FAULTS = {
    "reward None": ((OBS, None, False, False, {}), "reward", "a .*number"),
    "reward in words": ((OBS, "much", False, False, {}), "reward='much'", "a number"),
    "reward NaN": ((OBS, float("nan"), False, False, {}), "reward nan", "a finite number"),
    "reward infinite": ((OBS, float("inf"), False, False, {}), "reward inf", "a finite number"),
    "observation NaN": ((np.array([0.0, np.nan]), 0.0, False, False, {}), "NaN", "finite numbers"),
    "observation too long": ((np.zeros(3), 0.0, False, False, {}), r"shape \(3,\)", r"\(2,\), as in Box"),
    "observation None": ((None, 0.0, False, False, {}), r"shape \(\)", r"\(2,\), as in Box"),
    "observation in words": ((np.array(["a", "b"]), 0.0, False, False, {}), "observation is", "a member of Box"),
    "four values": ((OBS, 0.0, False, {}), "4 values", r"\(observation, reward, terminated, truncated, info\)"),
    "one value": (7, "int", r"\(observation, reward, terminated, truncated, info\)"),
    "nothing": (None, "NoneType", r"\(observation, reward, terminated, truncated, info\)"),
    "terminated in words": ((OBS, 0.0, "yes", False, {}), "terminated='yes'", "True or False"),
    "truncated an array": ((OBS, 0.0, False, np.array([True]), {}), "truncated=array", "True or False"),
    "step raises": (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero", "an observation"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_environment_step_and_expectation(fault):
    answer, what, expected = FAULTS[fault]

    def my_env():
        return Custom(answer)

    env = make(my_env, num_envs=1)
    env.reset(0)
    env.step(np.zeros(1, np.int32))
    with pytest.raises(
        EnvironmentFault, match=f"my_env, environment 0 of 1, step 2 .*{what}.*; expected {expected}"
    ) as told:
        env.step(np.zeros(1, np.int32))
    assert str(told.value).count("\n") == 0
    assert str(told.value).endswith(".")


def test_the_environment_at_fault_is_named_among_many():
    made = iter([Custom(), Custom(), Custom((OBS, float("nan"), False, False, {}))])
    env = make(lambda: next(made), num_envs=3)
    env.reset(0)
    env.step(np.zeros(3, np.int32))
    with pytest.raises(EnvironmentFault, match="environment 2 of 3"):
        env.step(np.zeros(3, np.int32))


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (ValueError("no such level"), "reset raised ValueError: no such level"),
        (OBS, "reset returned ndarray; expected a tuple"),
        ((np.full(2, np.nan, np.float32), {}), "reset returned an observation with NaN"),
        ((np.zeros(5, np.float32), {}), r"shape \(5,\)"),
    ],
    ids=["raises", "no tuple", "NaN", "shape"],
)
def test_a_fault_at_reset_is_told_too(first, what):
    env = make(lambda: Custom(first=first), num_envs=1)
    with pytest.raises(EnvironmentFault, match=f"step 0 .*{what}"):
        env.reset(0)


def test_the_cause_is_kept():
    env = make(lambda: Custom(first=ValueError("no such level")), num_envs=1)
    with pytest.raises(EnvironmentFault) as told:
        env.reset(0)
    assert isinstance(told.value.__cause__, ValueError)


def broken():
    raise RuntimeError("no display")


@pytest.mark.parametrize(
    ("env", "error", "says"),
    [
        ("Cartpole-v1", UnknownName, "did you mean CartPole-v1"),
        ("CartPole-v9", UnknownName, "did you mean CartPole-v1"),
        ("gymnax:Cartpole-v1", UnknownName, "did you mean CartPole-v1"),
        ("gymnaxx:CartPole-v1", UnknownName, "no kind of environment named 'gymnaxx'; did you mean gymnax"),
        ("probe/two-step", UnknownName, "no environment named 'probe/two-step'; did you mean probe/two-steps"),
        ("nothing like it", Error, "nothing like it"),
        (broken, EnvironmentFault, "broken could not be made: RuntimeError: no display"),
        (lambda: 7, EnvironmentFault, "returned int; expected a gymnasium.Env"),
        (7, BadSetting, "takes an id or a function"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_sentence(env, error, says):
    with pytest.raises(error, match=says):
        make(env)


def test_an_instance_is_refused_because_several_are_needed():
    with pytest.raises(BadSetting, match="takes an id or a function that returns one, not Custom"):
        make(Custom())


def test_it_takes_at_least_one_environment():
    with pytest.raises(BadSetting, match="num_envs is 0"):
        make("CartPole-v1", 0)


def test_make_finds_the_fastest_faithful_version():
    assert isinstance(make("CartPole-v1"), CompiledEnv)
    assert isinstance(make("probe/two-steps"), CompiledEnv)
    assert not isinstance(make("gymnasium:CartPole-v1"), CompiledEnv)
    assert split("gymnasium:CartPole-v1") == ("gymnasium", "CartPole-v1")
    assert split("MinAtar/Breakout-v1") == (None, "MinAtar/Breakout-v1")
    env = make("probe/two-steps")
    assert make(env) is env


def test_an_environment_forced_into_gymnasium_keeps_its_name():
    assert make("gymnasium:CartPole-v1").id == "CartPole-v1"
    assert make("gymnasium:probe/two-steps").id == "probe/two-steps"


def test_an_environment_that_takes_no_render_mode_is_made_by_its_id(monkeypatch):
    monkeypatch.setitem(gymnasium.registry, "Plain-v0", EnvSpec("Plain-v0", lambda: Custom()))
    assert make("Plain-v0").reset(0).shape == (1, 2)
    with pytest.raises(EnvironmentFault, match="Plain-v0 could not be made: TypeError"):
        make_original("Plain-v0", render_mode="rgb_array")


def test_the_original_of_a_twin_is_gymnasiums_own():
    assert make_original("CartPole-v1").spec.id == "CartPole-v1"
    assert make_original("gymnax:CartPole-v1").spec.id == "CartPole-v1"
    assert make_original("probe/two-steps").observation_space.shape == (1,)


@pytest.mark.parametrize("env", ["probe/two-steps", "gymnax:Catch-bsuite", "tic-tac-toe"])
def test_what_was_compiled_for_one_original_is_there_for_the_next(env, caplog):
    def play():
        original = make_original(env)
        original.reset(seed=0)
        original.step(0)

    play()
    with jax.log_compiles():
        play()
    assert not [record.message for record in caplog.records if "ompil" in record.message]


class Counter(gymnasium.Env):
    """Observes the steps since the reset, starting from a number that differs from episode to episode; ends as told."""

    observation_space = Box(0, 1000, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, terminates_at=None, truncates_at=None):
        self.terminates_at, self.truncates_at, self.episode = terminates_at, truncates_at, -1

    def reset(self, *, seed=None, options=None):
        self.episode, self.steps = self.episode + 1, 0
        return self.observe(), {}

    def observe(self):
        return np.array([100 * self.episode + self.steps], np.float32)

    def step(self, action):
        self.steps += 1
        return self.observe(), float(action), self.steps == self.terminates_at, self.steps == self.truncates_at, {}


def test_a_function_works_wherever_an_id_does():
    env = make(Counter, num_envs=2)
    assert (env.id, env.num_envs, env.max_episode_steps) == ("Counter", 2, None)
    assert env.reset(0).tolist() == [[0.0], [0.0]]
    outcome = env.step(np.array([0, 1], np.int32))
    assert outcome.next_obs.tolist() == [[1.0], [1.0]]
    assert outcome.reward.tolist() == [0.0, 1.0]
    assert [outcome.reward.dtype, outcome.terminated.dtype, outcome.truncated.dtype] == [np.float32, bool, bool]


def test_the_successor_is_true_and_the_next_episode_has_begun():
    made = iter([Counter(terminates_at=2), Counter(truncates_at=2), Counter()])
    env = make(lambda: next(made), num_envs=3)
    env.reset(0)
    actions = np.zeros(3, np.int32)
    env.step(actions)
    outcome = env.step(actions)
    assert outcome.next_obs.ravel().tolist() == [2.0, 2.0, 2.0]  # the true successors, all three
    assert outcome.obs.ravel().tolist() == [100.0, 100.0, 2.0]  # what the agent sees next
    assert outcome.terminated.tolist() == [True, False, False]
    assert outcome.truncated.tolist() == [False, True, False]
    outcome = env.step(actions)
    assert outcome.next_obs.ravel().tolist() == [101.0, 101.0, 3.0]  # no step was lost at the seam


def test_both_flags_may_be_set_at_once():
    env = make(lambda: Counter(terminates_at=1, truncates_at=1))
    env.reset(0)
    outcome = env.step(np.zeros(1, np.int32))
    assert (outcome.terminated.item(), outcome.truncated.item(), outcome.obs.item()) == (True, True, 100.0)


def test_a_seed_makes_all_that_follows_repeatable():
    def walk(env, seed):
        seen = [env.reset(seed)]
        for _ in range(60):  # several episodes
            seen.append(env.step(np.array([0, 1], np.int32)).obs)
        return np.stack(seen)

    env = make("gymnasium:CartPole-v1", 2)
    first, again, other = walk(env, 5), walk(env, 5), walk(env, 6)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0, 0] != first[0, 1]).any()  # the environments of one run differ


def test_environments_of_neighbouring_seeds_do_not_share_theirs():
    seeds = [seed for run in range(50) for seed in environment_seeds(run, 8)]
    assert len(set(seeds)) == len(seeds)


def test_the_clock_of_gymnasium_is_truncation():
    env = make("gymnasium:Pendulum-v1", 2)
    assert env.max_episode_steps == 200
    env.reset(0)
    outcomes = [env.step(np.zeros((2, 1), np.float32)) for _ in range(201)]
    assert [t for t, outcome in enumerate(outcomes, 1) if outcome.truncated.any()] == [200]
    assert not any(outcome.terminated.any() for outcome in outcomes)


@pytest.fixture(scope="module")
def pool_history():
    """The first observations, then for each step what the agent saw and what came of it."""
    pytest.importorskip("envpool")
    env = make("envpool:CartPole-v1", num_envs=5)
    random = np.random.default_rng(0)
    before, outcomes = env.reset(7), []
    first = before
    for _ in range(120):
        outcome = env.step(random.integers(0, 2, 5).astype(np.int32))
        outcomes.append((before.copy(), outcome))
        before = outcome.obs
    env.close()
    return first, outcomes


class TestEnvPool:
    """EnvPool resets one step late by itself; the adapter must not let that step through."""

    def test_every_step_starts_from_what_the_agent_saw(self, pool_history):
        """CartPole moves by x' = x + 0.02 v: a phantom step, or rows in the wrong order, would break it."""
        for before, outcome in pool_history[1]:
            np.testing.assert_allclose(outcome.next_obs[:, 0], before[:, 0] + 0.02 * before[:, 1], atol=1e-5)
            np.testing.assert_allclose(outcome.next_obs[:, 2], before[:, 2] + 0.02 * before[:, 3], atol=1e-5)

    def test_the_successor_is_true_and_the_next_episode_has_begun(self, pool_history):
        ends = 0
        for _, outcome in pool_history[1]:
            over = outcome.terminated | outcome.truncated
            ends += over.sum()
            fallen = (np.abs(outcome.next_obs[:, 2]) > np.deg2rad(12)) | (np.abs(outcome.next_obs[:, 0]) > 2.4)
            np.testing.assert_array_equal(outcome.terminated, fallen)  # also: flags are not overwritten by later steps
            assert (np.abs(outcome.obs[over]) <= 0.05).all()  # CartPole starts within 0.05
            np.testing.assert_array_equal(outcome.obs[~over], outcome.next_obs[~over])
        assert ends > 15

    def test_a_seed_makes_the_episodes_repeatable(self, pool_history):
        env = make("envpool:CartPole-v1", num_envs=5)
        assert (env.reset(8) != pool_history[0]).any()
        np.testing.assert_array_equal(env.reset(7), pool_history[0])
        env.close()

    def test_the_clock_is_truncation(self):
        pytest.importorskip("envpool")
        env = make("envpool:Pendulum-v1", num_envs=2)
        assert env.max_episode_steps == 200
        env.reset(0)
        outcomes = [env.step(np.zeros((2, 1), np.float32)) for _ in range(201)]
        assert [t for t, outcome in enumerate(outcomes, 1) if outcome.truncated.any()] == [200]
        assert not any(outcome.terminated.any() for outcome in outcomes)
        env.close()

    def test_unknown_ids_are_told_with_the_nearest(self):
        pytest.importorskip("envpool")
        with pytest.raises(UnknownName, match="did you mean CartPole-v1"):
            make("envpool:Cartpole-v1")


def test_large_numbers_are_not_taken_for_infinite_ones():
    """Their squares overflow; they themselves are finite."""
    large = np.full(3, 3e38, np.float32)
    assert all_finite(large)
    for wrong in (np.nan, np.inf, -np.inf):
        assert not all_finite(np.array([1.0, wrong], np.float32))
        assert not all_finite(np.append(large, np.float32(wrong)))
