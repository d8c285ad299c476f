"""The cross-entropy method over the parameters of a policy (Rubinstein, 1999; with noise, Szita and Lorincz, 2006,
"Learning Tetris using the noisy cross-entropy method").

    x_i ~ N(mu, diag(sigma^2));  mu, sigma^2 <- mean and variance of the best x_i, + zeta^2 (1 - progress)

The noise zeta falls to nothing over the run; without it sigma shrinks before mu has arrived.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import hyper, networks, population
from polyak.parts.population import Search
from polyak.parts.ranges import NotNegative


@dataclasses.dataclass(frozen=True)
class CEM:
    """Cross-entropy method over weights: fits a normal distribution to the best policies that it has drawn."""

    name: ClassVar[str] = "cem"
    default_num_envs: ClassVar[int] = 64
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    elite_share: hyper.EliteShare = 0.2
    sigma: hyper.InitialSigma = 1.0
    extra_sigma: NotNegative = 0.1
    """zeta, the standard deviation of the noise added at the first step."""
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
        population.at_least(2, size, "The cross-entropy method imitates the better of its members")
        elite = population.elite_size(self.elite_share, size, least=2)

        def init(key: Key, x: Array) -> State:
            return State(x, jnp.full_like(x, self.sigma))

        def ask(state: State, key: Key) -> Array:
            return state.mean + state.sigma * jax.random.normal(key, (size, *state.mean.shape))

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            best = members[jax.lax.top_k(scores, elite)[1]]
            noise = self.extra_sigma**2 * jnp.maximum(1.0 - progress, 0.0)
            return State(best.mean(0), jnp.sqrt(best.var(0) + noise))

        return Search(init, ask, tell, lambda state: state.mean, lambda state: {"sigma": state.sigma.mean()})

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search: the distribution that members are drawn from."""

    mean: Array  # [D]
    sigma: Array  # [D]
