"""Gradient steps: the rules that move parameters against a gradient.

An algorithm is given a rule by a small frozen dataclass with a one-line text form, `adam`, `adam:1.5e-4` or
`rmsprop:0.95:0.01`, for the command line, presets and run folders; its `rule` makes the functions.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from polyak.agent import Array, PyTree
from polyak.parts.ranges import Decay, Positive
from polyak.parts.text import part_from_text

BETA1 = 0.9  # of Adam, unless another is given


class Gradient(NamedTuple):
    """What `Agent.gradient` hands to `Agent.apply`."""

    parameters: PyTree  # the loss's derivative by each of them
    loss: Array  # []
    metrics: dict[str, Array]


class GradientMoments(NamedTuple):
    """The moments of the gradients that a rule keeps; `first` and `second` have the shape of the parameters."""

    first: PyTree
    second: PyTree
    updates: Array  # [] int32, n that were made; -1 - n once one was refused


class GradientRule(NamedTuple):
    """A rule that moves parameters against a gradient, whose norm it clips.

    Where the loss or the gradient's norm is not finite the update is refused: parameters and moments stay as they were,
    and so they do ever after, as the sign of `updates` tells. That takes one select an element, of the gradient, and
    other numbers before the loop; selecting among the results made updates of small networks 5 % slower.
    """

    init: Callable[[PyTree], PyTree]  # parameters -> state
    update: Callable[[PyTree, PyTree, PyTree, Array | float, Array], tuple[PyTree, PyTree, Array]]
    """(parameters, gradient, state, learning_rate, loss []) -> parameters, state, gradient norm before clipping []."""


class Optimizer(Protocol):
    """A rule and its numbers, as a hyperparameter."""

    name: ClassVar[str]

    def rule(self, max_grad_norm: float) -> GradientRule:
        """The rule, after clipping by the global norm."""
        ...


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015); see `adam`."""

    name: ClassVar[str] = "adam"
    eps: Positive = 1e-8
    beta1: Decay | None = None  # None: 0.9

    def rule(self, max_grad_norm: float) -> GradientRule:
        return adam(max_grad_norm, BETA1 if self.beta1 is None else self.beta1, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class RAdam:
    """RAdam (Liu et al., 2020): Adam with small steps until the second moment is known; see `adam`."""

    name: ClassVar[str] = "radam"
    eps: Positive = 1e-8

    def rule(self, max_grad_norm: float) -> GradientRule:
        return adam(max_grad_norm, eps=self.eps, rectified=True)


@dataclasses.dataclass(frozen=True)
class RMSProp:
    """RMSProp with the numbers of Mnih et al. (2015); see `rmsprop`."""

    name: ClassVar[str] = "rmsprop"
    decay: Decay = 0.95
    eps: Positive = 0.01

    def rule(self, max_grad_norm: float) -> GradientRule:
        return rmsprop(max_grad_norm, self.decay, self.eps)


class _Clipped(NamedTuple):
    """A gradient that is checked and clipped, for a rule to follow."""

    gradient: PyTree  # zeros where the update is refused
    norm: Array  # [] before clipping
    scale: Array  # [] what clipping multiplies the gradient by
    sound: Array  # [] bool
    updates: Array  # [] for `GradientMoments`


def _clip(gradient: PyTree, updates: Array, loss: Array, max_grad_norm: float) -> _Clipped:
    norm = optax.tree.norm(gradient)
    sound = jnp.isfinite(loss) & jnp.isfinite(norm) & (updates >= 0)
    gradient = jax.tree.map(lambda g: jnp.where(sound, g, 0.0), gradient)
    updates = jnp.where(sound, updates + 1, jnp.minimum(updates, -1 - updates))
    scale = max_grad_norm / jnp.maximum(jnp.where(sound, norm, 0.0), max_grad_norm)
    return _Clipped(gradient, norm, scale, sound, updates)


def _no_moments(parameters: PyTree) -> GradientMoments:
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return GradientMoments(zeros, zeros, jnp.int32(0))


def adam(
    max_grad_norm: float, beta1: float = BETA1, beta2: float = 0.999, eps: float = 1e-8, rectified: bool = False
) -> GradientRule:
    """Adam (Kingma and Ba, 2015, algorithm 1) after clipping by the global norm, with the rate given at each step.

        m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
        theta <- theta - alpha (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    `rectified` is RAdam (Liu et al., 2020, "On the variance of the adaptive learning rate and beyond", algorithm 2):
    alpha is multiplied by a factor that rises to 1 as v becomes known, and the first steps, five with this beta2, do
    without v.

    Written out instead of taken from optax, to which a test holds it equal: with the clipping and the corrections
    folded into two numbers, each parameter is read and written once, in two thirds of the time.
    """

    def update(parameters: PyTree, gradient: PyTree, state: GradientMoments, learning_rate: Array | float, loss: Array):
        gradient, norm, scale, sound, updates = _clip(gradient, state.updates, loss, max_grad_norm)
        keep1, keep2 = jnp.where(sound, beta1, 1.0), jnp.where(sound, beta2, 1.0)
        made = jnp.maximum(updates, 1)
        correction1, correction2 = 1.0 - beta1**made, jnp.sqrt(1.0 - beta2**made)
        # alpha m / c1 / (sqrt(v) / c2 + eps) = (alpha c2 / c1) m / (sqrt(v) + c2 eps)
        rate, floor = learning_rate * correction2 / correction1, correction2 * eps
        root = jnp.sqrt
        if rectified:
            factor, known = _rectification(made, beta2)
            rate = jnp.where(known, factor * rate, learning_rate / correction1)
            floor, root = jnp.where(known, floor, 1.0), lambda v: known * jnp.sqrt(v)
        rate = jnp.where(sound, rate, 0.0)
        first = jax.tree.map(lambda m, g: keep1 * m + (1.0 - beta1) * scale * g, state.first, gradient)
        second = jax.tree.map(lambda v, g: keep2 * v + (1.0 - beta2) * scale**2 * g**2, state.second, gradient)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (root(v) + floor), parameters, first, second)
        return parameters, GradientMoments(first, second, updates), norm

    return GradientRule(_no_moments, update)


