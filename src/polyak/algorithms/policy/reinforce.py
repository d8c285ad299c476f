"""REINFORCE (Williams, 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning"; Sutton and Barto, 2018, sections 13.3 and 13.4).

    theta <- theta + alpha d/dtheta log pi(A_t|S_t) (G_t - b(S_t)),  G_t = R_t+1 + gamma R_t+2 + ... to the end

once for each block of steps, which begins with fresh episodes. b is nothing; or the mean of the block's returns, which
are then divided by their deviation too (`whiten`); or a value V(S_t) that is learnt beside the policy (`baseline`).

Deviations: gamma^t does not weigh the later steps of an episode less. With a baseline, V stands for the rest of an
episode that the clock or the end of the block cut; without one, steps are left out whose episode the block does not see
to its end, and an episode that the clock cut counts as it is.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec
from polyak.ops import returns
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import Parameters, Rollout, Trajectories, gae
from polyak.parts.optimise import Adam
from polyak.parts.policy_and_value import policy_and_value
from polyak.parts.ranges import BlockLength, NotNegative


@dataclasses.dataclass(frozen=True)
class REINFORCE:
    """REINFORCE: makes actions likelier by the returns that followed them, for discrete and continuous actions."""

    name: ClassVar[str] = "reinforce"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: hyper.LearningRate = 1e-2
    n_steps: BlockLength = 500
    """Steps of every environment between two updates; one episode should fit in."""
    gamma: hyper.Gamma = 0.99
    whiten: bool = False
    """Give the returns of each block mean 0 and deviation 1; with a baseline, what is left of them."""
    baseline: bool = True
    """Learn a value, and take it off the returns."""
    vf_coef: NotNegative = 0.5
    """Weight of the baseline's loss."""
    ent_coef: hyper.EntCoef = 0.0
    max_grad_norm: hyper.MaxGradNorm = 0.5
    anneal_learning_rate: hyper.AnnealLearningRate = False
    log_std_init: hyper.LogStdInit = 0.0
    state_dependent_std: hyper.StateDependentStd = False
    squash: hyper.Squash = False
    normalize_observation: hyper.NormalizeObservation = False
    normalize_reward: hyper.NormalizeReward = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(64, 64), activation="tanh")
    """Used for the policy, and once more for the baseline: mlp, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        model = policy_and_value(self, spec, critic="state" if self.baseline else None)

        def estimate(steps: Trajectories) -> tuple[Array, Array]:
            if self.baseline:
                weight, g = gae(steps, 1.0)
                known = jnp.ones_like(g)
            else:
                discount, nothing = self.gamma * steps.continues_t, jnp.zeros_like(steps.r_t[0])
                weight = g = jax.vmap(returns.discounted, (1, 1, 0), 1)(steps.r_t, discount, nothing)
                known = jax.lax.cummax(1.0 - steps.continues_t, reverse=True)
            count = jnp.maximum(known.sum(), 1.0)
            if self.whiten:
                weight = weight - (known * weight).sum() / count
                weight /= jnp.sqrt((known * jnp.square(weight)).sum() / count) + 1e-8
            return known * weight * (known.size / count), g

        def loss(parameters: Parameters, batch: Rollout) -> tuple[Array, dict[str, Array]]:
            pi = model.policy(parameters, batch.inputs)
            policy_loss = -(model.actions.log_prob(pi, batch.sample) * batch.advantage).mean()
            entropy = model.actions.entropy(pi).mean()
            metrics = {"policy_loss": policy_loss, "entropy": entropy}
            total = policy_loss - self.ent_coef * entropy
            if self.baseline:
                value = model.value(parameters, batch.inputs, batch.sample)
                metrics["value_loss"] = 0.5 * jnp.square(value - batch.target).mean()
                total += self.vf_coef * metrics["value_loss"]
            return total, metrics

        return actor_critic.gradient_agent(self, spec, model, loss, estimate)
