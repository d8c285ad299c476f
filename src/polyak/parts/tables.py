"""Tables of values: which row an observation belongs to."""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, PyTree, Spec
from polyak.errors import BadSetting

SMALL = 1_024  # entries


class Rows(NamedTuple):
    """The shape of a table of action values, and how to find one's way in it."""

    num_states: int
    num_actions: int
    state: Callable[[Array], Array]  # observation [...] -> row [...]
    first_action: int  # the environment's number of the table's action 0


def rows_of(spec: Spec, algorithm: str) -> Rows:
    """The rows for a task with numbered states and actions; raises `BadSetting` for any other."""
    observed, acted = spec.observation_space, spec.action_space
    if not isinstance(acted, gymnasium.spaces.Discrete):
        raise BadSetting(f"{algorithm} needs discrete actions, and this environment's are {acted}.")
    if not isinstance(observed, gymnasium.spaces.Discrete):
        raise BadSetting(f"{algorithm} keeps a table, so it needs discrete observations, not {observed}.")
    first_state = int(observed.start)
    return Rows(int(observed.n), int(acted.n), lambda obs: obs - first_state, int(acted.start))


class AfterstateRows(NamedTuple):
    """The shape of a table of afterstate values."""

    num_afterstates: int
    num_actions: int


def afterstate_rows_of(spec: Spec, algorithm: str) -> AfterstateRows:
    """The rows for a task that shows what each action leads to, as a number or -1; `BadSetting` for any other."""
    observed, acted = spec.observation_space, spec.action_space
    if not isinstance(acted, gymnasium.spaces.Discrete) or acted.start != 0:
        raise BadSetting(f"{algorithm} needs discrete actions, numbered from 0, and this environment's are {acted}.")
    whole = observed.shape == (acted.n,) and np.issubdtype(observed.dtype, np.integer)
    if not whole or not isinstance(observed, gymnasium.spaces.Box) or observed.low.min() < -1:
        raise BadSetting(
            f"{algorithm} needs to observe the number of the afterstate that each action leads to, {acted.n} whole "
            f"numbers from -1, as in tic-tac-toe, not {observed}."
        )
    return AfterstateRows(int(observed.high.max()) + 1, int(acted.n))


def look_up(table: PyTree, *index: Array) -> PyTree:
    """A row or an entry of a table; () of one that is not kept."""
    return jax.tree.map(lambda entries: entries[index], table)


def add(table: PyTree, s: Array, a: Array, amount: Array | float) -> PyTree:
    """The table [S, A] with `amount` added at one place; () of one that is not kept.

    A small table is added to as a whole: where many seeds share a program, writing to one place of each is a loop. An
    amount of NaN leaves the table as it is.
    """
    amount = jnp.where(jnp.isnan(amount), 0.0, amount)

    def to_entries(entries: Array) -> Array:
        if entries.size > SMALL:
            return entries.at[s, a].add(amount)
        here = jnp.arange(entries.size).reshape(entries.shape) == s * entries.shape[1] + a
        return entries + here * amount

    return jax.tree.map(to_entries, table)


def add_at(table: PyTree, s: Array, amount: Array | float) -> PyTree:
    """`add` for a table [S] of state values."""
    return jax.tree.map(lambda entries: add(entries[:, None], s, jnp.int32(0), amount)[:, 0], table)
