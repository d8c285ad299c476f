"""Critics of actions that are numbers: networks that read what is seen and an action, and answer Q(s, a).

`Critic` is the common one. `DropoutCritic` leaves out units at random, `BatchNormCritic` standardises units over the
batch; both are for methods that learn much from few steps.
"""

from collections.abc import Callable
from typing import cast

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting
from polyak.parts import networks
from polyak.parts.networks.layers import Activation, scaled, uniform
from polyak.parts.networks.perceptrons import make_perceptron


class Critic(networks.Weights):
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
        last = networks.MLP((width,), cast(Activation, network.activation), network.layer_norm)
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


class DropoutCritic(networks.Weights):
    """Q(s, a) by layers of which units are left out at random while learning, then normalised, then activated.

    Source: Hiraoka et al. (2022), "Dropout Q-functions for doubly efficient reinforcement learning", figure 1; dropout
    itself, Srivastava et al. (2014).
    """

    layers: tuple[networks.Linear, ...]
    head: networks.Linear
    activation: str = eqx.field(static=True)
    normalise: bool = eqx.field(static=True)
    rate: float = eqx.field(static=True)

    def __call__(self, x: Array, action: Array, kept: tuple[Array, ...]) -> Array:
        """The answers [N, 1] to observations x [N, n] and actions [N, k], by the units `kept` [N, width] of layers."""
        y = jnp.concatenate([scaled(x), action], -1)
        for layer, mask in zip(self.layers, kept, strict=True):
            y = layer(y) * mask * (1.0 / (1.0 - self.rate))
            y = networks.ACTIVATIONS[self.activation](networks.layer_norm(y) if self.normalise else y)
        return self.head(y)


def dropout_critic(
    network: networks.MLP, space: gymnasium.Space, actions: int, rate: float
) -> Callable[[Key], DropoutCritic]:
    """The function key -> critic, with the layers of an MLP; `rate` is the share of units that are left out."""

    def init(key: Key) -> DropoutCritic:
        plain = critic(network, space, actions, 1)(key).layers
        layers = plain.torso.layers
        return DropoutCritic(layers, plain.head, network.activation, network.layer_norm, rate)  # type: ignore[arg-type]

    return init


def kept_units(key: Key, widths: tuple[int, ...], shape: tuple[int, ...], rate: float) -> tuple[Array, ...]:
    """[*shape, width] bool for each width: false in a share `rate` of the places, which is rounded to 2^-16 and stays
    below 1."""
    bits = jax.random.bits(key, (*shape, sum(widths)), jnp.uint16)
    ends = np.cumsum(widths)[:-1]
    return tuple(jnp.split(bits >= min(round(rate * 2**16), 2**16 - 1), ends, -1))  # 2^16 itself would wrap to 0


MOMENTUM, WARM_UP = 0.99, 100_000  # of batch statistics: what is kept at an update; updates before they correct
MOST_SCALE, MOST_SHIFT = 3.0, 5.0  # of a correction


