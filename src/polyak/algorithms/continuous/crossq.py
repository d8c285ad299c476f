"""CrossQ (Bhatt et al., 2024, "CrossQ: batch normalization in deep reinforcement learning for greater sample efficiency
and simplicity").

    (Q_i(s, a), Q_i(s', a')) = one pass of critic i over both, standardised over the joint batch
    y = r + gamma (1 - terminated) (min_i Q_i(s', a') - alpha log pi(a' | s'))        without target networks
    theta_i <- theta_i - lr d/dtheta_i (y - Q_i(s, a))^2 / 2        for both critics; no gradient goes through y
    the policy climbs min_i Q_i(s, a), with SAC's entropy and temperature, every `policy_delay` gradient steps

SAC without target networks: what made targets needed is that states, and actions of the policy, are distributed unlike
those that critics were fitted to, and standardising both together removes that. It learns from fewer steps, with one
gradient step each. Algorithm 1 of the paper.

Deviations: critics of 256 units by default, where the paper has 2,048, which is for accelerators; the policy's layers
are not standardised; those of SAC.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, PyTree, Spec
from polyak.ops import soft
from polyak.parts import critics, hyper, networks, replay as replays, soft_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.off_policy_actor_critic import Batch
from polyak.parts.optimise import Adam


@dataclasses.dataclass(frozen=True)
class CrossQ:
    """CrossQ: SAC with critics that are standardised over the batch, and no target networks."""

    name: ClassVar[str] = "crossq"
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
    policy_delay: hyper.PolicyDelay = 3
    ent_coef: hyper.TemperatureOrNone = None
    ent_coef_init: hyper.FirstTemperature = 1.0
    target_entropy: hyper.TargetEntropy = None
    action_noise: hyper.ActionNoiseOrNone = None
    n_steps: hyper.NStepReturn = 1
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam(beta1=0.5)
    network: hyper.ActorNetwork = networks.MLP(hidden=(256, 256))
    critic_network: hyper.CriticNetwork = networks.MLP(hidden=(256, 256))

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        network, actions = critics.check_mlp("CrossQ", self.critic_network), ActionBox.of("CrossQ", spec.action_space)
        one = critics.batch_norm_critic(network, spec.observation_space, actions.size)

        def loss(both: Any, target: tuple[()], batch: Batch, following: family.Next, noise: PyTree):
            x, action = (jnp.concatenate(pair) for pair in ((batch.x_tm1, batch.x_t), (batch.a_tm1, following.action)))
            answers, statistics = jax.vmap(lambda one: one.of_batch(x, action))(both)
            q_tm1, q_t = jnp.split(answers[..., 0], 2, -1)  # [2, N] each
            y = soft.soft_target(batch.r_t, batch.discount_t, q_t.min(0), following.log_prob, following.alpha)
            error = jax.lax.stop_gradient(y) - q_tm1
            value = (batch.weights * 0.5 * jnp.square(error)).mean(-1).sum()
            return value, family.Judged(q_tm1, error, statistics)

        def q(both: Any, x: Array, action: Array, noise: PyTree) -> Array:
            return critics.q_values(both, x, action).min(0)

        def settled(both: Any, statistics: PyTree) -> Any:
            return jax.vmap(lambda one, found: one.settled(found))(both, statistics)

        members = family.Critics(critics.ensemble(one, 2), loss, q, settled=settled)
        return family.agent(self, spec, actions, members, None, self.policy_delay)
