"""The interface of a network that an algorithm is given."""

from collections.abc import Callable
from typing import ClassVar, Protocol

import gymnasium

from polyak.agent import Array, Key, PyTree
from polyak.parts.networks.layers import Initialiser, uniform


class Module(Protocol):
    """Parameters that can be called: an Equinox module whose leaves are all arrays."""

    def __call__(self, x: Array, noise: PyTree = None) -> Array:
        """The answers to encoded observations x [..., n]; noisy layers use their means where no noise is given."""
        ...


class Network(Protocol):
    """A network that answers each observation for itself: mlp, dueling, minatar, nips, nature, impala."""

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
        """Whether each layer's units are normalised before the activation."""
        ...

    @property
    def noisy(self) -> float | None:
        """sigma_0 of `NoisyLinear` for all layers but convolutions; None for plain layers."""
        ...

    @property
    def dueling(self) -> bool:
        """Whether it answers with a value and advantages (Wang et al., 2016)."""
        ...

    def init(
        self,
        key: Key,
        space: gymnasium.Space,
        outputs: int | tuple[int, int],
        hidden: Initialiser = uniform,
        head: Initialiser = uniform,
    ) -> Module:
        """Parameters.

        Args:
            key: for the weights.
            space: observations; x [..., n] are such, encoded by `encode(space)`.
            outputs: A for answers [..., A]; (A, K) for answers [..., A, K], as K atoms or quantiles of A actions. A
                dueling network makes a value of the state [..., 1, K], and advantages whose mean over A is 0.
            hidden: what layers before the last begin with.
            head: what the last layers begin with.

        Returns:
            A module for answers [..., A] or [..., A, K]. What its call takes as noise is drawn by the function that
            `networks.noise` makes.

        Raises:
            BadSetting: the network cannot read such observations.
        """
        ...

    def torso(self, key: Key, space: gymnasium.Space, initialise: Initialiser) -> tuple[Callable[[Array], Array], int]:
        """All that comes before the answers: a module x [..., n] -> [..., width], and the width."""
        ...
