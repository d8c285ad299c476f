"""Parallelised Q-network (Gallici et al., 2024, "Simplifying deep temporal difference learning", algorithm 1).

    G_t = r_t + gamma [(1 - lambda) max_a Q(s_t+1, a) + lambda G_t+1]
    theta <- theta - alpha d/dtheta (Q_theta(s_t, a_t) - G_t)^2 / 2

for several epochs over each block of fresh steps of many environments. There is no replay memory and no target network:
layer normalisation keeps the values from running away, and many environments keep the steps of a block different.

Deviations: max_a Q is computed for the true successor of every step, so a step cut by the clock keeps its bootstrap,
which the published code loses; the networks' layer normalisation has no gains of its own.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.ops import returns, td
from polyak.parts import deep_q, hyper, networks
from polyak.parts.exploration import Exploration
from polyak.parts.minibatches import check_batch_size, shuffled
from polyak.parts.optimise import RAdam
from polyak.parts.q_network import acting, first_action, num_actions, q_network
from polyak.parts.ranges import Share
from polyak.parts.reader import reader
from polyak.parts.schedules import linear_schedule


@dataclasses.dataclass(frozen=True)
class PQN:
    """Parallelised Q-network: learns action values from many environments at once, for discrete actions."""

    name: ClassVar[str] = "pqn"
    default_num_envs: ClassVar[int] = 32
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    learning_rate: hyper.LearningRate = 2.5e-4
    n_steps: hyper.BlockSteps = 32
    batch_size: hyper.MinibatchSize = 128
    n_epochs: hyper.NumEpochs = 2
    gamma: hyper.Gamma = 0.99
    trace_lambda: Share = 0.65
    """Lambda of the returns: 0 trusts the value after a step, 1 the rewards to the end of the block."""
    exploration_fraction: hyper.ExplorationFraction = 0.1
    exploration_initial_eps: hyper.ExplorationInitialEps = 1.0
    exploration_final_eps: hyper.ExplorationFinalEps = 0.05
    exploration: Exploration | None = None
    """The exploration in place of the three above: epsilon:FIRST:LAST:SHARE, ladder, boltzmann, noise."""
    max_grad_norm: hyper.MaxGradNorm = 10.0
    anneal_learning_rate: hyper.AnnealLearningRate = False
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = RAdam()
    network: networks.Network = networks.MLP(hidden=(128, 128), layer_norm=True)
    """The network that computes Q; without layer_norm the values may diverge."""

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        check_batch_size("PQN", self.batch_size, self.n_steps, spec.num_envs)
        networks.refuse_noisy("PQN", self.network)
        block_size = self.n_steps * spec.num_envs
        network = q_network(self.network, spec, num_actions(self, spec))
        read = reader(spec.observation_space, self.normalize_observation)
        choose = acting(self, spec, network, read)
        rule = self.optimizer.rule(self.max_grad_norm)

        def init(key: Key) -> State:
            parameters = network.init(key)
            return State(parameters, rule.init(parameters), read.init(), jnp.int32(0))

        def observe(state: State, block: Step) -> State:
            return state._replace(features=read.update(state.features, block.obs), step=state.step + block_size)

        def samples(state: State, block: Step) -> Samples:
            v_t = state.parameters(read.features(state.features, block.next_obs)).max(-1)
            discount_t = td.discount(block.terminated, self.gamma)
            continues_t = 1.0 - (block.terminated | block.truncated)
            target = jax.vmap(returns.lambda_return, (1, 1, 1, 1, None), 1)(
                block.reward, discount_t, v_t, continues_t, self.trace_lambda
            )
            x = read.features(state.features, block.obs)
            batch = Samples(x, block.action - first_action(spec), target)
            return jax.tree.map(lambda leaf: leaf.reshape(block_size, *leaf.shape[2:]), batch)

        def loss(parameters: PyTree, batch: Samples) -> tuple[Array, dict[str, Array]]:
            q = parameters(batch.x)
            error = batch.target - jnp.take_along_axis(q, batch.action[:, None], -1)[:, 0]
            return 0.5 * jnp.square(error).mean(), deep_q.measured(error, q)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            learning_rate = jnp.float32(self.learning_rate)
            if self.anneal_learning_rate:
                learning_rate = linear_schedule(state.step - block_size, self.learning_rate, 0.0, spec.total_steps)
            data = samples(state, block)

            def gradient_step(carry: tuple[PyTree, PyTree], indices: Array):
                parameters, optimizer_state = carry
                batch = jax.tree.map(lambda leaf: leaf[indices], data)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, batch)
                *moved, norm = rule.update(parameters, gradient, optimizer_state, learning_rate, value)
                return tuple(moved), {"loss": value, "gradient_norm": norm, **metrics}

            orders = shuffled(key, block_size, self.batch_size, self.n_epochs)
            (parameters, optimizer_state), metrics = jax.lax.scan(
                gradient_step, (state.parameters, state.optimiser), orders
            )
            metrics = {name: values.mean() for name, values in metrics.items()} | {"learning_rate": learning_rate}
            metrics |= choose.measures(state.step / spec.total_steps)
            return state._replace(parameters=parameters, optimiser=optimizer_state), metrics

        def policy(state: State) -> State:
            return state._replace(optimiser=())

        return Agent(init, no_memory, choose.noise, choose.act, observe, learn, policy)


class State(NamedTuple):
    """The state of a PQN agent."""

    parameters: PyTree  # of Q
    optimiser: PyTree  # what its rule keeps; checkpoints have it by this name
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    step: Array  # [] int32, environment steps observed


class Samples(NamedTuple):
    """A block made ready for the loss; leaves [N, ...]."""

    x: Array  # features
    action: Array
    target: Array  # G
