"""Learners with tables: each against the loop of the textbook, against values that are known, and against planning."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.planning.backward_induction import expected_return
from polyak.algorithms.planning.policy_evaluation import policy_evaluation_exact
from polyak.algorithms.planning.policy_iteration import policy_iteration
from polyak.algorithms.tabular.double_q_learning import DoubleQLearning
from polyak.algorithms.tabular.dyna_q import DynaQ
from polyak.algorithms.tabular.expected_sarsa import ExpectedSARSA
from polyak.algorithms.tabular.monte_carlo import MonteCarlo
from polyak.algorithms.tabular.n_step_sarsa import NStepSARSA
from polyak.algorithms.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo
from polyak.algorithms.tabular.q_lambda import QLambda
from polyak.algorithms.tabular.q_learning import QLearning
from polyak.algorithms.tabular.sarsa import SARSA
from polyak.algorithms.tabular.sarsa_lambda import SARSALambda
from polyak.algorithms.tabular.tabular_cem import TabularCEM
from polyak.engines.compiled import CompiledEngine
from polyak.envs.mdp import MDP
from polyak.errors import BadSetting
from polyak.parts.exploration import UCB, Boltzmann, EpsilonGreedy, NoisyGreedy
from polyak.parts.schedules import StepSize
from tests.algorithms.histories import episodes_of, learnt_from, learnt_from_block, spec_of, trained, walk

GAMMA = 0.9
KINDS = (SARSA, ExpectedSARSA, NStepSARSA, SARSALambda, QLearning, DoubleQLearning, QLambda, DynaQ)
every_kind = pytest.mark.parametrize("kind", KINDS)


def values_of(state) -> np.ndarray:
    """[seeds, S, A] what the tables say; double Q-learning has two."""
    return state.q.mean(1) if state.q.ndim == 4 else state.q


# ---- the loop of the textbook


def test_q_learning_is_the_loop_of_the_textbook():
    q, steps = np.zeros((16, 4)), walk()
    for s, a, r, terminated, _, s_next in steps:
        q[s, a] += 0.2 * (r + GAMMA * (1 - terminated) * q[s_next].max() - q[s, a])
    learnt = learnt_from(QLearning(learning_rate=0.2, gamma=GAMMA), steps)
    np.testing.assert_allclose(learnt[-1].q, q, atol=1e-5)


def test_averaging_step_sizes_count_visits():
    q, visits, steps = np.zeros((16, 4)), np.zeros((16, 4)), walk()
    for s, a, r, terminated, _, s_next in steps:
        visits[s, a] += 1
        q[s, a] += visits[s, a] ** -0.8 * (r + GAMMA * (1 - terminated) * q[s_next].max() - q[s, a])
    learnt = learnt_from(QLearning(learning_rate=StepSize(1.0, power=0.8), gamma=GAMMA), steps)
    np.testing.assert_allclose(learnt[-1].q, q, atol=1e-5)
    np.testing.assert_array_equal(learnt[-1].visits, visits)


def test_expected_sarsa_is_the_loop_of_the_textbook():
    q, steps, epsilon = np.zeros((16, 4)), walk(), 0.3
    for s, a, r, terminated, _, s_next in steps:
        best = q[s_next] == q[s_next].max()
        pi = epsilon / 4 + (1 - epsilon) * best / best.sum()
        q[s, a] += 0.2 * (r + GAMMA * (1 - terminated) * pi @ q[s_next] - q[s, a])
    algorithm = ExpectedSARSA(learning_rate=0.2, gamma=GAMMA, exploration=EpsilonGreedy(epsilon))
    np.testing.assert_allclose(learnt_from(algorithm, steps)[-1].q, q, atol=1e-5)


A_NEXT = np.random.default_rng(1).integers(4, size=400)
ALWAYS_EXPLORING = {"learning_rate": 0.2, "gamma": GAMMA, "exploration": EpsilonGreedy(1.0)}


def told(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with which one who always explores takes that action next."""
    return np.zeros((1, 1), np.float32), np.array([[(A_NEXT[t] + 0.5) / 4]], np.float32)


