"""Backward induction: the optimum where the clock is part of the state."""

import dataclasses

import numpy as np

from polyak.algorithms.planning.solution import check_gamma, check_policy, expected
from polyak.envs.mdp import MDP
from polyak.errors import BadSetting


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A policy that knows how many steps are left.

    Attributes:
        values: [H + 1, S] with h steps left; row 0 is zero.
        policy: [H, S] what to do with h + 1 steps left.
    """

    values: np.ndarray
    policy: np.ndarray


def backward_induction(mdp: MDP, horizon: int, gamma: float = 1.0) -> Plan:
    """v_h(s) = max_a R(s, a) + gamma sum_s' P(s' | s, a) v_(h-1)(s'), from v_0 = 0.

    With few steps left it pays to dare what with many it does not, so that no policy that is blind to the clock need
    reach these values.

    Args:
        mdp: the process.
        horizon: H, the number of steps.
        gamma: the discount, in [0, 1].

    Source: Puterman (1994), "Markov decision processes", section 4.5.
    """
    check_gamma(gamma)
    _check_horizon(horizon)
    values = np.zeros((horizon + 1, mdp.num_states))
    policy = np.zeros((horizon, mdp.num_states), int)
    for h in range(horizon):
        q = mdp.backup(values[h], gamma)
        values[h + 1], policy[h] = q.max(1), q.argmax(1)
    return Plan(values, policy)


def expected_return(mdp: MDP, policy: np.ndarray, horizon: int | None = None) -> float:
    """The mean undiscounted return of a policy that is blind to the clock, under a time limit.

    Args:
        mdp: the process, whose start distribution is averaged over.
        policy: [S] actions, or [S, A] probabilities.
        horizon: the time limit in steps; by default that of the process.
    """
    limit = horizon if horizon is not None else mdp.max_episode_steps
    if limit is None:
        raise BadSetting(f"{mdp.id} has no time limit, so say over how many steps: horizon=200.")
    _check_horizon(limit)
    policy = check_policy(mdp, policy)
    values = np.zeros(mdp.num_states)
    for _ in range(limit):
        values = expected(policy, mdp.backup(values, 1.0))
    return float(mdp.start @ values)


def _check_horizon(horizon: int) -> None:
    if horizon < 1:
        raise BadSetting(f"horizon is {horizon}; it must be at least one step.")
