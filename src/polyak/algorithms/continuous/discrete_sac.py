"""Soft actor-critic for discrete actions (Christodoulou, 2019, "Soft actor-critic for discrete action settings").

    y = r + gamma (1 - terminated) sum_a pi(a | s') (min_i Q'_i(s', a) - alpha log pi(a | s'))
    theta_i <- theta_i - lr d/dtheta_i (y - Q_i(s, a))^2 / 2        for both critics
    theta_pi <- theta_pi - lr d/dtheta_pi sum_a pi(a | s) (alpha log pi(a | s) - min_i Q_i(s, a))
    log alpha <- log alpha - lr (entropy of pi(. | s) - target entropy)

SAC where actions can be counted: means over the policy are sums, so that nothing has to be sampled in learning.

Deviations: log alpha is learnt in place of alpha; with `n_steps` above 1 the entropy of the actions in between is left
out. The paper's target entropy, 0.98 of the largest there is, keeps the policy near chance where rewards are small:
lower it, or give `ent_coef`.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops import soft
from polyak.parts import critics, hyper, networks, off_policy_actor_critic as family, replay as replays
from polyak.parts.action_choice import ActionChoice
from polyak.parts.distributions import Categorical
from polyak.parts.off_policy import no_noise
from polyak.parts.optimise import Adam, polyak_average
from polyak.parts.q_network import first_action, num_actions
from polyak.parts.ranges import Share
from polyak.parts.soft_actor_critic import Networks


@dataclasses.dataclass(frozen=True)
class DiscreteSAC:
    """Soft actor-critic for discrete actions: a random policy, two critics and a learnt temperature."""

    name: ClassVar[str] = "discrete-sac"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 3e-4
    anneal_learning_rate: hyper.AnnealLearningRate = False
    gamma: hyper.Gamma = 0.99
    buffer_size: hyper.BufferSize = 1_000_000
    learning_starts: hyper.WarmUp = 1_000
    batch_size: hyper.BatchSize = 256
    train_freq: hyper.TrainFreq = 1
    gradient_steps: hyper.GradientSteps = -1
    tau: hyper.Tau = 0.005
    ent_coef: hyper.TemperatureOrNone = None
    ent_coef_init: hyper.FirstTemperature = 1.0
    target_entropy: Share = 0.98
    """Entropy that a learnt alpha keeps, as a share of that of uniform actions."""
    n_steps: hyper.NStepReturn = 1
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: hyper.ActorNetwork = networks.MLP(hidden=(256, 256))
    critic_network: networks.Network = networks.MLP(hidden=(256, 256))
    """The network of each critic, with a value for every action: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        actions = ActionChoice(num_actions(self, spec), first_action(spec))
        networks.refuse_noisy("DiscreteSAC", self.network)
        networks.refuse_noisy("DiscreteSAC", self.critic_network)
        rule = self.optimizer.rule(family.NO_CLIPPING)
        target_entropy = self.target_entropy * math.log(actions.n)

        def init(key: Key) -> family.Learner:
            actor_key, critic_key = jax.random.split(key)
            space = spec.observation_space
            both = critics.ensemble(lambda key: self.critic_network.init(key, space, actions.n), 2)(critic_key)
            log_alpha = jnp.log(jnp.float32(self.ent_coef_init)) if self.ent_coef is None else ()
            parameters = Networks(self.network.init(actor_key, space, actions.n), log_alpha, both)
            return family.Learner(parameters, both, family.moments_of(rule, parameters))

        def act(actor: Any, carry: tuple[()], x: Array, noise: Array, explore: bool) -> tuple[Array, tuple[()]]:
            logits = actor(x)
            return jnp.argmax(logits + noise if explore else logits, -1).astype(jnp.int32), carry

        def values(both: Any, x: Array) -> Array:
            """[2, N, A]"""
            return jax.vmap(lambda one: one(x))(both)

        def critic_loss(both: Any, now: Networks, target: Any, alpha: Array, batch: family.Batch):
            v_t = jax.vmap(soft.soft_value, (0, 0, None))(values(target, batch.x_t).min(0), now.actor(batch.x_t), alpha)
            q_tm1 = jnp.take_along_axis(values(both, batch.x_tm1), batch.a_tm1[None, :, None], -1)[..., 0]  # [2, N]
            error = batch.r_t + batch.discount_t * v_t - q_tm1
            return (batch.weights * 0.5 * jnp.square(error)).mean(-1).sum(), (q_tm1, error)

        def update(learner: family.Learner, batch: family.Batch, noise: PyTree, learning_rate: Array, updates: Array):
            now, target, moments = learner
            alpha = jnp.exp(now.log_alpha) if self.ent_coef is None else jnp.float32(self.ent_coef)
            judged = family.descend(
                rule,
                lambda both: critic_loss(both, now, target, alpha, batch),
                now.critics,
                moments.critics,
                learning_rate,
            )
            q = values(judged.parameters, batch.x_tm1).min(0)

            def actor_loss(actor: Any) -> tuple[Array, Array]:
                logits = actor(batch.x_tm1)
                return -jax.vmap(soft.soft_value, (0, 0, None))(q, logits, alpha).mean(), logits

            actor = family.descend(rule, actor_loss, now.actor, moments.actor, learning_rate, judged.sound)
            entropy = Categorical(actions.n).entropy(actor.aux)
            metrics = {"actor_loss": actor.loss, "entropy": entropy.mean(), "temperature": alpha}
            log_alpha, alpha_moments = now.log_alpha, moments.log_alpha
            if self.ent_coef is None:

                def temperature_loss(log_alpha: Array) -> tuple[Array, tuple[()]]:
                    loss = jax.vmap(soft.temperature_loss, (None, 0, None))
                    return loss(log_alpha, -entropy, target_entropy).mean(), ()

                heat = family.descend(rule, temperature_loss, log_alpha, alpha_moments, learning_rate, actor.sound)
                log_alpha, alpha_moments = heat.parameters, heat.moments
                metrics["temperature_loss"] = heat.loss
            learner = family.Learner(
                Networks(actor.parameters, log_alpha, judged.parameters),
                polyak_average(target, judged.parameters, self.tau),
                Networks(actor.moments, alpha_moments, judged.moments),
            )
            q_tm1, error = judged.aux
            return learner, jnp.abs(error).max(0), metrics | family.critic_metrics(q_tm1, error, judged.loss)

        return family.agent(self, spec, actions, family.Method(init, act, update, no_noise))
