"""Bandits pay what they say, and an environment of one problem is what its docstring promises."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak import bandits
from polyak.cli import main
from polyak.envs import make, make_original
from polyak.envs.bandits import BANDITS, Adversary, ContextNoise
from polyak.envs.base import AsGymnasium
from polyak.errors import BadSetting, EnvironmentFault

EVERY = pytest.mark.parametrize("id", BANDITS)


def bandit_of(id: str) -> polyak.Bandit:
    if id == "bandit/digits":
        pytest.importorskip("sklearn")
    return BANDITS[id]()


@EVERY
def test_pulls_pay_what_is_expected_of_each_arm_on_average(id):
    bandit = bandit_of(id)
    problem, many = bandit.draw(jax.random.key(3)), 20_000
    noise = bandit.noise(jax.random.key(4), (many,))
    obs = bandit.context(problem, jax.tree.map(lambda leaf: leaf[0], noise))
    means = bandit.means(problem, obs)
    assert bandit.observation_space.contains(np.asarray(obs)) and means.shape == (bandit.arms,)
    for arm in (0, bandit.arms - 1):
        paid = jax.vmap(lambda one, arm=arm: bandit.pull(problem, obs, arm, one))(noise)
        assert abs(paid.mean() - means[arm]) <= 5 * paid.std() / np.sqrt(many) + 1e-6


@EVERY
def test_problems_and_contexts_differ_and_are_those_of_their_keys(id):
    bandit = bandit_of(id)
    keys = jax.random.split(jax.random.key(0), 50)

    def seen(keys):
        noise = jax.vmap(lambda key: bandit.noise(key, ()))(keys)
        problems = jax.vmap(bandit.draw)(keys)
        obs = jax.vmap(bandit.context)(problems, noise)
        return np.asarray(jax.vmap(bandit.means)(problems, obs))

    means = seen(keys)
    np.testing.assert_array_equal(means, seen(keys))
    assert (means.std(0) > 0).all() or id == "bandit/drifting"  # which begins with all means at 0


def test_means_of_the_testbed_and_of_bernoulli_arms_are_spread_as_they_should_be():
    keys = jax.random.split(jax.random.key(0), 20_000)
    normal = jax.vmap(bandits.gaussian(arms=3, mean=4.0, spread=2.0).draw)(keys)
    assert normal.shape == (20_000, 3)
    np.testing.assert_allclose((normal.mean(), normal.std()), (4.0, 2.0), atol=0.05)
    uniform = jax.vmap(bandits.bernoulli(arms=2).draw)(keys)
    np.testing.assert_allclose(np.quantile(uniform, [0.0, 0.25, 0.5, 1.0]), [0.0, 0.25, 0.5, 1.0], atol=0.02)


def test_drifting_means_begin_together_and_walk():
    bandit = bandits.drifting(arms=400, drift=0.1)
    problem = bandit.draw(jax.random.key(0))
    np.testing.assert_array_equal(problem, np.zeros(400))
    noise = bandit.noise(jax.random.key(1), (25,))
    walked = jax.lax.scan(lambda problem, one: (bandit.advance(problem, one), None), problem, noise)[0]
    assert walked.std() == pytest.approx(0.1 * 5, rel=0.15)
    one = jnp.array([2.0, *range(400)])  # the reward's, then those of the means
    assert bandit.pull(problem, jnp.int32(0), 7, one) == 2.0
    assert bandit.advance(problem, one)[7] == pytest.approx(0.7)


def test_the_adversary_lifts_and_lowers_all_arms_in_phases_that_grow():
    bandit = bandits.adversarial(arms=3, gap=0.25)
    problem = Adversary(jnp.int32(1), jnp.int32(0))
    seen = []
    for _ in range(24):
        seen.append(bandit.means(problem, jnp.int32(0)))
        problem = bandit.advance(problem, ())
    high = np.array([1, 0, 1, 1, *[0] * 4, *[1] * 6, *[0] * 10])  # 1.6^n rounded down: 1, 1, 2, 4, 6, 10
    np.testing.assert_allclose(np.stack(seen)[:, 0], 0.75 * high)
    np.testing.assert_allclose(np.stack(seen)[:, 1], 0.75 * high + 0.25)
    np.testing.assert_array_equal(np.stack(seen)[:, 0], np.stack(seen)[:, 2])


def test_an_adversary_is_the_same_whatever_was_pulled_and_lasts_as_long_as_numbers_do():
    bandit = bandits.adversarial()
    last = Adversary(jnp.int32(2), jnp.int32(2**31 - 2))
    assert np.isfinite(bandit.means(last, jnp.int32(0))).all()


def test_linear_rewards_are_products_with_theta():
    noise = ContextNoise(jnp.array([[1.0, 0.0], [0.6, 0.8]]), jnp.float32(2.0))
    shared, theta = bandits.linear(arms=2, features=2, deviation=0.1), jnp.array([0.5, -0.5])
    obs = shared.context(theta, noise)
    np.testing.assert_allclose(shared.means(theta, obs), [0.5, -0.1], atol=1e-6)
    assert shared.pull(theta, obs, 1, noise) == pytest.approx(-0.1 + 0.2)
    own, thetas = bandits.linear_disjoint(arms=3, features=2), jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(own.means(thetas, jnp.array([0.6, 0.8])), [0.6, 0.8, 0.7], atol=1e-6)
    assert own.observation_space.shape == (2,) and shared.observation_space.shape == (2, 2)


def test_contexts_and_theta_lie_on_the_unit_sphere():
    bandit = bandits.linear(arms=4, features=3)
    drawn = bandit.noise(jax.random.key(0), (100,)).context
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), np.ones((100, 4)), rtol=1e-5)
    assert np.linalg.norm(bandit.draw(jax.random.key(1))) == pytest.approx(1.0, rel=1e-5)


def test_digits_pay_for_their_class():
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, digits = datasets.load_digits(return_X_y=True)
    bandit = bandits.digits()
    for row in (0, 1, 700):
        problem = bandit.advance(jnp.int32(5), jnp.int32(row))
        obs = bandit.context(problem, jnp.int32(9))
        np.testing.assert_array_equal(obs, np.float32(pixels[row] / 16))
        paid = [float(bandit.pull(problem, obs, arm, jnp.int32(9))) for arm in range(10)]
        assert paid == [float(arm == digits[row]) for arm in range(10)]


def test_without_scikit_learn_digits_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(EnvironmentFault, match=r"`pip install polyak\[digits\]` brings it\.$"):
        bandits.digits()


# ---- an environment of one problem


@EVERY
def test_a_pull_is_an_episode_unless_the_problem_drifts(id):
    bandit_of(id)
    env = make(id)
    assert env.id == id
    noise = env.noise(jax.random.key(0), (3,))
    first, second, third = (jax.tree.map(lambda leaf, i=i: leaf[i], noise) for i in range(3))
    state, obs = env.reset(first)
    assert env.observation_space.contains(np.asarray(obs))
    state, _, _, terminated, truncated = env.step(state, jnp.int32(1), second)
    drifts = id in ("bandit/drifting", "bandit/adversarial")
    assert (bool(terminated), bool(truncated)) == (not drifts, False)
    assert env.max_episode_steps == (10_000 if drifts else None)
    if drifts:
        assert int(env.step(state, jnp.int32(1), third)[0].number) == 2


def test_an_episode_of_a_drifting_problem_is_cut_and_the_next_begins_as_the_first_did():
    env = bandits.adversarial(arms=2, episode=3).env(seed=1)
    noise = env.noise(jax.random.key(0), ())
    state, _ = env.reset(noise)
    ends = []
    for _ in range(3):
        state, _, _, terminated, truncated = env.step(state, jnp.int32(0), noise)
        ends.append((bool(terminated), bool(truncated)))
    assert ends == [(False, False), (False, False), (False, True)]
    assert int(state.problem.number) == 3 and int(env.reset(noise)[0].problem.number) == 0


def test_the_problem_of_an_environment_is_that_of_its_seed():
    bandit = bandits.gaussian()
    zero, again, one = (np.asarray(bandit.env(seed).reset(jnp.float32(0))[0].problem) for seed in (0, 0, 1))
    np.testing.assert_array_equal(zero, again)
    assert (zero != one).all()


def test_every_episode_of_digits_shows_a_picture_of_its_own():
    pytest.importorskip("sklearn")
    env = make("bandit/digits")
    shown = jax.vmap(lambda noise: env.reset(noise)[1])(env.noise(jax.random.key(0), (20,)))
    assert len(np.unique(np.asarray(shown), axis=0)) > 15


def test_behind_gymnasiums_interface_it_is_evaluated_as_it_was_trained():
    env = make_original("bandit/gaussian")
    assert isinstance(env, AsGymnasium)
    assert env.reset(seed=0)[0] == 0
    _, reward, terminated, truncated, _ = env.step(3)
    assert np.isfinite(reward) and terminated and not truncated


@pytest.mark.parametrize("algorithm", ["q-learning", "action-value-bandit"])
def test_what_is_trained_on_one_problem_finds_its_best_arm(tmp_path, algorithm):
    settings = {"processes": 0, "progress": False, "out": tmp_path, "final_episodes": 20}
    run = polyak.train(algorithm, "bandit/gaussian", steps=4_000, **settings)
    means = np.asarray(bandits.gaussian().draw(jax.random.key(0)))
    q = np.asarray(run.policy().tables["q"])[0]
    assert int(run.policy()(np.zeros(1, np.int64))[0]) == means.argmax() == q.argmax()
    assert run.scores.mean == pytest.approx(means.max(), abs=1.0)


def test_the_list_of_environments_has_them(capsys):
    assert main(["list", "envs"]) == 0
    listed = capsys.readouterr().out
    assert [id for id in BANDITS if f"\n{id} " not in listed] == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: bandits.gaussian(arms=1), "A bandit of 1 arms leaves nothing to choose"),
        (lambda: bandits.linear(features=0), "features is 0; it must be at least 1"),
        (lambda: bandits.adversarial(gap=1.5), "is 1.5; it must be between 0 and 1"),
        (lambda: bandits.drifting(episode=0), "episode is 0; it must be at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(BadSetting, match=sentence):
        wrong()
