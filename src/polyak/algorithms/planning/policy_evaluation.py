"""Policy evaluation: the state values of a given policy."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from polyak.algorithms.planning.solution import Solution, check_gamma, check_policy, expected, not_settled, solution
from polyak.envs.mdp import MDP
from polyak.errors import BadSetting


def policy_evaluation(
    mdp: MDP, policy: np.ndarray, gamma: float, *, tolerance: float = 1e-10, max_iterations: int = 1_000_000
) -> Solution:
    """Repeats v(s) <- sum_a pi(a | s) q(s, a), with q backed up from v, until v rests.

    Args:
        mdp: the process.
        policy: [S] actions, or [S, A] probabilities.
        gamma: the discount, in [0, 1].
        tolerance: the most that the last sweep may have moved a value.
        max_iterations: sweeps after which it gives up.

    Raises:
        BadSetting: the values did not come to rest.

    Source: Sutton and Barto (2018), section 4.1.
    """
    check_gamma(gamma)
    policy = check_policy(mdp, policy)
    values = np.zeros(mdp.num_states)
    residual = np.inf
    for iteration in range(1, max_iterations + 1):
        old, values = values, expected(policy, mdp.backup(values, gamma))
        residual = float(np.abs(values - old).max())
        if residual <= tolerance:
            return solution(mdp, values, gamma, iteration, policy)
    raise not_settled("policy evaluation", max_iterations, residual)


def policy_evaluation_exact(mdp: MDP, policy: np.ndarray, gamma: float) -> Solution:
    """Solves v = R_pi + gamma P_pi v, S linear equations; arguments as in `policy_evaluation`.

    Raises:
        BadSetting: the equations have no unique solution: gamma is 1, and from somewhere the policy never ends.

    Source: Sutton and Barto (2018), equation 4.4.
    """
    check_gamma(gamma)
    policy = check_policy(mdp, policy)
    onward, reward = followed(mdp, policy)
    equations = scipy.sparse.eye_array(mdp.num_states) - gamma * onward
    if gamma == 1.0 and not _always_ends(mdp, onward):
        raise BadSetting("With gamma = 1 this policy has no value: there are states from which it never ends.")
    values = scipy.sparse.linalg.spsolve(equations.tocsc(), reward)
    return solution(mdp, values, gamma, 1, policy)


def followed(mdp: MDP, policy: np.ndarray) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """The Markov reward process under a policy: P_pi [S, S], with empty rows for terminal states, and R_pi [S]."""
    states, actions = mdp.num_states, mdp.num_actions
    if policy.ndim == 1:
        return mdp.transition[np.arange(states) * actions + policy], expected(policy, mdp.R)
    pairs = np.arange(states * actions)
    weights = scipy.sparse.csr_array((policy.ravel(), (pairs // actions, pairs)), (states, states * actions))
    return weights @ mdp.transition, expected(policy, mdp.R)


def policy_improvement(mdp: MDP, values: np.ndarray, gamma: float) -> np.ndarray:
    """The greedy policy [S] for values [S]: argmax_a q(s, a), the first of equals (section 4.2)."""
    return mdp.backup(values, gamma).argmax(1)


def _always_ends(mdp: MDP, onward: scipy.sparse.csr_array) -> bool:
    """Whether every state leads to a terminal one with a probability above zero."""
    ends = mdp.terminal.copy()
    while True:
        grown = ends | (onward @ ends.astype(float) > 0)
        if (grown == ends).all():
            return bool(ends.all())
        ends = grown
