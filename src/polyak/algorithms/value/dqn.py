"""Deep Q-network (Mnih et al., 2015, "Human-level control through deep reinforcement learning").

    theta <- theta - alpha d/dtheta huber(r + gamma (1 - terminated) max_a Q_target(s', a) - Q_theta(s, a))

on transitions drawn from a replay memory, with Q_target a copy of Q_theta that is renewed now and then. What came later
is an argument each: `double` lets Q_theta choose the action that Q_target evaluates (van Hasselt et al., 2016);
`n_steps` sums that many rewards before Q_target stands for the rest (Hessel et al., 2018); `replay="prioritised"` draws
what errs most (Schaul et al., 2016), `replay="hindsight"` gives what is drawn the goals that were achieved later
(Andrychowicz et al., 2017); `network="dueling"` splits value and advantage (Wang et al., 2016); a `noisy`
network with `exploration="greedy"` explores by noise in its weights (Fortunato et al., 2018).

Deviations: Adam by default, RMSProp by `optimizer`; the gradient's norm is clipped, besides the Huber loss that clips
each error; the steps before `learning_starts` follow the epsilon schedule, which is near 1 there, instead of a uniform
policy.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.ops import td
from polyak.parts import deep_q, hyper, networks, replay as replays
from polyak.parts.optimise import Adam
from polyak.parts.q_network import num_actions, q_network


@dataclasses.dataclass(frozen=True)
class DQN:
    """Deep Q-network: learns action values from a replay memory, for discrete actions."""

    name: ClassVar[str] = "dqn"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 1e-4
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
    huber_delta: hyper.HuberDelta = 1.0
    double: hyper.Double = False
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(256, 256))
    """The network that computes Q: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        def loss(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, q_t_selector: Array):
            error = td.double_q_learning(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector)
            return deep_q.Loss(loss=td.huber(error, self.huber_delta), priority=jnp.abs(error))

        network = q_network(self.network, spec, num_actions(self, spec))
        return deep_q.agent(self, spec, network, values=lambda q: q, loss=loss)
