"""Maximum-entropy reinforcement learning: what soft actor-critics learn from one transition.

The return counts reward and alpha times the entropy of the policy, -log pi(a | s), at every step. `discount_t =
gamma * (1 - terminated)`, as in `ops.td`.
"""

import jax
import jax.numpy as jnp

from polyak.agent import Array


def soft_target(r_t: Array, discount_t: Array, q_t: Array, log_prob_t: Array, alpha: Array | float) -> Array:
    """r_t + discount_t (q_t - alpha log pi(a_t | s_t)): what Q(s_tm1, a_tm1) should be.

    Args:
        r_t: [] the reward received.
        discount_t: [] see the module.
        q_t: [...] values of an action that the policy samples in the state reached: one, or quantiles of it.
        log_prob_t: [] the log-density of that action.
        alpha: [] the temperature, in units of reward per nat.

    Source: Haarnoja et al. (2018b), "Soft actor-critic algorithms and applications", equations 2 and 3.
    """
    return r_t + discount_t * (q_t - alpha * log_prob_t)


def soft_value(q: Array, logits: Array, alpha: Array | float) -> Array:
    """sum_a pi(a) (q(a) - alpha log pi(a)): the value of a state in which actions can be counted.

    Args:
        q: [A] action values.
        logits: [A] unnormalised log-probabilities of the policy.
        alpha: [] the temperature.

    Source: Christodoulou (2019), "Soft actor-critic for discrete action settings", equation 10.
    """
    log_probs = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(log_probs) * (q - alpha * log_probs))


def temperature_loss(log_alpha: Array, log_prob: Array, target_entropy: float) -> Array:
    """-log(alpha) (log pi(a | s) + target entropy): its slope raises alpha where the entropy is below its target.

    Args:
        log_alpha: [] log of the temperature.
        log_prob: [] the log-density of a sampled action; or minus the entropy, where that is known.
        target_entropy: in nats.

    Source: Haarnoja et al. (2018b), equation 18, with log(alpha) in front in place of alpha, as their code has it:
    the slope is the same but for the factor alpha.
    """
    return -log_alpha * (jax.lax.stop_gradient(log_prob) + target_entropy)


def truncated(quantiles: Array, dropped: int) -> Array:
    """The pooled quantiles of several critics without the largest, which overestimate.

    Args:
        quantiles: [K, M] of each of K critics.
        dropped: how many of the largest to leave out, for each critic.

    Returns:
        [K (M - dropped)], ascending.

    Source: Kuznetsov et al. (2020), "Controlling overestimation bias with truncated mixture of continuous
    distributional quantile critics", section 3.
    """
    count, each = quantiles.shape
    return jnp.sort(quantiles.reshape(-1))[: count * (each - dropped)]
