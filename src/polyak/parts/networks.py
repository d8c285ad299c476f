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

Initialiser = Callable[[Key, int, int], tuple[Array, Array]]  # key, inputs, outputs -> weight [inputs, outputs], bias


def uniform(key: Key, inputs: int, outputs: int) -> tuple[Array, Array]:
    """Weights and biases uniform within 1 / sqrt(inputs): what PyTorch, and so most published settings, begin with."""
    weight_key, bias_key = jax.random.split(key)
    bound = 1.0 / math.sqrt(inputs)
    weight = jax.random.uniform(weight_key, (inputs, outputs), minval=-bound, maxval=bound)
    return weight, jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)


def orthogonal(gain: float) -> Initialiser:
    """Orthogonal weights times a gain, zero biases (Saxe, McClelland and Ganguli, 2014): what PPO begins with."""

    def initialise(key: Key, inputs: int, outputs: int) -> tuple[Array, Array]:
        return jax.nn.initializers.orthogonal(gain)(key, (inputs, outputs)), jnp.zeros(outputs)

    return initialise


class Linear(eqx.Module):
    """x @ weight + bias, on the last axis of x."""

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs]

    def __call__(self, x: Array) -> Array:
        return x @ self.weight + self.bias


class Perceptron(eqx.Module):
    """Linear layers with an activation after each but, unless `activate_last`, the last."""

    layers: tuple[Linear, ...]
    activation: str = eqx.field(static=True)
    activate_last: bool = eqx.field(static=True, default=False)

    def __call__(self, x: Array) -> Array:
        activation = ACTIVATIONS[self.activation]
        for layer in self.layers[:-1]:
            x = activation(layer(x))
        x = self.layers[-1](x)
        return activation(x) if self.activate_last else x


def perceptron(
    key: Key,
    sizes: tuple[int, ...],
    activation: str,
    hidden: Initialiser,
    head: Initialiser,
    activate_last: bool = False,
) -> Perceptron:
    """Makes the layers sizes[0] -> sizes[1] -> ...; `head` initialises the last."""
    initialisers = [hidden] * (len(sizes) - 2) + [head]
    keys = jax.random.split(key, len(initialisers))
    layers = zip(initialisers, keys, sizes[:-1], sizes[1:], strict=True)
    return Perceptron(tuple(Linear(*make(k, i, o)) for make, k, i, o in layers), activation, activate_last)


class DuelingHeads(eqx.Module):
    """q(a) = v + advantage(a) - mean advantage, on a shared torso (Wang et al., 2016, equation 9)."""

    torso: Perceptron
    value: Linear
    advantage: Linear

    def __call__(self, x: Array) -> Array:
        x = self.torso(x)
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(-1, keepdims=True)


class MinAtarNetwork(eqx.Module):
    """A 3 x 3 convolution written as one matrix product over patches, then a perceptron on its flattened map."""

    kernel: Linear  # [3 * 3 * channels, filters]
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

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> Perceptron:
        return perceptron(key, (num_features(space), *self.hidden, outputs), self.activation, hidden, head)


@dataclasses.dataclass(frozen=True)
class Dueling:
    """An MLP that ends in a value and an advantage stream (Wang et al., 2016, "Dueling network architectures")."""

    name: ClassVar[str] = "dueling"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> DuelingHeads:
        torso_key, value_key, advantage_key = jax.random.split(key, 3)
        sizes = (num_features(space), *self.hidden)
        torso = perceptron(torso_key, sizes, self.activation, hidden, hidden, activate_last=True)
        width = sizes[-1]
        return DuelingHeads(torso, Linear(*head(value_key, width, 1)), Linear(*head(advantage_key, width, outputs)))


@dataclasses.dataclass(frozen=True)
class MinAtarCNN:
    """16 filters of 3 x 3, then fully connected layers (Young and Tian, 2019, "MinAtar")."""

    name: ClassVar[str] = "minatar"
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"

    def init(
        self, key: Key, space: gymnasium.Space, outputs: int, hidden: Initialiser = uniform, head: Initialiser = uniform
    ) -> MinAtarNetwork:
        shape = space.shape or ()
        if len(shape) != 3:
            raise BadSetting(f"The network 'minatar' reads images [height, width, channels], not {space}; use mlp.")
        height, width, channels = shape
        kernel_key, body_key = jax.random.split(key)
        sizes = ((height - 2) * (width - 2) * 16, *self.hidden, outputs)
        kernel = Linear(*hidden(kernel_key, 9 * channels, 16))
        return MinAtarNetwork(
            kernel, perceptron(body_key, sizes, self.activation, hidden, head), (height, width, channels)
        )


NETWORKS: dict[str, Callable[..., Network]] = {kind.name: kind for kind in (MLP, Dueling, MinAtarCNN)}


def network_text(network: Network) -> str:
    """`mlp:64,64:tanh`; `mlp:none:relu` for a linear one."""
    return f"{network.name}:{','.join(map(str, network.hidden)) or 'none'}:{network.activation}"


def network_from_text(text: str) -> Network:
    """Reads `mlp`, `mlp:64,64` or `mlp:64,64:tanh`; raises `polyak.Error` for anything else."""
    name, _, rest = text.partition(":")
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    hidden, _, activation = rest.partition(":")
    settings: dict[str, Any] = {}
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
