"""Distributions over actions against numbers worked by hand, sums over all draws, integrals, SciPy and rlax."""

import itertools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from scipy.special import softmax

from polyak.errors import BadSetting
from polyak.parts.distributions import RULED_OUT, Categorical, Joint, Normal, distribution
from polyak.spaces import from_rows
from tests.ops.reference import rlax

LOGITS = jnp.array([[0.0, 1.0, 2.0], [-3.0, 50.0, 1.0], [2.0, 2.0, 2.0]])  # unnormalised, one nearly certain, one flat
THREE = Categorical(3)

FINITE = {
    "discrete": (Discrete(3, start=5), [np.int32(i) for i in range(3)]),
    "multi-discrete": (MultiDiscrete([2, 3], start=[1, 0]), list(itertools.product(range(2), range(3)))),
    "multi-discrete grid": (MultiDiscrete([[2], [2]]), list(itertools.product(range(2), range(2)))),
    "multi-binary": (MultiBinary(3), list(itertools.product(range(2), repeat=3))),
    "multi-binary grid": (MultiBinary([1, 2]), list(itertools.product(range(2), repeat=2))),
}
BOUNDED = Box(np.float32([-1.0, 0.0]), np.float32([1.0, 4.0]))
NUMBERS = {
    "clipped": distribution(BOUNDED, log_std_init=-0.5),
    "answered deviations": distribution(BOUNDED, state_dependent_std=True),
    "squashed": distribution(BOUNDED, squash=True),
    "unbounded": distribution(Box(-np.inf, np.inf, (1, 2), np.float32)),
}
EVERY = {name: distribution(space) for name, (space, _) in FINITE.items()} | NUMBERS


def finite(name):
    """The distribution, all of its draws, and log-probabilities of them from random answers, twice."""
    space, draws = FINITE[name]
    pi = distribution(space)
    draws = jnp.array(draws)
    answers = jax.random.normal(jax.random.key(0), (2, pi.outputs))
    first, second = (pi.parameters(row, pi.free()) for row in answers)
    return pi, draws, first, second


def of_all(pi, parameters, draws):
    return np.float64(jax.vmap(pi.log_prob, (None, 0))(parameters, draws))


@pytest.mark.parametrize("name", FINITE)
def test_probabilities_of_all_draws_sum_to_one_and_the_mode_has_the_largest(name):
    pi, draws, parameters, _ = finite(name)
    log_probs = of_all(pi, parameters, draws)
    assert np.exp(log_probs).sum() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_array_equal(pi.mode(parameters), draws[log_probs.argmax()])


@pytest.mark.parametrize("name", FINITE)
def test_entropy_and_divergence_are_the_sums_that_define_them(name):
    pi, draws, parameters, others = finite(name)
    p, q = of_all(pi, parameters, draws), of_all(pi, others, draws)
    assert float(pi.entropy(parameters)) == pytest.approx(-(np.exp(p) * p).sum(), rel=1e-5)
    assert float(pi.kl(parameters, others)) == pytest.approx((np.exp(p) * (p - q)).sum(), rel=1e-4)
    assert float(pi.kl(parameters, parameters)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", FINITE)
def test_each_draw_comes_as_often_as_it_is_likely(name):
    pi, draws, parameters, _ = finite(name)
    count = 20_000
    drawn = np.asarray(pi.sample(parameters, pi.noise(jax.random.key(1), (count,)))).reshape(count, -1)
    found = np.array([(drawn == np.ravel(draw)).all(1).mean() for draw in draws])
    expected = np.exp(of_all(pi, parameters, draws))
    assert (np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / count) + 1e-9).all()


def test_categorical_is_that_of_the_normalised_logits():
    for action in range(3):
        expected = np.log(softmax(np.asarray(LOGITS, np.float64), -1)[:, action])
        np.testing.assert_allclose(THREE.log_prob(LOGITS, jnp.full(3, action)), expected, rtol=1e-5, atol=1e-6)
    expected = scipy.stats.entropy(softmax(np.asarray(LOGITS, np.float64), -1), axis=-1)
    np.testing.assert_allclose(THREE.entropy(LOGITS), expected, rtol=1e-5, atol=1e-6)


