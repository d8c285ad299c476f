"""Values on another scale: a network that learns h(Q) need not know how large returns become.

`discount_t = gamma * (1 - terminated)`, as in `ops.td`.
"""

import jax.numpy as jnp

from polyak.agent import Array

EPSILON = 1e-3


def squash(x: Array, epsilon: float = EPSILON) -> Array:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x; any shape.

    About the identity near zero and a square root far from it; the last term keeps the inverse from growing fast.

    Source: Pohlen et al. (2018), "Observe and look further", proposition A.2; epsilon as in Kapturowski et al. (2019).
    """
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1.0) - 1.0) + epsilon * x


def unsquash(x: Array, epsilon: float = EPSILON) -> Array:
    """The inverse of `squash`.

        h^-1(x) = sign(x) (((sqrt(1 + 4 epsilon (|x| + 1 + epsilon)) - 1) / (2 epsilon))^2 - 1)

    Computed from 2 (|x| + 1 + epsilon) / (sqrt(...) + 1) in place of (sqrt(...) - 1) / (2 epsilon): the same, without
    the difference of two numbers near 1, which in float32 loses four of seven digits.
    """
    rest = jnp.abs(x) + 1.0 + epsilon
    root = 2.0 * rest / (jnp.sqrt(1.0 + 4.0 * epsilon * rest) + 1.0)
    return jnp.sign(x) * (root**2 - 1.0)


def squashed_double_q_learning(
    q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t_value: Array, q_t_selector: Array
) -> Array:
    """h(r_t + discount_t h^-1(q_t_value(argmax_a q_t_selector(a)))) - q_tm1(a_tm1): double Q-learning of h(Q).

    Args:
        q_tm1: [A] squashed action values of the state left.
        a_tm1: [] the action taken there.
        r_t: [] the reward received, on its own scale.
        discount_t: [] see the module.
        q_t_value: [A] the evaluating squashed values of the state reached.
        q_t_selector: [A] the choosing values of the state reached; squashed or not, the largest is the same.

    Source: Pohlen et al. (2018), equation 3.
    """
    best = unsquash(q_t_value[jnp.argmax(q_t_selector)])
    return squash(r_t + discount_t * best) - q_tm1[a_tm1]
