"""Distributional reinforcement learning: losses of one transition whose values are distributions over returns.

A distribution is K probabilities of returns that are fixed (C51), or quantiles: returns at fractions tau (QR-DQN, IQN).
`discount_t = gamma * (1 - terminated)`, as in `ops.td`.
"""

import jax
import jax.numpy as jnp

from polyak.agent import Array
from polyak.ops.td import huber


def categorical_projection(z: Array, probs: Array, atoms: Array) -> Array:
    """Moves probability from the returns `z` to the atoms: to the two neighbours of each, the nearer the more.

    Args:
        z: [M] returns.
        probs: [M] their probabilities.
        atoms: [K] returns that the result is about, ascending, at equal distances.

    Returns:
        [K] probabilities of the atoms. What lies beyond the ends falls on the outermost atoms.

    Source: Bellemare, Dabney and Munos (2017), "A distributional perspective on reinforcement learning", equation 7.
    """
    width = atoms[1] - atoms[0]
    distance = jnp.abs(jnp.clip(z, atoms[0], atoms[-1])[None, :] - atoms[:, None]) / width
    return jnp.clip(1.0 - distance, 0.0, 1.0) @ probs


def categorical_target(r_t: Array, discount_t: Array, logits_t: Array, q_t_selector: Array, atoms: Array) -> Array:
    """The distribution of r_t + discount_t Z_t(a*) on the atoms, with a* = argmax_a q_t_selector(a).

    Args:
        r_t: [] the reward received.
        discount_t: [] see the module.
        logits_t: [A, K] of the state reached, usually the target network's.
        q_t_selector: [A] the choosing values of the state reached.
        atoms: [K] returns, ascending, at equal distances.

    Returns:
        [K] probabilities; no gradient goes through them.

    Source: Bellemare, Dabney and Munos (2017), algorithm 1.
    """
    probs = jax.nn.softmax(logits_t[jnp.argmax(q_t_selector)])
    return jax.lax.stop_gradient(categorical_projection(r_t + discount_t * atoms, probs, atoms))


def cross_entropy(probs: Array, logits: Array) -> Array:
    """-sum_k p_k log softmax(logits)_k, in nats: the loss of logits [K] that should give the probabilities [K]."""
    return -jnp.sum(probs * jax.nn.log_softmax(logits))


def kl_divergence(probs: Array, logits: Array) -> Array:
    """sum_k p_k log(p_k / softmax(logits)_k), in nats: the cross-entropy less the least it can be, so 0 or more."""
    entropy = -jnp.sum(jax.scipy.special.xlogy(probs, probs))
    return jnp.maximum(cross_entropy(probs, logits) - entropy, 0.0)


def quantile_target(r_t: Array, discount_t: Array, quantiles_t: Array, q_t_selector: Array) -> Array:
    """r_t + discount_t theta_t(a*) with a* = argmax_a q_t_selector(a).

    Args:
        r_t: [] the reward received.
        discount_t: [] see the module.
        quantiles_t: [A, M] of the state reached, usually the target network's.
        q_t_selector: [A] the choosing values of the state reached.

    Returns:
        [M] returns; no gradient goes through them.

    Source: Dabney et al. (2018a), "Distributional reinforcement learning with quantile regression", algorithm 1.
    """
    return jax.lax.stop_gradient(r_t + discount_t * quantiles_t[jnp.argmax(q_t_selector)])


def quantile_huber(quantiles: Array, taus: Array, targets: Array, kappa: float) -> Array:
    """sum_i mean_j |tau_i - 1[u_ij < 0]| huber(u_ij, kappa) / kappa with u_ij = target_j - quantile_i.

    Least where quantile i has the share tau_i of the targets below it (for kappa near 0; else nearly there). Beyond
    kappa its slope is that of the quantile loss |tau_i - 1[u_ij < 0]| |u_ij|, whatever kappa is.

    Args:
        quantiles: [N] estimates.
        taus: [N] their fractions, in (0, 1).
        targets: [M] samples, or quantiles at other fractions, of what is estimated.
        kappa: errors beyond it count linearly; more than 0.

    Source: Dabney et al. (2018b), "Implicit quantile networks for distributional reinforcement learning", equation 3.
    Dabney et al. (2018a), equation 10, do not divide, which is the same where kappa is 1.
    """
    error = targets[None, :] - quantiles[:, None]
    weight = jnp.abs(taus[:, None] - (error < 0.0))
    return jnp.sum(jnp.mean(weight * huber(error, kappa) / kappa, axis=1))


def midpoints(count: int) -> Array:
    """[count] fractions (2 i + 1) / (2 count), the middles of equal shares: quantiles there fit a distribution best.

    Source: Dabney et al. (2018a), lemma 2.
    """
    return (jnp.arange(count) + 0.5) / count


def cosine_features(tau: Array, count: int) -> Array:
    """[..., count] cos(pi i tau) for i = 0 .. count - 1: how fractions [...] are shown to a network.

    Source: Dabney et al. (2018b), equation 4.
    """
    return jnp.cos(jnp.pi * jnp.arange(count) * jnp.asarray(tau)[..., None])
