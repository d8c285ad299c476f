"""Deep Q-learning with a distribution over fixed returns: what C51 and Rainbow have in common."""

from typing import Any

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.errors import BadSetting
from polyak.ops import distributional
from polyak.parts import deep_q


def agent(hyper: Any, spec: Spec) -> Agent:
    """Makes the agent: its network answers with logits [A, n_atoms], and actions are judged by the mean return.

    Args:
        hyper: the hyperparameters, with the names that `polyak.C51` has.
        spec: the task.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    if not hyper.v_min < hyper.v_max:
        raise BadSetting(f"{type(hyper).__name__}'s v_min {hyper.v_min} is not below its v_max {hyper.v_max}.")
    atoms = jnp.linspace(hyper.v_min, hyper.v_max, hyper.n_atoms)

    def values(logits: Array) -> Array:
        return jax.nn.softmax(logits) @ atoms

    def lesson(logits_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, logits_t: Array, selector: Array):
        target = distributional.categorical_target(r_t, discount_t, logits_t, selector, atoms)
        taken = logits_tm1[a_tm1]
        return deep_q.Lesson(
            loss=distributional.cross_entropy(target, taken), priority=distributional.kl_divergence(target, taken)
        )

    model = deep_q.model(hyper.network, spec, (deep_q.num_actions(hyper, spec), hyper.n_atoms))
    return deep_q.agent(hyper, spec, model, values, lesson)
