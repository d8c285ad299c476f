"""Truncated quantile critics (Kuznetsov et al., 2020, "Controlling overestimation bias with truncated mixture of
continuous distributional quantile critics").

    Z = the quantiles of all target critics at (s', a') pooled, without the largest ones;  a' ~ pi(. | s')
    y_i = r + gamma (1 - terminated) (z_i - alpha log pi(a' | s'))        for each z_i of Z
    each critic's quantiles <- by quantile regression towards all y_i
    the policy climbs the mean of all quantiles of all critics, with SAC's entropy and temperature

Values that are too high are cut off one by one, where SAC takes the lower of two critics.

Deviations: as in Stable-Baselines3, two critics of 256 units, where the paper has five of 512; the loss of a critic is
the mean over quantiles, and those of the critics are summed; with `n_steps` above 1 the entropy of the actions in
between is left out.
"""

import dataclasses
from typing import Any, ClassVar

import jax

from polyak.agent import Agent, Array, PyTree, Spec
from polyak.errors import BadSetting
from polyak.ops import distributional, soft
from polyak.parts import critics, hyper, networks, replay as replays, soft_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.off_policy_actor_critic import Batch
from polyak.parts.optimise import Adam
from polyak.parts.ranges import Count, Whole


@dataclasses.dataclass(frozen=True)
class TQC:
    """Truncated quantile critics: SAC with critics that know the distribution of returns, cut off above."""

    name: ClassVar[str] = "tqc"
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
    n_critics: Count = 2
    """Critics, each with quantiles of its own."""
    n_quantiles: Count = 25
    """Quantiles of a critic."""
    top_quantiles_to_drop_per_net: Whole = 2
    """Quantiles that are left out of the targets for each critic, the largest of all; fewer than n_quantiles."""
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
        dropped = self.top_quantiles_to_drop_per_net
        if dropped >= self.n_quantiles:
            raise BadSetting(
                f"TQC's top_quantiles_to_drop_per_net {dropped} leaves nothing of n_quantiles {self.n_quantiles}."
            )
        actions = ActionBox.of("TQC", spec.action_space)
        one = critics.critic(self.critic_network, spec.observation_space, actions.size, self.n_quantiles)
        taus = distributional.midpoints(self.n_quantiles)

        def quantiles(all_of_them: Any, x: Array, action: Array) -> Array:
            """[N, K, M] of each of K critics."""
            return jax.vmap(lambda one: one(x, action), out_axes=1)(all_of_them)

        def regression(theta: Array, y: Array) -> Array:
            """[] the loss of the quantiles [K, M] of one transition, for targets [...]: a mean over M, a sum over K."""
            each = jax.vmap(distributional.quantile_huber, (0, None, None, None))
            return each(theta, taus, y, 1.0).sum() / self.n_quantiles

        def loss(all_of_them: Any, target: Any, batch: Batch, following: family.Next, noise: PyTree):
            z_t = jax.vmap(soft.truncated, (0, None))(quantiles(target, batch.x_t, following.action), dropped)
            y = jax.vmap(soft.soft_target, (0, 0, 0, 0, None))(
                batch.r_t, batch.discount_t, z_t, following.log_prob, following.alpha
            )
            theta = quantiles(all_of_them, batch.x_tm1, batch.a_tm1)
            q_tm1 = theta.mean((1, 2))
            losses = jax.vmap(regression)(theta, y)
            return (batch.weights * losses).mean(), family.Judged(q_tm1, y.mean(1) - q_tm1)

        def q(all_of_them: Any, x: Array, action: Array, noise: PyTree) -> Array:
            return quantiles(all_of_them, x, action).mean((1, 2))

        members = family.Critics(critics.ensemble(one, self.n_critics), loss, q)
        return family.agent(self, spec, actions, members, self.tau)
