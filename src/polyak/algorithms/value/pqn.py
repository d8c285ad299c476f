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
from polyak.parts.exploration import Exploration, exploring, measures
from polyak.parts.minibatches import check_batch_size, shuffled
from polyak.parts.normalise import Moments
from polyak.parts.optimise import RAdam
from polyak.parts.ranges import Share
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
    """What explores in place of the three above: epsilon:FIRST:LAST:SHARE, ladder, boltzmann, noise."""
    max_grad_norm: hyper.MaxGradNorm = 10.0
    anneal_learning_rate: hyper.AnnealLearningRate = False
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = RAdam()
    network: networks.Network = networks.MLP(hidden=(128, 128), layer_norm=True)
    """What computes Q; without layer_norm the values may diverge."""

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        num_actions = deep_q.num_actions(self, spec)
        first_action = int(spec.action_space.start)  # type: ignore[attr-defined]
        check_batch_size("PQN", self.batch_size, self.n_steps, spec.num_envs)
        block_size = self.n_steps * spec.num_envs
        encode = networks.encode(spec.observation_space)
        strategy = exploring(
            self.exploration, self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )
        optimiser = self.optimizer.rule(self.max_grad_norm)

        def init(key: Key) -> State:
            parameters = self.network.init(key, spec.observation_space, num_actions)
            moments = Moments.of((networks.num_features(spec.observation_space),)) if self.normalize_observation else ()
            return State(parameters, optimiser.init(parameters), moments, jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
            return strategy.noise(key, shape, num_actions)

        def features(state: State, obs: Array) -> Array:
            return state.features.standardise(encode(obs)) if self.normalize_observation else encode(obs)

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            q = state.parameters(features(state, obs))
            if explore:
                action = jax.vmap(strategy.choose, (0, None, None, 0))(q, (), state.step / spec.total_steps, noise)
            else:
                action = jnp.argmax(q, -1).astype(jnp.int32)
            return action + first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            if self.normalize_observation:
                state = state._replace(features=state.features.update(encode(block.obs).reshape(block_size, -1)))
            return state._replace(step=state.step + block_size)

        def samples(state: State, block: Step) -> Samples:
            v_t = state.parameters(features(state, block.next_obs)).max(-1)
            discount_t = td.discount(block.terminated, self.gamma)
            continues_t = 1.0 - (block.terminated | block.truncated)
            target = jax.vmap(returns.lambda_return, (1, 1, 1, 1, None), 1)(
                block.reward, discount_t, v_t, continues_t, self.trace_lambda
            )
            batch = Samples(features(state, block.obs), block.action - first_action, target)
            return jax.tree.map(lambda leaf: leaf.reshape(block_size, *leaf.shape[2:]), batch)

        def loss(parameters: PyTree, batch: Samples) -> tuple[Array, dict[str, Array]]:
            q = parameters(batch.x)
            error = batch.target - jnp.take_along_axis(q, batch.action[:, None], -1)[:, 0]
            return 0.5 * jnp.square(error).mean(), {
                "td_error": jnp.abs(error).mean(),
                "q_mean": q.mean(),
                "q_max": q.max(),
            }

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            learning_rate = jnp.float32(self.learning_rate)
            if self.anneal_learning_rate:
                learning_rate = linear_schedule(state.step - block_size, self.learning_rate, 0.0, spec.total_steps)
            data = samples(state, block)

            def gradient_step(carry: tuple[PyTree, PyTree], indices: Array):
                parameters, optimiser_state = carry
                batch = jax.tree.map(lambda leaf: leaf[indices], data)
                (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, batch)
                *moved, norm = optimiser.update(parameters, gradient, optimiser_state, learning_rate, value)
                return tuple(moved), {"loss": value, "gradient_norm": norm, **metrics}

            orders = shuffled(key, block_size, self.batch_size, self.n_epochs)
            (parameters, optimiser_state), metrics = jax.lax.scan(
                gradient_step, (state.parameters, state.optimiser), orders
            )
            metrics = {name: values.mean() for name, values in metrics.items()} | {"learning_rate": learning_rate}
            metrics |= measures(strategy, state.step / spec.total_steps)
            return state._replace(parameters=parameters, optimiser=optimiser_state), metrics

        def policy(state: State) -> State:
            return state._replace(optimiser=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """All that a PQN agent knows."""

    parameters: PyTree  # of Q
    optimiser: PyTree
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    step: Array  # [] int32, environment steps observed


class Samples(NamedTuple):
    """A block made ready for the loss; leaves [N, ...]."""

    x: Array  # features
    action: Array
    target: Array  # G
