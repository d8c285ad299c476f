"""Policies that are given, not learnt: prediction estimates what they are worth."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from polyak.agent import Array
from polyak.errors import BadSetting
from polyak.parts.text import quoted


@dataclasses.dataclass(frozen=True)
class TabularPolicy:
    """A policy with an action for each state, or with probabilities of actions; without a table, the uniform one.

    `TabularPolicy([0, 1, 1])` takes action 1 in state 2, `TabularPolicy([[0.5, 0.5], [0.9, 0.1]])` samples from a row a
    state. Without exploration the most probable action is taken, the first of equals.

    Arrays are welcome, such as `value_iteration(mdp, gamma).policy`; they are kept as tuples, so that equal policies
    are equal and have a one-line text form for the command line and run folders.

    Raises:
        BadSetting: it is neither, or a row does not sum to one.
    """

    table: Any = ()  # [S] actions or [S, A] probabilities

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _as_tuples(self.table))

    def probabilities(self, num_states: int, num_actions: int) -> np.ndarray:
        """pi [S, A] for a task with so many states and actions; raises `BadSetting` where it is made for another."""
        if not self.table:
            return np.full((num_states, num_actions), 1.0 / num_actions)
        table = np.array(self.table)
        if table.shape == (num_states, num_actions):
            return table
        if table.shape != (num_states,):
            raise BadSetting(
                f"The policy's table has shape {table.shape}; this task needs [{num_states}] actions or "
                f"[{num_states}, {num_actions}] probabilities."
            )
        if table.max() >= num_actions:
            raise BadSetting(f"The policy takes action {table.max()}; this task's are 0 to {num_actions - 1}.")
        return np.eye(num_actions)[table]

    def followed_in(self, num_states: int, num_actions: int) -> "Followed":
        """The policy made ready to act in a task; raises `BadSetting` where it is made for another."""
        pi = self.probabilities(num_states, num_actions)
        cumulative = np.cumsum(pi, 1) / pi.sum(1, keepdims=True)
        # A coin is below 1, so that it never passes the last action that is ever taken, whatever rounding does.
        bounds = np.where(cumulative > 1 - 1e-12, 1.0, cumulative)[:, :-1]
        return Followed(bounds.astype(np.float32), pi.argmax(1).astype(np.int32))

    def __str__(self) -> str:
        """`uniform`; `0,1,1`, an action a state; `0.5,0.5:0.9,0.1`, a row a state."""
        if not self.table:
            return "uniform"
        if isinstance(self.table[0], int):
            return ",".join(map(str, self.table))
        return ":".join(",".join(map(repr, row)) for row in self.table)


class Followed(NamedTuple):
    """A policy in one task."""

    bounds: np.ndarray  # [S, A - 1] float32: action a is taken where a of the bounds lie at or below the coin
    likeliest: np.ndarray  # [S] int32: the most probable action, the first of equals

    def draw(self, s: Array, coin: Array) -> Array:
        """Samples actions [...] in states [...] with coins [...] that are uniform in [0, 1)."""
        return jnp.sum(coin[..., None] >= jnp.asarray(self.bounds)[s], -1, dtype=jnp.int32)

    def best(self, s: Array) -> Array:
        """The most probable actions [...] in states [...]."""
        return jnp.asarray(self.likeliest)[s]


def policy_from_text(text: str) -> TabularPolicy:
    """Reads `uniform`, `0,1,1` (an action a state) or `0.5,0.5:0.9,0.1` (probabilities, a row a state)."""
    if text == "uniform":
        return TabularPolicy()
    try:
        if set(text) <= set("0123456789,"):
            return TabularPolicy([int(action) for action in text.split(",")])
        return TabularPolicy([[float(chance) for chance in row.split(",")] for row in text.split(":")])
    except ValueError:
        raise BadSetting(
            f"The policy {quoted(text)} is not of the form uniform, 0,1,1 (actions) or 0.5,0.5:0.9,0.1 (probabilities)."
        ) from None


def _as_tuples(table: Any) -> tuple:
    """Checked and as plain numbers."""
    try:
        entries = np.asarray(table)
    except ValueError:
        raise BadSetting("The policy's rows differ in length; each has a probability for every action.") from None
    if entries.size == 0:
        return ()
    if entries.ndim == 1 and np.issubdtype(entries.dtype, np.integer):
        if entries.min() < 0:
            raise BadSetting(f"The policy takes action {entries.min()}; actions are numbered from 0.")
        return tuple(entries.tolist())
    if entries.ndim != 2 or entries.dtype.kind not in "iuf":
        raise BadSetting(
            f"The policy's table has shape {entries.shape} and type {entries.dtype}; it takes whole numbers [S], "
            "an action a state, or probabilities [S, A]."
        )
    wrong = ~((entries >= 0).all(1) & (np.abs(entries.sum(1) - 1) < 1e-6))
    if wrong.any():
        state = int(wrong.argmax())
        row = entries[state].tolist()
        raise BadSetting(f"The policy's row for state {state} is {row}; probabilities are 0 or more and sum to 1.")
    return tuple(map(tuple, entries.astype(float).tolist()))