def test_sarsa_is_the_loop_of_the_textbook():
    q, steps = np.zeros((16, 4)), walk()
    for (s, a, r, terminated, _, s_next), a_next in zip(steps, A_NEXT, strict=True):
        q[s, a] += 0.2 * (r + GAMMA * (1 - terminated) * q[s_next, a_next] - q[s, a])
    states = learnt_from(SARSA(**ALWAYS_EXPLORING), steps, extras=told)
    np.testing.assert_allclose(states[-1].q, q, atol=1e-5)
    assert all(state.next_action == a_next for state, a_next in zip(states, A_NEXT, strict=True))
    assert all(state.fresh == (step[3] or step[4]) for state, step in zip(states, steps, strict=True))


def test_n_step_sarsa_is_the_loop_of_the_textbook():
    q, steps, n, waiting = np.zeros((16, 4)), walk(), 3, []
    for (s, a, r, terminated, truncated, s_next), a_next in zip(steps, A_NEXT, strict=True):
        waiting.append((s, a, r))
        follows = (1 - terminated) * q[s_next, a_next]
        while waiting and (terminated or truncated or len(waiting) == n):
            g = sum(GAMMA**k * r for k, (_, _, r) in enumerate(waiting)) + GAMMA ** len(waiting) * follows
            s, a, _ = waiting.pop(0)
            q[s, a] += 0.2 * (g - q[s, a])
    states = learnt_from(NStepSARSA(**ALWAYS_EXPLORING, n_steps=n), steps, extras=told)
    np.testing.assert_allclose(states[-1].q, q, atol=1e-5)


def test_one_step_of_n_step_sarsa_is_sarsa():
    one = learnt_from(NStepSARSA(**ALWAYS_EXPLORING, n_steps=1), walk(), extras=told)
    np.testing.assert_allclose(one[-1].q, learnt_from(SARSA(**ALWAYS_EXPLORING), walk(), extras=told)[-1].q, atol=1e-5)


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("kind", [SARSALambda, QLambda])
def test_traces_are_those_of_the_textbook(kind, replacing):
    q, trace, steps = np.zeros((16, 4)), np.zeros((16, 4)), walk()
    for (s, a, r, terminated, truncated, s_next), a_next in zip(steps, A_NEXT, strict=True):
        greedy = q[s_next, a_next] == q[s_next].max()
        follows = q[s_next].max() if kind is QLambda else q[s_next, a_next]
        error = r + GAMMA * (1 - terminated) * follows - q[s, a]
        trace[s, a] = 1.0 if replacing else trace[s, a] + 1.0
        q += 0.2 * error * trace
        trace *= GAMMA * 0.8
        if terminated or truncated or (kind is QLambda and not greedy):
            trace[:] = 0.0
    algorithm = kind(**ALWAYS_EXPLORING, trace_lambda=0.8, replacing_traces=replacing)
    np.testing.assert_allclose(learnt_from(algorithm, steps, extras=told)[-1].q, q, atol=1e-5)


def test_dyna_q_plans_with_what_it_has_seen():
    q, visits, rewards, onward = (np.zeros(shape) for shape in ((16, 4), (16, 4), (16, 4), (16, 4, 16)))
    seen, steps = [], walk()
    for t, (s, a, r, terminated, _, s_next) in enumerate(steps):
        q[s, a] += 0.2 * (r + GAMMA * (1 - terminated) * q[s_next].max() - q[s, a])
        seen += [(s, a)] if visits[s, a] == 0 else []
        visits[s, a] += 1
        rewards[s, a] += r
        onward[s, a, s_next] += 1 - terminated
        for draw in jax.random.uniform(jax.random.key(t), (1, 5))[0]:
            s, a = seen[int(draw * len(seen))]
            q[s, a] = (rewards[s, a] + GAMMA * onward[s, a] @ q.max(1)) / visits[s, a]
    learnt = learnt_from(DynaQ(learning_rate=0.2, gamma=GAMMA, planning_steps=5), steps)
    np.testing.assert_allclose(learnt[-1].q, q, atol=1e-4)


def test_sarsa_takes_the_action_that_it_learnt_from_unless_an_episode_begins():
    agent = SARSA(exploration=EpsilonGreedy(0.0)).agent(spec_of(MDP.from_gymnasium("FrozenLake-v1"), 100, num_envs=2))
    state = agent.init(jax.random.key(0))
    state = state._replace(next_action=jnp.array([3, 3]), fresh=jnp.array([False, True]))
    state = state._replace(q=state.q.at[:, 1].set(1.0))
    action, _, _ = agent.act(state, (), jnp.array([5, 5]), agent.noise(jax.random.key(1), (2,)), True)
    assert action.tolist() == [3, 1]


