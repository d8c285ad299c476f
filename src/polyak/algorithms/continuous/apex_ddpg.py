"""Ape-X DDPG (Horgan et al., 2018, "Distributed prioritized experience replay").

Deep deterministic policy gradient on returns of n steps, from a prioritised memory that many actors fill, each with the
TD errors that it found as first priorities. With `--actors N`, processes collect; without, one program does.

Deviations: those of `ddpg`; the learner makes a fixed number of gradient steps for each block of experience, where the
paper's runs as fast as it can; old steps make room for new ones, and are not removed in rounds.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import deterministic_actor_critic, hyper, networks, replay as replays
from polyak.parts.action_noise import GaussianNoise
from polyak.parts.optimise import Adam


@dataclasses.dataclass(frozen=True)
class ApexDDPG:
    """Ape-X DDPG: DDPG on many actors with one prioritised memory, for actions that are numbers."""

    name: ClassVar[str] = "apex-ddpg"
    default_num_envs: ClassVar[int] = 8
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
    tau: hyper.Tau = 0.005
    action_noise: hyper.ActionNoise = GaussianNoise(0.3)
    n_steps: hyper.NStepReturn = 5
    replay: hyper.Replay = replays.Prioritised(final_beta=0.4, appraised=True)
    frame_stack: hyper.FrameStack = 1
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: hyper.ActorNetwork = networks.MLP(hidden=(256, 256))
    critic_network: hyper.CriticNetwork = networks.MLP(hidden=(256, 256))

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        return deterministic_actor_critic.agent(self, spec)
