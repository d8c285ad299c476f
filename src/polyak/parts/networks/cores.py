"""Memories: what a recurrent network remembers of an episode, and how a step changes it.

A core reads what the hidden layers answer, one step after the other. Its memory is empty where it is all zeros, which
is how an episode begins.
"""

import math
from typing import Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.errors import BadSetting
from polyak.parts.networks.layers import Linear, layer_norm, uniform
from polyak.parts.networks.weights import Weights

HEADS = 4  # of a transformer
UNSEEN = -1e30  # the score of what is not there; finite, because infinity times zero is no number


class Core(Protocol):
    """A memory with parameters: `GRU`, `LSTM`, `Transformer`."""

    def project(self, x: Array) -> Array:
        """The part of a step that needs no memory, so that many steps [..., inputs] can do it at once."""
        ...

    def advance(self, carry: PyTree, projected: Array) -> tuple[PyTree, Array]:
        """From the memory before a step, leaves [..., *], and `project(x)` to the memory after it and an answer
        [..., units]."""
        ...


class GRU(Weights):
    """Gated recurrent unit (Cho et al., 2014, as PyTorch and Equinox compute it): h is both memory and answer.

    r, z = sigmoid(W_r x + U_r h + b_r), sigmoid(W_z x + U_z h + b_z)
    h <- (1 - z) tanh(W_n x + b_n + r (U_n h + c_n)) + z h
    """

    inner: Array  # W [3 units, inputs]: r, z, n
    outer: Array  # U [3 units, units]
    bias: Array  # b [3 units]
    bias_n: Array  # c_n [units]

    def project(self, x: Array) -> Array:
        """The part of a step [..., 3 units] that needs no memory, so that many steps can do it at once."""
        return x @ self.inner.T + self.bias

    def advance(self, h: Array, projected: Array) -> tuple[Array, Array]:
        """From memory [..., units] and `project(x)` to memory and answer."""
        r_x, z_x, n_x = jnp.split(projected, 3, -1)
        r_h, z_h, n_h = jnp.split(h @ self.outer.T, 3, -1)
        r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
        new = jnp.tanh(n_x + r * (n_h + self.bias_n))
        h = new + z * (h - new)
        return h, h


class LSTM(Weights):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000).

    i, f, o = sigmoid(W x + U h + b),  g = tanh(W_g x + U_g h + b_g)
    c <- f c + i g,  h <- o tanh(c)
    """

    inner: Array  # W [4 units, inputs]: i, f, g, o
    outer: Array  # U [4 units, units]
    bias: Array  # b [4 units]

    def project(self, x: Array) -> Array:
        """The part of a step [..., 4 units] that needs no memory, so that many steps can do it at once."""
        return x @ self.inner.T + self.bias

    def advance(self, carry: tuple[Array, Array], projected: Array) -> tuple[tuple[Array, Array], Array]:
        """From memory (h, c), [..., units] each, and `project(x)` to memory and answer h."""
        h, c = carry
        i, f, g, o = jnp.split(projected + h @ self.outer.T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


class Transformer(Weights):
    """A layer of a transformer over the last steps of the episode (Vaswani et al., 2017, "Attention is all you need";
    normalised first, as in Parisotto et al., 2020, "Stabilizing transformers for reinforcement learning").

    e = W x + b,  (q, k, v) = W_q,k,v norm(e)
    y = e + W_o softmax(q (k + p) / sqrt(d)) v,  with p by how long ago a step was, in heads of d = units / 4 each
    y <- y + W_2 relu(W_1 norm(y) + b_1) + b_2

    It sees the present and nothing that comes later; it remembers k and v of the steps before.
    """

    embed: Linear  # W, b
    attend: Array  # W_q, W_k, W_v [3 units, units]
    out: Array  # W_o [units, units]
    age: Array  # p [window, units], the present last
    inner: Linear  # W_1, b_1 [2 units]
    outer: Linear  # W_2, b_2

    def project(self, x: Array) -> Array:
        """e, q, k and v [..., 4 units] of steps."""
        e = self.embed(x)
        return jnp.concatenate([e, layer_norm(e) @ self.attend.T], -1)

    def advance(self, carry: tuple[Array, Array, Array], projected: Array) -> tuple[tuple[Array, Array, Array], Array]:
        """From memory (k, v, which are there), [..., window - 1, units] and [..., window - 1], and `project(x)` to
        memory and answer y."""
        e, q, *new = jnp.split(projected, 4, -1)
        k, v = (jnp.concatenate([past, now[..., None, :]], -2) for past, now in zip(carry[:2], new, strict=True))
        there = jnp.concatenate([carry[2], jnp.ones_like(carry[2][..., :1])], -1)
        scores = jnp.einsum("...hd,...whd->...hw", _heads(q), _heads(k + self.age)) / math.sqrt(q.shape[-1] // HEADS)
        weights = jax.nn.softmax(jnp.where(there[..., None, :] > 0, scores, UNSEEN))
        seen = jnp.einsum("...hw,...whd->...hd", weights, _heads(v)).reshape(q.shape)
        y = e + seen @ self.out.T
        y = y + self.outer(jax.nn.relu(self.inner(layer_norm(y))))
        return (k[..., 1:, :], v[..., 1:, :], there[..., 1:]), y


def _heads(x: Array) -> Array:
    return x.reshape(*x.shape[:-1], HEADS, x.shape[-1] // HEADS)


def empty(name: str, batch: int, units: int, window: int) -> PyTree:
    """The memory of a core where `batch` episodes begin."""
    zeros = jnp.zeros((batch, units))
    if name == "gru":
        return zeros
    if name == "lstm":
        return zeros, zeros
    past = jnp.zeros((batch, window - 1, units))
    return past, past, jnp.zeros((batch, window - 1))


def make_core(key: Key, name: str, inputs: int, units: int, window: int) -> GRU | LSTM | Transformer:
    """Makes a core; its numbers are uniform within 1 / sqrt(units), as PyTorch's and Equinox's are.

    Args:
        key: for its numbers.
        name: gru, lstm, or transformer.
        inputs: length of what it reads.
        units: length of what it answers.
        window: steps that a transformer sees, the present one included.

    Raises:
        BadSetting: a transformer's units cannot be shared out among its heads.
    """
    if name == "transformer":
        if units % HEADS:
            raise BadSetting(f"A transformer's units are shared out among {HEADS} heads, and {units} cannot be.")
        keys = jax.random.split(key, 6)
        rows = (3 * units, units, window)
        attend, out, age = (_drawn(k, (count, units), units) for k, count in zip(keys[:3], rows, strict=True))
        sizes = ((inputs, units), (units, 2 * units), (2 * units, units))
        embed, inner, outer = (Linear(*uniform(k, *size)) for k, size in zip(keys[3:], sizes, strict=True))
        return Transformer(embed, attend, out, age, inner, outer)
    gates = {"gru": 3, "lstm": 4}[name]
    inner_key, outer_key, bias_key, last_key = jax.random.split(key, 4)
    weights = _drawn(inner_key, (gates * units, inputs), units), _drawn(outer_key, (gates * units, units), units)
    bias = _drawn(bias_key, (gates * units,), units)
    return GRU(*weights, bias, _drawn(last_key, (units,), units)) if name == "gru" else LSTM(*weights, bias)


def _drawn(key: Key, shape: tuple[int, ...], units: int) -> Array:
    return jax.random.uniform(key, shape, minval=-(units**-0.5), maxval=units**-0.5)