def _rectification(step: Array, beta2: float) -> tuple[Array, Array]:
    """RAdam's factor [] at a step from 1 up, and whether [] there is one yet."""
    most = 2.0 / (1.0 - beta2) - 1.0
    rho = most - 2.0 * step * beta2**step / (1.0 - beta2**step)
    known = rho >= 5.0
    rho = jnp.where(known, rho, 5.0)
    return jnp.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)), known


def rmsprop(max_grad_norm: float, decay: float = 0.95, eps: float = 0.01) -> GradientRule:
    """RMSProp after clipping by the global norm, with the gradient's deviation below it, as Mnih et al. (2015) used it.

        m <- decay m + (1 - decay) g        v <- decay v + (1 - decay) g^2
        theta <- theta - alpha g / sqrt(v - m^2 + eps)

    Source: Graves (2013), "Generating sequences with recurrent neural networks", equations 38 to 41, without momentum.
    """

    def update(parameters: PyTree, gradient: PyTree, state: GradientMoments, learning_rate: Array | float, loss: Array):
        gradient, norm, scale, sound, updates = _clip(gradient, state.updates, loss, max_grad_norm)
        keep, rate = jnp.where(sound, decay, 1.0), jnp.where(sound, learning_rate * scale, 0.0)
        first = jax.tree.map(lambda m, g: keep * m + (1.0 - decay) * scale * g, state.first, gradient)
        second = jax.tree.map(lambda v, g: keep * v + (1.0 - decay) * scale**2 * g**2, state.second, gradient)

        def moved(p: Array, g: Array, m: Array, v: Array) -> Array:
            return p - rate * g * jax.lax.rsqrt(jnp.maximum(v - m**2, 0.0) + eps)

        parameters = jax.tree.map(moved, parameters, gradient, first, second)
        return parameters, GradientMoments(first, second, updates), norm

    return GradientRule(_no_moments, update)


OPTIMIZERS: dict[str, type] = {kind.name: kind for kind in (Adam, RAdam, RMSProp)}
# Reads `adam`, `adam:1.5e-4` (eps), `adam:1e-8:0.5` (eps, beta1), `radam`, `rmsprop`, or `rmsprop:0.95:0.01` (decay,
# eps).
optimizer_from_text = partial(part_from_text, "optimizer", OPTIMIZERS)


def polyak_average(target: PyTree, online: PyTree, tau: Array | float) -> PyTree:
    """(1 - tau) target + tau online, leaf by leaf; tau = 1 is a copy.

    Source: Polyak and Juditsky (1992); as a target network, Lillicrap et al. (2016).
    """
    return jax.tree.map(lambda old, new: jnp.where(tau == 1.0, new, old + tau * (new - old)), target, online)
