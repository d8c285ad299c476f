"""LinUCB (Li, Chu, Langford and Schapire, 2010, "A contextual-bandit approach to personalized news article
recommendation", algorithm 1), and with one regression for all arms the algorithm of Abbasi-Yadkori, Pal and
Szepesvari (2011, "Improved algorithms for linear stochastic bandits"), known as OFUL.

    a_t = argmax_a x_a . theta_a + alpha sqrt(x_a^T A_a^-1 x_a)
    A_a <- A_a + x_a x_a^T,  b_a <- b_a + r x_a,  theta_a = A_a^-1 b_a      of the arm that was pulled

where A_a = lambda I and b_a = 0 at first.

Deviations: a root of A^-1 is kept in place of A, see `parts.ridge`; alpha does not grow with the logarithm of time, as
OFUL's radius does; lambda is 1 in the first paper.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.ops import explore
from polyak.parts import linear_bandit
from polyak.parts.linear_bandit import arms_of
from polyak.parts.ranges import NotNegative


@dataclasses.dataclass(frozen=True)
class LinUCB:
    """LinUCB: upper confidence bounds of rewards that are linear in a context, or in features of each arm."""

    name: ClassVar[str] = "linucb"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    alpha: NotNegative = 1.0
    """Width of the bounds, in deviations of the prediction where the noise of rewards has deviation 1."""
    regression: linear_bandit.Regression = "auto"
    regularization: linear_bandit.Regularization = 1.0
    intercept: linear_bandit.Intercept = True

    def agent(self, spec: Spec) -> Agent:
        arms = arms_of(self, spec)

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape)

        def choose(mean: Array, spread: Array, progress: Array, tie: Array) -> Array:
            bound = mean + self.alpha * jnp.linalg.norm(spread, axis=-1)
            return explore.any_of(bound == bound.max(), tie)

        return linear_bandit.agent(self, spec, arms, noise, choose)
