"""Evolution strategies (Salimans et al., 2017, "Evolution strategies as a scalable alternative to reinforcement
learning").

    theta <- theta + alpha / (P sigma) sum_i rank(F(theta + sigma e_i)) e_i,  e_i ~ N(0, I)

where half of the e_i are the other half with the sign changed: the gradient of the score, smoothed by sigma, estimated
from what P policies earned. Scores count by their rank, and the optimizer takes the estimate for a gradient.

Deviations: equal scores share their mean rank; all noise comes from one generator and not from a table of it.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops.evolution import centred_ranks
from polyak.parts import hyper, networks, population
from polyak.parts.optimise import Adam
from polyak.parts.population import Search
from polyak.parts.ranges import LARGEST, NotNegative


@dataclasses.dataclass(frozen=True)
class OpenAIES:
    """Evolution strategies: moves a policy along the gradient that a population around it shows."""

    name: ClassVar[str] = "openai-es"
    default_num_envs: ClassVar[int] = 64
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: hyper.LearningRate = 0.05
    sigma: hyper.Sigma = 0.1
    weight_decay: NotNegative = 0.0
    """Weight of the penalty 0.5 |theta|^2, which keeps weights small beside sigma; in units of ranks."""
    session_length: hyper.SessionLength = 500
    episodes_per_member: hyper.EpisodesPerMember = 1
    normalize_observation: hyper.NormalizeObservation = False
    squash: hyper.Squash = False
    optimizer: hyper.Optimizer = Adam()
    network: hyper.MemberNetwork = networks.MLP(hidden=(64, 64), activation="tanh")

    @property
    def block_length(self) -> int:
        return self.session_length

    def search(self, size: int) -> Search:
        """The search with a population of `size` members; raises `BadSetting` unless they make pairs."""
        population.in_pairs(size, "The evolution strategy")
        rule = self.optimizer.rule(LARGEST)

        def init(key: Key, x: Array) -> State:
            return State(x, rule.init(x))

        def ask(state: State, key: Key) -> Array:
            noise = jax.random.normal(key, (size // 2, *state.x.shape))
            return state.x + self.sigma * jnp.concatenate([noise, -noise])

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            noise = (members - state.x) / self.sigma
            gradient = self.weight_decay * state.x - centred_ranks(scores) @ noise / (size * self.sigma)
            x, optimizer_state, _ = rule.update(
                state.x, gradient, state.optimizer_state, self.learning_rate, scores.mean()
            )
            return State(x, optimizer_state)

        return Search(init, ask, tell, lambda state: state.x)

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search."""

    x: Array  # [D] theta
    optimizer_state: PyTree
