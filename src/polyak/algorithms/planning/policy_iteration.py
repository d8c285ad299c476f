"""Policy iteration: evaluate, improve, and again, until nothing improves (Howard, 1960)."""

import numpy as np

from polyak.algorithms.planning.policy_evaluation import followed, policy_evaluation_exact
from polyak.algorithms.planning.solution import Solution, best_of, check_gamma, expected, not_settled, solution, uniform
from polyak.envs.mdp import MDP

STRICTLY = 1e-10  # how much better an action must be before it replaces another: less is rounding


def policy_iteration(mdp: MDP, gamma: float, *, max_iterations: int = 1_000) -> Solution:
    """v <- the value of pi, by linear equations; pi(s) <- argmax_a q(s, a); starts from the uniform policy.

    Args:
        mdp: the process.
        gamma: the discount, in [0, 1].
        max_iterations: rounds after which it gives up; a few are enough.

    Raises:
        BadSetting: gamma is 1 and a policy on the way never ends, so that it has no value; use `value_iteration`.

    Source: Sutton and Barto (2018), section 4.3.
    """
    policy = uniform(mdp)
    for iteration in range(1, max_iterations + 1):
        evaluated = policy_evaluation_exact(mdp, policy, gamma)
        best = best_of(evaluated.q)
        improvable = best > expected(policy, evaluated.q) + STRICTLY * (1 + np.abs(best))
        if policy.ndim == 1 and not improvable.any():
            return solution(mdp, evaluated.values, gamma, iteration)
        greedy = evaluated.q.argmax(1)
        policy = greedy if policy.ndim == 2 else np.where(improvable, greedy, policy)
    raise not_settled("policy iteration", max_iterations, float(improvable.sum()))


def modified_policy_iteration(
    mdp: MDP, gamma: float, *, sweeps: int = 20, tolerance: float = 1e-8, max_iterations: int = 100_000
) -> Solution:
    """Policy iteration whose evaluation is cut short after a few sweeps; with none it is value iteration.

    Args:
        mdp: the process.
        gamma: the discount, in [0, 1].
        sweeps: of the greedy policy's evaluation, between two improvements.
        tolerance: the largest error of a value that is accepted; with gamma = 1 the largest move.
        max_iterations: improvements after which it gives up.

    Source: Puterman and Shin (1978), "Modified policy iteration algorithms for discounted Markov decision problems".
    """
    check_gamma(gamma)
    values = np.zeros(mdp.num_states)
    wanted = tolerance * (1 - gamma) if gamma < 1 else tolerance
    residual = np.inf
    for iteration in range(1, max_iterations + 1):
        q = mdp.backup(values, gamma)
        residual = float(np.abs(best_of(q) - values).max())
        if residual <= wanted:
            return solution(mdp, values, gamma, iteration)
        onward, reward = followed(mdp, q.argmax(1))
        values = best_of(q)
        for _ in range(sweeps):
            values = reward + gamma * (onward @ values)
    raise not_settled("modified policy iteration", max_iterations, residual)
