"""Values and losses of maximum-entropy learning against numbers worked by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from polyak.ops import soft, td

LOGITS = jnp.log(jnp.array([3.0, 1.0])) + 5.0  # unnormalised: chances of 3/4 and 1/4
ENTROPY = 2 * np.log(2) - 0.75 * np.log(3)  # -3/4 log 3/4 - 1/4 log 1/4


def test_the_entropy_of_what_follows_is_paid_as_a_reward(compiled):
    # 1 + 0.5 (2 - 0.2 * -1.5) = 1 + 0.5 * 2.3
    assert compiled(soft.soft_target)(1.0, 0.5, 2.0, -1.5, 0.2) == pytest.approx(2.15)


def test_without_a_temperature_the_target_is_that_of_td_learning(compiled):
    target = compiled(soft.soft_target)(1.0, 0.5, 2.0, -1.5, 0.0)
    assert target == pytest.approx(float(td.td_learning(0.0, 1.0, 0.5, 2.0)))


@pytest.mark.parametrize(("terminated", "target"), [(False, 3.025), (True, 1.0)])
def test_what_follows_an_end_has_neither_value_nor_entropy(compiled, terminated, target):
    # 1 + 0.9 (2 + 0.5 * 0.5), or 1
    discount = td.discount(jnp.bool_(terminated), 0.9)
    assert compiled(soft.soft_target)(1.0, discount, 2.0, -0.5, 0.5) == pytest.approx(target)


def test_each_quantile_has_the_same_entropy_added(compiled):
    targets = compiled(soft.soft_target)(1.0, 0.5, jnp.array([2.0, 4.0, -2.0]), -1.5, 0.2)
    np.testing.assert_allclose(targets, [2.15, 3.15, 0.15], rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
def test_a_soft_value_is_the_mean_value_and_alpha_times_the_entropy(compiled, alpha):
    # 3/4 * 1 + 1/4 * 3 = 1.5
    value = compiled(soft.soft_value)(jnp.array([1.0, 3.0]), LOGITS, alpha)
    assert value == pytest.approx(1.5 + alpha * ENTROPY, rel=1e-6)


def test_the_best_policy_is_the_softmax_of_values_over_alpha(compiled):
    """There the soft value is alpha log sum exp(q / alpha), and no logit can raise it."""
    q, alpha = jnp.array([1.0, 3.0, -2.0]), 0.7
    value, slope = compiled(jax.value_and_grad(soft.soft_value, argnums=1))(q, q / alpha, alpha)
    assert value == pytest.approx(alpha * scipy.special.logsumexp(np.float64(q) / alpha), rel=1e-6)
    np.testing.assert_allclose(slope, np.zeros(3), atol=1e-6)
    others = q / alpha + 0.3 * jax.random.normal(jax.random.key(0), (20, 3))
    assert (jax.vmap(soft.soft_value, (None, 0, None))(q, others, alpha) < value).all()


def test_an_action_that_is_never_chosen_counts_for_nothing(compiled):
    value = compiled(soft.soft_value)(jnp.array([1.0, 1e6]), jnp.array([0.0, -1e30]), 0.5)
    assert value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("log_prob", "slope"),
    [
        (0.5, 0.5),  # an entropy of -0.5 is above its target of -1: descending lowers alpha
        (1.5, -0.5),  # one of -1.5 is below: descending raises it
        (1.0, 0.0),
    ],
)
def test_the_temperature_rises_where_the_entropy_is_below_its_target(compiled, log_prob, slope):
    loss, found = compiled(jax.value_and_grad(soft.temperature_loss))(jnp.log(0.1), log_prob, -1.0)
    assert loss == pytest.approx(np.log(0.1) * slope, rel=1e-6, abs=1e-7)  # it is linear in log alpha
    assert found == pytest.approx(slope)


def test_the_temperature_moves_no_policy(compiled):
    assert compiled(jax.grad(soft.temperature_loss, argnums=1))(jnp.float32(2.0), 1.5, -1.0) == 0.0


@pytest.mark.parametrize(
    ("quantiles", "dropped", "kept"),
    [
        ([[1.0, 4.0, 2.0], [6.0, 3.0, 5.0]], 1, [1, 2, 3, 4]),  # 5 and 6 are left out
        ([[1.0, 2.0], [8.0, 9.0]], 1, [1, 2]),  # the largest of all, here both of the second critic
        ([[5.0, 1.0], [3.0, 3.0]], 0, [1, 3, 3, 5]),
        ([[4.0, 2.0, 9.0, -1.0]], 3, [-1]),
    ],
)
def test_the_largest_of_the_pooled_quantiles_are_left_out(compiled, quantiles, dropped, kept):
    np.testing.assert_array_equal(compiled(partial(soft.truncated, dropped=dropped))(jnp.array(quantiles)), kept)
