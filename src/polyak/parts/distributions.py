"""Distributions over actions, whose parameters are the answers of a network.

`distribution(space)` knows how many numbers a network must answer, and which parameters they make: logits for choices,
means and deviations for numbers, one after the other for a space of several. A *sample* is a function of parameters and
noise; `action` makes a member of the space of it, by clipping for example. Learning needs the sample, the environment
the action.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting
from polyak.spaces import row_shape, storage_type

RULED_OUT = -1e30  # the logit of what is never sampled; finite, because infinity times zero is no number
LOG_STD = (-20.0, 2.0)  # between these a deviation stays that depends on the observation (Haarnoja et al., 2018)
LOG_2, HALF_LOG_2_PI = math.log(2.0), 0.5 * math.log(2.0 * math.pi)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(16)  # of a mean over the unit normal, by Gauss and Hermite


class Distribution(Protocol):
    """Over the members of an action space; leading axes [...] are those of what it is given."""

    @property
    def outputs(self) -> int:
        """The length of a network's answer."""
        ...

    def free(self) -> PyTree:
        """The initial values of parameters that are learnt but depend on no observation; () where there are none."""
        ...

    def parameters(self, answers: Array, free: PyTree) -> PyTree:
        """The parameters, from answers [..., outputs] and the present values of `free`."""
        ...

    def noise(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        """Draws the noise of `prod(shape)` samples."""
        ...

    def sample(self, parameters: PyTree, noise: PyTree) -> PyTree:
        """A sample."""
        ...

    def mode(self, parameters: PyTree) -> PyTree:
        """The likeliest sample."""
        ...

    def action(self, sample: PyTree) -> PyTree:
        """The member of the space that a sample stands for."""
        ...

    def log_prob(self, parameters: PyTree, sample: PyTree) -> Array:
        """[...] log p(sample), or log of the density where actions are numbers."""
        ...

    def entropy(self, parameters: PyTree) -> Array:
        """[...] -E log p, in nats."""
        ...

    def kl(self, parameters: PyTree, others: PyTree) -> Array:
        """[...] KL(p || p') in nats, from these parameters to others."""
        ...


@dataclasses.dataclass(frozen=True)
class Categorical:
    """One of n actions, `start` the first of them; its parameters are unnormalised log-probabilities [..., n]."""

    n: int
    start: int = 0

    @property
    def outputs(self) -> int:
        return self.n

    def free(self) -> tuple[()]:
        return ()

    def parameters(self, answers: Array, free: PyTree) -> Array:
        return answers

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.gumbel(key, (*shape, self.n))

    def sample(self, parameters: Array, noise: Array) -> Array:
        """argmax(logits + Gumbel noise), which is an exact sample (Gumbel, 1954); [...] int32 from 0."""
        return jnp.argmax(parameters + noise, -1).astype(jnp.int32)

    def mode(self, parameters: Array) -> Array:
        return jnp.argmax(parameters, -1).astype(jnp.int32)

    def action(self, sample: Array) -> Array:
        return sample + self.start

    def log_prob(self, parameters: Array, sample: Array) -> Array:
        return jnp.take_along_axis(jax.nn.log_softmax(parameters), sample[..., None], -1)[..., 0]

    def entropy(self, parameters: Array) -> Array:
        log_probs = jax.nn.log_softmax(parameters)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, -1)

    def kl(self, parameters: Array, others: Array) -> Array:
        log_probs = jax.nn.log_softmax(parameters)
        return jnp.sum(jnp.exp(log_probs) * (log_probs - jax.nn.log_softmax(others)), -1)


@dataclasses.dataclass(frozen=True)
class Categoricals:
    """Several choices at once, of ns[i] actions each; its parameters are logits [..., len(ns), max(ns)].

    Rows of fewer choices than the longest are filled up with logits of what is never sampled.
    """

    ns: tuple[int, ...]
    shape: tuple[int, ...]  # of an action
    start: tuple[int, ...]  # the first action of each choice

    @property
    def outputs(self) -> int:
        return sum(self.ns)

    @property
    def _row(self) -> Categorical:
        return Categorical(max(self.ns))

    def free(self) -> tuple[()]:
        return ()

    def parameters(self, answers: Array, free: PyTree) -> Array:
        column, ends = np.arange(max(self.ns)), np.cumsum(self.ns)[:, None]
        place = ends - np.array(self.ns)[:, None] + column
        return jnp.where(place < ends, answers[..., np.minimum(place, ends - 1)], RULED_OUT)

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        return self._row.noise(key, (*shape, len(self.ns)))

    def sample(self, parameters: Array, noise: Array) -> Array:
        return self._row.sample(parameters, noise)

    def mode(self, parameters: Array) -> Array:
        return self._row.mode(parameters)

    def action(self, sample: Array) -> Array:
        return (sample + np.array(self.start, np.int32)).reshape(*sample.shape[:-1], *self.shape)

    def log_prob(self, parameters: Array, sample: Array) -> Array:
        return self._row.log_prob(parameters, sample).sum(-1)

    def entropy(self, parameters: Array) -> Array:
        return self._row.entropy(parameters).sum(-1)

    def kl(self, parameters: Array, others: Array) -> Array:
        return self._row.kl(parameters, others).sum(-1)


