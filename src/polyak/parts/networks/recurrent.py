"""Memory: what a network carries from one step of an episode to the next.

A `Recurrent` network is any network with an LSTM or a GRU between its hidden layers and its answers; it is written
`mlp:64,64+gru:128`. Its module has `step`, for acting, and `unroll`, for learning from sequences.
"""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, forget
from polyak.parts.networks.layers import Initialiser, uniform, with_noise
from polyak.parts.networks.network import Network
from polyak.parts.networks.perceptrons import MLP, DuelingHeads, Outputs, Perceptron, make_perceptron, make_streams


class GRU(eqx.Module):
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


class LSTM(eqx.Module):
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


def make_core(key: Key, name: str, inputs: int, units: int) -> GRU | LSTM:
    """Makes a core; its numbers are uniform within 1 / sqrt(units), as PyTorch's and Equinox's are."""
    gates = {"gru": 3, "lstm": 4}[name]
    inner_key, outer_key, bias_key, last_key = jax.random.split(key, 4)

    def draw(key: Key, *shape: int) -> Array:
        return jax.random.uniform(key, shape, minval=-(units**-0.5), maxval=units**-0.5)

    inner, outer = draw(inner_key, gates * units, inputs), draw(outer_key, gates * units, units)
    bias = draw(bias_key, gates * units)
    return GRU(inner, outer, bias, draw(last_key, units)) if name == "gru" else LSTM(inner, outer, bias)


class RecurrentNetwork(eqx.Module):
    """Hidden layers, a core, and heads."""

    torso: Any  # x [..., n] -> [..., width]
    core: GRU | LSTM
    heads: Perceptron | DuelingHeads  # of no hidden layers

    def step(self, carry: PyTree, x: Array, noise: PyTree = None) -> tuple[PyTree, Array]:
        """One step.

        Args:
            carry: the memory, leaves [..., units].
            x: [..., n] encoded observations.
            noise: what `noise` draws for x, or None for the means of noisy layers.

        Returns:
            The memory after it, and the answers [..., A] or [..., A, K].
        """
        self = with_noise(self, noise)
        carry, y = self.core.advance(carry, self.core.project(self.torso(x)))
        return carry, self.heads(y)

    def unroll(self, carry: PyTree, x: Array, first: Array, noise: PyTree = None) -> tuple[PyTree, Array]:
        """T steps in a row; only the memory is computed one step after the other.

        Args:
            carry: the memory before them, leaves [B, units].
            x: [T, B, n] encoded observations.
            first: [T, B] bool, where an episode begins: its memory is empty before that step.
            noise: what `noise` draws for x, or None for the means of noisy layers.

        Returns:
            The memory after each step, leaves [T, B, units], and the answers [T, B, A] or [T, B, A, K].
        """
        self = with_noise(self, noise)

        def advance(carry: PyTree, step: tuple[Array, Array]) -> tuple[PyTree, tuple[PyTree, Array]]:
            projected, begins = step
            carry, y = self.core.advance(forget(carry, begins), projected)
            return carry, (carry, y)

        _, (carries, y) = jax.lax.scan(advance, carry, (self.core.project(self.torso(x)), first))
        return carries, self.heads(y)


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """A network with a memory between its hidden layers and its answers (Hausknecht and Stone, 2015, "Deep recurrent
    Q-learning"); a dueling network's streams come after the memory (Kapturowski et al., 2019, "R2D2")."""

    CORES: ClassVar[tuple[str, ...]] = ("gru", "lstm")

    network: Network
    core: str = "lstm"  # or gru
    units: int = 128

    def start(self, batch: int) -> PyTree:
        """The empty memory at the start of `batch` episodes: zeros [batch, units], for an LSTM two of them."""
        zeros = jnp.zeros((batch, self.units))
        return zeros if self.core == "gru" else (zeros, zeros)

    def init(
        self,
        key: Key,
        space: gymnasium.Space,
        outputs: Outputs,
        hidden: Initialiser = uniform,
        head: Initialiser = uniform,
    ) -> RecurrentNetwork:
        """Parameters; the arguments are those of `Network.init`."""
        torso_key, core_key, head_key = jax.random.split(key, 3)
        torso, width = self.network.torso(torso_key, space, hidden)
        core = make_core(core_key, self.core, width, self.units)
        make = make_streams if self.network.dueling else make_perceptron
        last = MLP((), noisy=self.network.noisy)
        return RecurrentNetwork(torso, core, make(head_key, self.units, outputs, last, hidden, head))
