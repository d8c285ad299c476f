"""Value iteration: Bellman's optimality equation, taken for an assignment (Bellman, 1957)."""

import numpy as np

from polyak.algorithms.planning.solution import Solution, best_of, check_gamma, not_settled, solution
from polyak.envs.mdp import MDP


def value_iteration(mdp: MDP, gamma: float, *, tolerance: float = 1e-8, max_iterations: int = 1_000_000) -> Solution:
    """Repeats v(s) <- max_a R(s, a) + gamma sum_s' P(s' | s, a) v(s').

    Args:
        mdp: the process.
        gamma: the discount, in [0, 1].
        tolerance: the largest error of a value that is accepted; with gamma = 1 the largest move of the last sweep.
        max_iterations: sweeps after which it gives up.

    Raises:
        BadSetting: the values did not come to rest.

    Source: Sutton and Barto (2018), section 4.4.
    """
    check_gamma(gamma)
    values = np.zeros(mdp.num_states)
    wanted = tolerance * (1 - gamma) if gamma < 1 else tolerance
    residual = np.inf
    for iteration in range(1, max_iterations + 1):
        old, values = values, best_of(mdp.backup(values, gamma))
        residual = float(np.abs(values - old).max())
        if residual <= wanted:
            return solution(mdp, values, gamma, iteration)
    raise not_settled("value iteration", max_iterations, residual)