def test_double_q_learning_is_the_loop_of_the_paper():
    q, steps, coins = np.zeros((2, 16, 4)), walk(), np.random.default_rng(2).integers(0, 2, 400)
    for (s, a, r, terminated, _, s_next), i in zip(steps, coins, strict=True):
        best = q[i, s_next].argmax()
        q[i, s, a] += 0.2 * (r + GAMMA * (1 - terminated) * q[1 - i, s_next, best] - q[i, s, a])
    learnt = learnt_from(DoubleQLearning(learning_rate=0.2, gamma=GAMMA), steps, lambda t: coins[t][None, None])
    np.testing.assert_allclose(learnt[-1].q, q, atol=1e-5)


@pytest.mark.parametrize("first_visit", [True, False])
def test_monte_carlo_is_the_mean_of_returns(first_visit):
    """Values are 0 when the block is learnt from, so that a cut episode's return is what was paid in it."""
    returns = {}
    for episode in episodes_of(walk()):
        visited = [(s, a) for s, a, *_ in episode]
        for t, pair in enumerate(visited):
            if not first_visit or pair not in visited[:t]:
                g = sum(GAMMA**k * step[2] for k, step in enumerate(episode[t:]))
                returns.setdefault(pair, []).append(g)
    learnt = learnt_from_block(MonteCarlo(n_steps=400, gamma=GAMMA, first_visit=first_visit))
    for (s, a), seen in returns.items():
        assert learnt.q[s, a] == pytest.approx(np.mean(seen), abs=1e-4)
        assert learnt.visits[s, a] == len(seen)
    assert learnt.visits.sum() == sum(map(len, returns.values()))


def test_off_policy_monte_carlo_is_the_loop_of_the_textbook():
    q, c, b = np.zeros((16, 4)), np.zeros((16, 4)), 0.25
    for episode in reversed(episodes_of(walk())):
        g = 0.0 if episode[-1][3] else q[episode[-1][5]].max()
        w = 1.0
        for s, a, r, *_ in reversed(episode):
            g = GAMMA * g + r
            c[s, a] += w
            q[s, a] += w / c[s, a] * (g - q[s, a]) if c[s, a] else 0.0
            w = w / b if q[s].argmax() == a else 0.0
    algorithm = OffPolicyMonteCarlo(n_steps=400, gamma=GAMMA)
    learnt = learnt_from_block(algorithm, extras=np.full((400, 1), b, np.float32))
    np.testing.assert_allclose(learnt.weight, c, rtol=1e-4)
    np.testing.assert_allclose(learnt.q, q, atol=1e-3)


def test_exploring_starts_begin_with_any_action_and_are_greedy_after():
    agent = MonteCarlo(exploring_starts=True).agent(spec_of(MDP.from_gymnasium("FrozenLake-v1"), 100, num_envs=2))
    state = agent.init(jax.random.key(0))
    state = state._replace(q=state.q.at[:, 1].set(1.0))
    noise = agent.noise(jax.random.key(1), (2,))._replace(first=jnp.array([3, 3]))
    action, begins, _ = agent.act(state, jnp.array([True, False]), jnp.array([5, 5]), noise, True)
    assert action.tolist() == [3, 1]
    assert not begins.any()
    assert agent.start(2).all()


def test_the_cross_entropy_method_counts_what_the_best_did():
    """Two sessions of two steps in the first two states: one earns 1, the other 0; half of them are imitated."""
    algorithm = TabularCEM(session_length=2, elite_share=0.5, learning_rate=0.5, smoothing=0.25)
    agent = algorithm.agent(spec_of(MDP.from_gymnasium("FrozenLake-v1"), 100, num_envs=2))
    none = np.zeros((2, 2), bool)
    block = Step(
        obs=np.array([[0, 0], [1, 1]]),
        action=np.array([[2, 3], [1, 0]]),
        reward=np.array([[0.0, 0.0], [1.0, 0.0]], np.float32),
        terminated=none, truncated=none, next_obs=np.array([[1, 1], [1, 1]]), extras=(),
    )  # fmt: skip
    state, _ = agent.learn(agent.init(jax.random.key(0)), block, jax.random.key(0))
    imitated = np.array([0.25, 0.25, 1.25, 0.25]) / 2  # one choice and a quarter imagined ones
    np.testing.assert_allclose(state.pi[0], (0.25 + imitated) / 2, atol=1e-6)
    np.testing.assert_allclose(state.pi[1], (0.25 + imitated[[0, 2, 1, 3]]) / 2, atol=1e-6)
    np.testing.assert_allclose(state.pi[2], 0.25)  # where none of the best has been


