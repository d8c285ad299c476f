"""Twin delayed DDPG (Fujimoto, van Hoof and Meger, 2018, "Addressing function approximation error in actor-critic
methods").

    y = r + gamma (1 - terminated) min_i Q'_i(s', mu'(s') + clip(N(0, sigma), -c, c))
    theta_i <- theta_i - alpha d/dtheta_i (y - Q_i(s, a))^2 / 2        for both critics
    theta_mu <- theta_mu + alpha dQ_1(s, mu(s))/da dmu(s)/dtheta_mu        every `policy_delay` gradient steps

Three changes to DDPG, against values that are too high: the lower of two critics (`min`), a policy and targets that
move more rarely than critics, and target actions that are smoothed by noise. Algorithm 1 of the paper.

Deviations: as in the authors' later code networks of 256 units and a learning rate of 3e-4, where the paper has 400 and
300 units and 1e-3; actions are uniform until `learning_starts` in all tasks.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops.td import td_learning
from polyak.parts import critics, hyper, networks, off_policy_actor_critic as family, replay as replays
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import GaussianNoise
from polyak.parts.deterministic_policy import deterministic_policy
from polyak.parts.optimise import Adam, polyak_average
from polyak.parts.ranges import NotNegative


class Networks(NamedTuple):
    """The networks; of target networks and of optimizers' states the same."""

    actor: Any  # mu
    critics: Any  # Q_1 and Q_2, leaves [2, ...]


@dataclasses.dataclass(frozen=True)
class TD3:
    """Twin delayed DDPG: a deterministic actor, two critics, for actions that are numbers."""

    name: ClassVar[str] = "td3"
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
    policy_delay: hyper.PolicyDelay = 2
    target_policy_noise: NotNegative = 0.2
    """Deviation of the noise that smooths target actions, in units of half their range."""
    target_noise_clip: NotNegative = 0.5
    """Where that noise is clipped, in the same units."""
    action_noise: hyper.ActionNoise = GaussianNoise()
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
        critics.check_networks("TD3", self.network, self.critic_network)
        actions = ActionBox.of("TD3", spec.action_space)
        policy = deterministic_policy(self.network, spec, actions, self.action_noise)
        init_critic = critics.critic(self.critic_network, spec.observation_space, actions.size, 1)
        rule = self.optimizer.rule(family.NO_CLIPPING)

        def init(key: Key) -> family.Learner:
            actor_key, critic_key = jax.random.split(key)
            parameters = Networks(policy.init(actor_key), critics.ensemble(init_critic, 2)(critic_key))
            return family.Learner(parameters, parameters, family.moments_of(rule, parameters))

        def noise(key: Key) -> Array:
            normal = self.target_policy_noise * jax.random.normal(key, (self.batch_size, actions.size))
            return jnp.clip(normal, -self.target_noise_clip, self.target_noise_clip)

        def critic_loss(both: Any, target: Networks, batch: family.Batch, noise: Array):
            mu_t = policy.mean(target.actor, batch.x_t)
            a_t = jnp.clip(mu_t + noise, -1.0, 1.0)
            q_t = critics.q_values(target.critics, batch.x_t, a_t).min(0)
            q_tm1 = critics.q_values(both, batch.x_tm1, batch.a_tm1)  # [2, N]
            error = td_learning(q_tm1, batch.r_t, batch.discount_t, q_t)
            return (batch.weights * 0.5 * jnp.square(error)).mean(-1).sum(), (q_tm1, error, mu_t)

        def update(learner: family.Learner, batch: family.Batch, noise: Array, learning_rate: Array, updates: Array):
            now, target, moments = learner
            judged = family.descend(
                rule, lambda both: critic_loss(both, target, batch, noise), now.critics, moments.critics, learning_rate
            )

            def actor_loss(actor: Any) -> tuple[Array, tuple[()]]:
                action = policy.mean(actor, batch.x_tm1)
                first = jax.tree.map(lambda leaf: leaf[0], judged.parameters)
                return -first(batch.x_tm1, action).mean(), ()

            def improve() -> tuple[tuple[Any, PyTree, Networks], family.Metrics]:
                actor = family.descend(rule, actor_loss, now.actor, moments.actor, learning_rate, judged.sound)
                moved = polyak_average(target, Networks(actor.parameters, judged.parameters), self.tau)
                return (actor.parameters, actor.moments, moved), {"actor_loss": actor.loss}

            (actor, actor_moments, target), metrics = family.delayed(
                self.policy_delay, updates, improve, otherwise=(now.actor, moments.actor, target)
            )
            learner = family.Learner(
                Networks(actor, judged.parameters), target, Networks(actor_moments, judged.moments)
            )
            q_tm1, error, mu_t = judged.aux
            metrics |= family.critic_metrics(q_tm1, error, judged.loss) | {"action_saturation": family.saturation(mu_t)}
            return learner, jnp.abs(error).max(0), metrics

        def appraise(now: Networks, batch: family.Batch) -> Array:
            return jnp.abs(critic_loss(now.critics, now, batch, jnp.zeros(()))[1][1]).max(0)

        method = family.Method(init, policy.act, update, noise, policy.start, appraise=appraise)
        return family.agent(self, spec, actions, method)
