"""Soft actor-critics: what SAC, TQC, REDQ, DroQ and CrossQ have in common.

A member of the family brings its critics: how they begin, their loss, and the value of an action that the policy is to
raise. All else is here or, the policy and its temperature, in `parts.soft_policy`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.parts import critics, networks, off_policy_actor_critic, soft_policy
from polyak.parts.action_box import ActionBox
from polyak.parts.off_policy import no_noise
from polyak.parts.off_policy_actor_critic import (
    NO_CLIPPING,
    Batch,
    Learner,
    Method,
    Metrics,
    delayed,
    descend,
    moments_of,
)
from polyak.parts.optimise import Optimizer, polyak_average
from polyak.parts.soft_policy import Actor


class Hyper(soft_policy.Hyper, off_policy_actor_critic.TransitionHyper, Protocol):
    """The hyperparameters that the family shares."""

    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def network(self) -> networks.Network: ...
    @property
    def critic_network(self) -> networks.Network: ...


class Networks(NamedTuple):
    """What is learnt; of optimizers' states the same fields."""

    actor: Any  # the policy's network
    log_alpha: Any  # [] log of the temperature; () where it is given
    critics: Any  # K of them, leaves [K, ...]


class Next(NamedTuple):
    """What the policy would do in the states reached."""

    action: Array  # [N, k] sampled, scaled
    log_prob: Array  # [N] its log-density
    alpha: Array  # [] the temperature


class Judged(NamedTuple):
    """What the loss of critics tells besides."""

    q_tm1: Array  # [..., N] values of the actions taken
    error: Array  # [..., N] how far they are from their targets; the priority of a row is the largest of its errors
    statistics: PyTree = ()  # what critics measure of a batch, for `Critics.settled`


class Critics(NamedTuple):
    """What a member of the family brings."""

    init: Callable[[Key], Any]  # key -> critics
    loss: Callable[[Any, PyTree, Batch, Next, PyTree], tuple[Array, Judged]]
    """(critics, target critics, batch, next, noise) -> loss [], and what it tells besides."""
    q: Callable[[Any, Array, Array, PyTree], Array]
    """(critics, x [N, n], scaled actions [N, k], noise) -> [N] the values that the policy is to raise."""
    noise: Callable[[Key], PyTree] = no_noise  # key -> what is random in the critics; one draw serves loss and q
    settled: Callable[[Any, PyTree], Any] = lambda critics, statistics: critics
    """(critics, statistics) -> critics after a gradient step."""


def agent(
    hyper: Hyper, spec: Spec, actions: ActionBox, members: Critics, tau: float | None, policy_delay: int = 1
) -> Agent:
    """Makes the agent of a member of the family.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        actions: how they are scaled.
        members: the critics.
        tau: how far target critics move at each gradient step; None for no target critics.
        policy_delay: gradient steps of the critics for each of the policy and the temperature.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    critics.check_networks(type(hyper).__name__, hyper.network, hyper.critic_network)
    policy, rule = soft_policy.soft_policy(hyper, spec, actions), hyper.optimizer.rule(NO_CLIPPING)

    def init(key: Key) -> Learner:
        actor_key, critic_key = jax.random.split(key)
        parameters = Networks(*policy.init(actor_key), members.init(critic_key))
        return Learner(parameters, () if tau is None else parameters.critics, moments_of(rule, parameters))

    def noise(key: Key) -> tuple[Array, PyTree]:
        policy_key, critic_key = jax.random.split(key)
        return policy.noise(policy_key, (2, hyper.batch_size)), members.noise(critic_key)

    def update(learner: Learner, batch: Batch, noise: tuple[Array, PyTree], learning_rate: Array, updates: Array):
        now, target, moments = learner
        (next_noise, policy_noise), critic_noise = noise
        following = Next(*policy.sample(now.actor, batch.x_t, next_noise), policy.alpha(now.log_alpha))

        def critic_loss(fitted: Any) -> tuple[Array, Judged]:
            return members.loss(fitted, target, batch, following, critic_noise)

        judged = descend(rule, critic_loss, now.critics, moments.critics, learning_rate)
        settled = members.settled(judged.parameters, judged.aux.statistics)
        moved = jax.tree.map(lambda new, old: jnp.where(judged.sound, new, old), settled, judged.parameters)
        if tau is not None:
            target = polyak_average(target, moved, tau)

        actor, actor_moments = Actor(*now[:2]), Actor(*moments[:2])

        def improve() -> tuple[tuple[Actor, Actor], Metrics]:
            return policy.improve(
                rule,
                actor,
                actor_moments,
                learning_rate,
                sample=lambda actor: policy.sample(actor, batch.x_tm1, policy_noise),
                q=lambda action: members.q(moved, batch.x_tm1, action, critic_noise),
                sound=judged.sound,
            )

        improved, metrics = delayed(policy_delay, updates, improve, (actor, actor_moments))
        actor, actor_moments = improved
        learner = Learner(Networks(*actor, moved), target, Networks(*actor_moments, judged.moments))
        q_tm1, error, _ = judged.aux
        metrics |= off_policy_actor_critic.critic_metrics(q_tm1, error, judged.loss)
        metrics |= policy.metrics(following.action, following.log_prob, now.log_alpha)
        return learner, jnp.abs(error).reshape(-1, len(batch.r_t)).max(0), metrics

    method = Method(init, policy.act, update, noise, policy.start, policy.draws)
    return off_policy_actor_critic.agent(hyper, spec, actions, method)
