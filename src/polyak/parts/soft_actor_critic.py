"""Soft actor-critics: what SAC, TQC, REDQ, DroQ and CrossQ have in common.

A member of the family brings its critics: how they begin, their loss, and the value of an action that the policy is to
raise. All else is here: a policy that is tanh of normal numbers, and the temperature that weighs entropy against value.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops import soft
from polyak.parts import critics, networks, off_policy_actor_critic
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import ActionNoise
from polyak.parts.distributions import Gaussian
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
    saturation,
)
from polyak.parts.optimise import GradientRule, Optimizer, polyak_average


class PolicyHyper(Protocol):
    """The hyperparameters of the policy and its temperature; `parts.hyper` says what they mean."""

    @property
    def ent_coef(self) -> float | None: ...
    @property
    def ent_coef_init(self) -> float: ...
    @property
    def target_entropy(self) -> float | None: ...
    @property
    def action_noise(self) -> ActionNoise | None: ...
    @property
    def network(self) -> networks.Network | networks.Recurrent: ...


class Hyper(PolicyHyper, off_policy_actor_critic.TransitionHyper, Protocol):
    """The hyperparameters that the family shares."""

    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def network(self) -> networks.Network: ...
    @property
    def critic_network(self) -> networks.Network: ...


class Actor(NamedTuple):
    """What the actor's step changes; of optimizers' states the same fields."""

    actor: Any  # the policy's network
    log_alpha: Any  # [] log of the temperature; () where it is given


class Networks(NamedTuple):
    """What is learnt; of optimizers' states the same fields."""

    actor: Any  # the policy's network
    log_alpha: Any  # [] log of the temperature; () where it is given
    critics: Any


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


class SoftPolicy(NamedTuple):
    """A policy over scaled actions, and its temperature."""

    hyper: PolicyHyper
    spec: Spec
    distribution: Gaussian
    size: int  # k, the coordinates of an action
    target_entropy: float  # in nats, of the scaled actions

    @property
    def draws(self) -> int:
        """Normal numbers that acting takes for each coordinate."""
        return 1 if self.hyper.action_noise is None else 2

    def init(self, key: Key) -> Actor:
        """The network and log of the temperature, as they begin."""
        actor = self.hyper.network.init(key, self.spec.observation_space, self.distribution.outputs)
        return Actor(actor, jnp.log(jnp.float32(self.hyper.ent_coef_init)) if self.hyper.ent_coef is None else ())

    def noise(self, key: Key, shape: tuple[int, ...]) -> Array:
        """The noise [*shape, k] of samples."""
        return self.distribution.noise(key, shape)

    def alpha(self, log_alpha: Any) -> Array:
        """[] the temperature, given or learnt."""
        return jnp.exp(log_alpha) if self.hyper.ent_coef is None else jnp.float32(self.hyper.ent_coef)

    def sample(self, actor: Any, x: Array, noise: Array) -> tuple[Array, Array]:
        """Scaled actions [..., k] for features x [..., n], and their log-densities [...]."""
        return self.of_answers(actor(x), noise)

    def of_answers(self, answers: Array, noise: Array) -> tuple[Array, Array]:
        """The same, of the answers [..., 2 k] of the network."""
        parameters = self.distribution.parameters(answers, ())
        sample = self.distribution.sample(parameters, noise)
        return self.distribution.action(sample), self.distribution.log_prob(parameters, sample)

    def start(self, batch: int) -> PyTree:
        """The state of the noise that is added, where episodes begin."""
        return self.hyper.action_noise.start(batch, self.size) if self.hyper.action_noise else ()

    def act(self, actor: Any, carry: PyTree, x: Array, noise: Array, explore: bool) -> tuple[Array, PyTree]:
        """Scaled actions [B, k], and the state of what is added: sampled where it explores, else the medians."""
        return self.act_by(actor(x), carry, noise, explore)

    def act_by(self, answers: Array, carry: PyTree, noise: Array, explore: bool) -> tuple[Array, PyTree]:
        """The same, by the answers [B, 2 k] of the network and normal numbers [B, draws k]."""
        parameters, action_of = self.distribution.parameters(answers, ()), self.distribution.action
        if not explore:
            return action_of(self.distribution.mode(parameters)), carry
        own, others = noise[..., : self.size], noise[..., self.size :]
        action = action_of(self.distribution.sample(parameters, own))
        if self.hyper.action_noise is None:
            return action, carry
        carry, added = self.hyper.action_noise.next(carry, others)
        return jnp.clip(action + added, -1.0, 1.0), carry

    def improve(
        self,
        rule: GradientRule,
        now: Actor,
        moments: Actor,
        learning_rate: Array,
        sample: Callable[[Any], tuple[Array, Array]],
        q: Callable[[Array], Array],
        sound: Array | bool,
    ) -> tuple[tuple[Actor, Actor], Metrics]:
        """One gradient step of the policy and one of the temperature.

            J_pi = E[alpha log pi(a | s) - Q(s, a)],  a = tanh(mean + deviation * noise)
            J_alpha = E[-log(alpha) (log pi(a | s) + target entropy)]

        Args:
            rule: moves the parameters.
            now: the network, and log of the temperature.
            moments: what the rule keeps of them.
            learning_rate: [].
            sample: actor -> scaled actions [..., k] of a batch, and their log-densities [...].
            q: scaled actions [..., k] -> their values [...].
            sound: [] whether the critics' step was made; see `descend`.

        Source: Haarnoja et al. (2018b), "Soft actor-critic algorithms and applications", equations 9 and 18.
        """
        alpha = jax.lax.stop_gradient(self.alpha(now.log_alpha))

        def actor_loss(actor: Any) -> tuple[Array, tuple[Array, Array]]:
            action, log_prob = sample(actor)
            return (alpha * log_prob - q(action)).mean(), (action, log_prob)

        actor = descend(rule, actor_loss, now.actor, moments.actor, learning_rate, sound)
        action, log_prob = actor.aux
        metrics = {"actor_loss": actor.loss, "entropy": -log_prob.mean(), "action_saturation": saturation(action)}
        metrics["temperature"] = alpha
        if self.hyper.ent_coef is not None:
            return (Actor(actor.parameters, ()), Actor(actor.moments, ())), metrics

        def temperature_loss(log_alpha: Array) -> tuple[Array, tuple[()]]:
            loss = jax.vmap(soft.temperature_loss, (None, 0, None))
            return loss(log_alpha, log_prob.reshape(-1), self.target_entropy).mean(), ()

        heat = descend(rule, temperature_loss, now.log_alpha, moments.log_alpha, learning_rate, actor.sound)
        metrics["temperature_loss"] = heat.loss
        return (Actor(actor.parameters, heat.parameters), Actor(actor.moments, heat.moments)), metrics


