"""Bandits with contexts: choices and updates by hand, posteriors against NumPy, regret on lines and digits."""

import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import polyak
from polyak.agent import Spec, Step
from polyak.algorithms.bandits.lin_greedy import LinGreedy
from polyak.algorithms.bandits.lints import LinTS
from polyak.algorithms.bandits.linucb import LinUCB
from polyak.algorithms.bandits.neural_linear import NeuralLinear
from polyak.engines.compiled import CompiledEngine
from polyak.envs import bandits, make
from polyak.errors import BadSetting, UnknownName
from polyak.parts.exploration import UCB, EpsilonGreedy
from polyak.parts.networks import MLP
from polyak.settings import build

LINEAR = [LinUCB, LinTS, LinGreedy]
every_linear = pytest.mark.parametrize("kind", LINEAR)
every_kind = pytest.mark.parametrize("kind", [*LINEAR, NeuralLinear])


def spec_of(*shape: int, arms: int = 2, num_envs: int = 1, start: int = 0) -> Spec:
    """A task with numbers of that shape as observations."""
    space = gymnasium.spaces.Box(-10.0, 10.0, shape, np.float32)
    return Spec(space, gymnasium.spaces.Discrete(arms, start=start), num_envs, None, 1_000)


def block_of(obs, action, reward) -> Step:
    """One step of each of B environments, which ends there."""
    over = np.ones((1, len(reward)), bool)
    obs, action = np.asarray(obs)[None], np.asarray(action, np.int32)[None]
    return Step(obs, action, np.float32(reward)[None], over, ~over, obs, ())


def learnt(agent, obs, action, reward, num_envs: int = 1):
    """The state after pulls, `num_envs` at a time, and the metrics of the last of them."""
    state, metrics = agent.init(jax.random.key(0)), {}
    update = jax.jit(lambda state, block, key: agent.learn(agent.observe(state, block), block, key))
    for i in range(0, len(reward), num_envs):
        now = slice(i, i + num_envs)
        state, metrics = update(state, block_of(obs[now], action[now], reward[now]), jax.random.key(i))
    return state, metrics


def acted(agent, state, obs, times: int = 1, explore: bool = True) -> np.ndarray:
    """[times] the actions where `obs` is seen."""
    seen = jnp.broadcast_to(jnp.asarray(obs), (times, *np.shape(obs)))
    noise = agent.noise(jax.random.key(1), (times,)) if explore else ()
    return np.asarray(agent.act(state, (), seen, noise, explore)[0])


