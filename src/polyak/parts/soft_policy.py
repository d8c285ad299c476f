"""Policies that are learnt for value and entropy: tanh of normal numbers, and the temperature that weighs the two."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec
from polyak.ops import soft
from polyak.parts import networks
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import ActionNoise
from polyak.parts.distributions import Gaussian
from polyak.parts.off_policy_actor_critic import Metrics, descend, saturation
from polyak.parts.optimise import GradientRule


class Hyper(Protocol):
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


class Actor(NamedTuple):
    """What the actor's step changes; of optimizers' states the same fields."""

    actor: Any  # the policy's network
    log_alpha: Any  # [] log of the temperature; () where it is given


class SoftPolicy(NamedTuple):
    """A policy over scaled actions, and its temperature."""

    hyper: Hyper
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

    def metrics(self, action: Array, log_prob: Array, log_alpha: Any) -> Metrics:
        """Metrics of scaled actions [..., k] that it has sampled, with log-densities [...], and of the temperature."""
        measured = {"entropy": -log_prob.mean(), "action_saturation": saturation(action)}
        return measured | {"temperature": self.alpha(log_alpha)}

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

        def actor_loss(actor: Any) -> tuple[Array, Array]:
            action, log_prob = sample(actor)
            return (alpha * log_prob - q(action)).mean(), log_prob

        actor = descend(rule, actor_loss, now.actor, moments.actor, learning_rate, sound)
        metrics = {"actor_loss": actor.loss}
        if self.hyper.ent_coef is not None:
            return (Actor(actor.parameters, ()), Actor(actor.moments, ())), metrics

        def temperature_loss(log_alpha: Array) -> tuple[Array, tuple[()]]:
            loss = jax.vmap(soft.temperature_loss, (None, 0, None))
            return loss(log_alpha, actor.aux.reshape(-1), self.target_entropy).mean(), ()

        heat = descend(rule, temperature_loss, now.log_alpha, moments.log_alpha, learning_rate, actor.sound)
        metrics["temperature_loss"] = heat.loss
        return (Actor(actor.parameters, heat.parameters), Actor(actor.moments, heat.moments)), metrics


def soft_policy(hyper: Hyper, spec: Spec, actions: ActionBox) -> SoftPolicy:
    """A policy for a task; its target entropy is -k, of k coordinates, unless another is given."""
    entropy = hyper.target_entropy
    distribution = Gaussian(actions.unit, state_dependent_std=True, squash=True)
    return SoftPolicy(hyper, spec, distribution, actions.size, -float(actions.size) if entropy is None else entropy)
