"""Gradient steps."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from polyak.agent import Array, PyTree


class Optimiser(NamedTuple):
    """Adam after clipping by the global norm, on all parameters as one flat vector.

    One vector instead of a tree of small arrays spares a small network the cost of many small operations.
    """

    init: Callable[[PyTree], PyTree]  # parameters -> state
    update: Callable[[PyTree, PyTree, PyTree, Array | float], tuple[PyTree, PyTree, Array]]
    """(parameters, gradient, state, learning_rate) -> parameters, state, gradient norm before clipping []."""


def adam(max_grad_norm: float, eps: float = 1e-8) -> Optimiser:
    """Kingma and Ba (2015), with the learning rate given at each step."""
    direction = optax.flatten(optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=eps)))

    def update(parameters: PyTree, gradient: PyTree, state: PyTree, learning_rate: Array | float):
        norm = optax.tree.norm(gradient)
        step, state = direction.update(gradient, state)
        parameters = jax.tree.map(lambda p, s: p - learning_rate * s, parameters, step)
        return parameters, state, norm

    return Optimiser(direction.init, update)


def polyak_average(target: PyTree, online: PyTree, tau: Array | float) -> PyTree:
    """(1 - tau) target + tau online, leaf by leaf; tau = 1 is a copy.

    Source: Polyak and Juditsky (1992); as a target network, Lillicrap et al. (2016).
    """
    return jax.tree.map(lambda old, new: jnp.where(tau == 1.0, new, old + tau * (new - old)), target, online)
