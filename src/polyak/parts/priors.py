"""Conjugate priors of the expected reward of an arm, for Thompson sampling: posteriors stay of the prior's kind.

Each is a small frozen dataclass with a one-line text form, `beta:1:1` or `normal:0:1:1`, for the command line, presets
and run folders.
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.parts.ranges import Finite, Positive
from polyak.parts.tables import Place, added
from polyak.parts.text import part_from_text


class PriorNoise(NamedTuple):
    """The randomness of a pull."""

    sample: PyTree  # of the posterior of every arm
    coin: PyTree  # uniform in [0, 1), of the reward; () where it is not needed


class Prior(Protocol):
    """A belief about the expected rewards of the arms, independent of each other."""

    name: ClassVar[str]

    def init(self, shape: tuple[int, ...]) -> PyTree:
        """The belief before the first pull, leaves [*shape]."""
        ...

    def noise(self, key: Key, shape: tuple[int, ...], arms: int) -> PriorNoise:
        """The randomness of `prod(shape)` pulls, leaves [*shape, ...]."""
        ...

    def sample(self, posterior: PyTree, noise: PyTree) -> Array:
        """A sample [A] of the expected rewards, from a posterior [A] and `PriorNoise.sample`."""
        ...

    def mean(self, posterior: PyTree) -> Array:
        """The expectation of the expected rewards, of the posterior's shape."""
        ...

    def learnt(self, posterior: PyTree, place: Place, reward: Array, coin: PyTree) -> PyTree:
        """The posterior after a reward [] of the arm at a place; as it was, where the reward is NaN."""
        ...


class BetaPosterior(NamedTuple):
    """Of the probability of a reward of 1."""

    successes: Array  # [S, A], those of the prior included
    failures: Array  # [S, A]


@dataclasses.dataclass(frozen=True)
class BetaPrior:
    """Beta(successes, failures), for rewards of 0 and 1.

    A reward between them counts as a success with that probability, which keeps its mean (Agrawal and Goyal, 2012,
    "Analysis of Thompson sampling for the multi-armed bandit problem", algorithm 2); one below 0 as a failure, one
    above 1 as a success.
    """

    name: ClassVar[str] = "beta"

    successes: Positive = 1.0
    failures: Positive = 1.0

    def init(self, shape: tuple[int, ...]) -> BetaPosterior:
        return BetaPosterior(jnp.full(shape, jnp.float32(self.successes)), jnp.full(shape, jnp.float32(self.failures)))

    def noise(self, key: Key, shape: tuple[int, ...], arms: int) -> PriorNoise:
        sample_key, coin_key = jax.random.split(key)
        # a sample takes as many numbers as it takes, by rejection: only a key holds enough
        return PriorNoise(jax.random.split(sample_key, shape), jax.random.uniform(coin_key, shape))

    def sample(self, posterior: BetaPosterior, noise: Key) -> Array:
        return jax.random.beta(noise, posterior.successes, posterior.failures)

    def mean(self, posterior: BetaPosterior) -> Array:
        return posterior.successes / (posterior.successes + posterior.failures)

    def learnt(self, posterior: BetaPosterior, place: Place, reward: Array, coin: Array) -> BetaPosterior:
        success = jnp.where(jnp.isnan(reward), jnp.nan, coin < reward)
        return BetaPosterior(
            added(posterior.successes, place, success), added(posterior.failures, place, 1.0 - success)
        )


class NormalPosterior(NamedTuple):
    """Of the mean of normal rewards."""

    mean: Array  # [S, A]
    precision: Array  # [S, A] one over its variance


@dataclasses.dataclass(frozen=True)
class NormalPrior:
    """N(mean, deviation^2), for rewards that are N(., reward_deviation^2), the latter known.

    Source: Russo et al. (2018), "A tutorial on Thompson sampling", section 4.
    """

    name: ClassVar[str] = "normal"

    mean_reward: Finite = 0.0
    deviation: Positive = 1.0
    reward_deviation: Positive = 1.0

    def init(self, shape: tuple[int, ...]) -> NormalPosterior:
        mean, precision = jnp.float32(self.mean_reward), jnp.float32(self.deviation) ** -2
        return NormalPosterior(jnp.full(shape, mean), jnp.full(shape, precision))

    def noise(self, key: Key, shape: tuple[int, ...], arms: int) -> PriorNoise:
        return PriorNoise(jax.random.normal(key, (*shape, arms)), ())

    def sample(self, posterior: NormalPosterior, noise: Array) -> Array:
        return posterior.mean + noise / jnp.sqrt(posterior.precision)

    def mean(self, posterior: NormalPosterior) -> Array:
        return posterior.mean

    def learnt(self, posterior: NormalPosterior, place: Place, reward: Array, coin: tuple[()]) -> NormalPosterior:
        gained = jnp.float32(self.reward_deviation) ** -2
        error = reward - posterior.mean[place]
        share = gained / (posterior.precision[place] + gained)
        return NormalPosterior(
            added(posterior.mean, place, share * error),
            added(posterior.precision, place, jnp.where(jnp.isnan(reward), jnp.nan, gained)),
        )


PRIORS: dict[str, Any] = {kind.name: kind for kind in (BetaPrior, NormalPrior)}


# Reads `beta`, `beta:1:1`, `normal`, `normal:0:1:1`.
prior_from_text = partial(part_from_text, "prior", PRIORS)
