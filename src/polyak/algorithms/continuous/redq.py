"""Randomised ensembled double Q-learning (Chen et al., 2021, "Randomized ensembled double Q-learning: learning fast
without a model").

    y = r + gamma (1 - terminated) (min over M critics drawn at random of Q'_i(s', a') - alpha log pi(a' | s'))
    theta_i <- theta_i - lr d/dtheta_i (y - Q_i(s, a))^2 / 2        for all N critics
    the policy climbs the mean of all N, with SAC's entropy and temperature, every `policy_delay` gradient steps

SAC with N critics and many gradient steps for each step of the environment: what it sees is used more often, and the
minimum over few of many critics keeps values from growing. Algorithm 1 of the paper.

Deviations: those of SAC.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.errors import BadSetting
from polyak.ops import soft
from polyak.parts import critics, hyper, networks, replay as replays, soft_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.off_policy_actor_critic import Batch
from polyak.parts.optimise import Adam
from polyak.parts.ranges import Count


@dataclasses.dataclass(frozen=True)
class REDQ:
    """Randomised ensembled double Q-learning: SAC with ten critics and twenty gradient steps a step."""

    name: ClassVar[str] = "redq"
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
    gradient_steps: hyper.GradientSteps = 20
    tau: hyper.Tau = 0.005
    ent_coef: hyper.TemperatureOrNone = None
    ent_coef_init: hyper.FirstTemperature = 1.0
    target_entropy: hyper.TargetEntropy = None
    policy_delay: hyper.PolicyDelay = 20
    n_critics: Count = 10
    """N, the critics, which learn from the same targets."""
    n_target_critics: Count = 2
    """M, how many of them, drawn anew for each gradient step, a target is the least of."""
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
        if self.n_target_critics > self.n_critics:
            raise BadSetting(
                f"REDQ's n_target_critics {self.n_target_critics} are drawn from n_critics {self.n_critics}, which are "
                "fewer."
            )
        actions = ActionBox.of("REDQ", spec.action_space)
        one = critics.critic(self.critic_network, spec.observation_space, actions.size, 1)

        def noise(key: Key) -> Array:
            """[M] the critics that a target is made of."""
            return jax.random.permutation(key, self.n_critics)[: self.n_target_critics]

        def loss(all_of_them: Any, target: Any, batch: Batch, following: family.Next, drawn: Array):
            some = jax.tree.map(lambda leaf: leaf[drawn], target)
            q_t = critics.q_values(some, batch.x_t, following.action).min(0)
            y = soft.soft_target(batch.r_t, batch.discount_t, q_t, following.log_prob, following.alpha)
            q_tm1 = critics.q_values(all_of_them, batch.x_tm1, batch.a_tm1)  # [N, batch_size]
            error = y - q_tm1
            return (batch.weights * 0.5 * jnp.square(error)).mean(-1).sum(), family.Judged(q_tm1, error)

        def q(all_of_them: Any, x: Array, action: Array, drawn: Array) -> Array:
            return critics.q_values(all_of_them, x, action).mean(0)

        members = family.Critics(critics.ensemble(one, self.n_critics), loss, q, noise)
        return family.agent(self, spec, actions, members, self.tau, self.policy_delay)
