"""Augmented random search (Mania, Guy and Recht, 2018, "Simple random search of static linear policies is competitive
for reinforcement learning", algorithm 2).

    theta <- theta + alpha / (b sigma_R) sum_k [r(theta + nu delta_k) - r(theta - nu delta_k)] delta_k

over the b directions of N that promised most, max(r+, r-); sigma_R is the deviation of the 2b returns in the sum. With
`normalize_observation` it is V2 of the paper, else V1; with all directions V1 and V2 without the t.

Deviations: the policy has biases; observations of all steps of a block count for their moments, and they are kept
within ten deviations.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec, Step
from polyak.parts import hyper, networks, population
from polyak.parts.population import Search
from polyak.parts.ranges import Finite, Positive, PositiveShare
from polyak.parts.sessions import session_returns


@dataclasses.dataclass(frozen=True)
class ARS:
    """Augmented random search: moves a linear policy along the directions that proved best, both ways."""

    name: ClassVar[str] = "ars"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: Positive = 0.02
    """alpha, the length of a step, in units of the parameters."""
    sigma: hyper.Sigma = 0.03
    top_share: PositiveShare = 1.0
    """Share of the directions, those with the best return, that a step is made of."""
    alive_bonus: Finite = 0.0
    """Taken off every reward: what the environment pays for not falling, which keeps policies from moving."""
    session_length: hyper.SessionLength = 1_000
    episodes_per_member: hyper.EpisodesPerMember = 1
    normalize_observation: hyper.NormalizeObservation = True
    squash: hyper.Squash = False
    network: hyper.MemberNetwork = networks.MLP(hidden=())

    @property
    def block_length(self) -> int:
        return self.session_length

    def search(self, size: int) -> Search:
        """The search with a population of `size` members; raises `BadSetting` unless they make pairs."""
        population.in_pairs(size, "Augmented random search")
        top = max(1, round(self.top_share * (size // 2)))

        def init(key: Key, x: Array) -> State:
            return State(x)

        def ask(state: State, key: Key) -> Array:
            delta = jax.random.normal(key, (size // 2, *state.x.shape))
            return state.x + self.sigma * jnp.concatenate([delta, -delta])

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            delta = (members[: size // 2] - state.x) / self.sigma
            plus, minus = scores.reshape(2, -1)
            _, best = jax.lax.top_k(jnp.maximum(plus, minus), top)
            plus, minus, delta = plus[best], minus[best], delta[best]
            spread = jnp.std(jnp.concatenate([plus, minus]))
            step = (plus - minus) @ delta / (top * jnp.maximum(spread, 1e-8))
            return State(state.x + self.learning_rate * step)

        return Search(init, ask, tell, lambda state: state.x)

    def agent(self, spec: Spec) -> Agent:
        def score(block: Step) -> Array:
            return session_returns(block._replace(reward=block.reward - self.alive_bonus))

        return population.agent(self, spec, self.search, score)


class State(NamedTuple):
    """The state of the search."""

    x: Array  # [D] theta
