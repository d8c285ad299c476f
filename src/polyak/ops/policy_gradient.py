"""Surrogate objectives of policy-gradient methods, per sample."""

import jax.numpy as jnp

from polyak.agent import Array


def clipped_surrogate(log_ratio: Array, advantage: Array, clip_range: Array | float) -> Array:
    """-min(rho A, clip(rho, 1 - eps, 1 + eps) A) with rho = pi(a|s) / pi_old(a|s): a loss, to be minimised.

    Args:
        log_ratio: [] log pi(a|s) - log pi_old(a|s).
        advantage: [] of the action taken.
        clip_range: eps; beyond it there is no reason to move further.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", equation 7.
    """
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    return -jnp.minimum(ratio * advantage, clipped * advantage)


def penalised_surrogate(log_ratio: Array, advantage: Array, kl: Array, kl_coef: Array | float) -> Array:
    """-rho A + beta KL(pi_old || pi): a loss, to be minimised.

    Args:
        log_ratio: [] log pi(a|s) - log pi_old(a|s).
        advantage: [] of the action taken.
        kl: [] the divergence at s, in nats.
        kl_coef: beta.

    Source: Schulman et al. (2017), "Proximal policy optimization algorithms", equation 8.
    """
    return kl_coef * kl - jnp.exp(log_ratio) * advantage


def adapted_kl_coef(kl_coef: Array | float, kl: Array, target_kl: Array | float) -> Array:
    """beta for the next round of updates: half where the policy moved less than KL_target / 1.5, twice beyond 1.5
    times it; within 1e-6 and 1e6, from where it finds back.

    Args:
        kl_coef: [] beta.
        kl: [] mean of KL(pi_old || pi) after the round, in nats.
        target_kl: KL_target, in nats.

    Source: Schulman et al. (2017), section 4.
    """
    factor = jnp.where(kl < target_kl / 1.5, 0.5, jnp.where(kl > target_kl * 1.5, 2.0, 1.0))
    return jnp.clip(kl_coef * factor, 1e-6, 1e6)


def clipped_value_loss(value: Array, old_value: Array, target: Array, clip_range: Array | float | None) -> Array:
    """(v - g)^2 / 2; given a range, the larger of that and the loss of v kept within the range around v_old.

    Args:
        value: [] v, the prediction being improved.
        old_value: [] v_old, the prediction before this round of updates.
        target: [] g, the return.
        clip_range: None for the plain squared error.

    Source: the reference implementation of Schulman et al. (2017); Engstrom et al. (2020), section 3, item 1.
    """
    loss = jnp.square(value - target)
    if clip_range is not None:
        near = old_value + jnp.clip(value - old_value, -clip_range, clip_range)
        loss = jnp.maximum(loss, jnp.square(near - target))
    return 0.5 * loss


def approximate_kl(log_ratio: Array) -> Array:
    """(rho - 1) - log rho: a non-negative, unbiased estimate of KL(pi_old || pi) from one action of pi_old.

    Source: Schulman (2020), "Approximating KL divergence", the third estimator.
    """
    return jnp.expm1(log_ratio) - log_ratio
