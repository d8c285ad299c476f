"""Asynchronous Q-learning (Mnih et al., 2016, "Asynchronous methods for deep reinforcement learning", algorithms 1
and S2).

    G_t = r_t + gamma [(1 - lambda) max_a Q(s_t+1, a; theta-) + lambda G_t+1]
    theta <- theta - alpha d/dtheta' (Q(s_t, a_t; theta') - G_t)^2 / 2

by each worker after each block of a few steps, with theta' its copy of the parameters theta that all workers share and
have moved since it was made; theta- is a target network. Lambda 0 is the paper's one-step Q-learning, 1 its n-step
Q-learning. Each environment is a worker's, and explores in its own way; that takes the place of a replay memory. The
workers take turns in an order that is drawn from the seed, so that a run can be had again bit by bit.

Deviations: a worker's gradient is the mean over its block, not the sum; max_a Q is computed for the true successor of
every step, so a step cut by the clock keeps its bootstrap, and a block goes on where an episode ends; the workers'
epsilons are a ladder and stay, where the paper draws each from three and lets them fall; RMSProp divides by the
deviation of the gradient, not by its root mean square.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.ops import returns, td
from polyak.parts import deep_q, hyper, networks, off_policy
from polyak.parts.asynchronous import asynchronous
from polyak.parts.exploration import EpsilonLadder, Exploration
from polyak.parts.optimise import Gradient, RMSProp
from polyak.parts.q_network import acting, first_action, num_actions, q_network
from polyak.parts.ranges import Share
from polyak.parts.reader import reader
from polyak.parts.schedules import linear_schedule


class State(NamedTuple):
    """The state of the learner that all workers share."""

    parameters: PyTree  # of Q
    target: PyTree  # the target network
    optimiser: PyTree  # what its rule keeps; checkpoints have it by this name
    features: tuple[()]
    step: Array  # [] int32, environment steps of all workers


@dataclasses.dataclass(frozen=True)
class AsyncQLearning:
    """Asynchronous Q-learning: workers move shared action values in turns, without a replay memory."""

    name: ClassVar[str] = "async-q-learning"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    flow: ClassVar[str] = "gradients"

    learning_rate: hyper.LearningRate = 2e-3
    n_steps: hyper.BlockSteps = 16
    gamma: hyper.Gamma = 0.99
    trace_lambda: Share = 0.9
    """Lambda of the returns: 1 sums the rewards of the block (n-step), 0 trusts the value after a step (one-step)."""
    target_update_interval: hyper.TargetUpdateInterval = 1_000
    tau: hyper.Tau = 1.0
    exploration_fraction: hyper.ExplorationFraction = 0.1
    exploration_initial_eps: hyper.ExplorationInitialEps = 1.0
    exploration_final_eps: hyper.ExplorationFinalEps = 0.05
    exploration: Exploration | None = EpsilonLadder(alpha=2.0)
    """What explores: ladder, an epsilon for each worker; or default, the three above; epsilon:FIRST:LAST:SHARE, ..."""
    max_grad_norm: hyper.MaxGradNorm = 10.0
    anneal_learning_rate: hyper.AnnealLearningRate = True
    optimizer: hyper.Optimizer = RMSProp(decay=0.99, eps=0.1)
    network: networks.Network = networks.MLP(hidden=(128, 128), layer_norm=True)
    """The network that computes Q: mlp, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        networks.refuse_noisy("AsyncQLearning", self.network)
        network = q_network(self.network, spec, num_actions(self, spec))
        read = reader(spec.observation_space, False)
        choose = acting(self, spec, network, read)
        rule = self.optimizer.rule(self.max_grad_norm)

        def init(key: Key) -> State:
            parameters = network.init(key)
            return State(parameters, parameters, rule.init(parameters), read.init(), jnp.int32(0))

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + block.reward.size)

        def gradient(state: State, block: Step, key: Key) -> Gradient:
            v_t = state.target(read.features((), block.next_obs)).max(-1)
            discount_t = td.discount(block.terminated, self.gamma)
            continues_t = 1.0 - (block.terminated | block.truncated)
            target = jax.vmap(returns.lambda_return, (1, 1, 1, 1, None), 1)(
                block.reward, discount_t, v_t, continues_t, self.trace_lambda
            )
            a_tm1 = block.action - first_action(spec)

            def loss(parameters: PyTree) -> tuple[Array, dict[str, Array]]:
                q_tm1 = parameters(read.features((), block.obs))
                error = target - jnp.take_along_axis(q_tm1, a_tm1[..., None], -1)[..., 0]
                return 0.5 * jnp.square(error).mean(), deep_q.measured(error, q_tm1)

            (value, metrics), of_parameters = jax.value_and_grad(loss, has_aux=True)(state.parameters)
            return Gradient(of_parameters, value, metrics)

        def apply(state: State, gradient: Gradient) -> tuple[State, dict[str, Array]]:
            learning_rate = jnp.float32(self.learning_rate)
            if self.anneal_learning_rate:
                learning_rate = linear_schedule(state.step - self.n_steps, self.learning_rate, 0.0, spec.total_steps)
            parameters, optimizer_state, norm = rule.update(
                state.parameters, gradient.parameters, state.optimiser, learning_rate, gradient.loss
            )
            every = self.target_update_interval
            target = off_policy.renewed(state.target, parameters, state.step, every, self.n_steps, self.tau)
            metrics = {"loss": gradient.loss, "gradient_norm": norm, "learning_rate": learning_rate, **gradient.metrics}
            metrics |= choose.measures(state.step / spec.total_steps)
            return state._replace(parameters=parameters, target=target, optimiser=optimizer_state), metrics

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            return apply(state, gradient(state, block, key))

        def policy(state: State) -> State:
            return state._replace(target=(), optimiser=())

        def publish(state: State) -> State:
            return state._replace(optimiser=())

        worker = Agent(init, no_memory, choose.noise, choose.act, observe, learn, policy)
        worker = worker._replace(publish=publish, gradient=gradient, apply=apply)
        return asynchronous(worker, spec.num_envs)
