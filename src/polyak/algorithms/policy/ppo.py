"""Proximal policy optimisation (Schulman et al., 2017, "Proximal policy optimization algorithms").

    loss = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V(s) - G)^2 / 2 - c_e H(pi(.|s)),  rho = pi / pi_old

for several epochs over each block of fresh steps, with A from generalised advantage estimation and G = A + V_old(s).
Given `kl_coef`, a penalty takes the place of clipping (section 4):

    loss = -rho A + beta KL(pi_old || pi) + ...,  beta halved or doubled after each round by how far the policy moved

A network with a memory learns from sequences, each with the memory that acting had where it begins.

Deviations: V is computed for the true successor of every step, so a step cut by the clock keeps its bootstrap, which
the published code and most that follow it lose. Those of "The 37 implementation details of PPO" (Huang et al., 2022)
that concern vector observations are arguments. `normalize_observation` standardises a block by moments that include it,
while acting used those before, so the first ratio of a round is not quite 1: a divergence of up to 0.016 nats in the
first ten blocks of CartPole, Hopper and HalfCheetah, and below 0.001 later.
"""

import dataclasses
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.errors import BadSetting
from polyak.ops import policy_gradient
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import Parameters, Rollout, State, annealed, gae, standardised
from polyak.parts.minibatches import check_batch_size, check_sequence_length, shuffled
from polyak.parts.optimise import adam
from polyak.parts.policy_and_value import policy_and_value
from polyak.parts.ranges import Positive, Rate


class Batch(NamedTuple):
    """A rollout or a minibatch of it, and what a penalty needs besides."""

    steps: Rollout
    pi_old: PyTree  # parameters of the distribution that the round began with; () where updates are clipped


@dataclasses.dataclass(frozen=True)
class PPO:
    """Proximal policy optimisation: improves a policy in small steps, for discrete and continuous actions."""

    name: ClassVar[str] = "ppo"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: Rate = 3e-4
    """Step size of Adam."""
    n_steps: hyper.BlockSteps = 128
    batch_size: hyper.MinibatchSize = 256
    n_epochs: hyper.NumEpochs = 4
    gamma: hyper.Gamma = 0.99
    gae_lambda: hyper.GaeLambda = 0.95
    clip_range: Positive = 0.2
    """Change of an action's probability, as a share, beyond which its gradient is cut."""
    clip_range_vf: Positive | None = None
    """The same for the value's prediction, in units of return; None leaves it free."""
    normalize_advantage: bool = True
    """Give the advantages of each minibatch mean 0 and deviation 1."""
    ent_coef: hyper.EntCoef = 0.0
    vf_coef: hyper.VfCoef = 0.5
    max_grad_norm: hyper.MaxGradNorm = 0.5
    target_kl: Positive | None = None
    """Divergence in nats that a round of updates aims at: clipped ones end at 1.5 times as much; see kl_coef."""
    kl_coef: Rate | None = None
    """First weight of a penalty on that distance in place of clipping, then adapted to target_kl; None clips."""
    anneal_learning_rate: hyper.AnnealLearningRate = False
    anneal_clip_range: bool = False
    """Let the clip range fall linearly to 0 over the run."""
    log_std_init: hyper.LogStdInit = 0.0
    state_dependent_std: hyper.StateDependentStd = False
    squash: hyper.Squash = False
    normalize_observation: hyper.NormalizeObservation = False
    normalize_reward: hyper.NormalizeReward = False
    network: hyper.PolicyNetworkOrRecurrent = networks.MLP(hidden=(64, 64), activation="tanh")
    sequence_length: hyper.PolicySequenceLength = 16

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        block_size = self.n_steps * spec.num_envs
        check_batch_size("PPO", self.batch_size, self.n_steps, spec.num_envs)
        model = policy_and_value(self, spec)
        length = self.sequence_length if isinstance(self.network, networks.Recurrent) else 1
        check_sequence_length("PPO", length, self.n_steps, self.batch_size)
        penalised = self.kl_coef is not None
        if penalised and self.target_kl is None:
            raise BadSetting("PPO's kl_coef is adapted to target_kl, which is not given; 0.01 is a common one.")
        rule = adam(self.max_grad_norm, eps=1e-5)

        def init_optimizer(parameters: Parameters) -> PyTree:
            return (rule.init(parameters), jnp.float32(self.kl_coef)) if penalised else rule.init(parameters)

        def loss(
            parameters: Parameters, batch: Batch, clip_range: Array, kl_coef: Array
        ) -> tuple[Array, dict[str, Array]]:
            steps = batch.steps
            pi, value = model.policy(parameters, steps.inputs), model.value(parameters, steps.inputs, steps.sample)
            advantage = standardised(steps.advantage) if self.normalize_advantage else steps.advantage
            log_ratio = model.actions.log_prob(pi, steps.sample) - steps.log_prob
            if penalised:
                kl = model.actions.kl(batch.pi_old, pi)
                policy_loss = policy_gradient.penalised_surrogate(log_ratio, advantage, kl, kl_coef).mean()
                moved = {"kl": kl.mean(), "kl_coef": kl_coef}
            else:
                policy_loss = policy_gradient.clipped_surrogate(log_ratio, advantage, clip_range).mean()
                outside = jnp.abs(jnp.expm1(log_ratio)) > clip_range
                moved = {"kl": policy_gradient.approximate_kl(log_ratio).mean(), "clip_fraction": outside.mean()}
            value_loss = policy_gradient.clipped_value_loss(value, steps.value, steps.target, self.clip_range_vf).mean()
            entropy = model.actions.entropy(pi).mean()
            metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, **moved}
            return policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy, metrics

        def improve(state: State, rollout: Rollout, learning_rate: Array, key: Key):
            clip_range = annealed(self.clip_range, self.anneal_clip_range, state, spec, block_size)
            optimizer_state, kl_coef = state.optimiser if penalised else (state.optimiser, jnp.float32(0))
            block = Batch(rollout, model.policy(state.parameters, rollout.inputs) if penalised else ())

            def gradient_step(carry: tuple[Parameters, PyTree, Array], indices: Array):
                parameters, optimizer_state, near = carry
                batch = block if self.batch_size == block_size else jax.tree.map(lambda leaf: leaf[indices], block)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(
                    parameters, batch, clip_range, kl_coef
                )
                new_parameters, new_optimizer_state, norm = rule.update(
                    parameters, gradient, optimizer_state, learning_rate, value
                )
                if self.target_kl is not None and not penalised:
                    near = near & (metrics["kl"] <= 1.5 * self.target_kl)
                    new_parameters, new_optimizer_state = jax.tree.map(
                        lambda new, old: jnp.where(near, new, old),
                        (new_parameters, new_optimizer_state),
                        (parameters, optimizer_state),
                    )
                return (new_parameters, new_optimizer_state, near), {"loss": value, "gradient_norm": norm, **metrics}

            orders = shuffled(key, block_size // length, self.batch_size // length, self.n_epochs)
            start = (state.parameters, optimizer_state, jnp.bool_(True))
            (parameters, optimizer_state, _), metrics = jax.lax.scan(gradient_step, start, orders)
            if penalised:
                kl = model.actions.kl(block.pi_old, model.policy(parameters, rollout.inputs)).mean()
                optimizer_state = (
                    optimizer_state,
                    policy_gradient.adapted_kl_coef(kl_coef, kl, jnp.float32(self.target_kl)),
                )
            return parameters, optimizer_state, {name: values.mean() for name, values in metrics.items()}

        estimate = partial(gae, gae_lambda=self.gae_lambda)
        return actor_critic.agent(self, spec, model, init_optimizer, improve, estimate, length)
