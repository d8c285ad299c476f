"""Prediction with tables: each against the loop of the textbook, against each other, and against linear equations."""

import dataclasses
from functools import cache

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak import settings
from polyak.agent import Spec, Step
from polyak.algorithms.planning.policy_evaluation import policy_evaluation_exact
from polyak.algorithms.planning.solution import uniform
from polyak.algorithms.planning.value_iteration import value_iteration
from polyak.algorithms.tabular.lambda_return import LambdaReturn
from polyak.algorithms.tabular.monte_carlo_prediction import MonteCarloPrediction
from polyak.algorithms.tabular.n_step_td import NStepTD
from polyak.algorithms.tabular.q_learning import QLearning
from polyak.algorithms.tabular.td import TD
from polyak.algorithms.tabular.td_lambda import TDLambda
from polyak.envs.mdp import MDP
from polyak.errors import BadSetting
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.policies import TabularPolicy
from polyak.parts.schedules import StepSize
from tests.algorithms.histories import episodes_of, learnt_from, learnt_from_block, spec_of, trained, walk

GAMMA = 0.9
STEPPING, BLOCKWISE = (TD, NStepTD, TDLambda), (MonteCarloPrediction, LambdaReturn)
every_kind = pytest.mark.parametrize("kind", (*STEPPING, *BLOCKWISE))
PLAIN = {"learning_rate": 0.2, "gamma": GAMMA, "initial_value": 0.5}


def table() -> np.ndarray:
    return np.full(16, 0.5)


# ---- the loop of the textbook


def test_td_is_the_loop_of_the_textbook():
    v, steps = table(), walk()
    for s, _, r, terminated, _, s_next in steps:
        v[s] += 0.2 * (r + GAMMA * (1 - terminated) * v[s_next] - v[s])
    np.testing.assert_allclose(learnt_from(TD(**PLAIN), steps)[-1].v, v, atol=1e-5)


@pytest.mark.parametrize(("size", "text"), [(StepSize(1.0, power=0.8), "1/n^0.8"), (StepSize(0.5, 0.1), "0.5:0.1")])
def test_step_sizes_fall_with_visits_or_with_time(size, text):
    v, visits, steps = table(), np.zeros(16), walk()
    for t, (s, _, r, terminated, _, s_next) in enumerate(steps):
        visits[s] += 1
        alpha = visits[s] ** -0.8 if size.counts else 0.5 - 0.4 * (t + 1) / len(steps)
        v[s] += alpha * (r + GAMMA * (1 - terminated) * v[s_next] - v[s])
    algorithm = settings.build("td", PLAIN | {"learning_rate": text})
    assert algorithm == TD(**PLAIN | {"learning_rate": size})
    np.testing.assert_allclose(learnt_from(algorithm, steps)[-1].v, v, atol=1e-5)


def test_n_step_td_is_the_loop_of_the_textbook():
    v, steps, n, waiting = table(), walk(), 3, []
    for s, _, r, terminated, truncated, s_next in steps:
        waiting.append((s, r))
        follows = (1 - terminated) * v[s_next]
        while waiting and (terminated or truncated or len(waiting) == n):
            g = sum(GAMMA**k * r for k, (_, r) in enumerate(waiting)) + GAMMA ** len(waiting) * follows
            s, _ = waiting.pop(0)
            v[s] += 0.2 * (g - v[s])
    np.testing.assert_allclose(learnt_from(NStepTD(**PLAIN, n_steps=n), steps)[-1].v, v, atol=1e-5)


@pytest.mark.parametrize("replacing", [False, True])
def test_traces_are_those_of_the_textbook(replacing):
    v, trace, steps = table(), np.zeros(16), walk()
    for s, _, r, terminated, truncated, s_next in steps:
        error = r + GAMMA * (1 - terminated) * v[s_next] - v[s]
        trace[s] = 1.0 if replacing else trace[s] + 1.0
        v += 0.2 * error * trace
        trace *= 0.0 if terminated or truncated else GAMMA * 0.8
    algorithm = TDLambda(**PLAIN, trace_lambda=0.8, replacing_traces=replacing)
    np.testing.assert_allclose(learnt_from(algorithm, steps)[-1].v, v, atol=1e-5)


