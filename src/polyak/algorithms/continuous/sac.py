"""Soft actor-critic (Haarnoja et al., 2018b, "Soft actor-critic algorithms and applications").

    y = r + gamma (1 - terminated) (min_i Q'_i(s', a') - alpha log pi(a' | s')),  a' ~ pi(. | s')
    theta_i <- theta_i - lr d/dtheta_i (y - Q_i(s, a))^2 / 2        for both critics
    theta_pi <- theta_pi - lr d/dtheta_pi E[alpha log pi(a | s) - min_i Q_i(s, a)],  a = tanh(mean + deviation * noise)
    log alpha <- log alpha + lr (log pi(a | s) + target entropy)

A policy that is paid for staying random explores by itself, and alpha, learnt too, keeps its entropy at a target.

Deviations: as in Stable-Baselines3, one learning rate, and log alpha is learnt in place of alpha. `action_noise` may be
added to sampled actions, for tasks in which only a push that lasts finds any reward. With `n_steps` above 1 the entropy
of the actions in between is left out.
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, PyTree, Spec
from polyak.ops import soft
from polyak.parts import critics, hyper, networks, replay as replays, soft_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.off_policy_actor_critic import Batch
from polyak.parts.optimise import Adam


@dataclasses.dataclass(frozen=True)
class SAC:
    """Soft actor-critic: a random policy, two critics and a learnt temperature, for actions that are numbers."""

    name: ClassVar[str] = "sac"
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
    target_entropy: hyper.TargetEntropy = None
    action_noise: hyper.ActionNoiseOrNone = None
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
        actions = ActionBox.of("SAC", spec.action_space)
        one = critics.critic(self.critic_network, spec.observation_space, actions.size, 1)

        def loss(both: Any, target: Any, batch: Batch, following: family.Next, noise: PyTree):
            q_t = critics.q_values(target, batch.x_t, following.action).min(0)
            y = soft.soft_target(batch.r_t, batch.discount_t, q_t, following.log_prob, following.alpha)
            q_tm1 = critics.q_values(both, batch.x_tm1, batch.a_tm1)  # [2, N]
            error = y - q_tm1
            return (batch.weights * 0.5 * jnp.square(error)).mean(-1).sum(), family.Judged(q_tm1, error)

        def q(both: Any, x: Array, action: Array, noise: PyTree) -> Array:
            return critics.q_values(both, x, action).min(0)

        members = family.Critics(critics.ensemble(one, 2), loss, q)
        return family.agent(self, spec, actions, members, self.tau)
