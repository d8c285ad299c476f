"""Bandits: choices whose rewards depend on what was chosen, with contexts or without, and on nothing that came before.

A `Bandit` is a distribution over problems and what a pull of an arm pays in one of them. `polyak.regret` plays many
problems at once; `Bandit.env` makes an environment of one, for any algorithm that `polyak.train` knows.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from polyak.agent import Array, Key, PyTree
from polyak.envs.base import CompiledEnv
from polyak.errors import BadSetting, EnvironmentFault

NO_CONTEXT: gymnasium.Space = Discrete(1)  # what is observed where there is none: always 0
LONG = 10_000  # pulls of an episode, where the problem drifts
GROWTH = 1.6  # of the adversary's phases


def same(problem: PyTree, noise: PyTree) -> PyTree:
    """The problem as it was: `Bandit.advance` where nothing moves."""
    return problem


def no_context(problem: PyTree, noise: PyTree) -> Array:
    """0: `Bandit.context` where there is none."""
    return jnp.int32(0)


class Bandit(NamedTuple):
    """A bandit as pure, unbatched functions. As everywhere, randomness is an input: `noise` draws that of many pulls at
    once.

    A pull is: `obs = context(problem, noise)`, the agent's action, `pull(problem, obs, action, noise)`, and then
    `advance(problem, noise)`; all three read the noise of the same pull, each a part of its own.
    """

    id: str
    observation_space: gymnasium.Space
    """Discrete(1), always 0, without a context; Box [d], a context; Box [K, d], features of each arm."""
    action_space: Discrete  # K arms, from 0
    draw: Callable[[Key], PyTree]  # key -> problem: what is drawn once and then learnt about
    noise: Callable[[Key, tuple[int, ...]], PyTree]  # key, shape -> the randomness of pulls, leaves [*shape, ...]
    context: Callable[[PyTree, PyTree], Array]  # problem, noise -> obs
    means: Callable[[PyTree, Array], Array]  # problem, obs -> [K] the expected reward of each arm in this pull
    pull: Callable[[PyTree, Array, Array, PyTree], Array]  # problem, obs, action, noise -> reward []
    advance: Callable[[PyTree, PyTree], PyTree] = same  # problem, noise -> the problem of the next pull
    comparator: Literal["best_now", "best_arm"] = "best_now"
    """What regret is measured against: the best expected reward of every pull, or the one arm whose expected rewards
    have the largest sum over all pulls."""
    episode: int | None = None
    """Pulls of an episode of `env`, where the problem drifts; None: every pull is an episode, which begins with
    `advance` of the drawn problem."""

    @property
    def arms(self) -> int:
        """K."""
        return int(self.action_space.n)

    def env(self, seed: int = 0) -> CompiledEnv:
        """An environment of one problem, for algorithms that know nothing of bandits.

        Every pull is an episode, which ends as terminated. Where the problem drifts, an episode is `episode` pulls,
        then it is truncated; each episode begins with the problem as it was drawn.

        Args:
            seed: of the problem.
        """
        drawn = self.draw(jax.random.key(seed))

        def reset(noise: PyTree) -> tuple[Pulls, Array]:
            problem = self.advance(drawn, noise) if self.episode is None else drawn
            obs = self.context(problem, noise)
            return Pulls(problem, obs, jnp.int32(0)), obs

        def step(state: Pulls, action: Array, noise: PyTree):
            reward, number = self.pull(state.problem, state.obs, action, noise), state.number + 1
            if self.episode is None:
                return state._replace(number=number), state.obs, reward, jnp.bool_(True), jnp.bool_(False)
            problem = self.advance(state.problem, noise)
            obs = self.context(problem, noise)
            return Pulls(problem, obs, number), obs, reward, jnp.bool_(False), number >= self.episode

        spaces = self.observation_space, self.action_space
        return CompiledEnv(self.id, *spaces, self.episode, self.noise, reset, step)


class Pulls(NamedTuple):
    """The state of `Bandit.env`."""

    problem: PyTree
    obs: Array
    number: Array  # [] int32, pulls made


# ---- without a context


def gaussian(arms: int = 10, mean: float = 0.0, spread: float = 1.0, deviation: float = 1.0) -> Bandit:
    """The testbed of Sutton and Barto (2018), section 2.3: an arm's mean is drawn from N(mean, spread^2) once, and its
    rewards from N(that, deviation^2).

    Args:
        arms: how many.
        mean: of the means.
        spread: their standard deviation.
        deviation: the standard deviation of rewards.
    """

    def draw(key: Key) -> Array:
        return mean + spread * jax.random.normal(key, (arms,))

    def means(problem: Array, obs: Array) -> Array:
        return problem

    def pull(problem: Array, obs: Array, action: Array, noise: Array) -> Array:
        return problem[action] + deviation * noise

    choices = _choices(arms)
    return Bandit("bandit/gaussian", NO_CONTEXT, choices, draw, jax.random.normal, no_context, means, pull)


def bernoulli(arms: int = 10) -> Bandit:
    """Rewards of 0 and 1: the probability of an arm's 1 is drawn uniformly from [0, 1] once."""

    def draw(key: Key) -> Array:
        return jax.random.uniform(key, (arms,))

    def means(problem: Array, obs: Array) -> Array:
        return problem

    def pull(problem: Array, obs: Array, action: Array, noise: Array) -> Array:
        return jnp.float32(noise < problem[action])

    choices = _choices(arms)
    return Bandit("bandit/bernoulli", NO_CONTEXT, choices, draw, jax.random.uniform, no_context, means, pull)


