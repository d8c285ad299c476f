"""Tables of values: which entry an observation belongs to, and how an error corrects it."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.errors import BadSetting
from polyak.ops import td
from polyak.parts.exploration import Exploration
from polyak.parts.finite import usable
from polyak.parts.schedules import StepSize, step_size
from polyak.spaces import AFTERSTATES, afterstates_of

SMALL = 1_024  # entries

Place = tuple[Array, ...]  # the indices of an entry: (s, a) in a table of action values, (s,) in one of state values


class ControlState(NamedTuple):
    """The state of a learner with a table of action values; () for what it does not keep."""

    q: Array  # [S, A]; [2, S, A] of double Q-learning
    visits: PyTree  # [S, A] float32, how often each action was taken
    step: Array  # [] int32, environment steps observed
    next_action: PyTree = ()  # [B] int32, A' of every environment, chosen when S' was reached
    fresh: PyTree = ()  # [B] bool, where an episode begins instead
    trace: PyTree = ()  # [B, S, A] E of every environment
    recent: PyTree = ()  # [B, n] the latest steps of every environment
    model: PyTree = ()  # of the environment


class PredictionState(NamedTuple):
    """The state of a learner with a table of state values; () for what it does not keep."""

    v: Array  # [S]
    visits: PyTree  # [S] float32, how often each state was visited
    step: Array  # [] int32, environment steps observed
    trace: PyTree = ()  # [B, S] E of every environment
    waiting: PyTree = ()  # [B, n] the latest steps of every environment


class Rows(NamedTuple):
    """The shape of a table of action values, and how observations and actions are numbered in it."""

    num_states: int
    num_actions: int
    state: Callable[[Array], Array]  # observation [...] -> row [...], or rows [..., A] of afterstates
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


def afterstate_rows_of(spec: Spec, algorithm: str) -> Rows:
    """The rows for a task that shows what each action leads to, as a number or -1; `BadSetting` for any other.

    Afterstates take the place of states: an observation shows A rows, -1 for an action that is not allowed, in its part
    `afterstates`.
    """
    observed, acted = spec.observation_space, spec.action_space
    if not isinstance(acted, gymnasium.spaces.Discrete) or acted.start != 0:
        raise BadSetting(f"{algorithm} needs discrete actions, numbered from 0, and this environment's are {acted}.")
    part = afterstates_of(observed)
    if part and isinstance(part.space, gymnasium.spaces.Box) and np.issubdtype(part.space.dtype, np.integer):
        lowest, highest = int(part.space.low.min()), int(part.space.high.max())
        if part.space.shape == (acted.n,) and lowest >= -1:
            return Rows(highest + 1, int(acted.n), lambda obs: part.of(obs).astype(jnp.int32), 0)
    raise BadSetting(
        f"{algorithm} needs to observe the number of the afterstate that each action leads to, {acted.n} whole numbers "
        f"from -1 in a part {AFTERSTATES!r}, as in tic-tac-toe, not {observed}."
    )


class PredictionSettings(Protocol):
    """The hyperparameters of a table of values."""

    @property
    def learning_rate(self) -> float | StepSize: ...
    @property
    def gamma(self) -> float: ...
    @property
    def initial_value(self) -> float: ...


class ControlSettings(PredictionSettings, Protocol):
    """The hyperparameters of a table of action values."""

    @property
    def exploration(self) -> Exploration: ...


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of values for a task: how it begins, and how an error corrects an entry of it."""

    trace: ClassVar[str] = "trace"  # the field of the state that holds traces
    scale: ClassVar[float] = 1.0  # of step sizes, in `parts.traces`

    kind: type[ControlState] | type[PredictionState]
    shape: tuple[int, ...]  # [S, A] or [S]
    rows: Rows
    spec: Spec
    alpha: StepSize
    gamma: float
    initial_value: float
    counts: bool  # whether visits are counted

    @property
    def name(self) -> str:
        """The field of the state that holds the values."""
        return self.kind._fields[0]

    def init(self, key: Key) -> PyTree:
        """The state of a learner before its first step."""
        values = jnp.full(self.shape, jnp.float32(self.initial_value))
        return self.kind(values, jnp.zeros_like(values) if self.counts else (), jnp.int32(0))

    def look(self, state: ControlState, obs: Array) -> tuple[Array, PyTree]:
        """Action values and visits [..., A] at observations [...]."""
        s = self.rows.state(obs)
        return state.q[s], look_up(state.visits, s)

    def transition(self, step: Step) -> tuple[Array, Array, Array, Array, Array]:
        """S, A, R, gamma (0 where S' is terminal) and S' of a step; any shape."""
        s, a, s_next = self.rows.state(step.obs), step.action - self.rows.first_action, self.rows.state(step.next_obs)
        return s, a, step.reward, td.discount(step.terminated, self.gamma), s_next

    def place(self, step: Step) -> Place:
        """The entry that a step visits; any shape."""
        return self.transition(step)[: len(self.shape)]

    def progress(self, state: PyTree) -> Array:
        """[] the share of the run that is over."""
        return state.step / self.spec.total_steps

    def marked(self, trace: Array, place: Place, counts: Array, replacing: bool) -> Array:
        """Traces, of the table's shape, after a visit of an entry, if it counts: E + 1 there, or 1 if `replacing`."""
        visit = counts.astype(trace.dtype)
        return trace.at[place].max(visit) if replacing else trace.at[place].add(visit)

    def corrected(self, state: PyTree, place: Place, error: Array, counts: Array | float = 1.0) -> tuple[PyTree, Array]:
        """Q(S, A) <- Q(S, A) + alpha error, or the same of V(S).

        Args:
            state: of the learner.
            place: (s, a) or (s,).
            error: [] of the value there.
            counts: [] 0 where the visit does not count, else 1.

        Returns:
            The state, and the error, NaN where it is too large to be used.
        """
        error = usable(error)
        values, visits = getattr(state, self.name), added(state.visits, place, counts)
        change = self.alpha.at(self.progress(state), look_up(visits, *place)) * error
        return state._replace(visits=visits, **{self.name: added(values, place, change)}), error


