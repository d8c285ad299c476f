"""Networks with a memory: hidden layers, a core that remembers, and answers.

They are written `mlp:64,64+gru:128`, and read in two ways: `step`, for acting, and `unroll`, for learning from
sequences.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

import gymnasium
import jax

from polyak.agent import Array, Key, PyTree, forget
from polyak.errors import BadSetting, UnknownName
from polyak.parts.networks.cores import Core, empty, make_core
from polyak.parts.networks.layers import Initialiser, uniform, with_noise
from polyak.parts.networks.network import Network
from polyak.parts.networks.perceptrons import MLP, DuelingHeads, Outputs, Perceptron, make_perceptron, make_streams
from polyak.parts.networks.weights import Weights
from polyak.parts.ranges import Range


class RecurrentNetwork(Weights):
    """Hidden layers, a core, and heads."""

    torso: Callable[[Array], Array]  # x [..., n] -> [..., width]
    core: Core
    heads: Perceptron | DuelingHeads  # of no hidden layers

    def step(self, carry: PyTree, x: Array, noise: PyTree = None) -> tuple[PyTree, Array]:
        """One step.

        Args:
            carry: the memory, leaves [..., *].
            x: [..., n] encoded observations.
            noise: noise drawn for x, or None for the means of noisy layers.

        Returns:
            The memory after it, and the answers [..., A] or [..., A, K].
        """
        self = with_noise(self, noise)
        carry, y = self.core.advance(carry, self.core.project(self.torso(x)))
        return carry, self.heads(y)

    def unroll(self, carry: PyTree, x: Array, first: Array, noise: PyTree = None) -> tuple[PyTree, Array]:
        """T steps in a row; only the memory is computed one step after the other.

        Args:
            carry: the memory before them, leaves [B, *].
            x: [T, B, n] encoded observations.
            first: [T, B] bool, where an episode begins: its memory is empty before that step.
            noise: noise drawn for x, or None for the means of noisy layers.

        Returns:
            The memory after each step, leaves [T, B, *], and the answers [T, B, A] or [T, B, A, K].
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

    CORES: ClassVar[tuple[str, ...]] = ("gru", "lstm", "transformer")

    network: Network
    core: str = "lstm"
    units: Annotated[int, Range(1, 2**16)] = 128
    window: Annotated[int, Range(2, 2**12)] = 16  # steps that a transformer sees, the present one included

    def __post_init__(self) -> None:
        if self.core not in self.CORES:
            raise UnknownName("memory", self.core, self.CORES)
        if self.core != "transformer":
            object.__setattr__(self, "window", type(self).window)  # they remember without end

    @property
    def noisy(self) -> float | None:
        """sigma_0 of the layers before and after the memory; None for plain ones."""
        return self.network.noisy

    def start(self, batch: int) -> PyTree:
        """The empty memory at the start of `batch` episodes: zeros."""
        return empty(self.core, batch, self.units, self.window)

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
        core = make_core(core_key, self.core, width, self.units, self.window)
        make = make_streams if self.network.dueling else make_perceptron
        last = MLP((), noisy=self.network.noisy)
        return RecurrentNetwork(torso, core, make(head_key, self.units, outputs, last, hidden, head))


def refuse_noisy(algorithm: str, network: Network | Recurrent) -> None:
    """Raises `BadSetting` for a noisy network, where an algorithm would never draw its noise."""
    if network.noisy is not None:
        raise BadSetting(
            f"{algorithm} draws no noise for its network, so that noisy={network.noisy} would do nothing; leave it out."
        )
