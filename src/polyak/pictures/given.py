"""The arguments of the drawing functions, a solution, a trained policy or an array, as arrays of one shape."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from polyak.algorithms.planning.solution import Solution, check_policy
from polyak.envs import split, without_import
from polyak.envs.mdp import MDP
from polyak.errors import BadSetting, EnvironmentFault, UnknownName
from polyak.policy import Policy

Known = Solution | Policy | ArrayLike
TIE = 1e-6  # two action values are equal within this share of the largest of their state


class Given(NamedTuple):
    """The values and the policy that are to be drawn."""

    values: np.ndarray | None  # [S]
    q: np.ndarray | None  # [S, A]
    pi: np.ndarray | None  # [S, A] probabilities; where they follow from q, equal for all that are best


def given(mdp: MDP, known: Known) -> Given:
    """Reads a `Solution`, a `Policy` with tables, values [S] or action values [S, A].

    Raises:
        BadSetting: it is none of them, or belongs to another world.
    """
    check_mdp(mdp)
    if isinstance(known, Solution):
        values, q = _of_shape(mdp, known.values, "values"), _of_shape(mdp, known.q, "action values")
        best = known.policy.ndim == 1 and np.array_equal(known.policy, q.argmax(1))
        return Given(values, q, greedy(q) if best else probabilities(mdp, known.policy))
    if isinstance(known, Policy):
        return _of_policy(mdp, known)
    array = _as_array(known)
    if array.ndim == 1:
        return Given(_of_shape(mdp, array, "values"), None, None)
    q = _of_shape(mdp, array, "action values")
    return Given(q.max(1), q, greedy(q))


def _of_policy(mdp: MDP, policy: Policy) -> Given:
    tables = policy.tables
    if not tables:
        raise BadSetting(f"{policy.algorithm.name} keeps no table of values, so there is none to draw.")
    for table in tables.values():
        if len(table) != mdp.num_states:
            raise BadSetting(
                f"The policy was trained on {policy.env} with {len(table)} states, and {mdp.id} has {mdp.num_states}."
            )
    q, values, pi = tables.get("q"), tables.get("v"), tables.get("pi")
    if q is not None:
        q = _of_shape(mdp, q, "action values")
        values = q.max(1) if values is None else values
        pi = greedy(q) if pi is None else pi
    return Given(values, q, pi)


def world_of(policy: Policy) -> MDP:
    """The world that a policy was trained on.

    Raises:
        BadSetting: it is not known as an MDP, or a function made it.
    """
    backend, id = split(without_import(policy.env))
    try:
        if backend is None or backend == "gymnasium":
            return MDP.from_gymnasium(id)
    except (UnknownName, EnvironmentFault):
        pass
    raise BadSetting(
        f"{policy.env} cannot be made from its name alone; with the MDP, polyak.draw_values(mdp, policy) draws it."
    )


def check_mdp(mdp: Any) -> None:
    """Raises `BadSetting` unless the first argument of a drawing function is a world."""
    if not isinstance(mdp, MDP):
        raise BadSetting(
            f"The world comes first, as an MDP and not as {type(mdp).__name__}: "
            f"polyak.MDP.from_gymnasium(id) reads those that carry their table."
        )


def greedy(q: np.ndarray) -> np.ndarray:
    """The policy [S, A] that takes each of the best actions with the same probability."""
    best = q >= q.max(1, keepdims=True) - TIE * np.abs(q).max(1, keepdims=True)
    return best / best.sum(1, keepdims=True)


def probabilities(mdp: MDP, policy: Known) -> np.ndarray:
    """A policy [S, A] from actions [S], probabilities [S, A], a `Solution` or a `Policy`."""
    if isinstance(policy, (Solution, Policy)):
        pi = given(mdp, policy).pi
        if pi is None:
            raise BadSetting("Values alone say nothing of what to do; pass actions [S] or probabilities [S, A].")
        return pi
    policy = check_policy(mdp, _as_array(policy))
    return np.eye(mdp.num_actions)[policy] if policy.ndim == 1 else policy


def _as_array(known: Known) -> np.ndarray:
    try:
        array = np.asarray(known)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise BadSetting(f"{type(known).__name__} is no table; pass a Solution, a Policy, or an array [S] or [S, A].")
    return array


def _of_shape(mdp: MDP, array: np.ndarray, what: str) -> np.ndarray:
    states, actions = mdp.num_states, mdp.num_actions
    wanted = (states,) if what == "values" else (states, actions)
    if array.shape != wanted:
        raise BadSetting(
            f"The {what} have shape {array.shape}; {mdp.id} wants values [{states}] or [{states}, {actions}]."
        )
    if not np.isfinite(array).all():
        raise BadSetting(f"The {what} are not all finite; {np.argwhere(~np.isfinite(array))[0]} is the first place.")
    return array.astype(float)
