"""Advantage actor-critic (Mnih et al., 2016, "Asynchronous methods for deep reinforcement learning", with all
environments stepped together in place of asynchronous workers).

    theta <- theta + alpha d/dtheta [log pi(a|s) A - c_v (V(s) - G)^2 / 2 + c_e H(pi(.|s))]

once for each block of a few fresh steps, with A = G - V_old(s) from generalised advantage estimation: `gae_lambda` 1
sums the rewards to the end of the block, as the paper does. A network with a memory learns from the block in a row.

In place of A another weight of the score d/dtheta log pi(a|s) may stand (Schulman et al., 2016, "High-dimensional
continuous control using generalized advantage estimation", section 2): the return G; the TD error r + gamma V(s') -
V(s); or Q(s, a) of a critic of actions, for which V(s) is its mean over pi (Sutton et al., 2000, "Policy
gradient methods for reinforcement learning with function approximation").

Deviations: V is computed for the true successor of every step, so a step cut by the clock keeps its bootstrap; policy
and value are two networks; each step's G ends with its block, where the paper's ends with the worker's t_max steps.
"""

import dataclasses
from typing import ClassVar, Literal

from polyak.agent import Agent, Array, Spec
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import Trajectories, gae, score_loss, standardised
from polyak.parts.optimise import RMSProp
from polyak.parts.policy_and_value import policy_and_value


@dataclasses.dataclass(frozen=True)
class A2C:
    """Advantage actor-critic: one gradient step on a block of fresh steps, for discrete and continuous actions."""

    name: ClassVar[str] = "a2c"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: hyper.LearningRate = 7e-4
    n_steps: hyper.BlockSteps = 5
    gamma: hyper.Gamma = 0.99
    gae_lambda: hyper.GaeLambda = 1.0
    weight: Literal["return", "q", "advantage", "td_error"] = "advantage"
    """The weight of the score: return, advantage, td_error, or q for a critic of actions."""
    normalize_advantage: bool = False
    """Give the weights of each block mean 0 and deviation 1."""
    ent_coef: hyper.EntCoef = 0.0
    vf_coef: hyper.VfCoef = 0.5
    max_grad_norm: hyper.MaxGradNorm = 0.5
    anneal_learning_rate: hyper.AnnealLearningRate = False
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
        model = policy_and_value(self, spec, critic="action" if self.weight == "q" else "state")

        def estimate(steps: Trajectories) -> tuple[Array, Array]:
            advantage, g = gae(steps, self.gae_lambda)
            td_error = steps.r_t + steps.discount_t * steps.v_t - steps.v_tm1
            weight = {"return": g, "advantage": advantage, "td_error": td_error, "q": steps.q_tm1}[self.weight]
            return standardised(weight) if self.normalize_advantage else weight, g

        return actor_critic.gradient_agent(self, spec, model, score_loss(model, self.vf_coef, self.ent_coef), estimate)
