"""Convolutions, in the form that is fastest where they run."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key
from polyak.parts.networks.encoding import scaled
from polyak.parts.networks.layers import Initialiser
from polyak.parts.networks.weights import Weights

MANY_CHANNELS = 64  # from here on a product for each pixel of a filter is faster than one over patches put together
WORDS = {2: jnp.uint16, 4: jnp.uint32}  # so many bytes as one number


class Convolution(Weights):
    """size x size filters, moved by `stride`, on x [N, H, W, C]; only where they fit, unless `same` pads with zeros.

    The answer is [N, H', W', filters]. Bytes are divided by 255.
    """

    weight: Array  # [filters, size * size * C]: rows, columns, channels
    bias: Array  # [filters]
    size: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    same: bool = eqx.field(static=True)  # whether the answer is as high and wide as x; for odd sizes and stride 1
    channels_first: bool = eqx.field(static=True, default=False)  # whether x is [N, C, H, W]

    def __call__(self, x: Array) -> Array:
        if self.same:
            sides = ((self.size // 2,) * 2,) * 2
            x = jnp.pad(x, ((0, 0), (0, 0), *sides) if self.channels_first else ((0, 0), *sides, (0, 0)))
        form = ON_CPU if jax.default_backend() == "cpu" else as_convolution
        return form(x, self.weight, self.size, self.stride, self.channels_first) + self.bias


def convolution(
    key: Key,
    channels: int,
    filters: int,
    size: int,
    initialise: Initialiser,
    stride: int = 1,
    same: bool = False,
    channels_first: bool = False,
) -> Convolution:
    """Makes a layer; its weights begin as those of a linear layer on size x size x channels inputs."""
    return Convolution(*initialise(key, size * size * channels, filters), size, stride, same, channels_first)


def fitting(length: int, size: int, stride: int) -> int:
    """The number of places that filters of `size` have along a side of `length`; 0 or less where they do not fit."""
    return (length - size) // stride + 1


def as_convolution(x: Array, weight: Array, size: int, stride: int, channels_first: bool = False) -> Array:
    """As XLA's own operation: [N, H, W, C] or [N, C, H, W] and [filters, size * size * C] -> [N, H', W', filters]."""
    kernel = weight.reshape(weight.shape[0], size, size, -1)
    layout = "NCHW" if channels_first else "NHWC"
    return jax.lax.conv_general_dilated(
        scaled(x), kernel, (stride, stride), "VALID", dimension_numbers=(layout, "OHWI", "NHWC")
    )


def as_products(x: Array, weight: Array, size: int, stride: int, channels_first: bool = False) -> Array:
    """As matrix products, for a CPU: the same arguments and answers.

    XLA's own operation is as fast for a small batch by itself. But inside a loop, where training is, its gradients
    take many times as long.
    """
    if stride > 1 and size % stride == 0:
        blocks = planes_as_blocks if channels_first else as_blocks
        return as_products(*blocks(x, weight, size, stride), 1)
    x = scaled(x.transpose(0, 2, 3, 1) if channels_first else x)
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
    x = scaled(x)
    count, height, width, channels = x.shape
    blocks = size // stride
    rows, columns = (fitting(length, size, stride) - 1 + blocks for length in (height, width))
    lines = [x[:, i : i + (rows - 1) * stride + 1 : stride, : columns * stride] for i in range(stride)]
    x = jnp.concatenate([line.reshape(count, rows, columns, stride * channels) for line in lines], -1)
    kernel = weight.reshape(-1, blocks, stride, blocks, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    return x, kernel.reshape(weight.shape[0], -1), blocks


def planes_as_blocks(x: Array, weight: Array, size: int, stride: int) -> tuple[Array, Array, int]:
    """`as_blocks` for x [N, C, H, W]; the pixels of a block are in the order channels, rows, columns.

    A row of a block of bytes is moved as one number, and becomes floats only where it is needed: that takes a third of
    the time that moving floats does. The barriers keep XLA from doing both again for each pixel of a filter.
    """
    count, channels, height, width = x.shape
    blocks = size // stride
    rows, columns = (fitting(length, size, stride) - 1 + blocks for length in (height, width))
    x = x[:, :, : rows * stride, : columns * stride].reshape(count, channels, rows, stride, columns, stride)
    if x.dtype == jnp.uint8 and stride in WORDS:
        words = jax.lax.bitcast_convert_type(x, WORDS[stride]).transpose(0, 2, 4, 1, 3)
        x = jax.lax.bitcast_convert_type(jax.lax.optimization_barrier(words), jnp.uint8)
    else:
        x = x.transpose(0, 2, 4, 1, 3, 5)
    x = jax.lax.optimization_barrier(scaled(x).reshape(count, rows, columns, channels * stride**2))
    kernel = weight.reshape(-1, blocks, stride, blocks, stride, channels).transpose(0, 1, 3, 5, 2, 4)
    return x, kernel.reshape(weight.shape[0], -1), blocks


ON_CPU = as_products  # a name, so that a benchmark can set the other form beside it


class Image(NamedTuple):
    """The layout of an observation [height, width, channels] or [channels, height, width] in its features."""

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
        """Features [..., n] as images [N, *shape of an observation]; N is the product of the leading axes."""
        sides = (self.height, self.width)
        shape = (self.channels, *sides) if self.channels_first else (*sides, self.channels)
        return x.reshape(math.prod(x.shape[:-1]), *shape)
