"""NeuralLinear: Thompson sampling of rewards that are linear in a network's last hidden layer (Riquelme, Tucker and
Snoek, 2018, "Deep Bayesian bandits showdown", section 3).

    r = phi(x) . beta_a + noise of variance sigma_a^2            for each arm a, phi the last hidden layer
    sigma_a^2 ~ InverseGamma(a_0, b_0),   beta_a ~ N(0, sigma_a^2 / lambda I)
    beta~_a ~ N(beta_a, sigma_a^2 A_a^-1),   a_t = argmax_a phi(x) . beta~_a

The posterior learns from every pull. Now and then the network, with a linear head that serves for nothing else, is
trained by gradient steps on the pulls so far, and the posterior is made anew from all of them with the new features.

Deviations: sigma_a^2 is the mean of its posterior, b / (a - 1), and no sample of it; samples of an arm's reward, which
is all that is compared, are drawn instead of beta~; pulls beyond `buffer_size` are forgotten; an intercept is added to
the features; Adam with a constant rate; no pulls of every arm in turn to begin with, which the prior makes unnecessary.
"""

import dataclasses
from functools import partial
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory, one_by_one
from polyak.parts import hyper, linear_bandit, networks, ridge
from polyak.parts.finite import LARGEST
from polyak.parts.networks.layers import linear
from polyak.parts.optimise import Adam
from polyak.parts.q_network import first_action, num_actions
from polyak.parts.ranges import Positive, Range
from polyak.parts.ridge import Ridge
from polyak.parts.ring import Ring, take
from polyak.spaces import row_shape, storage_type


