"""Networks: what an algorithm is given to turn observations into numbers.

A network here is a small frozen dataclass that says which network (`MLP(hidden=(64, 64))`); `init` makes its
parameters, an Equinox module whose leaves are all arrays and which is called on observations with any leading
dimensions. Each has a one-line text form, `mlp:64,64:tanh`, for the command line, presets and run folders.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key
from polyak.errors import BadSetting, UnknownName

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
}

MOST_LAYERS = 100  # hidden ones

Initialiser = Callable[[Key, int, int], tuple[Array, Array]]  # key, inputs, outputs -> weight [outputs, inputs], bias


def uniform(key: Key, inputs: int, outputs: int) -> tuple[Array, Array]:
    """Weights and biases uniform within 1 / sqrt(inputs): what PyTorch, and so most published settings, begin with."""
    weight_key, bias_key = jax.random.split(key)
    bound = 1.0 / math.sqrt(inputs)
    weight = jax.random.uniform(weight_key, (outputs, inputs), minval=-bound, maxval=bound)
    return weight, jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)


def orthogonal(gain: float) -> Initialiser:
    """Orthogonal weights times a gain, zero biases (Saxe, McClelland and Ganguli, 2014): what PPO begins with."""

    def initialise(key: Key, inputs: int, outputs: int) -> tuple[Array, Array]:
        return jax.nn.initializers.orthogonal(gain)(key, (outputs, inputs)), jnp.zeros(outputs)

    return initialise


class Linear(eqx.Module):
    """weight x + bias, on the last axis of x.

    A row per output: the gradient of a layer with few outputs, as heads have, is then a product of few long rows, which
    takes XLA a tenth of the time that many short rows take it.
    """

    weight: Array  # [outputs, inputs]
    bias: Array  # [outputs]

    def __call__(self, x: Array) -> Array:
        return x @ self.weight.T + self.bias


def layer_norm(x: Array) -> Array:
    """Mean 0 and variance 1 over the units of each sample (Ba, Kiros and Hinton, 2016), without gains of its own:
    the layers on both sides have weights."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


class Torso(eqx.Module):
    """Hidden layers: linear, normalised or not, activated."""

    layers: tuple[Linear, ...]
    activation: str = eqx.field(static=True)
    normalise: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        activation = ACTIVATIONS[self.activation]
        for layer in self.layers:
            x = layer(x)
            x = activation(layer_norm(x) if self.normalise else x)
        return x


def linear(key: Key, inputs: int, outputs: int, initialise: Initialiser) -> Linear:
    """Makes one layer."""
    return Linear(*initialise(key, inputs, outputs))


def make_torso(key: Key, inputs: int, network: "Network", initialise: Initialiser) -> Torso:
    """Makes the hidden layers that `network` asks for, on features [..., inputs]."""
    sizes = (inputs, *network.hidden)
    keys = jax.random.split(key, len(network.hidden))
    layers = (linear(k, i, o, initialise) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True))
    return Torso(tuple(layers), network.activation, network.layer_norm)


class Perceptron(eqx.Module):
    """Hidden layers and a linear head."""

    torso: Torso
    head: Linear

    def __call__(self, x: Array) -> Array:
        return self.head(self.torso(x))


class DuelingHeads(eqx.Module):
    """q(a) = v + advantage(a) - mean advantage, on a shared torso (Wang et al., 2016, equation 9)."""

    torso: Torso
    value: Linear
    advantage: Linear

    def __call__(self, x: Array) -> Array:
        x = self.torso(x)
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(-1, keepdims=True)


def make_perceptron(
    key: Key, inputs: int, outputs: int, network: "Network", hidden: Initialiser, head: Initialiser
) -> Perceptron:
    """Makes the hidden layers that `network` asks for and a head of `outputs`."""
    torso_key, head_key = jax.random.split(key)
    width = network.hidden[-1] if network.hidden else inputs
    return Perceptron(make_torso(torso_key, inputs, network, hidden), linear(head_key, width, outputs, head))


class MinAtarNetwork(eqx.Module):
    """A 3 x 3 convolution written as one matrix product over patches, then a perceptron on its flattened map."""

    kernel: Linear  # 3 * 3 * channels inputs, an output a filter
    body: Perceptron
    board: tuple[int, int, int] = eqx.field(static=True)  # height, width, channels

    def __call__(self, x: Array) -> Array:
        height, width, channels = self.board
        x = x.reshape(*x.shape[:-1], height, width, channels)
        rows = [x[..., i : height - 2 + i, j : width - 2 + j, :] for i in range(3) for j in range(3)]
        x = jax.nn.relu(self.kernel(jnp.concatenate(rows, -1)))
        return self.body(x.reshape(*x.shape[:-3], -1))