@pytest.mark.parametrize("first_visit", [True, False])
def test_monte_carlo_is_the_mean_of_returns(first_visit):
    """A cut episode's return goes on with the value that was known before, 1/2."""
    returns = {}
    for episode in episodes_of(walk()):
        visited = [s for s, *_ in episode]
        rest = 0.0 if episode[-1][3] else 0.5
        for t, s in enumerate(visited):
            if not first_visit or s not in visited[:t]:
                rewards = [step[2] for step in episode[t:]]
                g = sum(GAMMA**k * r for k, r in enumerate([*rewards, rest]))
                returns.setdefault(s, []).append(g)
    algorithm = MonteCarloPrediction(n_steps=400, gamma=GAMMA, initial_value=0.5, first_visit=first_visit)
    learnt = learnt_from_block(algorithm)
    for s, seen in returns.items():
        assert learnt.v[s] == pytest.approx(np.mean(seen), abs=1e-4)
        assert learnt.visits[s] == len(seen)
    assert learnt.visits.sum() == sum(map(len, returns.values()))


def test_the_lambda_return_is_the_mean_of_all_n_step_returns():
    """As it is defined, a sum over n (equation 12.3), not as it is computed."""
    v, before, lam = table(), table(), 0.7
    for episode in episodes_of(walk()):
        after = np.array([(1 - terminated) * before[s_next] for _, _, _, terminated, _, s_next in episode])
        rewards = [step[2] for step in episode]
        for t, (s, *_) in enumerate(episode):
            most = len(episode) - t
            n_step = [
                sum(GAMMA**k * rewards[t + k] for k in range(n)) + GAMMA**n * after[t + n - 1]
                for n in range(1, most + 1)
            ]
            weights = [(1 - lam) * lam ** (n - 1) for n in range(1, most)] + [lam ** (most - 1)]
            v[s] += 0.2 * (np.dot(weights, n_step) - v[s])
    learnt = learnt_from_block(LambdaReturn(**PLAIN, n_steps=400, trace_lambda=lam))
    np.testing.assert_allclose(learnt.v, v, atol=1e-5)


# ---- where two of them meet


def test_one_step_and_no_trace_are_td():
    wanted = learnt_from(TD(**PLAIN), walk(150))[-1].v
    for algorithm in (NStepTD(**PLAIN, n_steps=1), TDLambda(**PLAIN, trace_lambda=0.0)):
        np.testing.assert_allclose(learnt_from(algorithm, walk(150))[-1].v, wanted, atol=1e-6)


def test_a_lambda_of_one_is_monte_carlo_with_a_step_size_that_stays():
    whole = learnt_from_block(LambdaReturn(**PLAIN, n_steps=400, trace_lambda=1.0))
    every = learnt_from_block(MonteCarloPrediction(**PLAIN, n_steps=400, first_visit=False))
    np.testing.assert_allclose(whole.v, every.v, atol=1e-6)


# ---- values that are known


@cache
def walked(kind, seeds):
    """The states after walks over five states, the same whichever test asks first."""
    block = {"n_steps": 200} if kind in BLOCKWISE else {}
    algorithm = kind(learning_rate=StepSize(1.0, power=0.7), gamma=1.0, **block)
    return trained(algorithm, MDP.random_walk(5), 30_000, seeds)[0]


@every_kind
def test_the_values_of_the_random_walk_are_those_of_the_equations(kind):
    mdp = MDP.random_walk(5)
    wanted = policy_evaluation_exact(mdp, uniform(mdp), 1.0).values
    np.testing.assert_allclose(wanted[1:-1], np.arange(1, 6) / 6)
    np.testing.assert_allclose(walked(kind, 8).v.mean(0)[1:-1], wanted[1:-1], atol=0.02)


