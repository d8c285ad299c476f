"""Simulated annealing (Kirkpatrick, Gelatt and Vecchi, 1983, "Optimization by simulated annealing").

    x <- x' with probability min(1, exp((F(x') - F(x)) / tau)),  x' ~ N(x, sigma^2 I)

A worse policy is taken too, the less likely the worse it is and the cooler the search has become: tau and sigma fall
geometrically from their first values to their last. P members are P / 2 such searches side by side, x and x' of each.

Deviations: x is tried again with every population, and F(x) is the mean of all that it earned; the policy that acts is
the best of the places where the searches stand, not the best that was ever met.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import hyper, networks, population
from polyak.parts.population import Search
from polyak.parts.ranges import Positive


@dataclasses.dataclass(frozen=True)
class SimulatedAnnealing:
    """Simulated annealing: wanders among policies, ever more reluctant to take a worse one."""

    name: ClassVar[str] = "simulated-annealing"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    temperature: Positive = 10.0
    """tau at the first step, in units of return: how much worse a policy may be that is taken one time in three."""
    final_temperature: Positive = 0.1
    """tau at the last step."""
    sigma: hyper.InitialSigma = 0.5
    final_sigma: Positive = 0.05
    """Standard deviation of the proposals at the last step."""
    session_length: hyper.SessionLength = 500
    episodes_per_member: hyper.EpisodesPerMember = 1
    normalize_observation: hyper.NormalizeObservation = False
    squash: hyper.Squash = False
    network: hyper.MemberNetwork = networks.MLP(hidden=())

    @property
    def block_length(self) -> int:
        return self.session_length

    def search(self, size: int) -> Search:
        """The search with a population of `size` members; raises `BadSetting` unless they make pairs."""
        population.in_pairs(size, "Simulated annealing")

        def init(key: Key, x: Array) -> State:
            places = x + self.sigma * jax.random.normal(key, (size // 2, *x.shape))
            nothing = jnp.zeros(size // 2)
            return State(places, nothing, nothing, jnp.float32(self.temperature), jnp.float32(self.sigma))

        def ask(state: State, key: Key) -> Array:
            return jnp.concatenate([state.x, state.x + state.sigma * jax.random.normal(key, state.x.shape)])

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            (_, proposed), (again, tried) = jnp.split(members, 2), jnp.split(scores, 2)
            score = state.score + (again - state.score) / (state.tries + 1.0)
            taken = jnp.log(jax.random.uniform(key, score.shape)) < (tried - score) / state.temperature
            return State(
                jnp.where(taken[:, None], proposed, state.x),
                jnp.where(taken, tried, score),
                jnp.where(taken, 1.0, state.tries + 1.0),
                self.temperature * (self.final_temperature / self.temperature) ** progress,
                self.sigma * (self.final_sigma / self.sigma) ** progress,
            )

        def best(state: State) -> Array:
            return state.x[jnp.argmax(state.score)]

        def report(state: State) -> dict[str, Array]:
            return {"temperature": state.temperature, "sigma": state.sigma}

        return Search(init, ask, tell, best, report)

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search."""

    x: Array  # [P / 2, D] where each search stands
    score: Array  # [P / 2] the mean of all that was earned there
    tries: Array  # [P / 2] float32, how often it was tried
    temperature: Array  # [] tau
    sigma: Array  # [] of the proposals
