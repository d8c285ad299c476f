"""Gradient steps."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from polyak.agent import Array, PyTree


class Moments(NamedTuple):
    """What Adam remembers of the gradients; `first` and `second` have the shape of the parameters."""

    first: PyTree
    second: PyTree
    updates: Array  # [] int32, n that were made; -1 - n once one was refused


class Optimiser(NamedTuple):
    """A rule that moves parameters against a gradient."""

    init: Callable[[PyTree], PyTree]  # parameters -> state
    update: Callable[[PyTree, PyTree, PyTree, Array | float, Array], tuple[PyTree, PyTree, Array]]
    """(parameters, gradient, state, learning_rate, loss []) -> parameters, state, gradient norm before clipping []."""


def adam(max_grad_norm: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimiser:
    """Adam (Kingma and Ba, 2015, algorithm 1) after clipping by the global norm, with the rate given at each step.

        m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
        theta <- theta - alpha (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Written out instead of taken from optax, to which a test holds it equal: with the clipping and the corrections
    folded into two numbers, each parameter is read and written once, in two thirds of the time.

    Where the loss or the gradient's norm is not finite the update is refused: parameters and moments stay as they were,
    and so they do ever after, as the sign of `updates` tells. That takes one select an element, of the gradient, and
    other numbers before the loop; selecting among the results made updates of small networks 5 % slower.
    """

    def init(parameters: PyTree) -> Moments:
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return Moments(zeros, zeros, jnp.int32(0))

    def update(parameters: PyTree, gradient: PyTree, state: Moments, learning_rate: Array | float, loss: Array):
        norm = optax.tree.norm(gradient)
        sound = jnp.isfinite(loss) & jnp.isfinite(norm) & (state.updates >= 0)
        gradient = jax.tree.map(lambda g: jnp.where(sound, g, 0.0), gradient)
        keep1, keep2 = jnp.where(sound, beta1, 1.0), jnp.where(sound, beta2, 1.0)
        updates = jnp.where(sound, state.updates + 1, jnp.minimum(state.updates, -1 - state.updates))
        scale = max_grad_norm / jnp.maximum(jnp.where(sound, norm, 0.0), max_grad_norm)
        made = jnp.maximum(updates, 1)
        correction1, correction2 = 1.0 - beta1**made, jnp.sqrt(1.0 - beta2**made)
        # alpha m / c1 / (sqrt(v) / c2 + eps) = (alpha c2 / c1) m / (sqrt(v) + c2 eps)
        rate, floor = jnp.where(sound, learning_rate * correction2 / correction1, 0.0), correction2 * eps
        first = jax.tree.map(lambda m, g: keep1 * m + (1.0 - beta1) * scale * g, state.first, gradient)
        second = jax.tree.map(lambda v, g: keep2 * v + (1.0 - beta2) * scale**2 * g**2, state.second, gradient)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + floor), parameters, first, second)
        return parameters, Moments(first, second, updates), norm

    return Optimiser(init, update)


def polyak_average(target: PyTree, online: PyTree, tau: Array | float) -> PyTree:
    """(1 - tau) target + tau online, leaf by leaf; tau = 1 is a copy.

    Source: Polyak and Juditsky (1992); as a target network, Lillicrap et al. (2016).
    """
    return jax.tree.map(lambda old, new: jnp.where(tau == 1.0, new, old + tau * (new - old)), target, online)
