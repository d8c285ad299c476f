"""Deep deterministic policy gradient (Lillicrap et al., 2016, "Continuous control with deep reinforcement learning").

    theta_Q <- theta_Q - alpha d/dtheta_Q (r + gamma (1 - terminated) Q'(s', mu'(s')) - Q(s, a))^2 / 2
    theta_mu <- theta_mu + alpha dQ(s, mu(s))/da dmu(s)/dtheta_mu        (Silver et al., 2014, the policy gradient)
    theta' <- (1 - tau) theta' + tau theta        for the target networks Q' and mu'

on transitions drawn from a replay memory. Actions explore by noise that is added to mu(s): Ornstein-Uhlenbeck's, which
pushes one way for many steps (`ou:0.2`), or independent normal numbers (`normal:0.1`).

Deviations: one learning rate for both networks; no decay of weights, no normalised batches; the critic reads the action
in its first layer; uniform actions until `learning_starts`.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import deterministic_actor_critic, hyper, networks, replay as replays
from polyak.parts.action_noise import OrnsteinUhlenbeckNoise
from polyak.parts.optimise import Adam


@dataclasses.dataclass(frozen=True)
class DDPG:
    """Deep deterministic policy gradient: an actor that climbs a critic, for actions that are numbers."""

    name: ClassVar[str] = "ddpg"
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
    tau: hyper.Tau = 0.005
    action_noise: hyper.ActionNoise = OrnsteinUhlenbeckNoise()
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
        return deterministic_actor_critic.agent(self, spec)