def drifting(arms: int = 10, drift: float = 0.01, deviation: float = 1.0, episode: int = LONG) -> Bandit:
    """Means that begin at 0 and walk at random, each by N(0, drift^2) after every pull; rewards are N(mean,
    deviation^2).

    Regret is against the best mean of every pull.

    Args:
        arms: how many.
        drift: the standard deviation of a step of the walk.
        deviation: that of rewards.
        episode: pulls of an episode of `env`.

    Source: Sutton and Barto (2018), exercise 2.5.
    """

    def draw(key: Key) -> Array:
        return jnp.zeros(arms)

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.normal(key, (*shape, arms + 1))  # of the reward, and of each mean's step

    def means(problem: Array, obs: Array) -> Array:
        return problem

    def pull(problem: Array, obs: Array, action: Array, noise: Array) -> Array:
        return problem[action] + deviation * noise[0]

    def advance(problem: Array, noise: Array) -> Array:
        return problem + drift * noise[1:]

    return Bandit(
        "bandit/drifting",
        NO_CONTEXT,
        _choices(arms),
        draw,
        noise,
        no_context,
        means,
        pull,
        advance,
        episode=_at_least_one(episode, "episode"),
    )


class Adversary(NamedTuple):
    """A problem of `adversarial`."""

    best: Array  # [] int32, the arm
    number: Array  # [] int32, pulls made


def adversarial(arms: int = 10, gap: float = 0.1, episode: int = LONG) -> Bandit:
    """Rewards of 0 and 1 whose probabilities jump, fixed in advance: one arm, drawn once, is always better by `gap`.

    In even phases the best arm pays with probability 1 and the others with 1 - gap; in odd ones the best arm with
    probability gap and the others never. Phase n lasts 1.6^n pulls, rounded down. Averages of what an arm paid mix
    phases that are not comparable, so rules that trust them (UCB1, Thompson sampling) lose in proportion to the number
    of pulls, while EXP3 keeps its bound. Regret is against the best arm.

    Args:
        arms: how many.
        gap: in (0, 1).
        episode: pulls of an episode of `env`.

    Source: Zimmert and Seldin (2021), "Tsallis-INF: an optimal algorithm for stochastic and adversarial bandits", the
    stochastically constrained adversary of their experiments; rewards are 1 less their losses.
    """
    if not 0 < gap < 1:
        raise BadSetting(f"The gap between the best arm and the others is {gap}; it must be between 0 and 1.")
    lengths = np.floor(GROWTH ** np.arange(46))  # together more pulls than an int32 counts
    starts = np.minimum(np.cumsum(lengths), np.iinfo(np.int32).max).astype(np.int32)  # of phases 1, 2, ...

    def draw(key: Key) -> Adversary:
        return Adversary(jax.random.randint(key, (), 0, arms), jnp.int32(0))

    def means(problem: Adversary, obs: Array) -> Array:
        low = jnp.sum(problem.number >= starts) % 2
        is_best = jnp.arange(arms) == problem.best
        return jnp.where(low, 0.0, 1.0 - gap) + gap * is_best

    def pull(problem: Adversary, obs: Array, action: Array, noise: Array) -> Array:
        return jnp.float32(noise < means(problem, obs)[action])

    def advance(problem: Adversary, noise: Array) -> Adversary:
        return problem._replace(number=problem.number + 1)

    return Bandit(
        "bandit/adversarial",
        NO_CONTEXT,
        _choices(arms),
        draw,
        jax.random.uniform,
        no_context,
        means,
        pull,
        advance,
        "best_arm",
        _at_least_one(episode, "episode"),
    )


# ---- with a context


class ContextNoise(NamedTuple):
    """The randomness of a pull with a context."""

    context: Array  # [d] or [K, d], a point of the unit sphere each
    reward: Array  # [] standard normal


