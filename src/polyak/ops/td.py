"""Temporal-difference errors of one transition (s_tm1, a_tm1, r_t, s_t).

Every function takes `discount_t = gamma * (1 - terminated)`: a terminal state is worth nothing, a state at which only
the clock ran out keeps its value.
"""

import jax.numpy as jnp

from polyak.agent import Array


def discount(terminated: Array, gamma: float) -> Array:
    """gamma where the episode goes on or was merely cut, 0 where the MDP ended; any shape."""
    return gamma * (1.0 - terminated.astype(jnp.float32))


def td_learning(v_tm1: Array, r_t: Array, discount_t: Array, v_t: Array) -> Array:
    """r_t + discount_t v_t - v_tm1.

    Args:
        v_tm1: [] the value of the state left.
        r_t: [] the reward received.
        discount_t: [] see the module.
        v_t: [] the value of the state reached.

    Source: Sutton (1988), "Learning to predict by the methods of temporal differences"; Sutton and Barto (2018),
    equation 6.5.
    """
    return r_t + discount_t * v_t - v_tm1


def sarsa(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, a_t: Array) -> Array:
    """r_t + discount_t q_t(a_t) - q_tm1(a_tm1).

    Args:
        q_tm1: [A] action values of the state left.
        a_tm1: [] the action taken there.
        r_t: [] the reward received.
        discount_t: [] see the module.
        q_t: [A] action values of the state reached.
        a_t: [] the action that will be taken there.

    Source: Rummery and Niranjan (1994), "On-line Q-learning using connectionist systems"; Sutton and Barto (2018),
    equation 6.7.
    """
    return r_t + discount_t * q_t[a_t] - q_tm1[a_tm1]


def expected_sarsa(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, probs_a_t: Array) -> Array:
    """r_t + discount_t sum_a pi(a) q_t(a) - q_tm1(a_tm1).

    Args:
        q_tm1: [A] action values of the state left.
        a_tm1: [] the action taken there.
        r_t: [] the reward received.
        discount_t: [] see the module.
        q_t: [A] action values of the state reached.
        probs_a_t: [A] the probabilities with which the policy acts there.

    Source: van Seijen et al. (2009), "A theoretical and empirical analysis of Expected Sarsa", equation 5.
    """
    return r_t + discount_t * jnp.dot(probs_a_t, q_t) - q_tm1[a_tm1]


def q_learning(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array) -> Array:
    """r_t + discount_t max_a q_t(a) - q_tm1(a_tm1).

    Args:
        q_tm1: [A] action values of the state left.
        a_tm1: [] the action taken there.
        r_t: [] the reward received.
        discount_t: [] see the module.
        q_t: [A] action values of the state reached, usually those of a target network.

    Source: Watkins and Dayan (1992), "Q-learning"; Mnih et al. (2015), equation 2.
    """
    return r_t + discount_t * jnp.max(q_t) - q_tm1[a_tm1]


def double_q_learning(
    q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t_value: Array, q_t_selector: Array
) -> Array:
    """r_t + discount_t q_t_value(argmax_a q_t_selector(a)) - q_tm1(a_tm1).

    One set of values chooses the action and another evaluates it, which removes the upward bias of the maximum.

    Args:
        q_tm1: [A] action values of the state left.
        a_tm1: [] the action taken there.
        r_t: [] the reward received.
        discount_t: [] see the module.
        q_t_value: [A] the evaluating values of the state reached (the target network's).
        q_t_selector: [A] the choosing values of the state reached (the online network's).

    Source: van Hasselt, Guez and Silver (2016), "Deep reinforcement learning with double Q-learning", equation 4.
    """
    return r_t + discount_t * q_t_value[jnp.argmax(q_t_selector)] - q_tm1[a_tm1]


def huber(error: Array, delta: float = 1.0) -> Array:
    """error^2 / 2 within delta of zero, delta (|error| - delta / 2) beyond: a squared loss whose gradient is clipped.

    Source: Huber (1964), "Robust estimation of a location parameter".
    """
    size = jnp.abs(error)
    inside = jnp.minimum(size, delta)
    return inside * (size - 0.5 * inside)  # not a sum with delta * (size - inside), which a huge delta would spoil