def action_values(hyper: ControlSettings, spec: Spec, algorithm: str) -> Table:
    """The table q [S, A] of a task; raises `BadSetting` where its states and actions are not numbered."""
    rows = rows_of(spec, algorithm)
    return _table(ControlState, (rows.num_states, rows.num_actions), rows, hyper, spec, hyper.exploration.counts)


def state_values(hyper: PredictionSettings, spec: Spec, algorithm: str) -> Table:
    """The table v [S] of a task; raises `BadSetting` where its states and actions are not numbered."""
    rows = rows_of(spec, algorithm)
    return _table(PredictionState, (rows.num_states,), rows, hyper, spec, counts=False)


def afterstate_values(hyper: ControlSettings, spec: Spec, algorithm: str) -> Table:
    """The table v [X] of a task's afterstates; raises `BadSetting` where they are not observed."""
    rows = afterstate_rows_of(spec, algorithm)
    return _table(PredictionState, (rows.num_states,), rows, hyper, spec, hyper.exploration.counts)


def _table(kind: Any, shape: tuple[int, ...], rows: Rows, hyper: PredictionSettings, spec: Spec, counts: bool) -> Table:
    alpha = step_size(hyper.learning_rate)
    return Table(kind, shape, rows, spec, alpha, hyper.gamma, hyper.initial_value, counts or alpha.counts)


def look_up(table: PyTree, *index: Array) -> PyTree:
    """A row or an entry of a table; () of one that is not kept."""
    return jax.tree.map(lambda entries: entries[index], table)


def added(table: PyTree, place: Place, amount: Array | float) -> PyTree:
    """The table with `amount` added to one entry; () of one that is not kept.

    A small table is added to as a whole: where many seeds share a program, writing to one place of each is a loop. An
    amount of NaN leaves the table as it is.
    """
    amount = jnp.where(jnp.isnan(amount), 0.0, amount)

    def to_entries(entries: Array) -> Array:
        if entries.size > SMALL:
            return entries.at[place].add(amount)
        here = place[0]
        for size, index in zip(entries.shape[1:], place[1:], strict=True):
            here = here * size + index
        return entries + (jnp.arange(entries.size).reshape(entries.shape) == here) * amount

    return jax.tree.map(to_entries, table)
