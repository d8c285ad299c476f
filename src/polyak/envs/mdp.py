"""Finite Markov decision processes: models for planning, and environments too.

An `MDP` comes from a Gymnasium environment that carries its transition table, from a grid drawn as text, or from
arrays. It is trained on and evaluated like any environment: `polyak.train("q-learning", mdp, steps=10_000)`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from polyak.agent import Array, Key
from polyak.envs import walks
from polyak.envs.base import CompiledEnv
from polyak.envs.one import make_one, name_of
from polyak.errors import BadSetting
from polyak.spaces import EXACT

TWINS = ("FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1", "CliffWalkingSlippery-v1")
DENSE_LIMIT = 2**27  # entries that `MDP.P` may have: a gigabyte


class Grid(NamedTuple):
    """How states lie in a plane, for pictures: state i is cell i, row by row."""

    rows: tuple[str, ...]  # a letter a cell
    arrows: str  # one for each action, in order


@dataclasses.dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process of S states and A actions.

    What may follow a state and an action is a list of up to K outcomes, because where every action leads to a few of a
    hundred thousand states, a matrix would not fit. `P` and `R` are the same as arrays.

    A terminal state has the value zero and is never left: its own outcomes are ignored.

    Raises:
        BadSetting: an array has the wrong shape, an index points nowhere, or probabilities do not sum to one.
    """

    probability: np.ndarray  # [S, A, K] float64, sums to one over K
    next_state: np.ndarray  # [S, A, K] int32
    reward: np.ndarray  # [S, A, K] float64
    terminal: np.ndarray  # [S] bool
    start: np.ndarray  # [S] float64, the distribution of first states
    id: str = "mdp"
    max_episode_steps: int | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        shape = self.probability.shape
        _require(len(shape) == 3 and min(shape) > 0, f"probability has shape {shape}; expected [S, A, K]")
        for name, wanted in (
            ("next_state", shape),
            ("reward", shape),
            ("terminal", shape[:1]),
            ("start", shape[:1]),
        ):
            found = getattr(self, name).shape
            _require(found == wanted, f"{name} has shape {found}; expected {wanted}")
        inside = (self.next_state >= 0) & (self.next_state < shape[0])
        _require_all(inside, f"leads to a state that does not exist; states are 0 to {shape[0] - 1}")
        _require_all(np.isfinite(self.reward), "has a reward that is not finite")
        _require_all(self.probability >= 0, "has a negative probability")
        totals = self.probability.sum(-1)
        _require_all(np.abs(totals - 1) < 1e-6, "has outcomes whose probabilities do not sum to one")
        fair = self.start.min() >= 0 and abs(self.start.sum() - 1) < 1e-6
        _require(fair, f"start sums to {self.start.sum():g}; it must be a distribution over states")

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, for pickle: what was computed from them is larger, and computed again."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def num_states(self) -> int:
        """S."""
        return self.probability.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.probability.shape[1]

    @cached_property
    def P(self) -> np.ndarray:
        """[S, A, S] float64: P[s, a, s'] is the probability of s' after a in s; a terminal state follows itself."""
        states, actions = self.num_states, self.num_actions
        if states * actions * states > DENSE_LIMIT:
            raise BadSetting(f"P of {states:,} states would take gigabytes; `transition` is the same, sparse.")
        dense = self.transition.toarray().reshape(states, actions, states)
        dense[self.terminal, :, self.terminal.nonzero()[0]] = 1.0
        return dense

    @cached_property
    def R(self) -> np.ndarray:
        """[S, A] float64: the expected reward of a in s; zero in terminal states."""
        return np.where(self.terminal[:, None], 0.0, (self.probability * self.reward).sum(-1))

    @cached_property
    def transition(self) -> scipy.sparse.csr_array:
        """[S A, S] float64, sparse: row s A + a holds P[s, a]; the rows of terminal states are empty."""
        states, actions, outcomes = self.probability.shape
        pairs = np.repeat(
            np.arange(states * actions, dtype=np.int32), outcomes
        )  # with int64 products take a third longer
        going_on = np.where(self.terminal[:, None, None], 0.0, self.probability)
        entries = (going_on.ravel(), (pairs, self.next_state.ravel()))
        matrix = scipy.sparse.coo_array(entries, (states * actions, states)).tocsr()
        matrix.eliminate_zeros()
        return matrix

    def backup(self, values: np.ndarray, gamma: float) -> np.ndarray:
        """q(s, a) = R(s, a) + gamma sum_s' P(s' | s, a) v(s'), for all states and actions at once.

        Args:
            values: [S] v, zero in terminal states.
            gamma: the discount.

        Returns:
            [S, A] float64.

        Source: Sutton and Barto (2018), equation 4.6.
        """
        return self.R + gamma * (self.transition @ values).reshape(self.num_states, self.num_actions)

    def exploring_starts(self) -> "MDP":
        """The same process with episodes that begin in any state that is not terminal (section 5.3)."""
        inner = ~self.terminal
        return dataclasses.replace(self, start=inner / inner.sum(), id=f"{self.id}, exploring starts")

    @classmethod
    def from_arrays(
        cls, P: Any, R: Any, terminal: Sequence[int] | np.ndarray = (), start: Any = 0, id: str = "mdp", **more: Any
    ) -> "MDP":
        """An MDP by hand.

        Args:
            P: [S, A, S] probabilities.
            R: rewards: [S, A] of an action, or [S, A, S] if they depend on the state reached.
            terminal: the indices of the terminal states.
            start: the index of the first state, or a distribution [S].
            id: a name for run folders.
            more: `max_episode_steps`, `grid`.
        """
        P, R = np.asarray(P, float), np.asarray(R, float)
        _require(P.ndim == 3 and P.shape[0] == P.shape[2], f"P has shape {P.shape}; expected [S, A, S]")
        states, actions = P.shape[:2]
        if R.ndim == 2:
            R = R[..., None]
        _require(R.shape in {(states, actions, 1), P.shape}, f"R has shape {R.shape}; expected [S, A] or [S, A, S]")
        outcomes = max(1, int((P != 0).sum(-1).max()))
        next_state = np.argsort(P == 0, axis=-1, kind="stable")[..., :outcomes]  # those that can happen come first
        return cls(
            np.take_along_axis(P, next_state, -1),
            next_state.astype(np.int32),
            np.take_along_axis(np.broadcast_to(R, P.shape), next_state, -1),
            _marked(terminal, states),
            _distribution(start, states),
            id,
            **more,
        )

    @classmethod
    def from_gymnasium(cls, env: str | Callable[[], gymnasium.Env], **settings: Any) -> "MDP":
        """The MDP of a Gymnasium environment that carries its transition table `P`, as the toy environments do.

        Args:
            env: an id, or a function that makes the environment.
            settings: passed to `gymnasium.make`, for instance `is_slippery=False` or `desc=["SF", "HG"]`.

        Raises:
            BadSetting: it carries no table, or the table is not the whole truth.
        """
        name = name_of(env)
        made = make_one((lambda: gymnasium.make(env, **settings)) if settings and isinstance(env, str) else env)
        world: Any = made.unwrapped
        if not isinstance(getattr(world, "P", None), dict) or not hasattr(world, "initial_state_distrib"):
            raise BadSetting(f"{name} carries no transition table P, so it is not known as an MDP.")
        if getattr(world, "fickle_passenger", False):
            raise BadSetting(f"The passenger of {name} is fickle, of which its table P does not know.")
        limit = made.spec.max_episode_steps if made.spec else None
        start = np.asarray(world.initial_state_distrib, float)
        mdp = _from_table(world.P, start, name, limit, _grid_of(world))
        made.close()
        return mdp

    @classmethod
    def from_grid(
        cls,
        rows: Sequence[str] | str,
        *,
        slip: float = 0.0,
        goal: float = 1.0,
        hole: float = 0.0,
        cliff: float = -100.0,
        step: float = 0.0,
        id: str = "grid",
        max_episode_steps: int | None = None,
    ) -> "MDP":
        """A grid drawn as text, with the actions left, down, right and up.

        `S` start, `G` goal (ends), `H` hole (ends), `C` cliff (back to the start), `#` wall; any other letter is free.

        Args:
            rows: lines of equal length, or one text of several lines.
            slip: the probability of going sideways, half of it to each side.
            goal: the reward for entering a goal.
            hole: the reward for entering a hole.
            cliff: the reward for falling from the cliff.
            step: the reward for every other step.
            id: a name for run folders.
            max_episode_steps: the time limit.
        """
        rows = tuple(rows.split() if isinstance(rows, str) else rows)
        width = len(rows[0]) if rows else 0
        _require(width > 0 and all(len(row) == width for row in rows), "the rows of a grid must be of equal length")
        _require(0 <= slip <= 1, f"slip is {slip}; it must be a probability")
        letters = np.array([list(row) for row in rows]).ravel()
        starts = np.flatnonzero(letters == "S")
        _require(len(starts) > 0, "a grid needs at least one S to start from")
        cells = np.arange(len(letters)).reshape(len(rows), width)
        aims = []
        for row, column in ((0, -1), (1, 0), (0, 1), (-1, 0)):  # left, down, right, up
            reached_row = np.clip(np.arange(len(rows)) + row, 0, len(rows) - 1)
            reached_column = np.clip(np.arange(width) + column, 0, width - 1)
            reached = cells[np.ix_(reached_row, reached_column)].ravel()
            aims.append(np.where(letters[reached] == "#", cells.ravel(), reached))
        straight = np.stack(aims, 1)  # [S, 4] the cell that each action leads to where nothing slips
        sideways = [np.roll(straight, 1, axis=1), straight, np.roll(straight, -1, axis=1)]
        aimed = np.stack(sideways, -1) if slip else straight[..., None]
        probability = np.array([slip / 2, 1 - slip, slip / 2]) if slip else np.ones(1)
        paid = np.select([letters == "G", letters == "H", letters == "C"], [goal, hole, cliff], step)
        return cls(
            np.broadcast_to(probability, aimed.shape).copy(),
            np.where(letters[aimed] == "C", starts[0], aimed).astype(np.int32),
            paid[aimed],
            np.isin(letters, ("G", "H", "#")),
            _distribution((letters == "S") / len(starts), len(letters)),
            id,
            max_episode_steps,
            Grid(rows, "←↓→↑"),
        )

    @classmethod
    def random_walk(cls, states: int = 5, *, left: float = 0.0, right: float = 1.0) -> "MDP":
        """A row of states with an end on each side; it begins in the middle, and the actions are left and right.

        The standard task for comparing prediction methods (Sutton and Barto, 2018, example 6.2): under the policy that
        moves either way with equal probability, the value of state i of n is left + (right - left) i / (n + 1),
        undiscounted. States 0 and n + 1 are the ends.

        Args:
            states: n, those between the ends.
            left: the reward for leaving on the left.
            right: the reward for leaving on the right.
        """
        _require(states >= 1, f"a walk needs a state to walk in, not {states}")
        places, ends = np.arange(states + 2), [0, states + 1]
        next_state = np.stack([places - 1, places + 1], 1)
        next_state[ends] = np.array(ends)[:, None]
        reward = np.where(next_state == 0, left, np.where(next_state == states + 1, right, 0.0))
        reward[ends] = 0.0
        return cls(
            np.ones((states + 2, 2, 1)),
            next_state[..., None].astype(np.int32),
            reward[..., None],
            _marked(ends, states + 2),
            _distribution((states + 1) // 2, states + 2),
            f"random-walk-{states}",
        )

    def compiled(self) -> CompiledEnv:
        """The MDP as an environment, always the same one; it observes the number of the state.

        Raises:
            BadSetting: it has more states than float32 and int32 can count.
        """
        return self._compiled

    @cached_property
    def _compiled(self) -> CompiledEnv:
        outcomes, most = self.probability.size, np.iinfo(np.int32).max
        if self.num_states > EXACT or outcomes > most:
            raise BadSetting(
                f"{self.id} has {self.num_states:,} states with {outcomes:,} outcomes, and to be played in, an MDP may "
                f"have up to {EXACT:,} with {most:,}; plan on it instead."
            )
        cumulative = np.cumsum(self.probability, -1) / self.probability.sum(-1, keepdims=True)
        # A coin is below 1, so that it never passes the last outcome that can happen, whatever rounding does.
        bounds = np.where(cumulative > 1 - 1e-12, 1.0, cumulative)[..., :-1]
        num_outcomes = self.probability.shape[-1]
        pairs = bounds.reshape(self.num_states * self.num_actions, num_outcomes - 1).astype(np.float32)
        # What is looked up together lies together: a step of a small world is as long as the list of its look-ups.
        stays = self.terminal[:, None, None]
        next_state = np.where(stays, np.arange(self.num_states)[:, None, None], self.next_state)
        arrivals = np.stack([next_state, np.where(stays, 0.0, self.reward), self.terminal[next_state]], -1)
        arrivals = arrivals.reshape(-1, 3).astype(np.float32)
        limit = self.max_episode_steps
        first = np.flatnonzero(self.start)
        start_bounds = np.cumsum(self.start[first])[:-1].astype(np.float32)

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            if len(first) == 1:
                return Noise(jax.random.uniform(key, shape), jnp.full(shape, first[0], jnp.int32))
            coin, start = jax.random.uniform(key, (2, *shape))
            sampled = jnp.searchsorted(jnp.asarray(start_bounds), start, side="right")
            return Noise(coin, jnp.asarray(first, jnp.int32)[sampled])

        def reset(noise: Noise) -> tuple[State, Array]:
            return State(noise.start, jnp.int32(0)), noise.start

        def step(state: State, action: Array, noise: Noise):
            pair, clock = state.place * self.num_actions + action, state.clock + 1
            outcome = jnp.sum(noise.coin >= jnp.asarray(pairs)[pair])
            next_state, reward, ends = jnp.asarray(arrivals)[pair * num_outcomes + outcome]
            place = next_state.astype(jnp.int32)
            truncated = clock >= limit if limit is not None else jnp.bool_(False)
            return State(place, clock), place, reward, ends > 0, truncated

        observed: gymnasium.Space = gymnasium.spaces.Discrete(self.num_states)
        acted: gymnasium.Space = gymnasium.spaces.Discrete(self.num_actions)
        return CompiledEnv(self.id, observed, acted, limit, noise, reset, step)


@cache  # what is made once is compiled once
def walk(id: str) -> MDP:
    """A random walk of `walks.WALKS`, under its id as an environment."""
    states, left = walks.WALKS[id]
    return dataclasses.replace(MDP.random_walk(states, left=left), id=id)


class Noise(NamedTuple):
    """The randomness of one step."""

    coin: Array  # uniform in [0, 1): which outcome
    start: Array  # int32: the first state of a fresh episode, should one begin here


class State(NamedTuple):
    """Where an episode is."""

    place: Array  # int32
    clock: Array  # int32, steps taken


def _from_table(
    table: dict[int, dict[int, list[tuple]]], start: np.ndarray, id: str, limit: int | None, grid: Grid | None
) -> MDP:
    """The MDP of Gymnasium's table: state -> action -> list of (probability, next state, reward, terminated)."""
    states, actions = len(table), len(table[0])
    outcomes = max(len(listed) for row in table.values() for listed in row.values())
    shape = (states, actions, outcomes)
    probability, next_state, reward = np.zeros(shape), np.zeros(shape, np.int32), np.zeros(shape)
    ends = np.zeros(shape, bool)
    for s, row in table.items():
        for a, listed in row.items():
            for k, outcome in enumerate(listed):
                probability[s, a, k], next_state[s, a, k], reward[s, a, k], ends[s, a, k] = outcome
    terminal = np.zeros(states, bool)
    terminal[next_state[ends]] = True
    mdp = MDP(probability, next_state, reward, terminal, start, id, limit, grid)
    unmarked = (probability > 0) & terminal[next_state] & ~ends
    unmarked &= (_reachable(mdp) & ~terminal)[:, None, None]
    _require_all(~unmarked, "goes on in a state in which others end; an end must be a matter of the state")
    return mdp


def _reachable(mdp: MDP) -> np.ndarray:
    """[S] bool: the states that some policy comes to."""
    reached = mdp.start > 0
    while True:
        leaving = np.repeat(reached, mdp.num_actions).astype(float)
        grown = reached | (mdp.transition.T @ leaving > 0)
        if (grown == reached).all():
            return reached
        reached = grown


def _grid_of(world: Any) -> Grid | None:
    """The plane of Gymnasium's grids."""
    if world.spec is None:
        return None
    if world.spec.id.startswith("FrozenLake"):
        return Grid(tuple("".join(letter.decode() for letter in row) for row in world.desc), "←↓→↑")
    if world.spec.id.startswith("CliffWalking"):
        rows, columns = world.shape
        return Grid((*("." * columns for _ in range(rows - 1)), f"S{'C' * (columns - 2)}G"), "↑→↓←")
    return None


def _marked(indices: Any, states: int) -> np.ndarray:
    """[S] bool, from indices or from such an array."""
    indices = np.asarray(indices)
    if indices.dtype == bool:
        return indices
    _require(((indices >= 0) & (indices < states)).all(), f"a terminal state is not among the states 0 to {states - 1}")
    marks = np.zeros(states, bool)
    marks[indices.astype(int)] = True
    return marks


def _distribution(start: Any, states: int) -> np.ndarray:
    """[S] float64, from an index or from such an array."""
    start = np.asarray(start)
    if start.ndim:
        return start.astype(float)
    _require(0 <= start < states, f"start is {start}; states are 0 to {states - 1}")
    return np.eye(1, states, int(start))[0]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadSetting(f"This is no MDP: {otherwise}.")


def _require_all(hold: np.ndarray, otherwise: str) -> None:
    """Names the first state and action at which something does not hold."""
    if not hold.all():
        state, action, *_ = np.argwhere(~hold)[0]
        raise BadSetting(f"This is no MDP: action {action} in state {state} {otherwise}.")
