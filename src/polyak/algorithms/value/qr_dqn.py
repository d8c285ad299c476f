"""QR-DQN (Dabney et al., 2018, "Distributional reinforcement learning with quantile regression").

    theta <- theta - alpha d/dtheta sum_i mean_j |tau_i - 1[u_ij < 0]| huber(u_ij),
    u_ij = r + gamma (1 - terminated) quantile_j of Z_target(s', a*) - quantile_i of Z_theta(s, a)

The network answers with quantiles of the return for each action, at the middles tau_i of `n_quantiles` equal shares.
The value of an action is their mean. No range of returns has to be known, as it has for C51. The rest is DQN with all
its arguments.

Deviation: Adam's eps is 1e-8 by default; the paper has 0.01 / 32.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.ops import distributional
from polyak.parts import deep_q, hyper, networks, replay as replays
from polyak.parts.optimise import Adam
from polyak.parts.q_network import num_actions, q_network
from polyak.parts.ranges import Count


@dataclasses.dataclass(frozen=True)
class QRDQN:
    """QR-DQN: learns quantiles of returns from a replay memory, for discrete actions."""

    name: ClassVar[str] = "qr-dqn"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 2.5e-4
    gamma: hyper.Gamma = 0.99
    buffer_size: hyper.BufferSize = 100_000
    learning_starts: hyper.LearningStarts = 1_000
    batch_size: hyper.BatchSize = 64
    train_freq: hyper.TrainFreq = 4
    gradient_steps: hyper.GradientSteps = 1
    target_update_interval: hyper.TargetUpdateInterval = 1_000
    tau: hyper.Tau = 1.0
    exploration_fraction: hyper.ExplorationFraction = 0.1
    exploration_initial_eps: hyper.ExplorationInitialEps = 1.0
    exploration_final_eps: hyper.ExplorationFinalEps = 0.05
    exploration: hyper.NetworkExploration = None
    anneal_learning_rate: hyper.AnnealLearningRate = False
    max_grad_norm: hyper.MaxGradNorm = 10.0
    n_steps: hyper.NStepReturn = 1
    n_quantiles: Count = 50
    """Quantiles that stand for a distribution."""
    huber_delta: hyper.QuantileHuberDelta = 1.0
    double: hyper.Double = False
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(256, 256))
    """The network that computes the quantiles: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        taus = distributional.midpoints(self.n_quantiles)

        def values(quantiles: Array) -> Array:
            return quantiles.mean(-1)

        def loss(theta_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, theta_t: Array, selector: Array):
            target = distributional.quantile_target(r_t, discount_t, theta_t, selector)
            taken = theta_tm1[a_tm1]
            return deep_q.Loss(
                loss=distributional.quantile_huber(taken, taus, target, self.huber_delta),
                priority=jnp.abs(target.mean() - taken.mean()),
            )

        network = q_network(self.network, spec, (num_actions(self, spec), self.n_quantiles))
        return deep_q.agent(self, spec, network, values, loss)
