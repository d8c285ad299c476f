"""A genetic algorithm on the parameters of policies (Holland, 1975; on networks, Montana and Davis, 1989,
"Training feedforward neural networks using genetic algorithms", and Such et al., 2017, "Deep neuroevolution").

    child = each gene from one of two parents, at random, + sigma e where it mutates,  e ~ N(0, 1)

Parents are the best of `tournament_size` members of the elite, drawn at random. The elite lives on beside its children.

Deviations: the elite is tried again with every population, and each of it counts by the mean of all that it earned.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import hyper, networks, population
from polyak.parts.population import Elite, Search
from polyak.parts.ranges import Count, Positive, Share


@dataclasses.dataclass(frozen=True)
class Genetic:
    """Genetic algorithm: breeds policies from the best by crossover and mutation."""

    name: ClassVar[str] = "genetic"
    default_num_envs: ClassVar[int] = 64
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    elite_share: hyper.EliteShare = 0.2
    tournament_size: Count = 2
    """Members of the elite that are drawn for a parent, of which the best is taken; 1 takes any alike."""
    crossover_rate: Share = 0.5
    """Share of the children that have two parents; the others have one."""
    mutation_rate: Share = 1.0
    """Share of the genes that mutate."""
    sigma: hyper.Sigma = 0.1
    initial_sigma: Positive = 0.5
    """Standard deviation of the first elite around the first policy."""
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
        population.at_least(2, size, "The genetic algorithm breeds children beside their parents")
        elite = population.elite_size(self.elite_share, size, most=size - 1)
        children = size - elite

        def init(key: Key, x: Array) -> State:
            return State(Elite.of(x + self.initial_sigma * jax.random.normal(key, (elite, x.size))))

        def ask(state: State, key: Key) -> Array:
            parent_key, cross_key, gene_key, mutation_key, noise_key = jax.random.split(key, 5)
            genes, x = (children, state.elite.x.shape[1]), state.elite.x
            drawn = jax.random.randint(parent_key, (self.tournament_size, 2, children), 0, elite)
            mother, father = x[drawn.min(0)]  # the best stand first
            crossed = jax.random.uniform(cross_key, (children, 1)) < self.crossover_rate
            from_father = crossed & jax.random.bernoulli(gene_key, 0.5, genes)
            mutates = jax.random.uniform(mutation_key, genes) < self.mutation_rate
            noise = jnp.where(mutates, self.sigma * jax.random.normal(noise_key, genes), 0.0)
            return jnp.concatenate([x, jnp.where(from_father, father, mother) + noise])

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            return State(state.elite.after(members, scores))

        return Search(init, ask, tell, lambda state: state.elite.x[0])

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search."""

    elite: Elite