@dataclasses.dataclass(frozen=True)
class NeuralLinear:
    """NeuralLinear: Bayesian linear regressions on the last hidden layer of a network, for discrete actions."""

    name: ClassVar[str] = "neural-linear"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.LearningRate = 1e-3
    buffer_size: hyper.BufferSize = 20_000
    batch_size: hyper.BatchSize = 64
    train_freq: hyper.TrainFreq = 50
    gradient_steps: hyper.GradientSteps = 100
    max_grad_norm: hyper.MaxGradNorm = 10.0
    optimizer: hyper.Optimizer = Adam()
    regularization: linear_bandit.Regularization = 0.25
    noise_shape: Annotated[float, Range(1, above=True)] = 6.0
    """a_0 of the prior of the noise's variance: half the number of pulls that it counts for."""
    noise_scale: Positive = 6.0
    """b_0, in squared units of reward: the variance is b_0 / (a_0 - 1) before the first pull."""
    network: networks.Network = networks.MLP(hidden=(100,))
    """The network whose last hidden layer is read: mlp, minatar, nips, nature, impala."""

    def agent(self, spec: Spec) -> Agent:
        networks.refuse_noisy("NeuralLinear", self.network)
        count, first, space = num_actions(self, spec), first_action(spec), spec.observation_space
        encoded, rule = networks.encode(space), self.optimizer.rule(self.max_grad_norm)
        ring = Ring.of(self.buffer_size, spec.num_envs)
        round_steps = self.train_freq * spec.num_envs if self.gradient_steps == -1 else self.gradient_steps

        def network(key: Key) -> tuple[Network, int]:
            torso_key, head_key = jax.random.split(key)
            torso, width = self.network.torso(torso_key, space, networks.uniform)
            return Network(torso, linear(head_key, width, count, networks.uniform)), width

        def prior(width: int) -> Posterior:
            one = Posterior(
                ridge.prior(width + 1, self.regularization),
                jnp.float32(self.noise_shape),
                jnp.float32(self.noise_scale),
            )
            return jax.tree.map(lambda leaf: jnp.tile(leaf, (count, *[1] * leaf.ndim)), one)

        def init(key: Key) -> State:
            parameters, width = network(key)
            obs = jnp.zeros(row_shape(space), storage_type(space))
            pulls = ring.init(Pull(obs, jnp.int32(0), jnp.float32(0)))
            return State(parameters, rule.init(parameters), prior(width), pulls, jnp.float32(0), jnp.int32(0))

        def phi(parameters: Network, obs: Array) -> Array:
            """The features [N, d] of observations [N, ...]."""
            hidden = parameters.torso(encoded(obs))
            return jnp.concatenate([hidden, jnp.ones((len(hidden), 1))], -1)

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.normal(key, (*shape, count))

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            features, (regressions, *variance) = phi(state.parameters, obs), state.posterior
            reward = jnp.matmul(features, regressions.mean.T, precision=ridge.HIGHEST)
            if explore:
                spread = jax.vmap(ridge.spread, (0, None), 1)(regressions.root, features)
                reward += deviation(*variance) * jnp.linalg.norm(spread, axis=-1) * noise
            return jnp.argmax(reward, -1).astype(jnp.int32) + first, carry, ()

        def observe(state: State, block: Step) -> State:
            pulls = ring.add(state.replay, Pull(block.obs, block.action - first, block.reward))
            return state._replace(replay=pulls, step=state.step + block.reward.size)

        def update(parameters: Network, posterior: Posterior, pull: Pull) -> tuple[Posterior, tuple[Array, Array]]:
            x, arm = phi(parameters, pull.obs[None])[0], pull.action
            reward = jnp.where(jnp.square(pull.reward) < LARGEST, pull.reward, jnp.nan)
            regressions, (error, variance) = linear_bandit.update(posterior.regressions, arm, x, reward)
            surprise = jnp.where(jnp.isnan(error), 0.0, jnp.square(error) / (2.0 * (1.0 + variance)))
            half = jnp.where(jnp.isnan(error), 0.0, 0.5)
            shape, scale = posterior.shape.at[arm].add(half), posterior.scale.at[arm].add(surprise)
            return Posterior(regressions, shape, scale), (error, variance)

        def loss(parameters: Network, batch: Pull) -> Array:
            predicted = parameters.head(parameters.torso(encoded(batch.obs)))
            error = batch.reward - jnp.take_along_axis(predicted, batch.action[:, None], -1)[:, 0]
            return 0.5 * jnp.square(error).mean()

        def gradient_step(pulls: PyTree, key: Key, i: Array, state: tuple[Network, PyTree, Array]):
            parameters, moments, _ = state
            indices = jax.random.randint(jax.random.fold_in(key, i), (self.batch_size,), 0, pulls.size)
            value, gradient = jax.value_and_grad(loss)(parameters, take(pulls.storage, indices))
            parameters, moments, _ = rule.update(parameters, gradient, moments, self.learning_rate, value)
            return parameters, moments, value

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            new = one_by_one(block)
            pulls = Pull(new.obs, new.action - first, new.reward)
            posterior, (errors, variances) = jax.lax.scan(partial(update, state.parameters), state.posterior, pulls)

            # Loops of no turns in place of `cond`, both sides of which would be computed under `vmap`.
            due = (state.step // spec.num_envs % self.train_freq == 0) & jnp.isfinite(errors).all()
            kept, steps = state.replay, jnp.where(due, round_steps, 0)
            trained = state.parameters, state.optimiser, state.loss
            parameters, moments, value = jax.lax.fori_loop(0, steps, partial(gradient_step, kept, key), trained)

            def again(i: Array, posterior: Posterior) -> Posterior:
                return update(parameters, posterior, jax.tree.map(lambda leaf: leaf[i], kept.storage))[0]

            start = jax.tree.map(partial(jnp.where, due), prior(posterior.regressions.mean.shape[-1] - 1), posterior)
            posterior = jax.lax.fori_loop(0, jnp.where(due, kept.size, 0), again, start)
            metrics = linear_bandit.measured(errors, variances) | {"loss": value}
            metrics["noise_std"] = deviation(posterior.shape, posterior.scale).mean()
            return State(parameters, moments, posterior, kept, value, state.step), metrics

        def policy(state: State) -> State:
            means = Posterior(state.posterior.regressions._replace(root=()), (), ())
            return state._replace(optimiser=(), posterior=means, replay=(), loss=())

        def publish(state: State) -> State:
            return state._replace(optimiser=(), replay=(), loss=())

        return Agent(init, no_memory, noise, act, observe, learn, policy, publish=publish)


def deviation(shape: Array, scale: Array) -> Array:
    """sigma of the noise, by the mean of the variance under InverseGamma(shape, scale); any shapes."""
    return jnp.sqrt(scale / (shape - 1.0))


class Network(NamedTuple):
    """The network that is trained."""

    torso: PyTree  # x [N, n] -> the last hidden layer [N, d - 1]
    head: PyTree  # -> predicted rewards [N, K]; it trains the torso and predicts nothing


class Posterior(NamedTuple):
    """What is known of the rewards of each arm; `mean` alone in a policy."""

    regressions: Ridge  # leaves [K, ...]
    shape: PyTree  # [K] a, of the variance of the noise
    scale: PyTree  # [K] b


class Pull(NamedTuple):
    """A pull as it is kept; leaves [...] alone, [N, ...] in a batch, [capacity, ...] in the memory."""

    obs: Array
    action: Array  # int32, counted from 0
    reward: Array


class State(NamedTuple):
    """The state of a NeuralLinear agent; () in a policy for what acting does not need."""

    parameters: Network
    optimiser: PyTree  # what its rule keeps; checkpoints have it by this name
    posterior: Posterior
    replay: PyTree  # the pulls so far
    loss: PyTree  # [] of the newest gradient step
    step: Array  # [] int32, environment steps observed