def linear(arms: int = 10, features: int = 5, deviation: float = 0.1) -> Bandit:
    """Features x_a for each arm, new ones in every pull, and one theta for all: E[reward of a] = theta . x_a.

    theta and every x_a are uniform on the unit sphere; rewards have normal noise.

    Args:
        arms: K.
        features: d, of each arm; the observation is [K, d].
        deviation: the standard deviation of rewards.

    Source: the problem of Abbasi-Yadkori, Pal and Szepesvari (2011), "Improved algorithms for linear stochastic
    bandits", with finitely many arms.
    """

    def draw(key: Key) -> Array:
        return _on_the_sphere(key, (features,))

    def means(problem: Array, obs: Array) -> Array:
        return obs @ problem

    return _with_context("bandit/linear", (arms, features), arms, draw, means, deviation)


def linear_disjoint(arms: int = 10, features: int = 5, deviation: float = 0.1) -> Bandit:
    """A context x, a new one in every pull, and a theta_a for each arm: E[reward of a] = theta_a . x.

    x and every theta_a are uniform on the unit sphere; rewards have normal noise.

    Args:
        arms: K.
        features: d, of the context; the observation is [d].
        deviation: the standard deviation of rewards.

    Source: the disjoint model of Li, Chu, Langford and Schapire (2010), "A contextual-bandit approach to personalized
    news article recommendation".
    """

    def draw(key: Key) -> Array:
        return _on_the_sphere(key, (arms, features))

    def means(problem: Array, obs: Array) -> Array:
        return problem @ obs

    return _with_context("bandit/linear-disjoint", (features,), arms, draw, means, deviation)


def _with_context(
    id: str, shape: tuple[int, ...], arms: int, draw: Callable, means: Callable, deviation: float
) -> Bandit:
    """A bandit whose contexts [*shape] have rows on the unit sphere, and whose rewards have normal noise."""

    def noise(key: Key, pulls: tuple[int, ...]) -> ContextNoise:
        context_key, reward_key = jax.random.split(key)
        return ContextNoise(_on_the_sphere(context_key, (*pulls, *shape)), jax.random.normal(reward_key, pulls))

    def context(problem: Array, noise: ContextNoise) -> Array:
        return noise.context

    def pull(problem: Array, obs: Array, action: Array, noise: ContextNoise) -> Array:
        return means(problem, obs)[action] + deviation * noise.reward

    _at_least_one(shape[-1], "features")
    return Bandit(id, Box(-1.0, 1.0, shape, np.float32), _choices(arms), draw, noise, context, means, pull)


def digits() -> Bandit:
    """Scikit-learn's 1,797 pictures of handwritten digits; the arms are the ten classes, of which the right one pays 1.

    The context is a picture of 8 x 8 pixels as 64 numbers in [0, 1], drawn from all of them with replacement. The
    problem is the picture at hand, which every pull replaces.

    Raises:
        EnvironmentFault: scikit-learn is not installed.

    Source: Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", the test set.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise EnvironmentFault("scikit-learn is not installed; `pip install polyak[digits]` brings it.") from None
    pixels, digit = load_digits(return_X_y=True)
    pictures, classes = (pixels / 16.0).astype(np.float32), digit.astype(np.int32)

    def draw(key: Key) -> Array:
        return noise(key, ())

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.randint(key, shape, 0, len(pictures))  # the next picture

    def context(problem: Array, noise: Array) -> Array:
        return jnp.asarray(pictures)[problem]

    def means(problem: Array, obs: Array) -> Array:
        return jax.nn.one_hot(jnp.asarray(classes)[problem], 10)

    def pull(problem: Array, obs: Array, action: Array, noise: Array) -> Array:
        return means(problem, obs)[action]

    def advance(problem: Array, noise: Array) -> Array:
        return noise

    seen = Box(0.0, 1.0, (pictures.shape[1],), np.float32)
    return Bandit("bandit/digits", seen, Discrete(10), draw, noise, context, means, pull, advance)


def _on_the_sphere(key: Key, shape: tuple[int, ...]) -> Array:
    """[*shape] uniform on the unit sphere along the last axis."""
    normal = jax.random.normal(key, shape)
    return normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)


def _choices(arms: int) -> Discrete:
    if arms < 2:
        raise BadSetting(f"A bandit of {arms} arms leaves nothing to choose; it must have at least 2.")
    return Discrete(arms)


def _at_least_one(number: int, what: str) -> int:
    if number < 1:
        raise BadSetting(f"{what} is {number}; it must be at least 1.")
    return number


# What is made once is compiled once, however many problems are played.
BANDITS: dict[str, Callable[[], Bandit]] = {
    "bandit/gaussian": cache(gaussian),
    "bandit/bernoulli": cache(bernoulli),
    "bandit/drifting": cache(drifting),
    "bandit/adversarial": cache(adversarial),
    "bandit/linear": cache(linear),
    "bandit/linear-disjoint": cache(linear_disjoint),
    "bandit/digits": cache(digits),
}
ENVS: dict[str, Callable[[], CompiledEnv]] = {id: cache(lambda id=id: BANDITS[id]().env()) for id in BANDITS}
