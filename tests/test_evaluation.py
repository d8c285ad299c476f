"""Scores against numbers worked by hand, and episodes against environments whose return is known."""

import subprocess
import sys

import gymnasium
import jax
import numpy as np
import pytest

import polyak
from polyak import evaluation
from polyak.agent import Spec
from polyak.errors import BadSetting
from polyak.evaluation import Scores
from polyak.runs.progress import episodes_bar


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


class Chaos(gymnasium.Env):
    """A coupled logistic map: what the last bit of an action changes is all that there is after fifty steps."""

    observation_space = gymnasium.spaces.Box(0, 1, (6,), np.float32)
    steps = 80

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.clock = self.np_random.random(6), int(self.np_random.integers(20))
        return self.x.astype(np.float32), {}

    def step(self, action):
        self.x = 3.9 * self.x * (1 - self.x)
        self.x = (self.x + 0.01 * np.abs(np.sum(action)) * np.roll(self.x, 1)) % 1.0
        self.clock += 1
        return self.x.astype(np.float32), float(self.x[0]), self.clock >= self.steps, False, {}


NUMBERS, CHOICES = gymnasium.spaces.Box(-1.0, 1.0, (3,)), gymnasium.spaces.Discrete(3)
NETWORK = polyak.MLP((16,))
PLAYERS = {
    "numbers": (polyak.PPO(n_steps=8, batch_size=8, normalize_observation=True, network=NETWORK), NUMBERS),
    "memory": (polyak.RecurrentDQN(network=polyak.Recurrent(NETWORK, "lstm", 8)), CHOICES),
}


def player(name: str, num_envs: int = 4) -> polyak.Policy:
    algorithm, actions = PLAYERS[name]
    spec = Spec(Chaos.observation_space, actions, num_envs, None, 1000)
    agent = algorithm.agent(spec)
    state = agent.policy(agent.init(jax.random.key(0)))
    return polyak.Policy(algorithm, spec, jax.tree.map(lambda leaf: 5 * leaf, state), "chaos")


@pytest.mark.parametrize("name", PLAYERS)
def test_the_returns_do_not_depend_on_how_many_episodes_are_played_side_by_side(name):
    policy = player(name)
    returns = [
        polyak.evaluate(policy, lambda: Chaos(PLAYERS[name][1]), episodes=52, num_envs=num_envs).returns.tolist()
        for num_envs in (1, 3, 50)
    ]
    assert returns[0] == returns[1] == returns[2]
    assert len(set(returns[0][0])) == 52


class Opened(Counter):
    """Counts how many are open, and starts a process if told to."""

    now = most = 0
    starts = False

    def __init__(self):
        Opened.now += 1
        Opened.most = max(Opened.most, Opened.now)
        self.process = (
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) if self.starts else None
        )

    def close(self):
        Opened.now -= 1
        if self.process:
            self.process.communicate()


class Heavy(Opened):
    action_space = NUMBERS
    observation_space = Chaos.observation_space

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(6, np.float32), {}

    def step(self, action):
        return np.zeros(6, np.float32), 1.0, True, False, {}


@pytest.mark.parametrize(
    ("policy", "env", "light_seconds", "starts", "most"),
    [
        (nothing, Opened, 60.0, False, 50),
        (nothing, Opened, 0.0, False, 8),
        (nothing, Opened, 60.0, True, 8),
        (player("numbers", 64), Heavy, 0.0, False, 8),
        (player("numbers", 2), Heavy, 0.0, False, 2),
        (player("numbers", 2), Heavy, 60.0, False, 50),
    ],
    ids=["light", "slow to make", "starts a process", "trained with many", "trained with two", "light for a policy"],
)
def test_many_environments_are_opened_only_where_they_are_light(policy, env, light_seconds, starts, most, monkeypatch):
    if starts and not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells of processes")
    monkeypatch.setattr(evaluation, "LIGHT_SECONDS", light_seconds)
    monkeypatch.setattr(Opened, "starts", starts)
    monkeypatch.setattr(Opened, "most", 0)
    assert polyak.evaluate(policy, env, episodes=60).returns.shape == (1, 60)
    assert (Opened.now, Opened.most) == (0, most)


def test_progress_tells_of_every_episode_that_ends():
    told = []
    polyak.evaluate(nothing, Counter, episodes=7, num_envs=3, progress=lambda *counts: told.append(counts))
    assert told == [(finished, 7) for finished in range(8)]


def test_progress_is_shown_in_a_terminal_and_nowhere_else(monkeypatch, capsys):
    for is_terminal in (True, False):
        monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))  # takes rich's word for it
        with episodes_bar() as progress:
            progress(3, 7)
        assert ("3/7" in capsys.readouterr().err) == is_terminal


def test_an_episode_is_cut_only_where_no_time_limit_allows_it_to_be_longer(monkeypatch):
    class Endless(Counter):
        def reset(self, seed=None, options=None):
            obs, info = super().reset(seed=seed)
            self.length = 1_000
            return obs, info

    class Long(Endless):
        max_episode_steps = 40

    monkeypatch.setattr(evaluation, "LONGEST", 27)
    assert polyak.evaluate(nothing, Endless, episodes=2).returns.tolist() == [[27.0, 27.0]]
    assert polyak.evaluate(nothing, Long, episodes=2).returns.tolist() == [[40.0, 40.0]]


def test_a_function_may_give_a_list():
    given = [polyak.evaluate(policy, "CartPole-v1", episodes=3) for policy in (nothing, lambda obs: [0] * len(obs))]
    assert np.array_equal(given[0].returns, given[1].returns)


@pytest.mark.parametrize(
    "policy",
    [lambda obs: 0, lambda obs: [0], lambda obs: np.zeros((len(obs), 1), int), lambda obs: [[0], [0, 1], 0],
     lambda obs: None, lambda obs: "abc"],
    ids=["one number", "too few", "a column", "ragged", "nothing", "text"],
)  # fmt: skip
def test_what_is_no_batch_of_actions_is_refused_in_a_sentence(policy):
    with pytest.raises(BadSetting, match="CartPole-v1") as caught:
        polyak.evaluate(policy, "CartPole-v1", episodes=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "env", ["gymnax:Catch-bsuite", "probe/two-steps", polyak.MDP.random_walk(3)], ids=["gymnax", "probe", "MDP"]
)
def test_a_compiled_environment_is_compiled_once_however_often_it_is_evaluated(env, caplog):
    with jax.log_compiles():
        for _ in range(2):
            polyak.evaluate(nothing, env, episodes=4)
    for name in ("reset", "step", "noise"):
        assert sum(message.startswith(f"Compiling jit({name})") for message in caplog.messages) <= 1