@pytest.mark.parametrize("form", ["actions", "probabilities"])
def test_the_policy_that_is_given_is_the_one_that_is_judged(form):
    mdp = MDP.from_grid("S.. .#. ..G", slip=0.2, step=-1.0, goal=5.0, max_episode_steps=40)
    policy = value_iteration(mdp, GAMMA).policy
    if form == "probabilities":
        policy = 0.6 * np.eye(4)[policy] + 0.1
    wanted = policy_evaluation_exact(mdp, policy, GAMMA).values
    size = StepSize(1.0, power=0.7)
    state, _ = trained(TD(policy=TabularPolicy(policy), learning_rate=size, gamma=GAMMA), mdp, 400_000)
    followed = state.visits[0] > 8_000
    assert followed.sum() >= 4
    np.testing.assert_allclose(state.v[0][followed], wanted[followed], atol=0.15)


@pytest.mark.slow
@every_kind
def test_a_cut_by_the_clock_is_not_taken_for_an_end(kind):
    """Reward 1 for ever, cut after 8 steps: 1 / (1 - gamma) = 10, where an end would give less than 6."""
    endless = MDP.from_arrays(np.ones((1, 2, 1)), np.ones((1, 2)), max_episode_steps=8)
    block = {"n_steps": 16} if kind in BLOCKWISE else {}
    state, metrics = trained(kind(learning_rate=0.5, gamma=GAMMA, **block), endless, 3_200)
    np.testing.assert_allclose(state.v, 10.0, atol=0.05)
    assert metrics["episode_length"] == 8


# ---- the policy


@pytest.mark.parametrize(
    "policy",
    [
        TabularPolicy(),
        TabularPolicy([0, 1, 1]),
        TabularPolicy(np.array([2, 10])),
        TabularPolicy([[1 / 3, 2 / 3], [1e-7, 1 - 1e-7]]),
        TabularPolicy(np.eye(2, dtype=int)),
        TabularPolicy([[0.5, 0.5]]),
    ],
    ids=str,
)
def test_a_policy_has_a_text_form(policy):
    described = settings.describe(TD(policy=policy))
    assert described["policy"] == str(policy)
    assert settings.build("td", described) == TD(policy=policy)
    assert hash(policy) == hash(TabularPolicy(policy.table))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([[0.5, 0.4], [0.5, 0.5]], r"row for state 0 is \[0.5, 0.4\]; probabilities are 0 or more and sum to 1"),
        ([[0.5, 0.5], [1.5, -0.5]], "row for state 1"),
        ([[0.5, np.nan]], "row for state 0"),
        ([[0.5, 0.5], [1.0]], "rows differ in length"),
        ([0.0, 1.0], "an action a state, or probabilities"),
        ([[[1.0]]], r"shape \(1, 1, 1\)"),
        ([0, -1], "actions are numbered from 0"),
        ("0,1", "an action a state, or probabilities"),
    ],
)
def test_what_is_no_policy_is_refused(table, words):
    with pytest.raises(BadSetting, match=words):
        TabularPolicy(table)


@pytest.mark.parametrize("text", ["", "unifrom", "0,,1", "0.5,x", "0.5;0.5"])
def test_what_is_no_text_of_a_policy_is_refused(text):
    with pytest.raises(BadSetting, match="is not of the form uniform"):
        settings.build("td", {"policy": text})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([0, 1, 1], r"has shape \(3,\); this task needs \[7\] actions or \[7, 2\] probabilities"),
        ([[0.5, 0.5]], r"has shape \(1, 2\)"),
        ([0, 1, 1, 2, 0, 0, 0], "takes action 2; this task's are 0 to 1"),
    ],
)
def test_a_policy_for_another_task_is_refused(table, words):
    with pytest.raises(BadSetting, match=words):
        TD(policy=TabularPolicy(table)).agent(spec_of(MDP.random_walk(5), 100))


