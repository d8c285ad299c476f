"""Policies that answer with one action, to which noise is added while they explore."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import ActionNoise
from polyak.parts.networks import Network


class DeterministicPolicy(NamedTuple):
    """mu(s), a scaled action for each state: tanh of a network's answer."""

    network: Network
    spec: Spec
    size: int  # k, the coordinates of an action
    noise: ActionNoise

    def init(self, key: Key) -> Any:
        """Parameters."""
        return self.network.init(key, self.spec.observation_space, self.size)

    def mean(self, actor: Any, x: Array) -> Array:
        """Scaled actions [..., k] for features x [..., n]."""
        return jnp.tanh(actor(x))

    def start(self, batch: int) -> PyTree:
        """The state of the noise where episodes begin."""
        return self.noise.start(batch, self.size)

    def act(self, actor: Any, carry: PyTree, x: Array, normal: Array, explore: bool) -> tuple[Array, PyTree]:
        """Scaled actions [B, k], and the state of the noise; without noise where it does not explore."""
        action = self.mean(actor, x)
        if not explore:
            return action, carry
        carry, added = self.noise.next(carry, normal)
        return jnp.clip(action + added, -1.0, 1.0), carry


def deterministic_policy(network: Network, spec: Spec, actions: ActionBox, noise: ActionNoise) -> DeterministicPolicy:
    """A policy for a task."""
    return DeterministicPolicy(network, spec, actions.size, noise)
