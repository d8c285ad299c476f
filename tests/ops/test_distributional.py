"""Distributional losses against numbers worked by hand, and against rlax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops import distributional
from tests.ops.reference import rlax

pytestmark = pytest.mark.filterwarnings("ignore:Rlax:PendingDeprecationWarning")

ATOMS = jnp.array([0.0, 1.0, 2.0])
LN2 = np.log(2.0)


@pytest.mark.parametrize(
    ("z", "probs", "wanted"),
    [
        ([0.0, 1.0, 2.0], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),  # already there
        ([0.5], [1.0], [0.5, 0.5, 0.0]),  # half way
        ([1.25], [1.0], [0.0, 0.75, 0.25]),  # a quarter of the way: three quarters stay with the nearer one
        ([-3.0, 7.0], [0.4, 0.6], [0.4, 0.0, 0.6]),  # beyond the ends
        ([0.5, 1.5], [0.5, 0.5], [0.25, 0.5, 0.25]),
        ([1.0, 1.0, 1.0], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]),  # all that follows an end: r, with certainty
    ],
)
def test_probability_goes_to_the_two_neighbours(compiled, z, probs, wanted):
    projected = compiled(distributional.categorical_projection)(jnp.array(z), jnp.array(probs), ATOMS)
    np.testing.assert_allclose(projected, wanted, atol=1e-6)


def test_the_target_follows_the_action_that_the_selector_prefers(compiled):
    logits = jnp.log(jnp.array([[1.0, 1e-9, 1e-9], [1e-9, 1.0, 1.0]]))  # action 1: 1 or 2, each with 1/2
    target = compiled(distributional.categorical_target)(0.5, 0.5, logits, jnp.array([0.0, 3.0]), ATOMS)
    np.testing.assert_allclose(target, [0.0, 0.75, 0.25], atol=1e-6)  # 1 and 1.5, each with 1/2
    ended = compiled(distributional.categorical_target)(0.5, 0.0, logits, jnp.array([0.0, 3.0]), ATOMS)
    np.testing.assert_allclose(ended, [0.5, 0.5, 0.0], atol=1e-6)  # 0.5, whatever follows
    other = compiled(distributional.categorical_target)(0.5, 0.5, logits, jnp.array([3.0, 0.0]), ATOMS)
    np.testing.assert_allclose(other, [0.5, 0.5, 0.0], atol=1e-6)  # 0 becomes 0.5


def test_cross_entropy_and_divergence_by_hand(compiled):
    probs, logits = jnp.array([0.5, 0.5, 0.0]), jnp.log(jnp.array([0.5, 0.25, 0.25]))
    assert compiled(distributional.cross_entropy)(probs, logits) == pytest.approx(1.5 * LN2)  # (ln 2 + ln 4) / 2
    assert compiled(distributional.kl_divergence)(probs, logits) == pytest.approx(0.5 * LN2)  # less ln 2
    same = compiled(distributional.kl_divergence)(jax.nn.softmax(logits), logits)
    assert 0.0 <= float(same) < 1e-6


def test_no_gradient_goes_through_a_target():
    logits, selector = jnp.zeros((2, 3)), jnp.array([1.0, 0.0])
    through = jax.grad(lambda x: distributional.categorical_target(0.5, 0.9, x, selector, ATOMS)[0])(logits)
    np.testing.assert_array_equal(through, 0.0)
    through = jax.grad(lambda x: distributional.quantile_target(0.5, 0.9, x, selector)[0])(logits)
    np.testing.assert_array_equal(through, 0.0)


def test_the_quantile_target_by_hand(compiled):
    quantiles = jnp.array([[0.0, 10.0], [2.0, 4.0]])
    target = compiled(distributional.quantile_target)(1.0, 0.5, quantiles, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(target, [2.0, 3.0])  # 1 + (2, 4) / 2


@pytest.mark.parametrize(
    ("quantiles", "taus", "targets", "kappa", "loss"),
    [
        ([0.0], [0.5], [0.5], 1.0, 0.0625),  # 0.5 * 0.5^2 / 2
        ([0.0], [0.9], [0.5], 1.0, 0.1125),  # the estimate is too low: 0.9 * 0.125
        ([0.0], [0.9], [-0.5], 1.0, 0.0125),  # too high: 0.1 * 0.125
        ([0.0], [0.25], [3.0], 1.0, 0.625),  # linear outside: 0.25 * (3 - 1 / 2)
        ([0.0], [0.25], [3.0], 2.0, 0.5),  # 0.25 * 2 * (3 - 1) / 2
        ([0.0], [0.25], [3.0], 0.5, 0.6875),  # 0.25 * 0.5 * (3 - 1 / 4) / 0.5
        ([0.0], [0.75], [-1.0], 4.0, 0.03125),  # 0.25 * 1^2 / 2 / 4
        ([0.0], [0.5], [0.5, -1.0], 1.0, 0.15625),  # the mean of 0.0625 and 0.25
        ([0.0, 1.0], [0.25, 0.75], [0.5], 1.0, 0.0625),  # the sum of 0.25 * 0.125, too low, and 0.25 * 0.125, too high
    ],
)
def test_the_quantile_loss_by_hand(compiled, quantiles, taus, targets, kappa, loss):
    arrays = (jnp.array(values) for values in (quantiles, taus, targets))
    assert compiled(distributional.quantile_huber)(*arrays, kappa) == pytest.approx(loss)


def test_the_quantile_loss_is_least_at_the_quantiles():
    """Of the targets 0, 1, ..., 9 a tenth lies below 0.5, and so on; found by following the gradient."""
    taus, targets = distributional.midpoints(10), jnp.arange(10.0)
    descend = jax.jit(jax.grad(distributional.quantile_huber))

    def step(_, quantiles):
        return quantiles - 0.05 * descend(quantiles, taus, targets, 0.01)

    quantiles = jax.lax.fori_loop(0, 3_000, step, jnp.full(10, 4.5))
    np.testing.assert_allclose(quantiles, targets, atol=0.2)


def test_fractions_by_hand(compiled):
    np.testing.assert_allclose(distributional.midpoints(4), [0.125, 0.375, 0.625, 0.875])
    features = compiled(lambda tau: distributional.cosine_features(tau, 5))(0.5)
    np.testing.assert_allclose(features, [1.0, 0.0, -1.0, 0.0, 1.0], atol=1e-6)  # cos(0, pi/2, pi, 3 pi/2, 2 pi)


# Against rlax: random inputs, values and gradients


@pytest.fixture(scope="module")
def drawn():
    """A hundred transitions of three actions and 7 atoms, or 7 and 5 quantiles; some returns beyond the atoms."""
    keys = jax.random.split(jax.random.key(0), 8)
    count, actions, atoms = 100, 3, 7
    return {
        "now": jax.random.normal(keys[0], (count, actions, atoms)),
        "action": jax.random.randint(keys[1], (count,), 0, actions),
        "reward": 3.0 * jax.random.normal(keys[2], (count,)),
        "discount": 0.99 * jax.random.bernoulli(keys[3], 0.8, (count,)),
        "then": jax.random.normal(keys[4], (count, actions, atoms)),
        "selector": jax.random.normal(keys[5], (count, actions)),
        "taus": jax.random.uniform(keys[6], (count, atoms)),
    }


def check(mine, theirs, first, *others, close: float = 2e-5) -> None:
    """Values and gradients with respect to the first argument, over the batch."""
    for function in (lambda loss: jax.vmap(loss), lambda loss: jax.vmap(jax.grad(loss))):
        np.testing.assert_allclose(
            jax.jit(function(mine))(first, *others), jax.jit(function(theirs))(first, *others), rtol=close, atol=close
        )


@pytest.mark.parametrize("double", [False, True])
def test_c51_is_rlax(drawn, double):
    atoms = jnp.linspace(-2.0, 2.0, 7)

    def mine(logits_tm1, a_tm1, r_t, discount_t, logits_t, selector):
        selector = selector if double else jax.nn.softmax(logits_t) @ atoms
        target = distributional.categorical_target(r_t, discount_t, logits_t, selector, atoms)
        return distributional.cross_entropy(target, logits_tm1[a_tm1])

    def theirs(logits_tm1, a_tm1, r_t, discount_t, logits_t, selector):
        if double:
            return rlax.categorical_double_q_learning(
                atoms, logits_tm1, a_tm1, r_t, discount_t, atoms, logits_t, selector
            )
        return rlax.categorical_q_learning(atoms, logits_tm1, a_tm1, r_t, discount_t, atoms, logits_t)

    check(mine, theirs, *(drawn[name] for name in ("now", "action", "reward", "discount", "then", "selector")))


@pytest.mark.parametrize("kappa", [1.0, 0.3])
@pytest.mark.parametrize("kind", ["qr-dqn", "iqn"])
def test_quantile_losses_are_rlax(drawn, kind, kappa):
    """QR-DQN: fractions that are fixed. IQN: fractions that are drawn, and another number of targets than estimates.

    rlax leaves out the division by kappa.
    """
    drawn = drawn | (
        {"then": drawn["then"][..., :5]} if kind == "iqn" else {"taus": jnp.tile(jnp.arange(7) / 7, (100, 1))}
    )

    def mine(now, taus, a_tm1, r_t, discount_t, then):
        target = distributional.quantile_target(r_t, discount_t, then, then.mean(-1))
        return distributional.quantile_huber(now[a_tm1], taus, target, kappa)

    def theirs(now, taus, a_tm1, r_t, discount_t, then):
        return rlax.quantile_q_learning(now.T, taus, a_tm1, r_t, discount_t, then.T, then.T, kappa) / kappa

    check(mine, theirs, *(drawn[name] for name in ("now", "taus", "action", "reward", "discount", "then")))