# ---- values that are known


def chain(rewards, limit=None) -> MDP:
    """States in a row that end after the last; `rewards` [S, A] whatever one does moves on."""
    rewards = np.array(rewards, float)
    states, actions = rewards.shape
    P = np.zeros((states + 1, actions, states + 1))
    P[np.arange(states), :, np.arange(states) + 1] = 1.0
    P[-1, :, -1] = 1.0
    return MDP.from_arrays(P, np.vstack([rewards, np.zeros(actions)]), terminal=[states], max_episode_steps=limit)


@pytest.mark.slow
@every_kind
def test_what_is_earned_later_is_discounted(kind):
    algorithm = kind(learning_rate=0.5, gamma=GAMMA, exploration=EpsilonGreedy(1.0))
    state, _ = trained(algorithm, chain([[0, 0], [1, 1]]), 400)
    np.testing.assert_allclose(values_of(state)[0, :2], [[GAMMA] * 2, [1, 1]], atol=1e-3)


@pytest.mark.slow
@every_kind
def test_a_cut_by_the_clock_is_not_taken_for_an_end(kind):
    """Reward 1 for ever, cut after 8 steps: 1 / (1 - gamma) = 10, where an end would give 4.7."""
    endless = MDP.from_arrays(np.ones((1, 2, 1)), np.ones((1, 2)), max_episode_steps=8)
    state, metrics = trained(kind(learning_rate=0.5, gamma=GAMMA), endless, 3_000)
    np.testing.assert_allclose(values_of(state), 10.0, atol=0.05)
    assert metrics["episode_length"] == 8


@pytest.mark.parametrize("n", [1, 8])
def test_the_td_error_is_that_of_a_corrected_step_however_many_wait(n):
    endless = MDP.from_arrays(np.ones((1, 2, 1)), np.ones((1, 2)), max_episode_steps=8)
    _, metrics = trained(NStepSARSA(n_steps=n, learning_rate=1e-9, gamma=0.0), endless, 160)
    assert metrics["td_error"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "exploration", [EpsilonGreedy(1.0, 0.1, 0.5), Boltzmann(0.5), NoisyGreedy(2.0, 0.1), UCB(1.0)], ids=lambda e: e.name
)
def test_every_way_to_explore_finds_the_better_action(exploration):
    """The worse action first seems better, for it pays at once."""
    P = np.zeros((3, 2, 3))
    P[0, 0, 2] = P[0, 1, 1] = P[1, :, 2] = P[2, :, 2] = 1.0
    mdp = MDP.from_arrays(P, [[0.5, 0.0], [1.0, 1.0], [0.0, 0.0]], terminal=[2])
    state, _ = trained(QLearning(learning_rate=0.1, gamma=GAMMA, exploration=exploration), mdp, 2_000, seeds=4)
    assert (values_of(state)[:, 0].argmax(-1) == 1).all()


def test_an_expectation_wants_probabilities_that_are_known():
    with pytest.raises(BadSetting, match="no closed form"):
        trained(ExpectedSARSA(exploration=NoisyGreedy(2.0, 0.1)), chain([[0, 0]]), 10)


def test_an_optimistic_start_tries_everything():
    mdp = chain([[0, 0, 0, 1]])
    greedy = QLearning(learning_rate=0.1, exploration=EpsilonGreedy(0.0), gamma=GAMMA)
    hopeful, _ = trained(dataclasses.replace(greedy, initial_value=2.0), mdp, 300, seeds=8)
    assert (hopeful.q[:, 0].argmax(-1) == 3).all()
    assert (hopeful.q[:, 0] < 2.0).all()