class Network(Protocol):
    """What an algorithm asks of a network it is given."""

    name: ClassVar[str]

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        ...

    @property
    def activation(self) -> str:
        """A name from `ACTIVATIONS`."""
        ...

    @property
    def layer_norm(self) -> bool:
        """Whether each hidden layer's units are normalised before the activation."""
        ...

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> eqx.Module:
        """Parameters for observations of `space`, encoded by `encode(space)`, and [..., outputs] answers."""
        ...


@dataclasses.dataclass(frozen=True)
class MLP:
    """Fully connected layers on the flattened observation."""

    name: ClassVar[str] = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    layer_norm: bool = False

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> Perceptron:
        return make_perceptron(key, num_features(space), outputs, self, hidden, head)


@dataclasses.dataclass(frozen=True)
class Dueling:
    """An MLP that ends in a value and an advantage stream (Wang et al., 2016, "Dueling network architectures")."""

    name: ClassVar[str] = "dueling"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    layer_norm: bool = False

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> DuelingHeads:
        torso_key, value_key, advantage_key = jax.random.split(key, 3)
        features = num_features(space)
        width = self.hidden[-1] if self.hidden else features
        return DuelingHeads(
            make_torso(torso_key, features, self, hidden),
            linear(value_key, width, 1, head),
            linear(advantage_key, width, outputs, head),
        )


@dataclasses.dataclass(frozen=True)
class MinAtarCNN:
    """16 filters of 3 x 3, then fully connected layers (Young and Tian, 2019, "MinAtar")."""

    name: ClassVar[str] = "minatar"
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    layer_norm: bool = False

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> MinAtarNetwork:
        shape = space.shape or ()
        if len(shape) != 3:
            raise BadSetting(f"The network 'minatar' reads images [height, width, channels], not {space}; use mlp.")
        height, width, channels = shape
        kernel_key, body_key = jax.random.split(key)
        body = make_perceptron(body_key, (height - 2) * (width - 2) * 16, outputs, self, hidden, head)
        return MinAtarNetwork(linear(kernel_key, 9 * channels, 16, hidden), body, (height, width, channels))


NETWORKS: dict[str, Callable[..., Network]] = {kind.name: kind for kind in (MLP, Dueling, MinAtarCNN)}


def network_text(network: Network) -> str:
    """`mlp:64,64:tanh`; `mlp:64,64:relu:layer_norm` with normalised layers; `mlp:none:relu` for a linear one."""
    text = f"{network.name}:{','.join(map(str, network.hidden)) or 'none'}:{network.activation}"
    return text + ":layer_norm" * network.layer_norm


def network_from_text(text: str) -> Network:
    """Reads `mlp`, `mlp:64,64`, `mlp:64,64:tanh` or `mlp:64,64:relu:layer_norm`; anything else is a `polyak.Error`."""
    name, hidden, activation, layer_norm, *more = text.split(":") + [""] * (3 - text.count(":"))
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    if more or layer_norm not in ("", "layer_norm"):
        raise BadSetting(f"The network {text!r} is not of the form name:width,width:activation:layer_norm.")
    settings: dict[str, Any] = {"layer_norm": bool(layer_norm)}
    if hidden == "none":
        settings["hidden"] = ()
    elif hidden:
        try:
            widths = tuple(int(width) for width in hidden.split(","))
        except ValueError:
            raise BadSetting(f"The network {text!r} is not of the form name:width,width:activation.") from None
        settings["hidden"] = widths
        if min(widths) < 1:
            raise BadSetting(f"The network {text!r} has a layer without units; widths start at 1.")
        if len(widths) > MOST_LAYERS:
            raise BadSetting(f"A network of {len(widths)} layers is asked for, and {MOST_LAYERS} are the most.")
    if activation:
        if activation not in ACTIVATIONS:
            raise UnknownName("activation", activation, ACTIVATIONS)
        settings["activation"] = activation
    return NETWORKS[name](**settings)


def num_features(space: gymnasium.Space) -> int:
    """The length of an encoded observation."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.Box):
        return int(np.prod(space.shape))
    raise BadSetting(f"Observations of {space} are not supported; polyak reads Box and Discrete spaces.")


def encode(space: gymnasium.Space) -> Callable[[Array], Array]:
    """The function from observations [..., *space.shape] to features [..., num_features(space)], float32.

    Discrete observations become one-hot vectors, bytes are divided by 255, everything else is flattened as it is.
    """
    features = num_features(space)
    if isinstance(space, gymnasium.spaces.Discrete):
        return lambda obs: jax.nn.one_hot(obs - int(space.start), features)
    scale = 1.0 / 255.0 if space.dtype == np.uint8 else 1.0
    rank = len(space.shape or ())

    def flatten(obs: Array) -> Array:
        leading = obs.shape[: obs.ndim - rank]
        return jnp.asarray(obs, jnp.float32).reshape(*leading, features) * scale

    return flatten
