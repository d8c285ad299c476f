"""Surrogate losses against numbers worked by hand, and against rlax."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops import policy_gradient
from tests.ops.reference import rlax

SURROGATE = [
    # ratio, advantage, loss at eps = 0.2, its slope in the log-ratio
    (1.0, 2.0, -2.0, -2.0),
    (1.5, 2.0, -2.4, 0.0),  # -min(1.5 * 2, 1.2 * 2): good enough already, no reason to move further
    (1.5, -2.0, 3.0, 3.0),  # -min(1.5 * -2, 1.2 * -2): a mistake is always corrected
    (0.5, 2.0, -1.0, -1.0),  # -min(0.5 * 2, 0.8 * 2)
    (0.5, -2.0, 1.6, 0.0),  # -min(0.5 * -2, 0.8 * -2): rare enough already
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "slope"), SURROGATE)
def test_the_surrogate_is_clipped_only_where_moving_further_gains(compiled, ratio, advantage, loss, slope):
    log_ratio = math.log(ratio)
    assert compiled(policy_gradient.clipped_surrogate)(log_ratio, advantage, 0.2) == pytest.approx(loss)
    gradient = compiled(jax.grad(policy_gradient.clipped_surrogate))(log_ratio, advantage, 0.2)
    assert gradient == pytest.approx(slope, abs=1e-6)


def test_the_penalty_is_added_and_pulls_back(compiled):
    # -1.5 * 2 + 3 * 0.1; and its slope in the ratio is not cut, however far the policy has moved
    assert compiled(policy_gradient.penalised_surrogate)(math.log(1.5), 2.0, 0.1, 3.0) == pytest.approx(-2.7)
    gradient = compiled(jax.grad(policy_gradient.penalised_surrogate))(math.log(1.5), 2.0, 0.1, 3.0)
    assert gradient == pytest.approx(-3.0)


def test_the_penaltys_weight_follows_the_divergence(compiled):
    kl = jnp.array([0.005, 0.007, 0.01, 0.014, 0.016])  # 0.01 / 1.5 = 0.0067, 0.01 x 1.5 = 0.015
    answers = compiled(lambda kl: policy_gradient.adapted_kl_coef(4.0, kl, 0.01))(kl)
    np.testing.assert_allclose(answers, [2.0, 4.0, 4.0, 4.0, 8.0])
    ends = compiled(lambda kl: policy_gradient.adapted_kl_coef(jnp.array([1e-6, 1e6]), kl, 0.01))(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [1e-6, 1e6])  # from 0 or infinity nothing would find back


def test_the_value_loss_is_half_the_square_without_a_range(compiled):
    loss = compiled(lambda v, old, g: policy_gradient.clipped_value_loss(v, old, g, None))
    assert loss(3.0, 100.0, 1.0) == pytest.approx(2.0)  # (3 - 1)^2 / 2; the old value plays no part


@pytest.mark.parametrize(
    ("value", "old_value", "target", "loss"),
    [
        (3.0, 1.0, 1.0, 2.0),  # kept near: 1.5; max(2^2, .5^2) / 2
        (1.2, 0.0, 3.0, 3.125),  # kept near: 0.5; max(1.8^2, 2.5^2) / 2
        (0.25, 0.0, 1.0, 0.28125),  # within the range: .75^2 / 2
        (-1.2, 0.0, -3.0, 3.125),
    ],
)
def test_the_clipped_value_loss_is_the_larger_of_the_two(compiled, value, old_value, target, loss):
    assert compiled(policy_gradient.clipped_value_loss)(value, old_value, target, 0.5) == pytest.approx(loss)


def test_the_kl_estimate_by_hand(compiled):
    # (rho - 1) - log rho: 0; 1 - log 2; -1/2 + log 2
    answers = [compiled(policy_gradient.approximate_kl)(jnp.log(ratio)) for ratio in (1.0, 2.0, 0.5)]
    np.testing.assert_allclose(answers, [0.0, 1 - math.log(2), math.log(2) - 0.5], atol=1e-6)


def test_the_kl_estimate_has_the_kl_as_its_mean(compiled):
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.25, 0.7, 0.05])
    estimate = compiled(policy_gradient.approximate_kl)(jnp.log(new / old))
    assert (estimate >= 0).all()
    assert float(np.sum(old * estimate)) == pytest.approx(float(np.sum(old * np.log(old / new))), rel=1e-5)


def test_the_clipped_surrogate_is_rlax(compiled):
    rng = np.random.default_rng(0)
    log_ratios, advantages = rng.normal(size=(2, 50)).astype(np.float32)

    def ours(log_ratios):
        return policy_gradient.clipped_surrogate(log_ratios, advantages, 0.2).mean()

    def theirs(log_ratios):
        return rlax.clipped_surrogate_pg_loss(jnp.exp(log_ratios), advantages, 0.2)

    for mine, other in zip(jax.value_and_grad(ours)(log_ratios), jax.value_and_grad(theirs)(log_ratios), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)