def test_actions_are_drawn_as_often_as_the_policy_says():
    pi = [[0.0, 0.25, 0.75, 0.0], [1.0, 0.0, 0.0, 0.0]]
    spec = Spec(gymnasium.spaces.Discrete(2, start=5), gymnasium.spaces.Discrete(4, start=1), 4_000, None, 100)
    agent = TD(policy=TabularPolicy(pi)).agent(spec)
    state, noise = agent.init(jax.random.key(0)), agent.noise(jax.random.key(1), (4_000,))
    for s, row in enumerate(pi):
        obs = jnp.full(4_000, 5 + s)
        drawn, _, _ = agent.act(state, (), obs, noise, True)
        np.testing.assert_allclose(np.bincount(drawn - 1, minlength=4) / 4_000, row, atol=0.03)
        assert not np.isin(drawn - 1, np.flatnonzero(np.array(row) == 0)).any()
        best, _, _ = agent.act(state, (), obs, noise, False)
        assert (best == 1 + np.argmax(row)).all(), "who does not explore takes the most probable action"


# ---- several seeds, environments and settings


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NStepTD, TDLambda, LambdaReturn])
def test_a_seed_among_others_learns_what_it_learns_alone(kind):
    for one, many in zip(jax.tree.leaves(walked(kind, 1)), jax.tree.leaves(walked(kind, 8)), strict=True):
        np.testing.assert_array_equal(one[0], many[0])


def test_environments_side_by_side_wait_for_their_own_returns():
    algorithm = NStepTD(gamma=1.0, n_steps=3, learning_rate=StepSize(1.0, power=0.9))
    state, _ = trained(algorithm, MDP.random_walk(3), 40_000, num_envs=4)
    np.testing.assert_allclose(state.v[0, 1:-1], [0.25, 0.5, 0.75], atol=0.03)


@pytest.mark.parametrize("kind", [TDLambda, LambdaReturn, QLearning])
def test_one_program_learns_with_many_settings(kind):
    """Numbers among the hyperparameters may be tracers: the agent is made inside the traced function."""
    more = {"trace_lambda": [0.9, 0.5]} if kind in (TDLambda, LambdaReturn) else {}
    numbers = {"learning_rate": [0.1, 0.5], "gamma": [1.0, 0.5], "initial_value": [0.5, 0.0], **more}
    base = kind(n_steps=60, learning_rate=0.1) if kind in BLOCKWISE else kind()
    shape = (60, 1) if kind in BLOCKWISE else (1, 1)

    def learnt(sweep):
        made = dict(sweep)
        if hasattr(base, "exploration"):
            made["exploration"] = EpsilonGreedy(made["gamma"])
            made["learning_rate"] = StepSize(made["learning_rate"], made["learning_rate"])
        agent = dataclasses.replace(base, **made).agent(spec_of(MDP.random_walk(3), 60))
        state, ones = agent.init(jax.random.key(0)), jnp.ones(shape, jnp.int32)
        noise = agent.noise(jax.random.key(1), (1,))
        _, _, extras = agent.act(state, agent.start(1), ones[0], noise, True)
        extras = jax.tree.map(lambda leaf: leaf[None], extras)
        never = ones == 0
        step = Step(ones, 0 * ones, ones.astype(jnp.float32), never, never, 2 * ones, extras)
        for _ in range(2):
            state, _ = agent.learn(agent.observe(state, step), step, jax.random.key(2))
        return state.v if hasattr(state, "v") else state.q

    many = jax.jit(jax.vmap(learnt))({name: jnp.array(values) for name, values in numbers.items()})
    for k, row in enumerate(many):
        alone = jax.jit(lambda k=k: learnt({name: values[k] for name, values in numbers.items()}))()
        np.testing.assert_allclose(row, alone, atol=1e-6)
    assert np.abs(many[0] - many[1]).max() > 0.01


# ---- what cannot work


@every_kind
def test_what_has_no_rows_is_refused(kind):
    box, two = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32), gymnasium.spaces.Discrete(2)
    with pytest.raises(BadSetting, match="needs discrete observations"):
        kind().agent(Spec(box, two, 1, None, 100))
    with pytest.raises(BadSetting, match="needs discrete actions"):
        kind().agent(Spec(two, box, 1, None, 100))
