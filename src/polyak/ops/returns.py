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


def vtrace(
    r_t: Array,
    discount_t: Array,
    v_tm1: Array,
    v_t: Array,
    continues_t: Array,
    rho_tm1: Array,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
) -> tuple[Array, Array]:
    """Values and advantages of a policy from steps that another one took.

        vs_tm1 = v_tm1 + rho (r_t + discount_t v_t - v_tm1) + discount_t c (vs_t - v_t)
        A_tm1 = rho (r_t + discount_t vs_t - v_tm1)

    with rho = min(clip_rho, rho_tm1), c = min(clip_c, rho_tm1), and vs_t = v_t after the last step of an episode. Where
    both policies are one, vs is the return of the rest.

    Args:
        r_t: [T] rewards.
        discount_t: [T] gamma (1 - terminated).
        v_tm1: [T] values of the states left.
        v_t: [T] values of the true successors.
        continues_t: [T] 0 where an episode ended or was cut, else 1.
        rho_tm1: [T] pi(a|s) / mu(a|s), of the policy that learns and the one that acted.
        clip_rho: the most that a step's own ratio counts; it decides which policy the values are of.
        clip_c: the most that a ratio lets later steps count; it decides how fast they are learnt.

    Returns:
        [T] vs_tm1, the values to learn, and [T] A_tm1, the advantages.

    Source: Espeholt et al. (2018), "IMPALA: scalable distributed deep-RL with importance weighted actor-learner
    architectures", equation 1 and section 4.2.
    """
    rho, c = jnp.minimum(clip_rho, rho_tm1), jnp.minimum(clip_c, rho_tm1)
    delta_t = rho * (r_t + discount_t * v_t - v_tm1)

    def backward(excess: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, decay = step
        excess = delta + decay * excess
        return excess, excess

    decay_t = discount_t * c * continues_t
    _, excess = jax.lax.scan(backward, jnp.zeros_like(delta_t[-1]), (delta_t, decay_t), reverse=True)
    vs_t = v_t + continues_t * jnp.append(excess[1:], 0.0)
    return v_tm1 + excess, rho * (r_t + discount_t * vs_t - v_tm1)


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


def searched_return(
    r_t: Array, discount_t: Array, searched: Array, v_t: Array, over_t: Array, drawn: Array, trace_lambda: float
) -> Array:
    """The lambda-return of positions whose values a search has found, from the actions that it chose alone.

    What follows an action that was drawn at random tells nothing of the position before it. So there the return is what
    the search found, and the returns before it look no further than to there.

    Args:
        r_t: [T] rewards.
        discount_t: [T] of what follows; 0 where the episode ended, negative where it is another player's.
        searched: [T] values of the positions, as the search found them.
        v_t: [T] values of the true successors without a search, which stand for what is not in the block.
        over_t: [T] whether the episode ended or was cut with the step.
        drawn: [T] whether the action was drawn.
        trace_lambda: in [0, 1]; 0 looks to the next search, 1 to the end of the episode.

    Returns:
        [T] the returns.
    """
    ends = over_t.at[-1].set(True)
    v_t = jnp.where(ends, v_t, jnp.roll(searched, -1))
    found = lambda_return(r_t, discount_t, v_t, 1.0 - (ends | jnp.roll(drawn, -1)), trace_lambda)
    return jnp.where(drawn, searched, found)


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
    order = jnp.lexsort((visited, episode))  # stable: equal ones stay in the order of time
    same_as_before = (jnp.diff(visited[order]) == 0) & (jnp.diff(episode[order]) == 0)
    return jnp.ones(len(order), bool).at[order[1:]].set(~same_as_before)
