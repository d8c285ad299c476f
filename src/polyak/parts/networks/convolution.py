"""Convolutions, in the form that is fastest where they run."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key
from polyak.parts.networks.layers import Initialiser

MANY_CHANNELS = 64  # from here on a product for each pixel of a filter is faster than one over patches put together


class Convolution(eqx.Module):
    """size x size filters, moved by `stride`, on x [N, H, W, C]; only where they fit, unless `same` pads with zeros."""

    weight: Array  # [filters, size * size * C]: rows, columns, channels
    bias: Array  # [filters]
    size: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    same: bool = eqx.field(static=True)  # whether the answer is as high and wide as x; for odd sizes and stride 1

    def __call__(self, x: Array) -> Array:
        if self.same:
            x = jnp.pad(x, ((0, 0), (self.size // 2,) * 2, (self.size // 2,) * 2, (0, 0)))
        form = ON_CPU if jax.default_backend() == "cpu" else as_convolution
        return form(x, self.weight, self.size, self.stride) + self.bias


def convolution(
    key: Key, channels: int, filters: int, size: int, initialise: Initialiser, stride: int = 1, same: bool = False
) -> Convolution:
    """Makes a layer; its weights begin as those of a linear layer on size x size x channels inputs."""
    return Convolution(*initialise(key, size * size * channels, filters), size, stride, same)


def fitting(length: int, size: int, stride: int) -> int:
    """How many places filters of `size` have along a side of `length`; 0 or less where they do not fit."""
    return (length - size) // stride + 1


def as_convolution(x: Array, weight: Array, size: int, stride: int) -> Array:
    """As XLA's own operation: [N, H, W, C] and [filters, size * size * C] -> [N, H', W', filters]."""
    kernel = weight.reshape(-1, size, size, x.shape[-1])
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "OHWI", "NHWC")
    )


def as_products(x: Array, weight: Array, size: int, stride: int) -> Array:
    """As matrix products, for a CPU: the same arguments and answers.

    XLA's own operation is as fast for a small batch by itself. But inside a loop, where training is, its gradients
    take many times as long, and for a large batch it fetches fresh memory from the system for each call.
    """
    if stride > 1 and size % stride == 0:
        return as_products(*as_blocks(x, weight, size, stride), 1)
    rows, columns, channels = fitting(x.shape[1], size, stride), fitting(x.shape[2], size, stride), x.shape[-1]
    high, wide = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    offsets = [(i, j) for i in range(size) for j in range(size)]
    shifted = [x[:, i : i + high : stride, j : j + wide : stride] for i, j in offsets]
    if channels < MANY_CHANNELS:
        return jnp.concatenate(shifted, -1) @ weight.T
    kernel = weight.reshape(-1, size, size, channels)
    return sum((part @ kernel[:, i, j].T for part, (i, j) in zip(shifted, offsets, strict=True)), jnp.float32(0))


def as_blocks(x: Array, weight: Array, size: int, stride: int) -> tuple[Array, Array, int]:
    """The same convolution at every place: blocks of stride x stride pixels become one pixel of more channels.

    The blocks are concatenated from rows, because XLA does not fuse a concatenation with what follows. A transpose it
    would repeat for each pixel of a filter, which made the forward pass of an 8 x 8 layer take nearly twice as long.
    """
    count, height, width, channels = x.shape
    blocks = size // stride
    rows, columns = (fitting(length, size, stride) - 1 + blocks for length in (height, width))
    lines = [x[:, i : i + (rows - 1) * stride + 1 : stride, : columns * stride] for i in range(stride)]
    x = jnp.concatenate([line.reshape(count, rows, columns, stride * channels) for line in lines], -1)
    kernel = weight.reshape(-1, blocks, stride, blocks, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    return x, kernel.reshape(weight.shape[0], -1), blocks


ON_CPU = as_products  # a name, so that a benchmark can set the other form beside it


class Image(NamedTuple):
    """How an observation [height, width, channels] or [channels, height, width] lies in its features."""

    height: int
    width: int
    channels: int
    channels_first: bool

    @staticmethod
    def of(shape: tuple[int, ...]) -> "Image":
        """For observations of `shape`; the channels are the shorter one of the first and the last axis."""
        if shape[0] < shape[2]:
            channels, height, width = shape
            return Image(height, width, channels, True)
        height, width, channels = shape
        return Image(height, width, channels, False)

    def read(self, x: Array) -> Array:
        """Features [..., n] as images [N, height, width, channels]; N is the product of the leading axes."""
        count = math.prod(x.shape[:-1])
        if self.channels_first:
            return x.reshape(count, self.channels, self.height, self.width).transpose(0, 2, 3, 1)
        return x.reshape(count, self.height, self.width, self.channels)
