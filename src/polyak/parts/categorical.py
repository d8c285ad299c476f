"""Deep Q-learning with a distribution over fixed returns: what C51 and Rainbow have in common."""

from typing import Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.errors import BadSetting
from polyak.ops import distributional
from polyak.parts import deep_q, networks
from polyak.parts.q_network import num_actions, q_network


class Hyper(deep_q.TransitionHyper, Protocol):
    """The hyperparameters of C51 and Rainbow; `parts.hyper` says what they mean."""

    @property
    def n_atoms(self) -> int: ...
    @property
    def v_min(self) -> float: ...
    @property
    def v_max(self) -> float: ...
    @property
    def network(self) -> networks.Network: ...


def agent(hyper: Hyper, spec: Spec) -> Agent:
    """Makes the agent: its network answers with logits [A, n_atoms], and the value of an action is the mean return.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    traced = isinstance(hyper.v_min, jax.core.Tracer) or isinstance(hyper.v_max, jax.core.Tracer)
    if not traced and not hyper.v_min < hyper.v_max:
        raise BadSetting(f"{type(hyper).__name__}'s v_min {hyper.v_min} is not below its v_max {hyper.v_max}.")
    atoms = jnp.linspace(hyper.v_min, hyper.v_max, hyper.n_atoms)

    def values(logits: Array) -> Array:
        return jax.nn.softmax(logits) @ atoms

    def loss(logits_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, logits_t: Array, selector: Array):
        target = distributional.categorical_target(r_t, discount_t, logits_t, selector, atoms)
        taken = logits_tm1[a_tm1]
        return deep_q.Loss(
            loss=distributional.cross_entropy(target, taken), priority=distributional.kl_divergence(target, taken)
        )

    network = q_network(hyper.network, spec, (num_actions(hyper, spec), hyper.n_atoms))
    return deep_q.agent(hyper, spec, network, values, loss)