def soft_policy(hyper: PolicyHyper, spec: Spec, actions: ActionBox) -> SoftPolicy:
    """A policy for a task; its target entropy is -k, of k coordinates, unless another is given."""
    entropy = hyper.target_entropy
    distribution = Gaussian(actions.unit, state_dependent_std=True, squash=True)
    return SoftPolicy(hyper, spec, distribution, actions.size, -float(actions.size) if entropy is None else entropy)


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
    policy, rule = soft_policy(hyper, spec, actions), hyper.optimizer.rule(NO_CLIPPING)

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

        def critic_loss(members_: Any) -> tuple[Array, Judged]:
            return members.loss(members_, target, batch, following, critic_noise)

        judged = descend(rule, critic_loss, now.critics, moments.critics, learning_rate)
        settled = members.settled(judged.parameters, judged.aux.statistics)
        moved = jax.tree.map(lambda new, old: jnp.where(judged.sound, new, old), settled, judged.parameters)
        if tau is not None:
            target = polyak_average(target, moved, tau)

        def improve() -> tuple[tuple[Actor, Actor], Metrics]:
            return policy.improve(
                rule,
                Actor(*now[:2]),
                Actor(*moments[:2]),
                learning_rate,
                sample=lambda actor: policy.sample(actor, batch.x_tm1, policy_noise),
                q=lambda action: members.q(moved, batch.x_tm1, action, critic_noise),
                sound=judged.sound,
            )

        (actor, actor_moments), metrics = delayed(
            policy_delay, updates, improve, (Actor(*now[:2]), Actor(*moments[:2]))
        )
        learner = Learner(Networks(*actor, moved), target, Networks(*actor_moments, judged.moments))
        q_tm1, error, _ = judged.aux
        metrics |= off_policy_actor_critic.critic_metrics(q_tm1, error, judged.loss)
        return learner, jnp.abs(error).reshape(-1, len(batch.r_t)).max(0), metrics

    method = Method(init, policy.act, update, noise, policy.start, policy.draws)
    return off_policy_actor_critic.agent(hyper, spec, actions, method)