class BatchNorm(networks.Weights):
    """Standardises units over the batch, with gains of their own; by running statistics where there is no batch.

    While learning, units have mean 0 and variance 1 over the batch; after `WARM_UP` updates they are corrected, within
    bounds, towards what the running statistics would make of them, which is batch renormalisation.

    Source: Ioffe and Szegedy (2015), "Batch normalization"; Ioffe (2017), "Batch renormalization", algorithm 1.
    """

    scale: Array  # [width]
    shift: Array  # [width]
    mean: Array  # [width] running; no gradient moves it
    variance: Array  # [width]
    count: Array  # [] float32, updates of the running statistics

    @staticmethod
    def of(width: int) -> "BatchNorm":
        """As it begins."""
        zeros, ones = jnp.zeros(width), jnp.ones(width)
        return BatchNorm(ones, zeros, zeros, ones, jnp.float32(0))

    def __call__(self, x: Array) -> Array:
        """x [N, width] by the running statistics."""
        mean, variance = jax.lax.stop_gradient((self.mean, self.variance))
        return (x - mean) * jax.lax.rsqrt(variance + 1e-3) * self.scale + self.shift

    def of_batch(self, x: Array) -> tuple[Array, tuple[Array, Array]]:
        """x [N, width] by its own statistics, and these: mean and variance."""
        mean = x.mean(0)
        variance = jnp.square(x - mean).mean(0)
        deviation = jnp.sqrt(variance + 1e-3)
        running = jax.lax.stop_gradient(jnp.sqrt(self.variance + 1e-3))
        known = jax.lax.stop_gradient(self.count) >= WARM_UP
        scale = jnp.where(known, jnp.clip(deviation / running, 1 / MOST_SCALE, MOST_SCALE), 1.0)
        shift = jnp.where(known, jnp.clip((mean - self.mean) / running, -MOST_SHIFT, MOST_SHIFT), 0.0)
        scale, shift = jax.lax.stop_gradient((scale, shift))
        y = ((x - mean) / deviation * scale + shift) * self.scale + self.shift
        return y, jax.lax.stop_gradient((mean, variance))

    def moved(self, mean: Array, variance: Array) -> "BatchNorm":
        """With the running statistics moved towards those of a batch."""
        keep = MOMENTUM
        return BatchNorm(
            self.scale,
            self.shift,
            keep * self.mean + (1 - keep) * mean,
            keep * self.variance + (1 - keep) * variance,
            self.count + 1,
        )


class BatchNormCritic(networks.Weights):
    """Q(s, a) by layers that read what is standardised over the batch (Bhatt et al., 2024, figure 2)."""

    norms: tuple[BatchNorm, ...]  # of the inputs, and of each hidden layer
    layers: tuple[networks.Linear, ...]
    head: networks.Linear
    activation: str = eqx.field(static=True)

    def __call__(self, x: Array, action: Array) -> Array:
        """The answers [N, 1] to observations x [N, n] and actions [N, k], by the running statistics."""
        y = self.norms[0](jnp.concatenate([scaled(x), action], -1))
        for layer, norm in zip(self.layers, self.norms[1:], strict=True):
            y = norm(networks.ACTIVATIONS[self.activation](layer(y)))
        return self.head(y)

    def of_batch(self, x: Array, action: Array) -> tuple[Array, tuple[tuple[Array, Array], ...]]:
        """The answers by the statistics of the batch, and these, for each of `norms`."""
        y, measured = self.norms[0].of_batch(jnp.concatenate([scaled(x), action], -1))
        found = [measured]
        for layer, norm in zip(self.layers, self.norms[1:], strict=True):
            y, measured = norm.of_batch(networks.ACTIVATIONS[self.activation](layer(y)))
            found.append(measured)
        return self.head(y), tuple(found)

    def settled(self, statistics: tuple[tuple[Array, Array], ...]) -> "BatchNormCritic":
        """With the running statistics moved towards those of a batch."""
        norms = tuple(norm.moved(*found) for norm, found in zip(self.norms, statistics, strict=True))
        return BatchNormCritic(norms, self.layers, self.head, self.activation)


def batch_norm_critic(network: networks.MLP, space: gymnasium.Space, actions: int) -> Callable[[Key], BatchNormCritic]:
    """The function key -> critic, with the layers of an MLP."""

    def init(key: Key) -> BatchNormCritic:
        plain = critic(network, space, actions, 1)(key).layers
        widths = (networks.num_features(space) + actions, *network.hidden)
        norms = tuple(map(BatchNorm.of, widths))
        return BatchNormCritic(norms, plain.torso.layers, plain.head, network.activation)  # type: ignore[arg-type]

    return init


def check_mlp(name: str, network: networks.Network) -> networks.MLP:
    """The network, of plain layers; raises `BadSetting` for another."""
    if isinstance(network, networks.MLP):
        return network
    raise BadSetting(f"{name}'s critic_network is {network.name}; its critics are made of an mlp's layers alone.")