def test_an_action_ruled_out_leaves_the_others_alone():
    logits = jnp.array([0.0, 0.0, RULED_OUT])
    np.testing.assert_allclose(THREE.entropy(logits), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(THREE.log_prob(logits, jnp.int32(1)), -np.log(2), rtol=1e-6)
    assert float(THREE.kl(logits, logits)) == 0.0


def test_switches_by_hand():
    # on with chance 1 / (1 + e^-log 3) = 3/4: log p(on, off) = log 3/4 + log 1/2
    pi = distribution(MultiBinary(2))
    parameters = jnp.array([np.log(3.0), 0.0])
    np.testing.assert_allclose(pi.log_prob(parameters, jnp.array([1, 0])), np.log(3 / 8), rtol=1e-6)


def test_a_normal_by_hand():
    # mean 1, deviation 2: the density at 3 is exp(-1/2) / (2 sqrt(2 pi)); its KL to the unit normal is
    # -log 2 + (4 + 1) / 2 - 1/2
    pi = distribution(Box(-np.inf, np.inf, (1,), np.float32))
    wide, unit = Normal(jnp.ones(1), jnp.full(1, np.log(2.0))), Normal(jnp.zeros(1), jnp.zeros(1))
    np.testing.assert_allclose(pi.log_prob(wide, jnp.array([3.0])), -0.5 - np.log(2 * np.sqrt(2 * np.pi)), rtol=1e-6)
    np.testing.assert_allclose(pi.kl(wide, unit), 2.0 - np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(pi.entropy(wide), scipy.stats.norm(1, 2).entropy(), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rlax points to distrax
def test_divergences_are_rlax():
    """The two that it has; those of several choices and of switches are held to the sums that define them, above."""
    logits, means, log_stds = (jax.random.normal(jax.random.key(i), (2, 3)) for i in range(3))
    np.testing.assert_allclose(THREE.kl(*logits), rlax.categorical_kl_divergence(*logits), rtol=1e-5)
    pi = distribution(Box(-np.inf, np.inf, (3,), np.float32))
    parts = (part for mean, log_std in zip(means, log_stds, strict=True) for part in (mean, jnp.exp(log_std)))
    ours = pi.kl(Normal(means[0], log_stds[0]), Normal(means[1], log_stds[1]))
    np.testing.assert_allclose(ours, rlax.multivariate_normal_kl_divergence(*parts), rtol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-0.5, 2.0)])
def test_squashed_numbers_have_the_density_of_the_actions(mean, std):
    """Over actions from 0 to 4: it integrates to one, and -E log p is the entropy."""
    pi = distribution(Box(0.0, 4.0, (1,), np.float32), squash=True)
    parameters = Normal(jnp.full(1, mean), jnp.full(1, np.log(std)))
    draws = jnp.linspace(mean - 8 * std, mean + 8 * std, 4001)[:, None]
    actions = np.float64(2.0 + 2.0 * np.tanh(np.float64(draws[:, 0])))
    np.testing.assert_allclose(pi.action(draws)[:, 0], actions, atol=1e-6)
    log_prob = of_all(pi, parameters, draws)
    assert np.trapezoid(np.exp(log_prob), actions) == pytest.approx(1.0, abs=1e-3)
    normal = scipy.stats.norm(mean, std).pdf(np.float64(draws[:, 0]))
    entropy = -np.trapezoid(normal * log_prob, np.float64(draws[:, 0]))
    assert float(pi.entropy(parameters)) == pytest.approx(entropy, abs=0.01)


def test_numbers_far_beyond_where_tanh_is_one_keep_a_finite_density():
    pi = distribution(Box(-1.0, 1.0, (1,), np.float32), squash=True)
    slope = jax.grad(lambda mean: pi.log_prob(Normal(mean, jnp.zeros(1)), jnp.array([30.0])))(jnp.zeros(1))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", ["clipped", "squashed"])
def test_actions_keep_within_the_bounds_whatever_is_drawn(name):
    actions = NUMBERS[name].action(jnp.array([[-50.0, 50.0], [50.0, -50.0], [0.1, 0.2]]))
    assert all(BOUNDED.contains(np.asarray(action)) for action in actions)


def test_deviations_begin_where_they_are_told_to():
    clipped = NUMBERS["clipped"]
    assert clipped.parameters(jnp.zeros((3, 2)), clipped.free()).log_std.tolist() == [[-0.5, -0.5]] * 3
    answered = distribution(BOUNDED, log_std_init=-0.5, state_dependent_std=True)
    mean, log_std = answered.parameters(jnp.array([1.0, 2.0, 0.25, 90.0]), answered.free())
    assert (mean.tolist(), log_std.tolist()) == ([1.0, 2.0], [-0.25, 2.0])  # the last is kept from growing without end


def test_parts_of_a_space_are_drawn_side_by_side():
    space = gymnasium.spaces.Dict({"go": Discrete(3, start=1), "push": BOUNDED, "lights": MultiBinary(2)})
    pi = distribution(space)
    assert isinstance(pi, Joint)
    parameters = pi.parameters(jax.random.normal(jax.random.key(0), (5, pi.outputs)), pi.free())
    draw = pi.sample(parameters, pi.noise(jax.random.key(1), (5,)))
    each = list(zip(pi.parts, parameters, draw, strict=True))
    np.testing.assert_allclose(pi.log_prob(parameters, draw), sum(part.log_prob(p, d) for part, p, d in each))
    np.testing.assert_allclose(pi.entropy(parameters), sum(part.entropy(p) for part, p, _ in each))
    np.testing.assert_allclose(pi.kl(parameters, parameters), np.zeros(5), atol=1e-6)
    for chosen in (draw, pi.mode(parameters)):
        rows = np.asarray(pi.action(chosen))
        assert all(space.contains(from_rows(space, row)) for row in rows)
    nested = distribution(gymnasium.spaces.Tuple([Discrete(2), gymnasium.spaces.Tuple([Discrete(9, start=3)])]))
    assert nested.action((jnp.int32(1), (jnp.int32(4),))).tolist() == [1, 7]


@pytest.mark.parametrize("name", EVERY)
def test_leading_axes_are_kept(name):
    pi = EVERY[name]

    def answers():
        parameters = pi.parameters(jnp.zeros((4, 5, pi.outputs)), pi.free())
        draw = pi.sample(parameters, pi.noise(jax.random.key(0), (4, 5)))
        numbers = pi.log_prob(parameters, draw), pi.entropy(parameters), pi.kl(parameters, parameters)
        return numbers, (pi.action(draw), pi.action(pi.mode(parameters)))

    numbers, actions = jax.eval_shape(answers)  # of shapes alone nothing is compiled
    space = FINITE[name][0] if name in FINITE else pi.space
    assert all(number.shape == (4, 5) for number in numbers)
    assert all(action.shape == (4, 5, *space.shape) for action in actions)


def test_spaces_that_cannot_be_drawn_from_are_refused_in_a_sentence():
    with pytest.raises(BadSetting, match="Only bounded actions can be squashed"):
        distribution(Box(0.0, np.inf, (1,), np.float32), squash=True)
    for space in (gymnasium.spaces.Text(2), Box(0, 9, (1,), np.int32), gymnasium.spaces.Dict({})):
        with pytest.raises(BadSetting, match="not supported"):
            distribution(space)
