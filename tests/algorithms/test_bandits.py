"""Bandits: updates by hand, posteriors beside plain NumPy, and what theory promises of regret."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import polyak
from polyak.agent import Agent, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.parts import tabular

VECTORS = gymnasium.spaces.Box(-1.0, 1.0, (3,))
ONE = gymnasium.spaces.Discrete(1)
EVERY = pytest.mark.parametrize(
    "algorithm",
    [
        polyak.ActionValueBandit(),
        polyak.GradientBandit(),
        polyak.EXP3(),
        polyak.ThompsonSampling(),
        polyak.ThompsonSampling(polyak.NormalPrior()),
    ],
    ids=["action values", "gradient", "exp3", "beta", "normal"],
)


def agent_of(algorithm, arms: int = 2, num_envs: int = 1, contexts: int = 1, pulls: int = 100, first: int = 0) -> Agent:
    spaces = gymnasium.spaces.Discrete(contexts), gymnasium.spaces.Discrete(arms, start=first)
    return algorithm.agent(Spec(*spaces, num_envs, None, pulls))


def block(actions, rewards, extras=(), obs=None) -> Step:
    """One pull of each of B environments."""
    action, reward = jnp.array([actions], jnp.int32), jnp.array([rewards], jnp.float32)
    seen = jnp.zeros_like(action) if obs is None else jnp.array([obs], jnp.int32)
    over = jnp.ones_like(reward, bool)
    told = jnp.array([extras]) if len(extras) else ()
    return Step(seen, action, reward, over, ~over, seen, told)


def learn(agent: Agent, state, *blocks: Step):
    """The state after blocks, and the metrics of the last."""
    metrics: dict[str, Any] = {}
    for one in blocks:
        state, metrics = agent.learn(agent.observe(state, one), one, jax.random.key(0))
    return state, metrics


# ---- action values


def test_action_values_are_the_averages_of_what_was_paid():
    agent = agent_of(polyak.ActionValueBandit(initial_value=9.0), arms=3)
    pulls = [block([arm], [paid]) for arm, paid in ((0, 1.0), (2, 5.0), (0, 3.0), (0, 5.0))]
    state, metrics = learn(agent, agent.init(jax.random.key(0)), *pulls)
    np.testing.assert_allclose(state.q, [[3.0, 9.0, 5.0]])
    assert metrics["td_error"] == 3.0  # 5, where 2 was expected


def test_a_constant_step_size_forgets_and_keeps_optimism_for_a_while():
    agent = agent_of(polyak.ActionValueBandit(learning_rate=0.1, initial_value=5.0))
    state, _ = learn(agent, agent.init(jax.random.key(0)), block([1], [0.0]), block([1], [1.0]))
    np.testing.assert_allclose(state.q, [[5.0, 0.1 + 0.9 * 4.5]])


def test_the_bound_of_ucb_is_that_of_ucb1():
    """x_j + sqrt(2 ln n / n_j) after n pulls, and every arm once at first."""
    agent = agent_of(polyak.ActionValueBandit(exploration=polyak.UCB(math.sqrt(2))), arms=2)
    paid = {0: 0.7, 1: 0.4}
    state, chosen, sums, counts = agent.init(jax.random.key(0)), [], np.zeros(2), np.zeros(2)
    act = jax.jit(lambda state: agent.act(state, (), jnp.zeros(1, jnp.int32), jnp.array([0.3]), True)[0][0])
    update = jax.jit(lambda state, pull: learn(agent, state, pull)[0])
    for pull in range(60):
        action = int(act(state))
        if pull >= 2:
            bounds = sums / counts + np.sqrt(2 * np.log(pull) / counts)
            assert action == bounds.argmax()
        chosen.append(action)
        sums[action] += paid[action]
        counts[action] += 1
        state = update(state, block([action], [paid[action]]))
    assert sorted(chosen[:2]) == [0, 1] and counts[0] > counts[1] > 5


# ---- the gradient bandit


def test_preferences_move_by_the_reward_above_its_average():
    agent = agent_of(polyak.GradientBandit(learning_rate=0.1))
    state, _ = learn(agent, agent.init(jax.random.key(0)), block([0], [1.0]))
    np.testing.assert_array_equal(state.preferences, [[0.0, 0.0]])  # its own average
    state, metrics = learn(agent, state, block([0], [3.0]))
    np.testing.assert_allclose(state.preferences, [[0.1 * 2 * 0.5, -0.1 * 2 * 0.5]])
    assert metrics["td_error"] == 2.0
    state, _ = learn(agent, state, block([1], [0.0]))  # the average is 2 now
    pi = math.exp(0.1) / (math.exp(0.1) + math.exp(-0.1))
    np.testing.assert_allclose(state.preferences, [[0.1 + 0.2 * pi, -0.1 - 0.2 * pi]], rtol=1e-6)


def test_without_a_baseline_every_reward_counts_whole():
    agent = agent_of(polyak.GradientBandit(learning_rate=0.1, baseline=False), arms=4)
    state, _ = learn(agent, agent.init(jax.random.key(0)), block([2], [1.0]))
    np.testing.assert_allclose(state.preferences, [[-0.025, -0.025, 0.075, -0.025]])


# ---- EXP3


def test_weights_grow_by_rewards_over_their_probabilities():
    agent = agent_of(polyak.EXP3(exploration_rate=0.5))
    state = agent.init(jax.random.key(0))
    _, _, p = agent.act(state, (), jnp.zeros(1, jnp.int32), jnp.zeros((1, 2)), True)
    np.testing.assert_allclose(p, [0.5])
    state, _ = learn(agent, state, block([0], [1.0], [0.5]))
    np.testing.assert_allclose(state.log_weights, [[0.0, -0.5]])  # gamma R / (p K) = 0.5 / (0.5 x 2)
    _, _, p = agent.act(state, (), jnp.zeros(1, jnp.int32), jnp.array([[9.0, 0.0]]), True)
    np.testing.assert_allclose(p, [0.5 / (1 + math.exp(-0.5)) + 0.25], rtol=1e-6)


def test_the_rate_that_is_not_given_is_the_best_for_the_horizon():
    by_default, given = (
        agent_of(polyak.EXP3(exploration_rate=rate), arms=4, pulls=1_000)
        for rate in (None, math.sqrt(4 * math.log(4) / ((math.e - 1) * 1_000)))
    )
    pull = block([3], [0.5], [0.25])
    key = jax.random.key(0)
    states = [learn(agent, agent.init(key), pull)[0].log_weights for agent in (by_default, given)]
    np.testing.assert_array_equal(*states)


def test_rewards_of_another_range_are_scaled_and_those_outside_of_it_clipped():
    agent = agent_of(polyak.EXP3(exploration_rate=0.5, min_reward=-2.0, max_reward=2.0))
    for paid, share in ((1.0, 0.75), (5.0, 1.0), (-7.0, 0.0)):
        state, _ = learn(agent, agent.init(jax.random.key(0)), block([1], [paid], [0.5]))
        np.testing.assert_allclose(state.log_weights[0, 1] - state.log_weights[0, 0], 0.5 * share)
    with pytest.raises(BadSetting, match="min_reward is 1; it must be below max_reward, 1"):
        agent_of(polyak.EXP3(min_reward=1.0))


def test_weights_stay_finite_however_long_one_arm_is_paid():
    agent = agent_of(polyak.EXP3(exploration_rate=0.01))
    pulls = block([0], [1.0], [0.005])

    def again(state, _):
        return agent.learn(state, pulls, jax.random.key(0))[0], None

    state = jax.lax.scan(again, agent.init(jax.random.key(0)), None, 5_000)[0]  # the sum of logarithms is 5,000
    np.testing.assert_allclose(state.log_weights, [[0.0, -5_000.0]], rtol=1e-4)
    state, metrics = learn(agent, state, block([1], [1.0], [0.005]))
    np.testing.assert_allclose(state.log_weights, [[0.0, -4_999.0]], rtol=1e-4)
    assert np.isfinite(metrics["entropy"])


# ---- Thompson sampling

PULLED = [(0, 1.0), (1, 0.0), (0, 1.0), (0, 0.0), (1, 1.0), (0, 1.0)]


def test_beta_posteriors_count_successes_and_failures():
    agent = agent_of(polyak.ThompsonSampling(polyak.BetaPrior(2.0, 0.5)))
    state, _ = learn(agent, agent.init(jax.random.key(0)), *(block([arm], [paid], [0.4]) for arm, paid in PULLED))
    np.testing.assert_allclose(state.posterior.successes, [[2 + 3, 2 + 1]])
    np.testing.assert_allclose(state.posterior.failures, [[0.5 + 1, 0.5 + 1]])


def test_a_reward_between_0_and_1_is_a_success_with_that_probability():
    agent = agent_of(polyak.ThompsonSampling())
    for coin, success in ((0.29, 1.0), (0.31, 0.0)):
        state, metrics = learn(agent, agent.init(jax.random.key(0)), block([1], [0.3], [coin]))
        np.testing.assert_allclose(state.posterior.successes, [[1.0, 1.0 + success]])
        np.testing.assert_allclose(state.posterior.failures, [[1.0, 2.0 - success]])
        assert metrics["td_error"] == pytest.approx(0.2)  # 0.3, where 0.5 was expected


def test_normal_posteriors_are_those_of_the_conjugate_formula():
    mean, deviation, noise = 1.0, 2.0, 0.5
    agent = agent_of(polyak.ThompsonSampling(polyak.NormalPrior(mean, deviation, noise)))
    rng = np.random.default_rng(0)
    arms, paid = rng.integers(0, 2, 30), rng.normal(3.0, 1.0, 30)
    pulls = (block([arm], [one]) for arm, one in zip(arms, paid, strict=True))
    state, _ = learn(agent, agent.init(jax.random.key(0)), *pulls)
    for arm in range(2):
        own = paid[arms == arm]
        precision = 1 / deviation**2 + len(own) / noise**2
        expected = (mean / deviation**2 + own.sum() / noise**2) / precision
        np.testing.assert_allclose(state.posterior.precision[0, arm], precision, rtol=1e-5)
        np.testing.assert_allclose(state.posterior.mean[0, arm], expected, rtol=1e-5)


@pytest.mark.parametrize("prior", [polyak.BetaPrior(3.0, 2.0), polyak.NormalPrior(0.5, 0.3, 1.0)], ids=str)
def test_samples_are_those_of_the_posterior(prior):
    noise = prior.noise(jax.random.key(0), (4_000,), 2).sample
    samples = jax.vmap(prior.sample, (None, 0))(prior.init((2,)), noise)
    truth = stats.beta(3, 2) if isinstance(prior, polyak.BetaPrior) else stats.norm(0.5, 0.3)
    assert stats.kstest(np.asarray(samples).ravel(), truth.cdf).pvalue > 0.01
    assert abs(np.corrcoef(np.asarray(samples).T)[0, 1]) < 0.08  # arms are independent


def test_an_arm_is_pulled_as_often_as_it_is_believed_to_be_the_best():
    agent = agent_of(polyak.ThompsonSampling())
    state, _ = learn(agent, agent.init(jax.random.key(0)), block([1], [1.0], [0.5]))
    noise = agent.noise(jax.random.key(1), (20_000,))
    action = agent.act(state, (), jnp.zeros(20_000, jnp.int32), noise, True)[0]
    assert np.mean(action) == pytest.approx(2 / 3, abs=0.015)  # P(Beta(2, 1) > Beta(1, 1))
    assert agent.act(state, (), jnp.zeros(1, jnp.int32), (), False)[0].tolist() == [1]


# ---- what holds of all


@EVERY
def test_pulls_side_by_side_are_learnt_from_in_turn(algorithm):
    """As if each had been a block of its own, with the choices that were made."""
    together, alone = agent_of(algorithm, num_envs=3, contexts=2), agent_of(algorithm, num_envs=1, contexts=2)
    obs = jnp.array([1, 0, 1], jnp.int32)
    state = together.init(jax.random.key(0))
    action, _, extras = together.act(state, (), obs, together.noise(jax.random.key(1), (3,)), True)
    rewards = [0.0, 1.0, 1.0]
    once, _ = learn(together, state, block(action, rewards, extras, obs))
    for i in range(3):
        own = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], extras)
        state, _ = learn(alone, state, block(action[i : i + 1], rewards[i : i + 1], own, obs[i : i + 1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), once, state)


@EVERY
def test_arms_may_be_numbered_from_another_number_than_0(algorithm):
    agent = agent_of(algorithm, arms=2, first=5)
    state = agent.init(jax.random.key(0))
    action, _, extras = agent.act(state, (), jnp.zeros(1, jnp.int32), agent.noise(jax.random.key(1), (1,)), True)
    assert int(action[0]) in (5, 6)
    for paid in (0.0, 1.0, 1.0):
        state, _ = learn(agent, state, block([6], [paid], extras))
    assert agent.act(state, (), jnp.zeros(1, jnp.int32), (), False)[0].tolist() == [6]


@EVERY
def test_contexts_that_are_vectors_and_arms_that_are_numbers_are_refused_in_a_sentence(algorithm):
    for observed, acted, sentence in (
        (VECTORS, gymnasium.spaces.Discrete(2), "needs discrete observations, not Box"),
        (ONE, VECTORS, "needs discrete actions, and this environment's are Box"),
    ):
        with pytest.raises(BadSetting, match=sentence):
            algorithm.agent(Spec(observed, acted, 1, None, 100))


# ---- what theory promises


@pytest.mark.slow
def test_exp3_keeps_its_bound_where_ucb1_loses_in_proportion_to_the_pulls():
    arms, pulls = 10, 51_200
    adversary = polyak.bandits.adversarial(arms, gap=0.1)
    exp3 = polyak.regret("exp3", adversary, pulls, problems=20)
    ucb1 = polyak.regret(polyak.ActionValueBandit(exploration=polyak.UCB(math.sqrt(2))), adversary, pulls, problems=20)
    bound = 2 * math.sqrt(math.e - 1) * math.sqrt(pulls * arms * math.log(arms))
    assert exp3.interval[1] < 0.7 * bound < bound < ucb1.mean
    half, quarter = pulls // 2 - 1, pulls // 4 - 1
    for later, earlier in ((-1, half), (half, quarter)):
        assert ucb1.regret[later] > 1.7 * ucb1.regret[earlier]  # in proportion it would be 2
    assert exp3.regret[-1] < math.sqrt(2) * exp3.regret[half]  # the bound grows by as much


def bayes_optimal_return(pulls: int) -> float:
    """The expected sum of rewards of the best policy for two Bernoulli arms with uniform priors and that many pulls.

    Backward over [n_1, s_1, s_2]: how often the first arm was pulled, and the successes of both.
    """
    value = np.zeros((pulls + 1,) * 3)
    for n in range(pulls - 1, -1, -1):
        n_1, s_1, s_2 = np.ogrid[: n + 1, : n + 1, : n + 1]
        p_1, p_2 = (s_1 + 1) / (n_1 + 2), (s_2 + 1) / (n - n_1 + 2)
        here, more = np.s_[: n + 1], np.s_[1 : n + 2]
        first = p_1 * (1 + value[more, more, here]) + (1 - p_1) * value[more, here, here]
        second = p_2 * (1 + value[here, here, more]) + (1 - p_2) * value[here, here, here]
        value = np.maximum(first, second)
    return float(value[0, 0, 0])


def gittins_indices(gamma: float, most: int, ahead: int = 700) -> np.ndarray:
    """[successes, failures] the index of a Bernoulli arm with a uniform prior: the sure reward a pull for which one
    would as soon retire (Gittins, 1979, "Bandit processes and dynamic allocation indices").

    For each sure reward of a grid, backward from `ahead` pulls after `most`; between two of them by interpolation.
    """
    sure = np.linspace(0.0, 1.0, 1_001)[1:-1]
    retired, found = sure[:, None] / (1 - gamma), np.zeros((most + 1, most + 1))
    p = (np.arange(most + ahead + 1) + 1) / (most + ahead + 2)
    value = np.maximum(retired, p / (1 - gamma))
    for n in range(most + ahead - 1, -1, -1):
        p = (np.arange(n + 1) + 1) / (n + 2)
        going_on = p * (1 + gamma * value[:, 1 : n + 2]) + (1 - p) * gamma * value[:, : n + 1]
        if n <= most:
            for s in range(n + 1):
                found[s, n - s] = np.interp(0.0, (retired - going_on)[:, s], sure)
        value = np.maximum(retired, going_on)
    return found


class Counts(NamedTuple):
    """What the index policy knows."""

    q: jax.Array  # [2, 2] int32 successes and failures of each arm


@dataclasses.dataclass(frozen=True, eq=False)
class IndexPolicy:
    """Pulls the arm of two with the larger index."""

    name: ClassVar[str] = "index-policy"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    indices: Any = 0.0  # [successes, failures]

    def agent(self, spec: Spec) -> Agent:
        table = jnp.asarray(self.indices, jnp.float32)

        def noise(key, shape):
            return jax.random.uniform(key, shape)

        def act(state, carry, obs, noise, explore):
            first, second = table[state.q[:, 0], state.q[:, 1]]
            return jnp.where(first == second, noise < 0.5, second > first).astype(jnp.int32), carry, ()

        def update(state, step):
            return Counts(state.q.at[step.action, jnp.where(step.reward > 0, 0, 1)].add(1)), jnp.float32(0)

        def same(state, *_):
            return state

        def init(key):
            return Counts(jnp.zeros((2, 2), jnp.int32))

        return Agent(init, no_memory, noise, act, same, tabular.after_each_step(update), same)


def test_gittins_indices_are_those_of_the_tables():
    """Gittins, Glazebrook and Weber (2011), "Multi-armed bandit allocation indices", table 8.4, gamma = 0.9."""
    found = gittins_indices(0.9, 3, ahead=100)
    np.testing.assert_allclose(found[:3, 0], [0.7029, 0.8001, 0.8452], atol=2e-4)
    np.testing.assert_allclose(found[0, :3], [0.7029, 0.5001, 0.3796], atol=2e-4)


@pytest.mark.slow
def test_thompson_sampling_beside_the_bayes_optimal_policies_for_two_bernoulli_arms():
    """Over 100 pulls, with uniform priors: no policy has less regret than backward induction's, Gittins' indices come
    within 5 % of it, and Thompson sampling has about 1.6 times as much, 2 % of what can be earned."""
    pulls, two = 100, polyak.bandits.bernoulli(2)
    earned = bayes_optimal_return(pulls)
    least = pulls * 2 / 3 - earned  # the better of two uniform numbers is 2/3 on average
    gittins = polyak.regret(IndexPolicy(gittins_indices(0.99, pulls)), two, pulls, problems=5_000)
    thompson = polyak.regret("thompson-sampling", two, pulls, problems=5_000)
    assert least == pytest.approx(1.748, abs=0.001)
    assert least < gittins.interval[1] and gittins.interval[0] < 1.05 * least
    more, low, high = gittins.less(thompson)
    assert 0 < low < more < high
    assert 1.4 * least < thompson.interval[0] and thompson.interval[1] < 1.7 * least
    assert pulls * 2 / 3 - thompson.mean > 0.98 * earned
