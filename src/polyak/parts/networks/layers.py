"""Layers, linear, noisy and normalised, and their initial weights."""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeGuard, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.parts.networks.encoding import scaled
from polyak.parts.networks.weights import Weights

Activation = Literal["relu", "tanh", "silu", "gelu"]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
}

NARROW = 16  # outputs of a layer, of which a column is as long as what a processor computes at once
LARGE = 2**17  # weights of a layer, from which on it matters which side of a product they are on

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


class Linear(Weights):
    """weight x + bias, on the last axis of x.

    A row per output: the gradient of a layer with few outputs, as heads have, is then a product of few long rows, which
    takes XLA a tenth of the time that many short rows take it.
    """

    weight: Array  # [outputs, inputs]
    bias: Array  # [outputs]

    def __call__(self, x: Array) -> Array:
        return _product(x, self.weight) + self.bias


def _product(x: Array, weight: Array) -> Array:
    """x [..., inputs] by weight [outputs, inputs].

    A CPU packs the right side of a product anew at each call, which for a few rows of x is a third of the time; so x is
    put there instead. The barrier keeps XLA from turning it round again.
    """
    if x.ndim == 1:  # which XLA makes a faster product of where there are many
        return (x[None] @ weight.T)[0]
    if x.ndim == 2 and weight.size >= LARGE and jax.default_backend() == "cpu":
        return jax.lax.optimization_barrier(weight @ x.T).T
    return x @ weight.T


class ColumnLinear(Weights):
    """The same layer with a column per output, for many networks that read one observation each.

    There weights are used once, and do not stay in a cache: what counts is to read them in the order in which they lie,
    many outputs at a time. With 1,024 networks of 64 x 64 units that takes half the time of a product of rows.
    """

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs]

    def __call__(self, x: Array) -> Array:
        product = (x[:, None] * self.weight).sum(0) if x.ndim == 1 else x @ self.weight
        return product + self.bias


def by_columns(network: PyTree) -> PyTree:
    """The network with a column per output in its plain linear layers, but for narrow ones; it answers the same."""
    return _linear_layers(network, Linear, ColumnLinear)


def by_rows(network: PyTree) -> PyTree:
    """The network as it was before `by_columns`."""
    return _linear_layers(network, ColumnLinear, Linear)


def _linear_layers(network: PyTree, old: Any, new: Any) -> PyTree:
    def turned(layer: PyTree) -> PyTree:
        turns = isinstance(layer, old) and layer.bias.size >= NARROW
        return new(layer.weight.T, layer.bias) if turns else layer

    return jax.tree.map(turned, network, is_leaf=lambda layer: isinstance(layer, old))


class NoisyLinear(Weights):
    """A linear layer whose weights carry learnt noise (Fortunato et al., 2018, "Noisy networks for exploration").

        y = (mu_w + sigma_w * e_out e_in^T) x + mu_b + sigma_b * e_out        (equations 9 to 11, factorised noise)

    Where each sample has noise of its own, that is mu_w x + mu_b + e_out * (sigma_w (e_in * x) + sigma_b), for which no
    matrix has to be made. Where all share one, the matrix is made once. Without noise the layer uses its means.
    """

    weight: Array  # mu_w [outputs, inputs]
    bias: Array  # mu_b [outputs]
    weight_sigma: Array  # [outputs, inputs]
    bias_sigma: Array  # [outputs]
    noise: tuple[Array, Array] | None = None  # e_in [..., inputs], e_out [..., outputs]; `with_noise` puts it there

    def __call__(self, x: Array) -> Array:
        if self.noise is None:
            return _product(x, self.weight) + self.bias
        e_in, e_out = self.noise
        if e_in.ndim == 1:
            weight = self.weight + self.weight_sigma * jnp.outer(e_out, e_in)
            return _product(x, weight) + self.bias + self.bias_sigma * e_out
        return x @ self.weight.T + self.bias + e_out * ((e_in * x) @ self.weight_sigma.T + self.bias_sigma)


def linear(
    key: Key, inputs: int, outputs: int, initialise: Initialiser, sigma: float | None = None
) -> Linear | NoisyLinear:
    """Makes one layer, `NoisyLinear` where `sigma` is given.

    Args:
        key: for the weights.
        inputs: length of what it reads.
        outputs: length of what it answers.
        initialise: the weights, or their means.
        sigma: sigma_0; every deviation begins at sigma_0 / sqrt(inputs) (Fortunato et al., 2018, section 3.2).
    """
    weight, bias = initialise(key, inputs, outputs)
    if sigma is None:
        return Linear(weight, bias)
    deviation = sigma / math.sqrt(inputs)
    return NoisyLinear(weight, bias, jnp.full_like(weight, deviation), jnp.full_like(bias, deviation))


Module = TypeVar("Module", bound=Weights)


def _is_noisy(node: Any) -> TypeGuard[NoisyLinear]:
    return isinstance(node, NoisyLinear)


def with_noise(module: Module, noise: PyTree) -> Module:
    """The module with each noisy layer given its part of what `noise` has drawn; None leaves it as it is."""
    if noise is None:
        return module
    parts = iter(noise)

    def place(node: Any) -> Any:
        if not _is_noisy(node):
            return node
        return NoisyLinear(node.weight, node.bias, node.weight_sigma, node.bias_sigma, next(parts))

    return jax.tree.map(place, module, is_leaf=_is_noisy)


def noise(init: Callable[[Key], PyTree]) -> Callable[[Key, tuple[int, ...]], PyTree]:
    """The function (key, shape) -> noise, for `module(x, noise)`, of the modules that `init` makes from a key.

    It draws all that the noisy layers need for x [*shape, n]: for each of them f(e) for its inputs and its outputs,
    with f(e) = sign(e) sqrt|e| and e from the unit normal (Fortunato et al., 2018, equations 10 and 11). The leaves are
    [*shape, ...]; () where no layer is noisy. Noise of a shorter shape is shared along the leading axes of x.
    """
    module = jax.eval_shape(init, jax.random.key(0))
    layers = [node for node in jax.tree.leaves(module, is_leaf=_is_noisy) if _is_noisy(node)]
    sizes = [layer.weight.shape[::-1] for layer in layers]  # (inputs, outputs) each

    def draw(key: Key, shape: tuple[int, ...]) -> PyTree:
        normal = jax.random.normal(key, (*shape, sum(map(sum, sizes))))
        scaled = jnp.sign(normal) * jnp.sqrt(jnp.abs(normal))
        drawn, begin = [], 0
        for inputs, answers in sizes:
            middle, end = begin + inputs, begin + inputs + answers
            drawn.append((scaled[..., begin:middle], scaled[..., middle:end]))
            begin = end
        return tuple(drawn)

    return draw if layers else lambda key, shape: ()


def layer_norm(x: Array) -> Array:
    """Mean 0 and variance 1 over the units of each sample (Ba, Kiros and Hinton, 2016), without gains of its own:
    the layers on both sides have weights."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


class Torso(Weights):
    """Hidden layers: linear, normalised or not, activated."""

    layers: tuple[Linear | NoisyLinear, ...]
    activation: str = eqx.field(static=True)
    normalise: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        activation, x = ACTIVATIONS[self.activation], scaled(x)
        for layer in self.layers:
            x = layer(x)
            x = activation(layer_norm(x) if self.normalise else x)
        return x
