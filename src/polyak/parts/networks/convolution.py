"""Convolutions, in the form that is fastest where they run."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key
from polyak.parts.networks.layers import Initialiser


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
    """As a matrix product over patches, which XLA computes faster on a CPU; the same arguments and answers."""
    count, height, width, channels = x.shape
    filters = weight.shape[0]
    if stride > 1 and size % stride == 0:  # blocks of stride x stride pixels become one pixel of more channels
        rows, columns = (fitting(length, size, stride) - 1 + size // stride for length in (height, width))
        x = x[:, : rows * stride, : columns * stride].reshape(count, rows, stride, columns, stride, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(count, rows, columns, stride**2 * channels)
        blocks = size // stride
        weight = weight.reshape(filters, blocks, stride, blocks, stride, channels).transpose(0, 1, 3, 2, 4, 5)
        return as_products(x, weight.reshape(filters, -1), blocks, 1)
    rows, columns = fitting(height, size, stride), fitting(width, size, stride)
    ends = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    places = [(i, j) for i in range(size) for j in range(size)]
    patches = jnp.concatenate([x[:, i : i + ends[0] : stride, j : j + ends[1] : stride] for i, j in places], -1)
    return patches @ weight.T


ON_CPU = as_products


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
