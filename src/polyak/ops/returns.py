"""Returns and advantages along one trajectory of T steps."""

import jax
import jax.numpy as jnp

from polyak.agent import Array


def generalised_advantage(
    r_t: Array, discount_t: Array, v_tm1: Array, v_t: Array, continues_t: Array, gae_lambda: float
) -> Array:
    """A_tm1 = delta_t + discount_t lambda continues_t A_t with delta_t = r_t + discount_t v_t - v_tm1.

    The value of the true successor `v_t` is given for every step, so that a step cut by the clock keeps its bootstrap
    (`discount_t > 0`) while the sum stops there (`continues_t = 0`).

    Args:
        r_t: [T] rewards.
        discount_t: [T] gamma (1 - terminated).
        v_tm1: [T] values of the states left.
        v_t: [T] values of the true successors.
        continues_t: [T] 0 where an episode ended or was cut, else 1.
        gae_lambda: in [0, 1]; 0 is the one-step error, 1 the Monte Carlo return less the value.

    Returns:
        [T] advantages; adding `v_tm1` gives the lambda returns.

    Source: Schulman et al. (2016), "High-dimensional continuous control using generalized advantage
    estimation", equation 16.
    """
    delta_t = r_t + discount_t * v_t - v_tm1
    decay_t = discount_t * gae_lambda * continues_t

    def backward(advantage: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, decay = step
        advantage = delta + decay * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(delta_t[-1]), (delta_t, decay_t), reverse=True)
    return advantages


def discounted(r_t: Array, discount_t: Array, v_last: Array) -> Array:
    """g_t = r_t + discount_t g_(t+1), with v_last in place of the return after the last step.

    Args:
        r_t: [T] rewards.
        discount_t: [T] gamma (1 - terminated); less than the whole episode needs no flag, v_last stands for the rest.
        v_last: [] what follows the last step is worth.

    Returns:
        [T] returns.

    Source: Sutton and Barto (2018), equation 3.9.
    """

    def backward(g: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, discount = step
        g = reward + discount * g
        return g, g

    return jax.lax.scan(backward, v_last, (r_t, discount_t), reverse=True)[1]


def lambda_return(r_t: Array, discount_t: Array, v_t: Array, continues_t: Array, trace_lambda: float) -> Array:
    """g_tm1 = r_t + discount_t [(1 - lambda) v_t + lambda g_t], with v_t alone after the last step of an episode.

    Args:
        r_t: [T] rewards.
        discount_t: [T] gamma (1 - terminated).
        v_t: [T] values of the true successors.
        continues_t: [T] 0 where an episode ended or was cut, else 1.
        trace_lambda: in [0, 1]; 0 looks one step ahead, 1 to the end of the episode.

    Returns:
        [T] the mean of the n-step returns, each weighed with (1 - lambda) lambda^(n - 1).

    Source: Sutton and Barto (2018), equations 12.2 and 12.18.
    """

    def backward(g: Array, step: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, value, continues = step
        g = reward + discount * (value + trace_lambda * continues * (g - value))
        return g, g

    return jax.lax.scan(backward, v_t[-1], (r_t, discount_t, v_t, continues_t), reverse=True)[1]


def n_step(r_t: Array, terminated_t: Array, over_t: Array, gamma: float) -> tuple[Array, Array, Array]:
    """r_0 + gamma r_1 + ... + gamma^(m-1) r_(m-1), and what the value after the last of the m <= n steps is worth.

    The sum stops after the first step that ended the episode or cut it. Only an end makes the discount zero: a cut, or
    a memory that holds no more, shortens the sum and keeps the bootstrap.

    Args:
        r_t: [n] rewards.
        terminated_t: [n] where the MDP ended.
        over_t: [n] where the episode ended, was cut, or is not known any further.
        gamma: the discount.

    Returns:
        [] the sum, [] the discount gamma^m (1 - terminated) of the value that follows, and [] the index of its step.

    Source: Sutton and Barto (2018), equation 7.1.
    """
    reached = jnp.cumprod(jnp.concatenate([jnp.ones(1), 1.0 - over_t[:-1]]))
    last = reached.sum().astype(jnp.int32) - 1
    total = jnp.sum(reached * gamma ** jnp.arange(len(r_t)) * r_t)
    return total, gamma ** (last + 1) * (1.0 - terminated_t[last]), last


def discounted_sums(r_t: Array, continues_t: Array, gamma: float, start: Array) -> tuple[Array, Array]:
    """g_t = r_t + gamma g_tm1, forward in time and forgotten after each episode: what reward scaling measures.

    Args:
        r_t: [T] rewards.
        continues_t: [T] 0 where an episode ended or was cut, else 1.
        gamma: the discount.
        start: [] the sum carried in from before the first step.

    Returns:
        [] the sum to carry on, and [T] the sums.

    Source: Engstrom et al. (2020), "Implementation matters in deep policy gradients", section 3.
    """

    def forward(total: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, continues = step
        total = gamma * total + reward
        return total * continues, total

    return jax.lax.scan(forward, start, (r_t, continues_t))


def first_visit(visited: Array, over_t: Array) -> Array:
    """[T] whether each step is the first of its episode at which its state (or pair) is visited.

    Args:
        visited: [T] integers that name what is visited.
        over_t: [T] where an episode ended or was cut.

    Source: Sutton and Barto (2018), section 5.1.
    """
    episode = jnp.cumsum(over_t) - over_t
    same = (visited[:, None] == visited[None, :]) & (episode[:, None] == episode[None, :])
    return ~jnp.any(jnp.tril(same, -1), axis=1)
