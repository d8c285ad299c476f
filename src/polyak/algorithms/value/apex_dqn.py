"""Ape-X DQN (Horgan et al., 2018, "Distributed prioritized experience replay").

    theta <- theta - alpha d/dtheta w huber(R_n + gamma^n Q_target(s', argmax_a Q_theta(s', a)) - Q_theta(s, a))

Double Q-learning on returns of n steps, with a dueling network, from a prioritised memory that many actors fill. Each
environment explores with an epsilon of its own, from a ladder over those of all actors, and each step enters the memory
with the TD error that its actor found as first priority. With `--actors N`, processes collect; without, one program
does.

Deviations: those of `dqn`; the learner makes a fixed number of gradient steps for each block of experience, where the
paper's runs as fast as it can; old steps make room for new ones, and are not removed in rounds.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.ops import td
from polyak.parts import deep_q, hyper, networks, replay as replays
from polyak.parts.exploration import EpsilonLadder
from polyak.parts.optimise import Adam
from polyak.parts.q_network import num_actions, q_network


@dataclasses.dataclass(frozen=True)
class ApexDQN:
    """Ape-X DQN: DQN on many actors with one prioritised memory, for discrete actions."""

    name: ClassVar[str] = "apex-dqn"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 1e-4
    gamma: hyper.Gamma = 0.99
    buffer_size: hyper.BufferSize = 100_000
    learning_starts: hyper.LearningStarts = 1_000
    batch_size: hyper.BatchSize = 64
    train_freq: hyper.TrainFreq = 4
    gradient_steps: hyper.GradientSteps = 16
    target_update_interval: hyper.TargetUpdateInterval = 1_000
    tau: hyper.Tau = 1.0
    exploration_fraction: hyper.ExplorationFraction = 0.1
    exploration_initial_eps: hyper.ExplorationInitialEps = 1.0
    exploration_final_eps: hyper.ExplorationFinalEps = 0.05
    exploration: hyper.NetworkExploration = EpsilonLadder()
    anneal_learning_rate: hyper.AnnealLearningRate = False
    max_grad_norm: hyper.MaxGradNorm = 10.0
    n_steps: hyper.NStepReturn = 3
    huber_delta: hyper.HuberDelta = 1.0
    double: hyper.Double = True
    replay: hyper.Replay = replays.Prioritised(final_beta=0.4, appraised=True)
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.Dueling(hidden=(256, 256))
    """The network that computes Q: dueling, mlp, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        def loss(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, q_t_selector: Array):
            error = td.double_q_learning(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector)
            return deep_q.Loss(loss=td.huber(error, self.huber_delta), priority=jnp.abs(error))

        network = q_network(self.network, spec, num_actions(self, spec))
        return deep_q.agent(self, spec, network, values=lambda q: q, loss=loss)
