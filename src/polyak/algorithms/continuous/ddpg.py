"""Deep deterministic policy gradient (Lillicrap et al., 2016, "Continuous control with deep reinforcement learning").

    theta_Q <- theta_Q - alpha d/dtheta_Q (r + gamma (1 - terminated) Q'(s', mu'(s')) - Q(s, a))^2 / 2
    theta_mu <- theta_mu + alpha dQ(s, mu(s))/da dmu(s)/dtheta_mu        (Silver et al., 2014, the policy gradient)
    theta' <- (1 - tau) theta' + tau theta        for the target networks Q' and mu'

on transitions drawn from a replay memory. Actions explore by noise that is added to mu(s): Ornstein-Uhlenbeck's, which
pushes one way for many steps (`ou:0.2`), or independent normal numbers (`normal:0.1`).

Deviations: one learning rate for both networks; no decay of weights, no normalised batches; the critic reads the action
in its first layer; uniform actions until `learning_starts`.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops.td import td_learning
from polyak.parts import critics, hyper, networks, off_policy_actor_critic as family, replay as replays
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import OrnsteinUhlenbeckNoise
from polyak.parts.deterministic_policy import deterministic_policy
from polyak.parts.off_policy import no_noise
from polyak.parts.optimise import Adam, polyak_average


class Networks(NamedTuple):
    """The networks; of target networks and of optimizers' states the same."""

    actor: Any  # mu
    critic: Any  # Q


@dataclasses.dataclass(frozen=True)
class DDPG:
    """Deep deterministic policy gradient: an actor that climbs a critic, for actions that are numbers."""

    name: ClassVar[str] = "ddpg"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 1e-3
    anneal_learning_rate: hyper.AnnealLearningRate = False
    gamma: hyper.Gamma = 0.99
    buffer_size: hyper.BufferSize = 1_000_000
    learning_starts: hyper.WarmUp = 1_000
    batch_size: hyper.BatchSize = 256
    train_freq: hyper.TrainFreq = 1
    gradient_steps: hyper.GradientSteps = -1
    tau: hyper.Tau = 0.005
    action_noise: hyper.ActionNoise = OrnsteinUhlenbeckNoise()
    n_steps: hyper.NStepReturn = 1
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: hyper.ActorNetwork = networks.MLP(hidden=(256, 256))
    critic_network: hyper.CriticNetwork = networks.MLP(hidden=(256, 256))

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        critics.check_networks("DDPG", self.network, self.critic_network)
        actions = ActionBox.of("DDPG", spec.action_space)
        policy = deterministic_policy(self.network, spec, actions, self.action_noise)
        init_critic = critics.critic(self.critic_network, spec.observation_space, actions.size, 1)
        rule = self.optimizer.rule(family.NO_CLIPPING)

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
            target = polyak_average(target, improved, self.tau)
            q_tm1, error = judged.aux
            metrics = family.critic_metrics(q_tm1, error, judged.loss)
            metrics |= {"actor_loss": actor.loss, "action_saturation": family.saturation(actor.aux)}
            learner = family.Learner(improved, target, Networks(actor.moments, judged.moments))
            return learner, jnp.abs(error), metrics

        def appraise(now: Networks, batch: family.Batch) -> Array:
            return jnp.abs(critic_loss(now.critic, now, batch)[1][1])

        method = family.Method(init, policy.act, update, no_noise, policy.start, appraise=appraise)
        return family.agent(self, spec, actions, method)
