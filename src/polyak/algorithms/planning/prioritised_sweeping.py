"""Prioritised sweeping: back up first what would change most (Moore and Atkeson, 1993)."""

import heapq

import numpy as np

from polyak.algorithms.planning.solution import Solution, check_gamma, not_settled, solution
from polyak.envs.mdp import MDP


def prioritised_sweeping(mdp: MDP, gamma: float, *, tolerance: float = 1e-8, max_backups: int = 10_000_000) -> Solution:
    """Backs up one state at a time, the one with the largest Bellman error, and then looks again at its predecessors.

    Where rewards are few it does a small part of the work of full sweeps. `iterations` of the result counts backups of
    single states.

    Args:
        mdp: the process.
        gamma: the discount, in [0, 1].
        tolerance: the largest error of a value that is accepted; with gamma = 1 the largest move that is not made.
        max_backups: after which it gives up.

    Source: Sutton and Barto (2018), section 8.4, with a model that is known.
    """
    check_gamma(gamma)
    wanted = tolerance * (1 - gamma) if gamma < 1 else tolerance
    values = np.zeros(mdp.num_states)
    rows = [mdp.transition[s * mdp.num_actions : (s + 1) * mdp.num_actions] for s in range(mdp.num_states)]
    arrivals = mdp.transition.tocsc()

    def backed_up(s: int) -> float:
        return float((mdp.R[s] + gamma * (rows[s] @ values)).max())

    errors = np.abs(mdp.backup(values, gamma).max(1) - values)
    queue: list[tuple[float, int]] = [(-errors[s], s) for s in np.flatnonzero(errors > wanted).tolist()]
    heapq.heapify(queue)
    for backups in range(max_backups):
        while queue and -queue[0][0] != errors[queue[0][1]]:
            heapq.heappop(queue)  # said of a state what has been said anew since
        if not queue:
            return solution(mdp, values, gamma, backups)
        _, s = heapq.heappop(queue)
        values[s], errors[s] = backed_up(s), 0.0
        column = slice(arrivals.indptr[s], arrivals.indptr[s + 1])
        for before in np.unique(arrivals.indices[column] // mdp.num_actions).tolist():
            errors[before] = abs(backed_up(before) - values[before])
            if errors[before] > wanted:
                heapq.heappush(queue, (-errors[before], before))
    raise not_settled("prioritised sweeping", max_backups, float(errors.max()))
