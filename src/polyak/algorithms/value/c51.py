"""C51 (Bellemare, Dabney and Munos, 2017, "A distributional perspective on reinforcement learning").

    theta <- theta - alpha d/dtheta KL(projection of r + gamma (1 - terminated) Z_target(s', a*) || Z_theta(s, a))

The network answers with a distribution of the return for each action: probabilities of `n_atoms` returns at equal
distances from `v_min` to `v_max`. The value of an action is the mean. The rest is DQN with all its arguments.

Deviation: Adam's eps is 1e-8 by default; the paper has 0.01 / 32.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import categorical, hyper, networks, replay as replays
from polyak.parts.optimise import Adam


@dataclasses.dataclass(frozen=True)
class C51:
    """C51: learns the distribution of returns on fixed atoms from a replay memory, for discrete actions."""

    name: ClassVar[str] = "c51"
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
    n_atoms: hyper.NumAtoms = 51
    v_min: hyper.VMin = -10.0
    v_max: hyper.VMax = 10.0
    double: hyper.Double = False
    replay: hyper.Replay = replays.Uniform()
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(256, 256))
    """The network that computes the distributions: mlp, dueling, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        return categorical.agent(self, spec)
