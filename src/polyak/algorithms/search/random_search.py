"""Random search (Rastrigin, 1963; of networks, Schmidhuber and Hochreiter, 1996, "Guessing can outperform many long
time lag algorithms").

    x <- x' if F(x') > F(x),  x' ~ N(x_0, sigma^2 I)

Parameters are guessed, and the best guess is kept: what every other method has to beat.

Deviations: the best guess is tried again with every population, and F(x) is the mean of all that it earned.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import hyper, networks, population
from polyak.parts.population import Elite, Search


@dataclasses.dataclass(frozen=True)
class RandomSearch:
    """Random search: guesses policies, and keeps the best."""

    name: ClassVar[str] = "random-search"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    sigma: hyper.InitialSigma = 1.0
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
        population.at_least(2, size, "Random search tries the best guess beside another")

        def init(key: Key, x: Array) -> State:
            return State(Elite.of(x[None]), x)

        def ask(state: State, key: Key) -> Array:
            guesses = state.start + self.sigma * jax.random.normal(key, (size - 1, *state.start.shape))
            return jnp.concatenate([state.best.x, guesses])

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            return state._replace(best=state.best.after(members, scores))

        return Search(init, ask, tell, lambda state: state.best.x[0])

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search."""

    best: Elite  # the best guess
    start: Array  # [D] the middle of all guesses
