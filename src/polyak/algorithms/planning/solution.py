"""The solutions that planners return, with bounds on their error."""

import dataclasses
import functools

import numpy as np

from polyak.envs.mdp import MDP
from polyak.errors import BadSetting


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Values and their greedy policy.

    Attributes:
        values: [S] v.
        q: [S, A] action values that follow from `values` by one backup.
        policy: [S] the greedy actions for `q`, the first of equals; of an evaluation, the policy that was evaluated.
        iterations: sweeps over the states, or rounds of evaluation and improvement.
        residual: max_s |v'(s) - v(s)|: how far one more sweep would move the values.
        error_bound: max_s |v(s) - true v(s)| is at most this; infinite where gamma = 1, of which nothing follows.
    """

    values: np.ndarray
    q: np.ndarray
    policy: np.ndarray
    iterations: int
    residual: float
    error_bound: float


def solution(mdp: MDP, values: np.ndarray, gamma: float, iterations: int, policy: np.ndarray | None = None) -> Solution:
    """The solution that `values` are, with its error bounded by one more backup: |v - v*| <= |Tv - v| / (1 - gamma).

    Source: Puterman (1994), "Markov decision processes", theorem 6.3.1.
    """
    q = mdp.backup(values, gamma)
    backed_up = best_of(q) if policy is None else expected(policy, q)
    residual = float(np.abs(backed_up - values).max())
    bound = residual / (1 - gamma) if gamma < 1 else np.inf
    return Solution(values, q, q.argmax(1) if policy is None else policy, iterations, residual, bound)


def best_of(q: np.ndarray) -> np.ndarray:
    """max_a q(s, a) for q [S, A]; returns [S]. An action at a time, for NumPy is slow along short rows."""
    return functools.reduce(np.maximum, q.T)


def expected(policy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """sum_a pi(a | s) x(s, a) for a policy [S] of actions or [S, A] of probabilities; returns [S]."""
    if policy.ndim == 1:
        return x[np.arange(len(x)), policy]
    return (policy * x).sum(1)


def check_gamma(gamma: float) -> None:
    """Raises `BadSetting` for a discount outside [0, 1]."""
    if not 0 <= gamma <= 1:
        raise BadSetting(f"gamma is {gamma}; a discount lies between 0 and 1.")


def check_policy(mdp: MDP, policy: np.ndarray) -> np.ndarray:
    """The policy as an array [S] of actions or [S, A] of probabilities; anything else is an error."""
    policy = np.asarray(policy)
    states, actions = mdp.num_states, mdp.num_actions
    if policy.shape == (states,) and np.issubdtype(policy.dtype, np.integer):
        if policy.min() < 0 or policy.max() >= actions:
            raise BadSetting(f"The policy takes actions that do not exist; they are 0 to {actions - 1}.")
        return policy
    if policy.shape != (states, actions):
        raise BadSetting(
            f"The policy has shape {policy.shape}; expected actions [{states}] or probabilities [{states}, {actions}]."
        )
    if policy.min() < 0 or np.abs(policy.sum(1) - 1).max() > 1e-6:
        raise BadSetting("The policy's probabilities do not sum to one in every state.")
    return policy


def uniform(mdp: MDP) -> np.ndarray:
    """The uniform policy [S, A]."""
    return np.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions)


def not_settled(what: str, limit: int, residual: float) -> BadSetting:
    """The error of sweeps that do not converge."""
    return BadSetting(
        f"{what} still moved by {residual:.3g} after {limit:,} iterations; with gamma = 1 that means that some policy "
        f"never ends, else allow more by max_iterations or a wider tolerance."
    )
