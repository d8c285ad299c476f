"""Asynchronous PPO: PPO's clipped updates from steps of an older policy (Luo et al., 2020, "IMPACT: importance weighted
asynchronous architectures with clipped target networks").

    loss = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V(s) - vs)^2 / 2 - c_e H(pi(.|s))
    rho = min(mu(a|s) / pi_target(a|s), rho_max) pi(a|s) / mu(a|s)

for several epochs over each block of steps, in which mu acted, the policy of some updates ago. A and vs are V-trace
estimates by a target network, which is renewed after some blocks. So pi is held near one policy while several blocks
are learnt from, however many policies took their steps.

On a cluster mu is as old as blocks have to wait; in one program it is `policy_lag` updates old.

Deviations: a block is learnt from at once, and then forgotten; V is computed for the true successor of every step, so a
step cut by the clock keeps its bootstrap; policy and value are two networks; no penalty on the divergence.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops import policy_gradient
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import Parameters, Rollout, State, Trajectories, annealed, standardised, v_trace
from polyak.parts.asynchronous import lagging
from polyak.parts.minibatches import check_batch_size, check_sequence_length, shuffled
from polyak.parts.optimise import adam
from polyak.parts.policy_and_value import policy_and_value
from polyak.parts.ranges import Count, Positive, Rate


class Batch(NamedTuple):
    """A rollout or a minibatch of it, and the policy that it is held near."""

    steps: Rollout
    log_prob_target: Array  # log pi_target(a|s)


class Kept(NamedTuple):
    """What is kept from block to block besides the parameters."""

    optimizer: PyTree
    target: Parameters  # of the target network
    age: Array  # [] int32, blocks that were learnt from since it was renewed


@dataclasses.dataclass(frozen=True)
class APPO:
    """Asynchronous PPO: clipped updates that may learn from steps of an older policy, for all kinds of actions."""

    name: ClassVar[str] = "appo"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    flow: ClassVar[str] = "stream"

    learning_rate: Rate = 1e-3
    """Step size of Adam."""
    n_steps: hyper.BlockSteps = 32
    batch_size: hyper.MinibatchSize = 256
    n_epochs: hyper.NumEpochs = 4
    gamma: hyper.Gamma = 0.99
    policy_lag: hyper.PolicyLag = 1
    clip_rho: hyper.ClipRho = 1.0
    clip_c: hyper.ClipC = 1.0
    clip_range: Positive = 0.2
    """Change of an action's probability, as a share, beyond which its gradient is cut."""
    clip_behaviour: Positive = 2.0
    """The most that a step counts whose action the target network finds unlikelier than the policy that acted."""
    target_update_blocks: Count = 1
    """Blocks that are learnt from between two renewals of the target network."""
    normalize_advantage: bool = True
    """Give the advantages of each minibatch mean 0 and deviation 1."""
    ent_coef: hyper.EntCoef = 0.0
    vf_coef: hyper.VfCoef = 0.5
    max_grad_norm: hyper.MaxGradNorm = 0.5
    anneal_learning_rate: hyper.AnnealLearningRate = True
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
        check_batch_size("APPO", self.batch_size, self.n_steps, spec.num_envs)
        model = policy_and_value(self, spec)
        length = self.sequence_length if isinstance(self.network, networks.Recurrent) else 1
        check_sequence_length("APPO", length, self.n_steps, self.batch_size)
        rule = adam(self.max_grad_norm, eps=1e-5)

        def begin(parameters: Parameters) -> Kept:
            return Kept(rule.init(parameters), parameters, jnp.int32(0))

        def estimate(steps: Trajectories) -> tuple[Array, Array]:
            return v_trace(steps, self.clip_rho, self.clip_c)

        def loss(parameters: Parameters, batch: Batch, clip_range: Array) -> tuple[Array, dict[str, Array]]:
            steps = batch.steps
            pi, value = model.policy(parameters, steps.inputs), model.value(parameters, steps.inputs, steps.sample)
            advantage = standardised(steps.advantage) if self.normalize_advantage else steps.advantage
            log_prob = model.actions.log_prob(pi, steps.sample)
            held = jnp.minimum(steps.log_prob - batch.log_prob_target, jnp.log(self.clip_behaviour))
            log_ratio = held + log_prob - steps.log_prob
            policy_loss = policy_gradient.clipped_surrogate(log_ratio, advantage, clip_range).mean()
            value_loss = 0.5 * jnp.square(value - steps.target).mean()
            entropy = model.actions.entropy(pi).mean()
            metrics = {
                "policy_loss": policy_loss,
                "value_loss": value_loss,
                "entropy": entropy,
                "kl": policy_gradient.approximate_kl(log_prob - batch.log_prob_target).mean(),
                "clip_fraction": (jnp.abs(jnp.expm1(log_ratio)) > clip_range).mean(),
            }
            return policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy, metrics

        def improve(state: State, rollout: Rollout, learning_rate: Array, key: Key):
            kept: Kept = state.optimiser
            clip_range = annealed(self.clip_range, self.anneal_clip_range, state, spec, block_size)
            pi_target = model.policy(kept.target, rollout.inputs)
            block = Batch(rollout, model.actions.log_prob(pi_target, rollout.sample))

            def gradient_step(carry: tuple[Parameters, PyTree], indices: Array):
                parameters, optimizer_state = carry
                batch = block if self.batch_size == block_size else jax.tree.map(lambda leaf: leaf[indices], block)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, batch, clip_range)
                *moved, norm = rule.update(parameters, gradient, optimizer_state, learning_rate, value)
                return tuple(moved), {"loss": value, "gradient_norm": norm, **metrics}

            orders = shuffled(key, block_size // length, self.batch_size // length, self.n_epochs)
            start = (state.parameters, kept.optimizer)
            (parameters, optimizer_state), metrics = jax.lax.scan(gradient_step, start, orders)
            age = kept.age + 1
            is_due = age >= self.target_update_blocks
            target = jax.tree.map(lambda new, old: jnp.where(is_due, new, old), parameters, kept.target)
            kept = Kept(optimizer_state, target, jnp.where(is_due, 0, age))
            return parameters, kept, {name: values.mean() for name, values in metrics.items()}

        def by_target(state: State) -> State:
            return state._replace(parameters=state.optimiser.target)

        agent = actor_critic.agent(
            self, spec, model, begin, improve, estimate, length, off_policy=True, judge=by_target
        )
        return lagging(agent, self.policy_lag)