@dataclasses.dataclass(frozen=True)
class Bernoullis:
    """Switches, on or off each by itself; its parameters are log-odds [..., number of switches]."""

    shape: tuple[int, ...]  # of an action

    @property
    def outputs(self) -> int:
        return math.prod(self.shape)

    def free(self) -> tuple[()]:
        return ()

    def parameters(self, answers: Array, free: PyTree) -> Array:
        return answers

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.logistic(key, (*shape, self.outputs))

    def sample(self, parameters: Array, noise: Array) -> Array:
        return (parameters + noise > 0).astype(jnp.int8)

    def mode(self, parameters: Array) -> Array:
        return (parameters > 0).astype(jnp.int8)

    def action(self, sample: Array) -> Array:
        return sample.reshape(*sample.shape[:-1], *self.shape)

    def log_prob(self, parameters: Array, sample: Array) -> Array:
        return jnp.sum(jax.nn.log_sigmoid(jnp.where(sample == 1, parameters, -parameters)), -1)

    def entropy(self, parameters: Array) -> Array:
        return jnp.sum(jax.nn.softplus(parameters) - parameters * jax.nn.sigmoid(parameters), -1)

    def kl(self, parameters: Array, others: Array) -> Array:
        on = jax.nn.sigmoid(parameters) * (jax.nn.log_sigmoid(parameters) - jax.nn.log_sigmoid(others))
        off = jax.nn.sigmoid(-parameters) * (jax.nn.log_sigmoid(-parameters) - jax.nn.log_sigmoid(-others))
        return jnp.sum(on + off, -1)


class Normal(NamedTuple):
    """The parameters of independent normal numbers."""

    mean: Array  # [..., k]
    log_std: Array  # [..., k] log of the standard deviation


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Independent numbers, each normal about a mean.

    Actions are the samples, clipped to the space's bounds; or, squashed, tanh of the samples stretched over the bounds,
    and the density is that of the actions (Haarnoja et al., 2018, "Soft actor-critic", appendix C).
    """

    space: gymnasium.spaces.Box
    log_std_init: float = 0.0
    state_dependent_std: bool = False
    squash: bool = False

    @property
    def _size(self) -> int:
        return math.prod(self.space.shape)

    @property
    def outputs(self) -> int:
        return self._size * (1 + self.state_dependent_std)

    def free(self) -> PyTree:
        return () if self.state_dependent_std else jnp.full(self._size, self.log_std_init, jnp.float32)

    def parameters(self, answers: Array, free: PyTree) -> Normal:
        if not self.state_dependent_std:
            return Normal(answers, jnp.broadcast_to(free, answers.shape))
        mean, log_std = jnp.split(answers, 2, -1)
        return Normal(mean, jnp.clip(log_std + self.log_std_init, *LOG_STD))

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.normal(key, (*shape, self._size))

    def sample(self, parameters: Normal, noise: Array) -> Array:
        return parameters.mean + jnp.exp(parameters.log_std) * noise

    def mode(self, parameters: Normal) -> Array:
        """The mean; where it is squashed, its image, which is the median of the actions."""
        return parameters.mean

    def action(self, sample: Array) -> Array:
        sample = sample.reshape(*sample.shape[:-1], *self.space.shape)
        if not self.squash:
            return jnp.clip(sample, self.space.low, self.space.high)
        low, high = self.space.low, self.space.high
        return jnp.clip(low + (high - low) * 0.5 * (1.0 + jnp.tanh(sample)), low, high)  # rounding may pass a bound

    def log_prob(self, parameters: Normal, sample: Array) -> Array:
        error = (sample - parameters.mean) * jnp.exp(-parameters.log_std)
        density = -0.5 * jnp.square(error) - parameters.log_std - HALF_LOG_2_PI
        return jnp.sum(density - self._log_stretch(sample), -1)

    def entropy(self, parameters: Normal) -> Array:
        """[...] in closed form; the change by squashing is computed by Gauss-Hermite quadrature."""
        entropy = parameters.log_std + 0.5 + HALF_LOG_2_PI
        if self.squash:
            mean, std = parameters.mean[..., None], jnp.exp(parameters.log_std)[..., None]
            stretch = self._log_stretch(jnp.moveaxis(mean + std * jnp.float32(NODES), -1, 0))
            entropy += jnp.tensordot(jnp.float32(WEIGHTS / WEIGHTS.sum()), stretch, 1)
        return jnp.sum(entropy, -1)

    def kl(self, parameters: Normal, others: Normal) -> Array:
        """[...] of the samples; that of the actions is the same where none is clipped, as tanh is a bijection."""
        ratio = jnp.exp(2.0 * (parameters.log_std - others.log_std))
        distance = jnp.square((parameters.mean - others.mean) * jnp.exp(-others.log_std))
        return jnp.sum(0.5 * (ratio + distance - 1.0) + others.log_std - parameters.log_std, -1)

    def _log_stretch(self, sample: Array) -> Array | float:
        """log |d action / d sample|: zero unless squashed, as clipping is left to the environment's side."""
        if not self.squash:
            return 0.0
        stretch = np.log(0.5 * (self.space.high - self.space.low)).reshape(-1)
        return stretch + 2.0 * (
            LOG_2 - sample - jax.nn.softplus(-2.0 * sample)
        )  # log(1 - tanh^2), without its rounding


