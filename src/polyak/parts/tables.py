"""Tables of values: which row an observation belongs to."""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium

from polyak.agent import Array, Spec
from polyak.errors import BadSetting


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
