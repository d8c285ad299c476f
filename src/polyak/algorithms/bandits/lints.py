"""LinTS: Thompson sampling of linear rewards (Agrawal and Goyal, 2013, "Thompson sampling for contextual bandits with
linear payoffs", algorithm 1).

    theta~ ~ N(theta, v^2 A^-1),    a_t = argmax_a x_a . theta~
    A <- A + x_a x_a^T,  b <- b + r x_a,  theta = A^-1 b

where A = lambda I and b = 0 at first: one regression for all arms, or one an arm, of the arm that was pulled.

Deviations: v is given, and not the R sqrt(9 d log(t / delta)) of the proof, which explores far more than pays. With
the root S of A^-1 a sample of theta is theta + v S z, z ~ N(0, I); where arms have regressions of their own, those
samples are independent, and x_a . theta_a + v |S_a^T x_a| z_a with a single normal number an arm is the same.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.parts import linear_bandit
from polyak.parts.linear_bandit import arms_of
from polyak.parts.ranges import NotNegative


@dataclasses.dataclass(frozen=True)
class LinTS:
    """LinTS: samples rewards that are linear in a context, or in features of each arm, from their posterior."""

    name: ClassVar[str] = "lints"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    v: NotNegative = 1.0
    """Deviation of the samples; the noise of rewards has that deviation where the posterior is the Bayesian one."""
    regression: linear_bandit.Regression = "auto"
    regularization: linear_bandit.Regularization = 1.0
    intercept: linear_bandit.Intercept = True

    def agent(self, spec: Spec) -> Agent:
        arms = arms_of(self, spec)

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.normal(key, (*shape, arms.features if arms.shared else arms.count))

        def choose(mean: Array, spread: Array, progress: Array, z: Array) -> Array:
            deviation = spread @ z if arms.shared else jnp.linalg.norm(spread, axis=-1) * z
            return jnp.argmax(mean + self.v * deviation).astype(jnp.int32)

        return linear_bandit.agent(self, spec, arms, noise, choose)
