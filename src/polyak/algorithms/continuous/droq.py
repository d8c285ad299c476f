"""Dropout Q-functions (Hiraoka et al., 2022, "Dropout Q-functions for doubly efficient reinforcement learning").

    y = r + gamma (1 - terminated) (min_i Q'_i(s', a') - alpha log pi(a' | s'))
    theta_i <- theta_i - lr d/dtheta_i (y - Q_i(s, a))^2 / 2        for each critic
    the policy climbs the mean of the critics, with SAC's entropy and temperature, every `policy_delay` gradient steps

REDQ with two critics in place of ten: units are left out of all critics at random, those of targets too, and layers
are normalised, which does for few networks what many did. Algorithm 2 of the paper.

Deviations: those of SAC; layers are normalised without gains of their own.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.ops import soft
from polyak.parts import critics, hyper, networks, replay as replays, soft_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.off_policy_actor_critic import Batch
from polyak.parts.optimise import Adam
from polyak.parts.ranges import Count, Decay


@dataclasses.dataclass(frozen=True)
class DroQ:
    """Dropout Q-functions: REDQ with two critics that leave out units at random."""

    name: ClassVar[str] = "droq"
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
    n_critics: Count = 2
    """Critics, which learn from the same targets."""
    dropout: Decay = 0.01
    """Share of the units of the critics that is left out at random."""
    action_noise: hyper.ActionNoiseOrNone = None
    n_steps: hyper.NStepReturn = 1
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: hyper.ActorNetwork = networks.MLP(hidden=(256, 256))
    critic_network: hyper.CriticNetwork = networks.MLP(hidden=(256, 256), layer_norm=True)

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        network, actions = critics.check_mlp("DroQ", self.critic_network), ActionBox.of("DroQ", spec.action_space)
        one = critics.dropout_critic(network, spec.observation_space, actions.size, self.dropout)
        Kept = tuple[Array, ...]  # the units of each layer that are not left out

        def noise(key: Key) -> tuple[Kept, Kept]:
            """Of the targets, and of the critics; leaves [K, N, width]."""
            shape = (2, self.n_critics, self.batch_size)
            kept = critics.kept_units(key, network.hidden, shape, self.dropout)
            return tuple(leaf[0] for leaf in kept), tuple(leaf[1] for leaf in kept)

        def values(all_of_them: Any, x: Array, action: Array, kept: Kept) -> Array:
            """[K, N] of each of K critics."""
            return jax.vmap(lambda one, kept: one(x, action, kept)[:, 0])(all_of_them, kept)

        def loss(all_of_them: Any, target: Any, batch: Batch, following: family.Next, kept: tuple[Kept, Kept]):
            q_t = values(target, batch.x_t, following.action, kept[0]).min(0)
            y = soft.soft_target(batch.r_t, batch.discount_t, q_t, following.log_prob, following.alpha)
            q_tm1 = values(all_of_them, batch.x_tm1, batch.a_tm1, kept[1])
            error = y - q_tm1
            return (batch.weights * 0.5 * jnp.square(error)).mean(-1).sum(), family.Judged(q_tm1, error)

        def q(all_of_them: Any, x: Array, action: Array, kept: tuple[Kept, Kept]) -> Array:
            return values(all_of_them, x, action, kept[1]).mean(0)

        members = family.Critics(critics.ensemble(one, self.n_critics), loss, q, noise)
        return family.agent(self, spec, actions, members, self.tau, self.policy_delay)
