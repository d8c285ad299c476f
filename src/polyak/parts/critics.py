"""Critics of actions that are numbers: networks that read what is seen and an action, and answer Q(s, a)."""

from collections.abc import Callable

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting
from polyak.parts import networks
from polyak.parts.networks.layers import scaled, uniform
from polyak.parts.networks.perceptrons import make_perceptron


class Critic(eqx.Module):
    """Q(s, a), from encoded observations and scaled actions."""

    torso: Callable[[Array], Array] | None  # of images; other observations go to the layers beside the action
    layers: networks.Perceptron

    def __call__(self, x: Array, action: Array, noise: PyTree = None) -> Array:
        """The answers [..., outputs] to observations x [..., n] and actions [..., k]."""
        x = scaled(x) if self.torso is None else self.torso(x)
        return self.layers(jnp.concatenate([x, action], -1), noise)


def critic(network: networks.Network, space: gymnasium.Space, actions: int, outputs: int) -> Callable[[Key], Critic]:
    """The function key -> critic.

    Args:
        network: its layers. Those of an MLP read the observation beside the action; an image first goes through the
            layers of an image network, and a layer more, as wide as their last, reads what comes of it.
        space: the observations.
        actions: k, the coordinates of an action.
        outputs: the answers to one action: 1, or quantiles.
    """

    def init(key: Key) -> Critic:
        if isinstance(network, networks.MLP):
            inputs = networks.num_features(space) + actions
            return Critic(None, make_perceptron(key, inputs, outputs, network, uniform, uniform))
        torso_key, key = jax.random.split(key)
        torso, width = network.torso(torso_key, space, uniform)
        last = networks.MLP((width,))
        return Critic(torso, make_perceptron(key, width + actions, outputs, last, uniform, uniform))

    return init


def ensemble(init: Callable[[Key], PyTree], count: int) -> Callable[[Key], PyTree]:
    """The function key -> `count` modules that differ by their keys, as one with leaves [count, ...]."""
    return lambda key: jax.vmap(init)(jax.random.split(key, count))


def q_values(critics: PyTree, x: Array, action: Array) -> Array:
    """[K, N] what each of K critics, a module with leaves [K, ...], answers to x [N, n] and actions [N, k]."""
    return jax.vmap(lambda one: one(x, action)[..., 0])(critics)


def check_networks(name: str, *given: networks.Network) -> None:
    """Raises `BadSetting` for noisy networks, and for dueling ones, whose advantages are about actions that one can
    count."""
    for network in given:
        networks.refuse_noisy(name, network)
        if network.dueling:
            raise BadSetting(f"{name} takes no dueling network, as its actions cannot be counted; mlp is the like.")
