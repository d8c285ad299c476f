"""Fully connected networks, and the heads that all networks end in."""

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import gymnasium
import jax

from polyak.agent import Array, Key, PyTree
from polyak.parts.networks.encoding import num_features
from polyak.parts.networks.layers import (
    Activation,
    Initialiser,
    Linear,
    NoisyLinear,
    Torso,
    linear,
    uniform,
    with_noise,
)
from polyak.parts.networks.network import Network
from polyak.parts.networks.weights import Weights
from polyak.parts.ranges import Count, Positive

Outputs = int | tuple[int, int]


def answer_shape(outputs: Outputs) -> tuple[int, ...]:
    """(A,) or (A, K): the axes of the answers to one observation."""
    return (outputs,) if isinstance(outputs, int) else tuple(outputs)


class Perceptron(Weights):
    """Hidden layers and a linear head."""

    torso: Torso
    head: Linear | NoisyLinear
    answers: tuple[int, ...] = eqx.field(static=True)  # (A,) or (A, K)

    def __call__(self, x: Array, noise: PyTree = None) -> Array:
        self = with_noise(self, noise)
        y = self.head(self.torso(x))
        return y.reshape(*y.shape[:-1], *self.answers)


class DuelingHeads(Weights):
    """q(a) = v + advantage(a) - mean advantage, on a shared torso (Wang et al., 2016, equation 9)."""

    torso: Torso
    value: Linear | NoisyLinear | Perceptron
    advantage: Linear | NoisyLinear | Perceptron
    answers: tuple[int, ...] = eqx.field(static=True)  # (A,) or (A, K)

    def __call__(self, x: Array, noise: PyTree = None) -> Array:
        self = with_noise(self, noise)
        x = self.torso(x)
        leading, (_, *atoms) = x.shape[:-1], self.answers
        value = self.value(x).reshape(*leading, 1, *atoms)
        advantage = self.advantage(x).reshape(*leading, *self.answers)
        return value + advantage - advantage.mean(-len(self.answers), keepdims=True)


def make_torso(key: Key, inputs: int, network: Network, initialise: Initialiser) -> Torso:
    """Makes the hidden layers that `network` asks for, on features [..., inputs]."""
    sizes = (inputs, *network.hidden)
    keys = jax.random.split(key, len(network.hidden))
    layers = (linear(k, i, o, initialise, network.noisy) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True))
    return Torso(tuple(layers), network.activation, network.layer_norm)


def make_perceptron(
    key: Key, inputs: int, outputs: Outputs, network: Network, hidden: Initialiser, head: Initialiser
) -> Perceptron:
    """Makes the hidden layers that `network` asks for and a head for `outputs`."""
    torso_key, head_key = jax.random.split(key)
    width = network.hidden[-1] if network.hidden else inputs
    answers = answer_shape(outputs)
    return Perceptron(
        make_torso(torso_key, inputs, network, hidden),
        linear(head_key, width, math.prod(answers), head, network.noisy),
        answers,
    )


def make_streams(
    key: Key, inputs: int, outputs: Outputs, network: Network, hidden: Initialiser, head: Initialiser
) -> DuelingHeads:
    """Makes two perceptrons with the hidden layers of `network` each, as Wang et al. (2016) put after convolutions."""
    value_key, advantage_key = jax.random.split(key)
    answers = answer_shape(outputs)
    return DuelingHeads(
        Torso((), network.activation, False),
        make_perceptron(value_key, inputs, math.prod(answers[1:]), network, hidden, head),
        make_perceptron(advantage_key, inputs, outputs, network, hidden, head),
        answers,
    )


@dataclasses.dataclass(frozen=True)
class MLP:
    """Fully connected layers on the flattened observation."""

    name: ClassVar[str] = "mlp"
    dueling: ClassVar[bool] = False
    hidden: tuple[Count, ...] = (64, 64)
    activation: Activation = "relu"
    layer_norm: bool = False
    noisy: Positive | None = None  # sigma_0, 0.5 in the paper; see `NoisyLinear`

    def init(
        self,
        key: Key,
        space: gymnasium.Space,
        outputs: Outputs,
        hidden: Initialiser = uniform,
        head: Initialiser = uniform,
    ) -> Perceptron:
        return make_perceptron(key, num_features(space), outputs, self, hidden, head)

    def torso(self, key: Key, space: gymnasium.Space, initialise: Initialiser) -> tuple[Torso, int]:
        return flat_torso(key, space, self, initialise)


@dataclasses.dataclass(frozen=True)
class Dueling:
    """An MLP that ends in a value and an advantage stream (Wang et al., 2016, "Dueling network architectures")."""

    name: ClassVar[str] = "dueling"
    dueling: ClassVar[bool] = True
    hidden: tuple[Count, ...] = (64, 64)
    activation: Activation = "relu"
    layer_norm: bool = False
    noisy: Positive | None = None

    def init(
        self,
        key: Key,
        space: gymnasium.Space,
        outputs: Outputs,
        hidden: Initialiser = uniform,
        head: Initialiser = uniform,
    ) -> DuelingHeads:
        torso_key, value_key, advantage_key = jax.random.split(key, 3)
        torso, width = self.torso(torso_key, space, hidden)
        answers = answer_shape(outputs)
        return DuelingHeads(
            torso,
            linear(value_key, width, math.prod(answers[1:]), head, self.noisy),
            linear(advantage_key, width, math.prod(answers), head, self.noisy),
            answers,
        )

    def torso(self, key: Key, space: gymnasium.Space, initialise: Initialiser) -> tuple[Torso, int]:
        return flat_torso(key, space, self, initialise)


def flat_torso(key: Key, space: gymnasium.Space, network: Network, initialise: Initialiser) -> tuple[Torso, int]:
    """Hidden layers on the flattened observation, and the length of what they make."""
    features = num_features(space)
    return make_torso(key, features, network, initialise), network.hidden[-1] if network.hidden else features