@pytest.mark.slow
def test_q_learning_learns_the_best_policy_and_sarsa_the_value_of_its_own():
    """Against linear equations: SARSA's values are those of the epsilon-greedy policy that it follows."""
    mdp = MDP.from_grid("S.. .#. ..G", slip=0.2, step=-1.0, goal=5.0)
    settings = {"learning_rate": StepSize(1.0, power=0.7), "gamma": GAMMA, "exploration": EpsilonGreedy(0.3)}
    best = policy_iteration(mdp, GAMMA)
    followed = np.eye(4)[best.policy] * 0.7 + 0.3 / 4  # with these numbers the same actions stay best
    own = policy_evaluation_exact(mdp, followed, GAMMA).q
    inner = ~mdp.terminal
    on_policy, off_policy = (SARSA, ExpectedSARSA), (QLearning, DoubleQLearning, DynaQ)
    for kind, wanted in [(kind, own) for kind in on_policy] + [(kind, best.q) for kind in off_policy]:
        state, _ = trained(kind(**settings), mdp, 100_000)
        error = np.abs(values_of(state) - wanted)[:, inner]
        assert error.mean() < 0.15, kind.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MonteCarlo, OffPolicyMonteCarlo, TabularCEM])
def test_learners_from_whole_episodes_solve_a_small_lake(kind):
    mdp = MDP.from_grid("S.. .H. ..G", step=-1.0, goal=10.0, hole=-10.0, max_episode_steps=100)
    length = {"session_length": 20} if kind is TabularCEM else {"n_steps": 200}
    state, _ = trained(kind(**length), mdp, 40_000, seeds=2, num_envs=64 if kind is TabularCEM else 1)
    for table in state.pi if kind is TabularCEM else state.q:
        assert expected_return(mdp, table.argmax(-1)) == 7.0  # four steps, the last of them into the goal


# ---- several environments and seeds


@pytest.mark.parametrize("kind", [SARSA, NStepSARSA, DynaQ])
def test_environments_side_by_side_learn_one_after_the_other(kind):
    algorithm = kind(learning_rate=0.5, gamma=GAMMA, exploration=EpsilonGreedy(1.0))
    state, _ = trained(algorithm, chain([[0, 0], [1, 1]]), 1_600, num_envs=4)
    np.testing.assert_allclose(values_of(state)[0, :2], [[GAMMA] * 2, [1, 1]], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DoubleQLearning, QLambda])  # SARSA and others are in tests/engines
def test_a_seed_among_others_learns_what_it_learns_alone(kind):
    mdp, algorithm = MDP.from_gymnasium("FrozenLake-v1"), kind(learning_rate=0.3)
    together, _ = trained(algorithm, mdp, 2_000, seeds=8)
    spec = spec_of(mdp, 2_000)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), mdp.compiled(), spec, 2_000)
    alone, _ = engine.advance(engine.init(5), 2_000, True)
    for one, many in zip(jax.tree.leaves(alone.agent), jax.tree.leaves(together), strict=True):
        np.testing.assert_array_equal(one, many[5])


@pytest.mark.slow
@pytest.mark.parametrize("id", ["FrozenLake-v1", "CliffWalking-v1"])
def test_what_is_learnt_comes_near_what_is_planned(id):
    """The whole comparison, on all environments and ten seeds, is in tests/learning."""
    mdp = MDP.from_gymnasium(id)
    algorithm = QLearning(learning_rate=StepSize(0.5, 0.01), exploration=EpsilonGreedy(1.0, 0.1), gamma=0.99)
    state, _ = trained(algorithm, mdp, 200_000, seeds=3)
    planned = expected_return(mdp, policy_iteration(mdp, 0.99).policy, horizon=100)
    for q in state.q:
        assert expected_return(mdp, q.argmax(-1), horizon=100) == pytest.approx(planned, rel=0.05)


# ---- what cannot work


@every_kind
def test_what_has_no_rows_is_refused(kind):
    box, two = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32), gymnasium.spaces.Discrete(2)
    with pytest.raises(BadSetting, match="needs discrete observations"):
        kind().agent(Spec(box, two, 1, None, 100))
    with pytest.raises(BadSetting, match="needs discrete actions"):
        kind().agent(Spec(two, box, 1, None, 100))
