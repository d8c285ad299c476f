"""Hill climbing with noise that adapts (Rechenberg, 1973, "Evolutionsstrategie", whose rule of success it follows).

    x <- x' if F(x') > F(x),  x' ~ N(x, sigma^2 I)
    sigma <- 2 sigma after a success, else sigma / 2^(1/4), so that one try in five succeeds

with P - 1 neighbours at a time, of which the best is taken. Where all of them earn what x does, on a plain, sigma is
doubled too.

Deviations: x is tried again with every population, and F(x) is the mean of all that it earned. Courses often teach the
rule the other way round, to halve the noise after a success: then steps are the smaller the better they go.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import hyper, networks, population
from polyak.parts.population import Elite, Search
from polyak.parts.ranges import Positive


@dataclasses.dataclass(frozen=True)
class HillClimbing:
    """Hill climbing: moves to the best of a policy's neighbours, and looks farther after each success."""

    name: ClassVar[str] = "hill-climbing"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    sigma: hyper.InitialSigma = 0.1
    least_sigma: Positive = 1e-4
    """The least standard deviation of the neighbours."""
    largest_sigma: Positive = 2.0
    """The largest standard deviation of the neighbours."""
    session_length: hyper.SessionLength = 500
    episodes_per_member: hyper.EpisodesPerMember = 1
    normalize_observation: hyper.NormalizeObservation = False
    squash: hyper.Squash = False
    network: hyper.MemberNetwork = networks.MLP(hidden=())

    @property
    def block_length(self) -> int:
        return self.session_length

    def search(self, size: int) -> Search:
        """The search with a population of `size` members; raises `BadSetting` where there are fewer than two."""
        population.at_least(2, size, "Hill climbing tries a policy beside a neighbour")

        def init(key: Key, x: Array) -> State:
            return State(Elite.of(x[None]), jnp.float32(self.sigma))

        def ask(state: State, key: Key) -> Array:
            noise = jax.random.normal(key, (size - 1, state.best.x.size))
            return jnp.concatenate([state.best.x, state.best.x + state.sigma * noise])

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            best = state.best.after(members, scores)
            stayed = best.tries[0] > state.best.tries[0]  # x was tried once more, and none was better
            plain = scores.max() == scores.min()
            sigma = state.sigma * jnp.where(stayed & ~plain, 2.0**-0.25, 2.0)
            return State(best, jnp.clip(sigma, self.least_sigma, self.largest_sigma))

        return Search(init, ask, tell, lambda state: state.best.x[0], lambda state: {"sigma": state.sigma})

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search."""

    best: Elite  # where it stands
    sigma: Array  # [] of the neighbours
