"""The simplex of Nelder and Mead (1965, "A simplex method for function minimization"), with the coefficients that
Gao and Han (2012, "Implementing the Nelder-Mead simplex algorithm with adaptive parameters") give as an option.

    c = mean of all vertices but the worst;  reflection r = c + (c - worst), expansion c + chi (c - worst),
    outside and inside contraction c +- psi (c - worst)

The worst vertex is replaced by the expansion, by the reflection or by a contraction, or else all vertices move towards
the best; which of it depends on the scores as in SciPy's `minimize`. There the points are tried one after the other;
here a population tries all four at once, of which one is used, and the vertices of a new simplex as many at a time as
it has members. Members beyond those repeat the same points, and a point's score is the mean.

Deviations: the best vertex is tried again beside the four, and counts by the mean of all that it earned; no other is,
so that what a vertex earned by luck stands until it is the best. A candidate that is not used is forgotten, however
good.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import hyper, networks, population
from polyak.parts.population import Search
from polyak.parts.ranges import Positive


class State(NamedTuple):
    """The state of the search."""

    simplex: Array  # [D + 1, D], the best vertex first as far as they are known
    scores: Array  # [D + 1] the mean of all that each has earned; -inf where that is not known
    tries: Array  # [D + 1] float32, how often each was tried
    known: Array  # [] int32, vertices whose score is known: fewer than all while a new simplex is tried


@dataclasses.dataclass(frozen=True)
class NelderMead:
    """Nelder-Mead simplex: moves the worst of D + 1 policies through the middle of the others."""

    name: ClassVar[str] = "nelder-mead"
    default_num_envs: ClassVar[int] = 15
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    edge: Positive = 1.0
    """How far the other vertices of the first simplex are from the first policy, each along one parameter."""
    adaptive: bool = True
    """Whether expansions, contractions and shrinks are the milder the more parameters there are, as Gao and Han do."""
    session_length: hyper.SessionLength = 500
    episodes_per_member: hyper.EpisodesPerMember = 3
    normalize_observation: hyper.NormalizeObservation = False
    squash: hyper.Squash = False
    network: hyper.MemberNetwork = networks.MLP(hidden=())

    @property
    def block_length(self) -> int:
        return self.session_length

    def search(self, size: int) -> Search:
        """The search with a population of `size` members; raises `BadSetting` where there are fewer than five."""
        population.at_least(5, size, "The simplex tries four points beside its best vertex")

        def init(key: Key, x: Array) -> State:
            simplex = jnp.concatenate([x[None], x + self.edge * jnp.eye(x.size, dtype=x.dtype)])
            nothing = jnp.zeros(len(simplex), x.dtype)
            return State(simplex, nothing - jnp.inf, nothing, jnp.int32(0))

        def ask(state: State, key: Key) -> Array:
            return jnp.concatenate([state.simplex, self.candidates(state.simplex)])[tried(state, size)]

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            vertices, which = len(state.simplex), tried(state, size)
            nothing = jnp.zeros(vertices + 4, scores.dtype)
            count, total = nothing.at[which].add(1.0), nothing.at[which].add(scores)
            earned = total[vertices:] / jnp.maximum(count[vertices:], 1.0)
            state = heard(state, count[:vertices], total[:vertices])
            built = state._replace(known=jnp.minimum(state.known + size, vertices))
            moved = self.moved(state, earned, count[vertices:])
            return in_order(jax.tree.map(lambda *two: jnp.where(state.known < vertices, *two), built, moved))

        return Search(init, ask, tell, lambda state: state.simplex[0], report)

    def coefficients(self, dimension: int) -> tuple[float, float, float]:
        """Those of expansion, contraction and shrink; that of the reflection is 1."""
        n = max(2, dimension)  # the adaptive ones of two dimensions are the usual ones, and make no sense for one
        return (1.0 + 2.0 / n, 0.75 - 0.5 / n, 1.0 - 1.0 / n) if self.adaptive else (2.0, 0.5, 0.5)

    def candidates(self, simplex: Array) -> Array:
        """[4, D] reflection, expansion, outside and inside contraction of a simplex [D + 1, D] in order."""
        expansion, contraction, _ = self.coefficients(simplex.shape[1])
        middle = simplex[:-1].mean(0)
        factors = jnp.array([1.0, expansion, contraction, -contraction], simplex.dtype)
        return middle + factors[:, None] * (middle - simplex[-1])

    def moved(self, state: State, earned: Array, tries: Array) -> State:
        """The state after the candidates have earned `earned` [4] in `tries` [4] episodes each."""
        simplex, scores, candidates = state.simplex, state.scores, self.candidates(state.simplex)
        reflection, expansion, outside, inside = earned
        taken = jnp.where(
            reflection > scores[-2],
            jnp.where((reflection > scores[0]) & (expansion > reflection), 1, 0),
            jnp.where(reflection > scores[-1], 2, 3),
        )
        improved = jnp.where(taken == 2, outside >= reflection, (taken < 2) | (inside > scores[-1]))
        replaced = State(
            simplex.at[-1].set(candidates[taken]),
            scores.at[-1].set(earned[taken]),
            state.tries.at[-1].set(tries[taken]),
            state.known,
        )
        shrunk = State(
            simplex[0] + self.coefficients(simplex.shape[1])[-1] * (simplex - simplex[0]),
            scores.at[1:].set(-jnp.inf),
            state.tries.at[1:].set(0.0),
            jnp.int32(1),
        )
        return jax.tree.map(lambda *two: jnp.where(improved, *two), replaced, shrunk)

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


def tried(state: State, size: int) -> Array:
    """[P] which of the D + 1 vertices and, behind them, the 4 candidates each member is."""
    turn, vertices = jnp.arange(size), len(state.simplex)
    unknown = state.known + turn % jnp.clip(vertices - state.known, 1, size)
    beside = jnp.where(turn % 5 == 0, 0, vertices - 1 + turn % 5)
    return jnp.where(state.known < vertices, unknown, beside)


def heard(state: State, count: Array, total: Array) -> State:
    """The state after the vertices were tried `count` [D + 1] times more and earned `total` [D + 1] in all."""
    tries, before = state.tries + count, jnp.where(state.tries > 0, state.scores, 0.0)
    mean = before + (total - count * before) / jnp.maximum(tries, 1.0)
    return state._replace(scores=jnp.where(tries > 0, mean, -jnp.inf), tries=tries)


def in_order(state: State) -> State:
    """The state with its vertices in order; those that are not known yet stay behind."""
    order = jnp.argsort(-state.scores)
    return State(state.simplex[order], state.scores[order], state.tries[order], state.known)


def report(state: State) -> dict[str, Array]:
    """The size of the simplex, the largest distance of a vertex from the best."""
    return {"simplex_size": jnp.linalg.norm(state.simplex - state.simplex[0], axis=-1).max()}
