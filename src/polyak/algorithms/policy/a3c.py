"""Asynchronous advantage actor-critic (Mnih et al., 2016, "Asynchronous methods for deep reinforcement learning",
algorithm S3).

    theta <- theta + alpha d/dtheta' [log pi(a|s; theta') A - c_v (V(s; theta') - G)^2 / 2 + c_e H(pi(.|s; theta'))]

by each worker after each block of a few steps, with theta' its copy of the parameters theta that all workers share and
have moved since it was made, and A = G - V(s; theta'). Each environment is a worker's; the moments of RMSProp are
shared. The workers take turns in an order that is drawn from the seed, so that a run can be had again bit by bit.

Deviations: a worker's gradient is the mean over its block, not the sum; V is computed for the true successor of every
step, so a step cut by the clock keeps its bootstrap, and a block goes on where an episode ends; policy and value are
two networks; RMSProp divides by the deviation of the gradient, not by its root mean square.
"""

import dataclasses
from functools import partial
from typing import ClassVar

from polyak.agent import Agent, Spec
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import gae, score_loss
from polyak.parts.asynchronous import asynchronous
from polyak.parts.optimise import RMSProp
from polyak.parts.policy_and_value import policy_and_value


@dataclasses.dataclass(frozen=True)
class A3C:
    """Asynchronous advantage actor-critic: workers move shared parameters in turns, for all kinds of actions."""

    name: ClassVar[str] = "a3c"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    flow: ClassVar[str] = "gradients"
    normalize_observation: ClassVar[bool] = False
    normalize_reward: ClassVar[bool] = False

    learning_rate: hyper.LearningRate = 3e-4
    n_steps: hyper.BlockSteps = 16
    gamma: hyper.Gamma = 0.99
    gae_lambda: hyper.GaeLambda = 1.0
    ent_coef: hyper.EntCoef = 0.0
    vf_coef: hyper.VfCoef = 0.5
    max_grad_norm: hyper.MaxGradNorm = 0.5
    anneal_learning_rate: hyper.AnnealLearningRate = True
    log_std_init: hyper.LogStdInit = 0.0
    state_dependent_std: hyper.StateDependentStd = False
    squash: hyper.Squash = False
    optimizer: hyper.Optimizer = RMSProp(decay=0.99, eps=1e-5)
    # Normalised: so many steps for each worker's few samples saturated plain layers, and V was a constant ever after.
    network: hyper.PolicyNetworkOrRecurrent = networks.MLP(hidden=(64, 64), activation="tanh", layer_norm=True)

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        alone = spec._replace(num_envs=1)
        model = policy_and_value(self, alone)
        loss, estimate = score_loss(model, self.vf_coef, self.ent_coef), partial(gae, gae_lambda=self.gae_lambda)
        return asynchronous(actor_critic.gradient_agent(self, alone, model, loss, estimate), spec.num_envs)
