"""IMPALA, an actor-critic that corrects for the age of the policy that acted (Espeholt et al., 2018, "IMPALA: scalable
distributed deep-RL with importance weighted actor-learner architectures").

    theta <- theta + alpha d/dtheta [log pi(a|s) A - c_v (V(s) - vs)^2 / 2 + c_e H(pi(.|s))]

once for each block of steps, in which mu acted, the policy of some updates ago. A and vs are V-trace estimates of what
pi, which learns, would have earned: TD errors are weighed by rho = min(clip_rho, pi(a|s) / mu(a|s)), and reach the
steps before them through products of c = min(clip_c, pi(a|s) / mu(a|s)).

On a cluster mu is as old as blocks have to wait; in one program it is `policy_lag` updates old.

Deviations: the loss is the mean over a block, not the sum; V is computed for the true successor of every step, so a
step cut by the clock keeps its bootstrap; policy and value are two networks.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Spec
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import Trajectories, gae, score_loss, v_trace
from polyak.parts.asynchronous import lagging
from polyak.parts.optimise import RMSProp
from polyak.parts.policy_and_value import policy_and_value


@dataclasses.dataclass(frozen=True)
class IMPALA:
    """IMPALA: an actor-critic that may learn from steps of an older policy, for discrete and continuous actions."""

    name: ClassVar[str] = "impala"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    flow: ClassVar[str] = "stream"

    learning_rate: hyper.LearningRate = 1e-3
    n_steps: hyper.BlockSteps = 20
    gamma: hyper.Gamma = 0.99
    policy_lag: hyper.PolicyLag = 1
    correct_lag: bool = True
    """Weigh what an older policy did by V-trace; else it counts as if the present policy had acted."""
    clip_rho: hyper.ClipRho = 1.0
    clip_c: hyper.ClipC = 1.0
    ent_coef: hyper.EntCoef = 0.0
    vf_coef: hyper.VfCoef = 0.5
    max_grad_norm: hyper.MaxGradNorm = 0.5
    anneal_learning_rate: hyper.AnnealLearningRate = True
    log_std_init: hyper.LogStdInit = 0.0
    state_dependent_std: hyper.StateDependentStd = False
    squash: hyper.Squash = False
    normalize_observation: hyper.NormalizeObservation = False
    normalize_reward: hyper.NormalizeReward = False
    optimizer: hyper.Optimizer = RMSProp(decay=0.99, eps=1e-5)
    network: hyper.PolicyNetworkOrRecurrent = networks.MLP(hidden=(64, 64), activation="tanh")

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        model = policy_and_value(self, spec)
        loss = score_loss(model, self.vf_coef, self.ent_coef)

        def estimate(steps: Trajectories) -> tuple[Array, Array]:
            return v_trace(steps, self.clip_rho, self.clip_c) if self.correct_lag else gae(steps, 1.0)

        agent = actor_critic.gradient_agent(self, spec, model, loss, estimate, off_policy=self.correct_lag)
        return lagging(agent, self.policy_lag)
