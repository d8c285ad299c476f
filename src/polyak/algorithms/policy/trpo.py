"""Trust region policy optimisation (Schulman et al., 2015, "Trust region policy optimization").

    maximise  mean of pi(a|s) / pi_old(a|s) A   subject to   mean of KL(pi_old(.|s) || pi(.|s)) <= delta

once for each block of fresh steps: the natural gradient F^-1 g by conjugate gradients (appendix C), as far along it as
the divergence is delta to second order, and back along it until the objective has grown and the divergence itself is
within delta. With `line_search_steps` 0 there is no such search: that is the natural policy gradient (Kakade, 2001,
"A natural policy gradient") with a step of a given divergence. V is fitted by Adam.

Deviations: advantages come from generalised advantage estimation; V is computed for the true successor of every step,
so a step cut by the clock keeps its bootstrap.
"""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.ops import natural_gradient
from polyak.parts import actor_critic, hyper, networks
from polyak.parts.actor_critic import Parameters, Rollout, State, gae, standardised
from polyak.parts.minibatches import check_batch_size, shuffled
from polyak.parts.optimise import adam
from polyak.parts.policy_and_value import policy_and_value
from polyak.parts.ranges import Count, NotNegative, OpenShare, Positive, Rate, Whole


@dataclasses.dataclass(frozen=True)
class TRPO:
    """Trust region policy optimisation: natural-gradient steps of a given size, for discrete and continuous actions."""

    name: ClassVar[str] = "trpo"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: Rate = 1e-3
    """Step size of Adam, which fits the value."""
    n_steps: hyper.BlockSteps = 256
    batch_size: Count = 128
    """Steps per gradient step of the value; divides n_steps x num_envs."""
    n_epochs: Count = 10
    """Passes of the value over each block of steps."""
    gamma: hyper.Gamma = 0.99
    gae_lambda: hyper.GaeLambda = 0.95
    target_kl: Positive = 0.01
    """delta: the mean divergence, in nats, by which an update may move the policy."""
    cg_iterations: Count = 15
    """Iterations of conjugate gradients."""
    cg_damping: NotNegative = 0.1
    """Number added to the diagonal of the Fisher information."""
    line_search_steps: Whole = 10
    """Times that a step which does not improve is shortened before it is given up; 0 takes every step as it is."""
    line_search_shrink: OpenShare = 0.8
    """Factor by which it is shortened, in (0, 1)."""
    normalize_advantage: bool = True
    """Give the advantages of each block mean 0 and deviation 1."""
    max_grad_norm: Positive = 0.5
    """Norm at which the value's gradient is clipped."""
    anneal_learning_rate: hyper.AnnealLearningRate = False
    log_std_init: hyper.LogStdInit = 0.0
    state_dependent_std: hyper.StateDependentStd = False
    squash: hyper.Squash = False
    normalize_observation: hyper.NormalizeObservation = False
    normalize_reward: hyper.NormalizeReward = False
    network: hyper.PolicyNetwork = networks.MLP(hidden=(64, 64), activation="tanh")

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        check_batch_size("TRPO", self.batch_size, self.n_steps, spec.num_envs)
        block_size = self.n_steps * spec.num_envs
        model = policy_and_value(self, spec)
        rule = adam(self.max_grad_norm, eps=1e-5)

        def improve_policy(actor: Parameters, rollout: Rollout) -> tuple[Parameters, dict[str, Array]]:
            advantage = standardised(rollout.advantage) if self.normalize_advantage else rollout.advantage
            pi_old = model.policy(actor, rollout.inputs)

            def objective(actor: Parameters) -> Array:
                pi = model.policy(actor, rollout.inputs)
                log_ratio = model.actions.log_prob(pi, rollout.sample) - rollout.log_prob
                return (jnp.exp(log_ratio) * advantage).mean()

            def mean_kl(actor: Parameters) -> Array:
                return model.actions.kl(pi_old, model.policy(actor, rollout.inputs)).mean()

            def fisher(vector: PyTree) -> PyTree:
                return natural_gradient.fisher_product(mean_kl, actor, vector, self.cg_damping)

            before, gradient = jax.value_and_grad(objective)(actor)
            direction = natural_gradient.conjugate_gradient(fisher, gradient, self.cg_iterations)
            length = natural_gradient.step_length(direction, fisher(direction), self.target_kl)

            def step(share: Array) -> Parameters:
                return natural_gradient.moved(actor, share * length, direction)

            def is_good(share: Array) -> Array:
                moved = step(share)
                return (objective(moved) > before) & (mean_kl(moved) <= self.target_kl)

            share = jnp.float32(1)
            if self.line_search_steps:
                share = natural_gradient.line_search(is_good, self.line_search_steps, self.line_search_shrink)
            sound = jnp.isfinite(before + length + natural_gradient.dot(gradient, direction))
            moved = jax.tree.map(lambda new, old: jnp.where(sound, new, old), step(share), actor)
            metrics = {
                "policy_loss": -before,
                "improvement": objective(moved) - before,
                "kl": mean_kl(moved),
                "step_share": share,
                "entropy": model.actions.entropy(pi_old).mean(),
            }
            return moved, metrics

        def value_loss(critic: Parameters, batch: Rollout) -> Array:
            return 0.5 * jnp.square(model.value(critic, batch.inputs, batch.sample) - batch.target).mean()

        def fit_value(state: State, rollout: Rollout, learning_rate: Array, key: Key):
            def gradient_step(carry: tuple[Parameters, PyTree], indices: Array):
                critic, optimizer_state = carry
                batch = jax.tree.map(lambda leaf: leaf[indices], rollout)
                loss, gradient = jax.value_and_grad(value_loss)(critic, batch)
                critic, optimizer_state, norm = rule.update(critic, gradient, optimizer_state, learning_rate, loss)
                return (critic, optimizer_state), {"value_loss": loss, "gradient_norm": norm}

            orders = shuffled(key, block_size, self.batch_size, self.n_epochs)
            start = _critic(state.parameters), state.optimiser
            (critic, optimizer_state), metrics = jax.lax.scan(gradient_step, start, orders)
            return critic, optimizer_state, {name: values.mean() for name, values in metrics.items()}

        def improve(state: State, rollout: Rollout, learning_rate: Array, key: Key):
            actor, improving = improve_policy(state.parameters._replace(value=()), rollout)
            critic, optimizer_state, fitting = fit_value(state, rollout, learning_rate, key)
            return actor._replace(value=critic.value), optimizer_state, improving | fitting

        def init_optimizer(parameters: Parameters) -> PyTree:
            return rule.init(_critic(parameters))

        estimate = partial(gae, gae_lambda=self.gae_lambda)
        return actor_critic.agent(self, spec, model, init_optimizer, improve, estimate)


def _critic(parameters: Parameters) -> Parameters:
    """Only the value."""
    return Parameters((), (), parameters.value)
