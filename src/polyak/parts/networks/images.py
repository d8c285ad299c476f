"""Networks that read images: convolutions, then fully connected layers.

An image is [height, width, channels], as MinAtar has it, or [channels, height, width], as stacks of frames have it: the
channels are the shorter one of the first and the last axis. ReLU follows the convolutions, the network's activation the
layers after them. With `layer_norm` convolutions too are normalised, over the channels at each place.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting
from polyak.parts.networks.convolution import Convolution, Image, convolution, fitting
from polyak.parts.networks.encoding import read_space
from polyak.parts.networks.layers import Activation, Initialiser, Torso, layer_norm, uniform, with_noise
from polyak.parts.networks.perceptrons import (
    DuelingHeads,
    Outputs,
    Perceptron,
    make_perceptron,
    make_streams,
    make_torso,
)
from polyak.parts.networks.weights import Weights
from polyak.parts.ranges import Count, Positive


def activated(x: Array, normalise: bool) -> Array:
    """ReLU, of normalised channels or not."""
    return jax.nn.relu(layer_norm(x) if normalise else x)


class ImageNetwork(Weights):
    """Convolutions on the images that the features are, then a body on their flattened maps."""

    kernel: "Convolution | Chain | Residual"  # images -> [N, height, width, filters]
    body: Perceptron | DuelingHeads | Torso
    image: Image = eqx.field(static=True)
    normalise: bool = eqx.field(static=True)

    def __call__(self, x: Array, noise: PyTree = None) -> Array:
        self = with_noise(self, noise)
        maps = activated(self.kernel(self.image.read(x)), self.normalise)
        return self.body(maps.reshape(*x.shape[:-1], -1))


class Chain(Weights):
    """Convolutions one after the other, ReLU between them."""

    layers: tuple[Convolution, ...]
    normalise: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        first, *others = self.layers
        x = first(x)
        for layer in others:
            x = layer(activated(x, self.normalise))
        return x


class Residual(Weights):
    """Sections of a convolution, a 3 x 3 maximum at every second place, and two residual blocks of two convolutions."""

    sections: tuple[tuple[Convolution, ...], ...]  # five convolutions each
    normalise: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        for first, *blocks in self.sections:
            x = max_pool(first(x))
            for inner, outer in (blocks[:2], blocks[2:]):
                x = x + outer(activated(inner(activated(x, self.normalise)), self.normalise))
        return x


def max_pool(x: Array) -> Array:
    """The maximum of 3 x 3 places, at every second one, of maps [N, H, W, C] -> [N, ceil(H / 2), ceil(W / 2), C].

    By slices, one axis after the other: the gradient that XLA has for its own operation takes a CPU many times as long.
    """
    for axis in (1, 2):
        length = x.shape[axis]
        half = (length + 1) // 2
        before = length % 2  # of the pixels that lack, as many before as after, the odd one after
        widths = [(0, 0)] * 4
        widths[axis] = (before, 2 * half + 1 - length - before)
        padded = jnp.pad(x, widths, constant_values=-jnp.inf)
        a, b, c = (jax.lax.slice_in_dim(padded, i, i + 2 * half - 1, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(a, b), c)
    return x


def image_network(
    network: "ImageReader",
    key: Key,
    space: gymnasium.Space,
    outputs: Outputs,
    hidden: Initialiser = uniform,
    head: Initialiser = uniform,
) -> ImageNetwork:
    """Makes the convolutions of `network` and what follows them."""
    kernel_key, body_key = jax.random.split(key)
    kernel, width, image = _kernel(kernel_key, space, network, hidden)
    make = make_streams if network.dueling else make_perceptron
    body = make(body_key, width, outputs, network, hidden, head)
    return ImageNetwork(kernel, body, image, network.layer_norm)


def image_torso(
    network: "ImageReader", key: Key, space: gymnasium.Space, initialise: Initialiser
) -> tuple[ImageNetwork, int]:
    """Makes the convolutions and hidden layers of `network`; and the length of what they make."""
    kernel_key, body_key = jax.random.split(key)
    kernel, width, image = _kernel(kernel_key, space, network, initialise)
    body = make_torso(body_key, width, network, initialise)
    return ImageNetwork(kernel, body, image, network.layer_norm), network.hidden[-1] if network.hidden else width


def _kernel(key: Key, space: gymnasium.Space, network: "ImageReader", initialise: Initialiser):
    shape = read_space(space).shape or ()
    if len(shape) != 3:
        raise BadSetting(
            f"The network '{network.name}' reads images [height, width, channels] or [channels, height, width], "
            f"not {space}; use mlp."
        )
    image = Image.of(shape)
    kernel, width = network.kernel(key, image, initialise)
    if width < 1:
        raise BadSetting(f"The network '{network.name}' cannot read images as small as {shape}; use minatar or mlp.")
    return kernel, width, image


@dataclasses.dataclass(frozen=True)
class MinAtarCNN:
    """16 filters of 3 x 3, then fully connected layers (Young and Tian, 2019, "MinAtar")."""

    name: ClassVar[str] = "minatar"
    hidden: tuple[Count, ...] = (128,)
    activation: Activation = "relu"
    layer_norm: bool = False
    noisy: Positive | None = None
    dueling: bool = False  # two streams, each with these hidden layers

    init, torso = image_network, image_torso

    def kernel(self, key: Key, image: Image, initialise: Initialiser) -> tuple[Convolution, int]:
        places = fitting(image.height, 3, 1) * fitting(image.width, 3, 1)
        layer = convolution(key, image.channels, 16, 3, initialise, channels_first=image.channels_first)
        return layer, places * 16


def _chain(
    key: Key, image: Image, initialise: Initialiser, layers: tuple[tuple[int, int, int], ...], normalise: bool
) -> tuple[Chain, int]:
    """Convolutions of (filters, size, stride), and the length of what they make, 0 where an image is too small."""
    channels, height, width = image.channels, image.height, image.width
    made: list[Convolution] = []
    for layer_key, (filters, size, stride) in zip(jax.random.split(key, len(layers)), layers, strict=True):
        first = image.channels_first and not made
        made.append(convolution(layer_key, channels, filters, size, initialise, stride, channels_first=first))
        channels, height, width = filters, fitting(height, size, stride), fitting(width, size, stride)
    return Chain(tuple(made), normalise), max(height, 0) * max(width, 0) * channels


@dataclasses.dataclass(frozen=True)
class NipsCNN:
    """16 filters of 8 x 8 at every fourth place, 32 of 4 x 4 at every second, then fully connected layers: a third of
    the work of the Nature CNN (Mnih et al., 2013, "Playing Atari with deep reinforcement learning")."""

    name: ClassVar[str] = "nips"
    hidden: tuple[Count, ...] = (256,)
    activation: Activation = "relu"
    layer_norm: bool = False
    noisy: Positive | None = None
    dueling: bool = False  # two streams, each with these hidden layers

    init, torso = image_network, image_torso

    def kernel(self, key: Key, image: Image, initialise: Initialiser) -> tuple[Chain, int]:
        return _chain(key, image, initialise, ((16, 8, 4), (32, 4, 2)), self.layer_norm)


@dataclasses.dataclass(frozen=True)
class NatureCNN:
    """32 filters of 8 x 8 at every fourth place, 64 of 4 x 4 at every second, 64 of 3 x 3, then fully connected layers
    (Mnih et al., 2015, "Human-level control through deep reinforcement learning")."""

    name: ClassVar[str] = "nature"
    hidden: tuple[Count, ...] = (512,)
    activation: Activation = "relu"
    layer_norm: bool = False
    noisy: Positive | None = None
    dueling: bool = False  # two streams, each with these hidden layers

    init, torso = image_network, image_torso

    def kernel(self, key: Key, image: Image, initialise: Initialiser) -> tuple[Chain, int]:
        return _chain(key, image, initialise, ((32, 8, 4), (64, 4, 2), (64, 3, 1)), self.layer_norm)


@dataclasses.dataclass(frozen=True)
class ImpalaCNN:
    """15 convolutions in residual blocks, then fully connected layers (Espeholt et al., 2018, "IMPALA", figure 3)."""

    name: ClassVar[str] = "impala"
    hidden: tuple[Count, ...] = (256,)
    activation: Activation = "relu"
    layer_norm: bool = False
    noisy: Positive | None = None
    dueling: bool = False  # two streams, each with these hidden layers

    init, torso = image_network, image_torso

    def kernel(self, key: Key, image: Image, initialise: Initialiser) -> tuple[Residual, int]:
        channels, height, width = image.channels, image.height, image.width
        sections: list[tuple[Convolution, ...]] = []
        for section_key, filters in zip(jax.random.split(key, 3), (16, 32, 32), strict=True):
            keys = jax.random.split(section_key, 5)
            first = image.channels_first and not sections
            layers = [convolution(keys[0], channels, filters, 3, initialise, same=True, channels_first=first)]
            layers += [convolution(k, filters, filters, 3, initialise, same=True) for k in keys[1:]]
            sections.append(tuple(layers))
            channels, height, width = filters, (height + 1) // 2, (width + 1) // 2
        return Residual(tuple(sections), self.layer_norm), height * width * channels


ImageReader = MinAtarCNN | NipsCNN | NatureCNN | ImpalaCNN
