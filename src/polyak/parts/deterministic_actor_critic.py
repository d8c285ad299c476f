"""A deterministic policy that climbs a critic: what DDPG and Ape-X DDPG have in common.

theta_Q <- theta_Q - alpha d/dtheta_Q (r + gamma (1 - terminated) Q'(s', mu'(s')) - Q(s, a))^2 / 2
theta_mu <- theta_mu + alpha dQ(s, mu(s))/da dmu(s)/dtheta_mu        (Silver et al., 2014, the policy gradient)
theta' <- (1 - tau) theta' + tau theta        for the target networks Q' and mu'
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops.td import td_learning
from polyak.parts import critics, networks, off_policy_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import ActionNoise
from polyak.parts.deterministic_policy import deterministic_policy
from polyak.parts.off_policy import no_noise
from polyak.parts.optimise import Optimizer, polyak_average


class Hyper(family.TransitionHyper, Protocol):
    """The hyperparameters of both; `parts.hyper` says what they mean."""

    @property
    def tau(self) -> float: ...
    @property
    def action_noise(self) -> ActionNoise: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def network(self) -> networks.Network: ...
    @property
    def critic_network(self) -> networks.Network: ...


class Networks(NamedTuple):
    """The networks; of target networks and of optimizers' states the same."""

    actor: Any  # mu
    critic: Any  # Q


def agent(hyper: Hyper, spec: Spec) -> Agent:
    """Makes the agent.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    critics.check_networks(type(hyper).__name__, hyper.network, hyper.critic_network)
    actions = ActionBox.of(type(hyper).__name__, spec.action_space)
    policy = deterministic_policy(hyper.network, spec, actions, hyper.action_noise)
    init_critic = critics.critic(hyper.critic_network, spec.observation_space, actions.size, 1)
    rule = hyper.optimizer.rule(family.NO_CLIPPING)

    def init(key: Key) -> family.Learner:
        actor_key, critic_key = jax.random.split(key)
        parameters = Networks(policy.init(actor_key), init_critic(critic_key))
        return family.Learner(parameters, parameters, family.moments_of(rule, parameters))

    def critic_loss(critic: Any, target: Networks, batch: family.Batch) -> tuple[Array, tuple[Array, Array]]:
        q_tm1 = critic(batch.x_tm1, batch.a_tm1)[:, 0]
        q_t = target.critic(batch.x_t, policy.mean(target.actor, batch.x_t))[:, 0]
        error = jax.vmap(td_learning)(q_tm1, batch.r_t, batch.discount_t, q_t)
        return (batch.weights * 0.5 * jnp.square(error)).mean(), (q_tm1, error)

    def update(learner: family.Learner, batch: family.Batch, noise: PyTree, learning_rate: Array, updates: Array):
        now, target, moments = learner
        judged = family.descend(
            rule, lambda critic: critic_loss(critic, target, batch), now.critic, moments.critic, learning_rate
        )

        def actor_loss(actor: Any) -> tuple[Array, Array]:
            action = policy.mean(actor, batch.x_tm1)
            return -judged.parameters(batch.x_tm1, action).mean(), action

        actor = family.descend(rule, actor_loss, now.actor, moments.actor, learning_rate, judged.sound)
        improved = Networks(actor.parameters, judged.parameters)
        target = polyak_average(target, improved, hyper.tau)
        q_tm1, error = judged.aux
        metrics = family.critic_metrics(q_tm1, error, judged.loss)
        metrics |= {"actor_loss": actor.loss, "action_saturation": family.saturation(actor.aux)}
        learner = family.Learner(improved, target, Networks(actor.moments, judged.moments))
        return learner, jnp.abs(error), metrics

    def appraise(now: Networks, batch: family.Batch) -> Array:
        return jnp.abs(critic_loss(now.critic, now, batch)[1][1])

    method = family.Method(init, policy.act, update, no_noise, policy.start, appraise=appraise)
    return family.agent(hyper, spec, actions, method)