@dataclasses.dataclass(frozen=True)
class Joint:
    """Several distributions, independent given the observation: for Tuple and Dict spaces, whose members are rows."""

    parts: tuple[Distribution, ...]
    ranks: tuple[int, ...]  # axes of an action of each part

    @property
    def outputs(self) -> int:
        return sum(part.outputs for part in self.parts)

    def free(self) -> tuple[PyTree, ...]:
        return tuple(part.free() for part in self.parts)

    def parameters(self, answers: Array, free: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        shares = jnp.split(answers, np.cumsum([part.outputs for part in self.parts])[:-1], -1)
        return tuple(part.parameters(*given) for part, *given in zip(self.parts, shares, free, strict=True))

    def noise(self, key: Key, shape: tuple[int, ...]) -> tuple[PyTree, ...]:
        keys = jax.random.split(key, len(self.parts))
        return tuple(part.noise(key, shape) for part, key in zip(self.parts, keys, strict=True))

    def sample(self, parameters: tuple[PyTree, ...], noise: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.sample(*given) for part, *given in zip(self.parts, parameters, noise, strict=True))

    def mode(self, parameters: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.mode(given) for part, given in zip(self.parts, parameters, strict=True))

    def action(self, sample: tuple[PyTree, ...]) -> Array:
        """[..., n] a row: see `polyak.spaces`."""

        def flat(action: Array, rank: int) -> Array:
            return action.reshape(*action.shape[: action.ndim - rank], -1).astype(jnp.float32)

        actions = [part.action(given) for part, given in zip(self.parts, sample, strict=True)]
        return jnp.concatenate(list(map(flat, actions, self.ranks)), -1)

    def log_prob(self, parameters: tuple[PyTree, ...], sample: tuple[PyTree, ...]) -> Array:
        return _sum(part.log_prob(*given) for part, *given in zip(self.parts, parameters, sample, strict=True))

    def entropy(self, parameters: tuple[PyTree, ...]) -> Array:
        return _sum(part.entropy(given) for part, given in zip(self.parts, parameters, strict=True))

    def kl(self, parameters: tuple[PyTree, ...], others: tuple[PyTree, ...]) -> Array:
        return _sum(part.kl(*given) for part, *given in zip(self.parts, parameters, others, strict=True))


def _sum(terms: Iterable[Array]) -> Array:
    return sum(terms, jnp.float32(0))


def distribution(
    space: gymnasium.Space, log_std_init: float = 0.0, state_dependent_std: bool = False, squash: bool = False
) -> Distribution:
    """The distribution over the actions of a space.

    Args:
        space: Discrete, Box, MultiDiscrete, MultiBinary, or a Dict or Tuple of such.
        log_std_init: log of the standard deviation that numbers begin with, in units of the samples.
        state_dependent_std: whether the network answers the deviations too; else they are parameters of their own.
        squash: whether tanh keeps numbers within the bounds; else they are clipped.

    Raises:
        BadSetting: it is another space; or numbers without bounds are to be squashed.
    """

    def of(space: gymnasium.Space) -> Distribution:
        return distribution(space, log_std_init, state_dependent_std, squash)

    match space:
        case gymnasium.spaces.Discrete():
            return Categorical(int(space.n), int(space.start))
        case gymnasium.spaces.MultiDiscrete():
            ns, start = (tuple(map(int, np.ravel(values))) for values in (space.nvec, space.start))
            return Categoricals(ns, space.shape, start)
        case gymnasium.spaces.MultiBinary():
            return Bernoullis(tuple(space.shape))
        case gymnasium.spaces.Box() if storage_type(space).kind == "f":
            if squash and not space.is_bounded():
                raise BadSetting(f"Only bounded actions can be squashed, and this environment's are {space}.")
            return Gaussian(space, log_std_init, state_dependent_std, squash)
        case gymnasium.spaces.Dict() | gymnasium.spaces.Tuple() if space.spaces:
            entries = list(space.values()) if isinstance(space, gymnasium.spaces.Dict) else list(space.spaces)
            return Joint(tuple(map(of, entries)), tuple(len(row_shape(entry)) for entry in entries))
    raise BadSetting(
        f"Actions of {space} are not supported; polyak samples Discrete, MultiDiscrete and MultiBinary, Box of floats, "
        "and Dict and Tuple of these."
    )