def solved(x, r, regularization: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean and A^-1 in float64."""
    x, r = np.asarray(x, np.float64), np.asarray(r, np.float64)
    a = x.T @ x + regularization * np.eye(x.shape[-1])
    return np.linalg.solve(a, x.T @ r), np.linalg.inv(a)


# ---- choices


@pytest.mark.parametrize(("alpha", "best"), [(0.0, 0), (1.0, 0), (2.0, 1)])
def test_linucb_adds_alpha_deviations_to_what_is_predicted(alpha, best):
    agent = LinUCB(alpha, intercept=False).agent(spec_of(1))
    state, _ = learnt(agent, np.ones((3, 1), np.float32), [0, 0, 0], [1, 1, 1])
    # arm 0: A = 4 and b = 3, so 0.75 + alpha / 2; arm 1, never pulled: 0 + alpha
    assert acted(agent, state, [1.0], 20).tolist() == [best] * 20


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("v", [0.5, 2.0])
def test_lints_pulls_an_arm_as_often_as_it_is_the_best_in_the_posterior(shared, v):
    rng = np.random.default_rng(0)
    spec = spec_of(2, 3)
    agent = LinTS(v, regression="shared" if shared else "disjoint", intercept=False).agent(spec)
    x, action = rng.normal(size=(6, 2, 3)).astype(np.float32), rng.integers(2, size=6)
    reward = rng.normal(size=6)
    state, _ = learnt(agent, x, action, reward)
    seen = np.array([[1.0, 0.5, 0.0], [0.8, 0.5, 0.2]], np.float32)  # so alike that shared samples go together
    pulled = x[np.arange(6), action]
    if shared:
        mean, inverse = solved(pulled, reward, 1.0)
        ahead, variance = (seen[0] - seen[1]) @ mean, (seen[0] - seen[1]) @ inverse @ (seen[0] - seen[1])
    else:
        parts = [solved(pulled[action == arm], reward[action == arm], 1.0) for arm in (0, 1)]
        ahead = seen[0] @ parts[0][0] - seen[1] @ parts[1][0]
        variance = sum(row @ inverse @ row for row, (_, inverse) in zip(seen, parts, strict=True))
    times, expected = 20_000, stats.norm.cdf(ahead / (v * np.sqrt(variance)))
    assert 0.05 < expected < 0.95
    share = (acted(agent, state, seen, times) == 0).mean()
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / times))


def test_lin_greedy_tries_others_as_often_as_epsilon_says():
    agent = LinGreedy(EpsilonGreedy(0.2)).agent(spec_of(1, arms=4))
    state, _ = learnt(agent, np.ones((1, 1), np.float32), [2], [1])
    assert (acted(agent, state, [1.0], 10_000) != 2).mean() == pytest.approx(0.2 * 3 / 4, abs=0.02)


@every_kind
def test_without_exploring_the_arm_with_the_best_mean_is_pulled(kind):
    agent = kind().agent(spec_of(1))
    state, _ = learnt(agent, np.ones((5, 1), np.float32), [0, 1, 1, 1, 1], [1, 2, 2, 2, 2])
    assert acted(agent, state, [1.0], explore=False).tolist() == [1]
    greedy, _, _ = agent.act(agent.policy(state), (), jnp.ones((1, 1)), (), False)
    assert greedy.tolist() == [1]


@every_kind
def test_before_the_first_pull_all_arms_are_alike(kind):
    agent = (LinGreedy(EpsilonGreedy(0.0)) if kind is LinGreedy else kind()).agent(spec_of(3, arms=4))
    counts = np.bincount(acted(agent, agent.init(jax.random.key(0)), [1.0, 2.0, 3.0], 4_000), minlength=4)
    assert (np.abs(counts - 1000) < 5 * math.sqrt(1000)).all()


@every_kind
def test_actions_begin_at_the_start_of_their_space(kind):
    plain, moved = (kind().agent(spec_of(2, start=start)) for start in (0, 5))
    obs, action, reward = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1]), [1, 2, 1, 2]
    first, second = learnt(plain, obs, action, reward)[0], learnt(moved, obs, action + 5, reward)[0]
    jax.tree.map(np.testing.assert_array_equal, first, second)
    np.testing.assert_array_equal(acted(moved, second, [1.0, 1.0], 10), acted(plain, first, [1.0, 1.0], 10) + 5)


# ---- what is learnt


@every_linear
def test_two_pulls_by_hand(kind):
    agent = kind(regularization=2.0).agent(spec_of(1, num_envs=2))
    state, metrics = learnt(agent, np.float32([[1], [3]]), [0, 1], [3, 4], num_envs=2)
    # features (1, 1) and (3, 1): A = [[3, 1], [1, 3]], b = (3, 3); and A = [[11, 3], [3, 3]], b = (12, 4)
    np.testing.assert_allclose(state.parameters.mean, [[3 / 4, 3 / 4], [1, 1 / 3]], atol=1e-6)
    assert metrics["td_error"] == pytest.approx(3.5)  # 3 and 4, of which nothing was known
    assert metrics["uncertainty"] == pytest.approx((1 + math.sqrt(5)) / 2)  # sqrt(2 / 2) and sqrt(10 / 2)


@every_linear
def test_the_pulls_of_a_block_are_learnt_from_in_turn(kind):
    rng = np.random.default_rng(1)
    obs, action, reward = rng.normal(size=(12, 3)).astype(np.float32), rng.integers(2, size=12), rng.normal(size=12)
    one, four = (learnt(kind().agent(spec_of(3, num_envs=n)), obs, action, reward, n)[0] for n in (1, 4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, four)


@every_linear
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("regression", ["disjoint", "shared"])
def test_the_posterior_is_that_of_numpy(kind, regression, intercept):
    rng = np.random.default_rng(0)
    agent = kind(regression=regression, regularization=0.5, intercept=intercept).agent(spec_of(3, 4, arms=3))
    obs, action = rng.normal(size=(200, 3, 4)).astype(np.float32), rng.integers(3, size=200)
    reward = rng.normal(size=200).astype(np.float32)
    state, _ = learnt(agent, obs, action, reward)
    x = obs[np.arange(200), action]
    if intercept:
        x = np.concatenate([x, np.ones((200, 1))], -1)
    groups = [np.full(200, True)] if regression == "shared" else [action == arm for arm in range(3)]
    assert len(state.parameters.mean) == len(groups)
    for mean, root, group in zip(*state.parameters, groups, strict=True):
        expected, inverse = solved(x[group], reward[group], 0.5)
        np.testing.assert_allclose(mean, expected, atol=1e-5)
        np.testing.assert_allclose(np.asarray(root, np.float64) @ np.asarray(root, np.float64).T, inverse, atol=1e-5)


def test_a_context_without_features_of_arms_has_a_regression_for_each():
    assert LinUCB().agent(spec_of(3, 4, arms=3)).init(jax.random.key(0)).parameters.mean.shape == (1, 5)
    assert LinUCB().agent(spec_of(12, arms=3)).init(jax.random.key(0)).parameters.mean.shape == (3, 13)
    assert LinUCB().agent(spec_of(4, 3, arms=3)).init(jax.random.key(0)).parameters.mean.shape == (3, 13)


def test_numbered_contexts_are_one_hot():
    spec = spec_of()._replace(observation_space=gymnasium.spaces.Discrete(3, start=1))
    agent = LinUCB(regularization=1.0, intercept=False).agent(spec)
    state, _ = learnt(agent, np.array([1, 1, 1, 3]), [0, 0, 1, 1], [6, 3, 4, 8])
    np.testing.assert_allclose(state.parameters.mean, [[9 / 3, 0, 0], [4 / 2, 0, 8 / 2]], atol=1e-6)


@every_kind
@pytest.mark.parametrize("reward", [np.nan, np.inf, 3e38])
def test_a_reward_that_is_no_number_is_told_and_not_learnt(kind, reward):
    agent = (NeuralLinear(train_freq=1, buffer_size=10) if kind is NeuralLinear else kind()).agent(spec_of(2))
    before, _ = learnt(agent, np.ones((3, 2), np.float32), [0, 1, 0], [1, 2, 1])
    block = block_of(np.ones((1, 2), np.float32), [0], [reward])
    after, metrics = agent.learn(agent.observe(before, block), block, jax.random.key(9))
    assert np.isnan(metrics["td_error"])
    for name in {"parameters", "posterior", "optimiser"} & set(before._fields):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))


# ---- what is refused


@every_linear
def test_what_does_not_suit_is_refused(kind):
    with pytest.raises(BadSetting, match="needs features of each arm, a Box of shape \\(2, d\\)"):
        kind(regression="shared").agent(spec_of(3))
    with pytest.raises(BadSetting, match="needs discrete actions"):
        kind().agent(spec_of(3)._replace(action_space=gymnasium.spaces.Box(-1.0, 1.0, (1,))))
    with pytest.raises(BadSetting, match="too many; neural-linear"):
        kind().agent(spec_of(4, 84, 84))
    with pytest.raises(UnknownName, match="regression"):
        build(kind.name, {"regression": "joint"})


def test_lin_greedy_counts_no_visits():
    with pytest.raises(BadSetting, match="counts no visits"):
        LinGreedy(UCB()).agent(spec_of(3))


# ---- NeuralLinear


def features(state, obs) -> np.ndarray:
    hidden = np.asarray(state.parameters.torso(jnp.asarray(obs)), np.float64)
    return np.concatenate([hidden, np.ones((len(obs), 1))], -1)


@pytest.mark.parametrize(
    ("pulls", "train_freq", "buffer_size"),
    [(40, 1_000, 100), (40, 40, 100), (40, 20, 16)],
    ids=["sample by sample", "anew", "anew from the newest"],
)
def test_neural_linear_keeps_the_posterior_of_numpy_on_its_features(pulls, train_freq, buffer_size):
    rng, prior = np.random.default_rng(0), 0.25
    network, settings = MLP((8,)), {"gradient_steps": 5, "batch_size": 8, "noise_shape": 3.0, "noise_scale": 2.0}
    algorithm = NeuralLinear(train_freq=train_freq, buffer_size=buffer_size, network=network, **settings)
    obs, action = rng.normal(size=(pulls, 3)).astype(np.float32), rng.integers(2, size=pulls)
    reward = (obs[:, 0] + 0.1 * rng.normal(size=pulls)).astype(np.float32)
    agent = algorithm.agent(spec_of(3))
    state, metrics = learnt(agent, obs, action, reward)
    kept = slice(pulls - min(pulls, buffer_size), pulls)
    x, action, reward = features(state, obs[kept]), action[kept], reward[kept].astype(np.float64)
    for arm in (0, 1):
        mine, mean = action == arm, state.posterior.regressions.mean[arm]
        expected, inverse = solved(x[mine], reward[mine], prior)
        np.testing.assert_allclose(mean, expected, atol=1e-4)
        root = np.asarray(state.posterior.regressions.root[arm], np.float64)
        np.testing.assert_allclose(root @ root.T, inverse, atol=1e-4)
        # equation of Riquelme et al.: b = b_0 + (r . r - mean^T A mean) / 2, with a prior mean of 0
        left = reward[mine] @ reward[mine] - expected @ np.linalg.solve(inverse, expected)
        assert state.posterior.shape[arm] == pytest.approx(3.0 + mine.sum() / 2)
        assert state.posterior.scale[arm] == pytest.approx(2.0 + left / 2, rel=1e-3)
    sigma = np.sqrt(np.asarray(state.posterior.scale) / (np.asarray(state.posterior.shape) - 1))
    assert metrics["noise_std"] == pytest.approx(sigma.mean(), rel=1e-5)


def test_neural_linear_pulls_an_arm_as_often_as_it_is_the_best_in_the_posterior():
    rng, times = np.random.default_rng(0), 20_000
    agent = NeuralLinear(train_freq=1_000, network=MLP((4,)), noise_scale=1.0).agent(spec_of(2))
    obs, action, reward = rng.normal(size=(8, 2)).astype(np.float32), np.arange(8) % 2, rng.normal(size=8)
    state, _ = learnt(agent, obs, action, reward)
    seen = np.float32([0.3, -0.2])
    x = features(state, seen[None])[0]
    parts = [solved(features(state, obs[action == arm]), reward[action == arm], 0.25) for arm in (0, 1)]
    variance = np.asarray(state.posterior.scale) / (np.asarray(state.posterior.shape) - 1)
    spread = sum(sigma * (x @ inverse @ x) for sigma, (_, inverse) in zip(variance, parts, strict=True))
    expected = stats.norm.cdf(x @ (parts[0][0] - parts[1][0]) / np.sqrt(spread))
    assert 0.05 < expected < 0.95
    share = (acted(agent, state, seen, times) == 0).mean()
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / times))


def test_neural_linear_trains_its_network_when_it_is_due():
    rng = np.random.default_rng(0)
    agent = NeuralLinear(train_freq=4, gradient_steps=2, network=MLP((4,))).agent(spec_of(2, num_envs=2))
    update = jax.jit(lambda state, block, key: agent.learn(agent.observe(state, block), block, key))
    state, moved = agent.init(jax.random.key(0)), []
    for i in range(9):
        block = block_of(rng.normal(size=(2, 2)).astype(np.float32), [0, 1], rng.normal(size=2))
        after, _ = update(state, block, jax.random.key(i))
        pairs = zip(jax.tree.leaves(state.parameters), jax.tree.leaves(after.parameters), strict=True)
        moved.append(any((a != b).any() for a, b in pairs))
        state = after
    assert [i for i, yes in enumerate(moved, 1) if yes] == [4, 8]
    assert state.optimiser.updates == 4  # two rounds of two steps


@pytest.mark.slow
def test_neural_linear_learns_what_no_line_in_the_context_tells():
    """Whether two coordinates have the same sign: of it a linear prediction knows nothing."""
    rng, pulls = np.random.default_rng(0), 600
    obs, action = rng.uniform(-1, 1, (pulls, 2)).astype(np.float32), rng.integers(2, size=pulls)
    right = (obs.prod(-1) > 0).astype(int)
    reward = np.where(action == right, 1.0, -1.0)
    clear = np.abs(obs).min(-1) > 0.2
    shares = {}
    for algorithm in (NeuralLinear(learning_rate=1e-2), LinUCB()):
        agent = algorithm.agent(spec_of(2))
        state, _ = learnt(agent, obs, action, reward)
        greedy = np.asarray(agent.act(state, (), jnp.asarray(obs), (), False)[0])
        shares[algorithm.name] = (greedy == right)[clear].mean()
    assert shares["neural-linear"] > 0.95 and shares["linucb"] < 0.7


# ---- in environments, and against regret


@every_kind
def test_immediate_rewards_are_learnt_in_an_ordinary_environment(kind):
    algorithm = NeuralLinear(train_freq=10, network=MLP((8,))) if kind is NeuralLinear else kind()
    env = make("probe/matched-action")
    spec = Spec(env.observation_space, env.action_space, 2, None, 400)
    agent = algorithm.agent(spec)
    engine = CompiledEngine(algorithm, agent, env, spec, 100)
    loop = engine.init(0)
    for _ in range(2):
        loop, metrics = engine.advance(loop, 100, True)
    assert acted(agent, loop.agent, [-1.0], explore=False).tolist() == [0]
    assert acted(agent, loop.agent, [1.0], explore=False).tolist() == [1]
    assert metrics["episode_return"] > 0.8  # of 1, which chance would miss half of the time


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", [LinUCB(intercept=False), LinTS(intercept=False)], ids=lambda algorithm: algorithm.name
)
def test_regret_on_a_linear_problem_grows_as_the_square_root_of_time(algorithm):
    """The arms are so many that there is nearly one in every direction of the plane.

    With few arms, new ones in every pull, the law is the logarithm: near ties are rare, and chance explores.
    """
    bandit, pulls = bandits.linear(arms=128, features=2, deviation=1.0), np.array([500, 1_000, 2_000, 4_000])
    final = np.stack([polyak.regret(algorithm, bandit, int(t), 64).final for t in pulls])  # of the same problems
    x = np.log(pulls) - np.log(pulls).mean()

    def exponent(chosen) -> float:
        """The slope of the least-squares line."""
        return x @ np.log(final[:, chosen].mean(-1)) / (x @ x)

    rng = np.random.default_rng(0)
    low, high = np.percentile([exponent(rng.integers(64, size=64)) for _ in range(1_000)], [2.5, 97.5])
    print(f"{algorithm.name}: regret grows as t^{exponent(np.arange(64)):.3f}, 95 % interval [{low:.3f}, {high:.3f}]")
    assert 0.35 < low < 0.5 < high < 0.65


@pytest.mark.slow
def test_bounds_and_samples_beat_epsilon_greedy_on_digits():
    """The rival keeps the same regression, and has the best epsilon of three."""
    pytest.importorskip("sklearn")

    def measured(algorithm):
        return polyak.regret(algorithm, "bandit/digits", 2_000, 8)

    rivals = [measured(LinGreedy(EpsilonGreedy(epsilon))) for epsilon in (0.01, 0.05, 0.1)]
    rival = min(rivals, key=lambda result: result.mean)
    for algorithm in (LinUCB(0.25), LinTS(0.1)):
        more, low, high = measured(algorithm).less(rival)
        print(f"{rival.algorithm} has {more:.0f} more regret than {algorithm.name}, interval [{low:.0f}, {high:.0f}]")
        assert low > 0
