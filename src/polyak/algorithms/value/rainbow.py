"""Rainbow (Hessel et al., 2018, "Rainbow: combining improvements in deep reinforcement learning").

    theta <- theta - alpha d/dtheta w KL(projection of R_n + gamma^n Z_target(s', a*) || Z_theta(s, a))
    a* = argmax_a E Z_theta(s', a)

C51's loss with five other improvements as defaults: double Q-learning, prioritised replay (with the divergence as the
priority), a dueling network, n-step returns, and noisy layers that explore in place of epsilon. Each can be taken away
by its argument, as in the paper's ablations.

Noise of the weights is drawn anew for every environment at every step, and for every network in every update, where the
transitions of a batch share it.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import categorical, hyper, networks, replay as replays
from polyak.parts.exploration import Greedy
from polyak.parts.optimise import Adam


@dataclasses.dataclass(frozen=True)
class Rainbow:
    """Rainbow: C51 with double, dueling, prioritised, n-step and noisy, for discrete actions."""

    name: ClassVar[str] = "rainbow"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    flow: ClassVar[str] = "replay"

    learning_rate: hyper.LearningRate = 6.25e-5
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
    exploration: hyper.NetworkExploration = Greedy()
    anneal_learning_rate: hyper.AnnealLearningRate = False
    max_grad_norm: hyper.MaxGradNorm = 10.0
    n_steps: hyper.NStepReturn = 3
    n_atoms: hyper.NumAtoms = 51
    v_min: hyper.VMin = -10.0
    v_max: hyper.VMax = 10.0
    double: hyper.Double = True
    replay: hyper.Replay = replays.Prioritised(alpha=0.5)
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam(eps=1.5e-4)
    network: networks.Network = networks.Dueling(hidden=(256, 256), noisy=0.5)
    """The network that computes the distributions: dueling, mlp, minatar, nips, nature, impala; noisy, to explore."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        return categorical.agent(self, spec)
