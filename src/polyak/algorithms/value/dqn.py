"""Deep Q-network (Mnih et al., 2015, "Human-level control through deep reinforcement learning").

    theta <- theta - alpha d/dtheta huber(r + gamma (1 - terminated) max_a Q_target(s', a) - Q_theta(s, a))

on transitions drawn from a replay memory, with Q_target a copy of Q_theta that is renewed now and then. `double`
lets Q_theta choose the action that Q_target judges (van Hasselt et al., 2016); `n_steps` sums that many rewards before
Q_target stands for the rest (Hessel et al., 2018, section "Multi-step learning"); `network=Dueling()` splits value and
advantage (Wang et al., 2016); `replay=Prioritised()` draws transitions of which much is left to learn (Schaul et al.,
2016).

Deviations: Adam for RMSProp; the gradient's norm is clipped, besides the Huber loss that clips each error; the steps
before `learning_starts` follow the epsilon schedule, which is near 1 there, instead of a uniform policy.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.ops import explore as exploration
from polyak.ops import td
from polyak.parts import networks
from polyak.parts import replay as replays
from polyak.parts.normalise import Moments
from polyak.parts.optimise import adam, polyak_average
from polyak.parts.schedules import linear

METRICS = ("loss", "gradient_norm", "td_error", "q_mean")  # means over a round of updates


@dataclasses.dataclass(frozen=True)
class DQN:
    """Deep Q-network: learns action values from a replay memory, for discrete actions."""

    name: ClassVar[str] = "dqn"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False

    learning_rate: float = 1e-4
    """Step size of Adam."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    buffer_size: int = 100_000
    """Transitions that the replay memory holds."""
    learning_starts: int = 1_000
    """Environment steps before the first update."""
    batch_size: int = 64
    """Transitions per gradient step."""
    train_freq: int = 4
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 1
    """Gradient steps per round; -1 for as many as transitions were collected."""
    target_update_interval: int = 1_000
    """Environment steps between two renewals of the target network."""
    tau: float = 1.0
    """How far a renewal moves the target towards the online network; 1 is a copy."""
    exploration_fraction: float = 0.1
    """Share of the run over which epsilon falls from its first value to its last."""
    exploration_initial_eps: float = 1.0
    """Epsilon at the first step."""
    exploration_final_eps: float = 0.05
    """Epsilon once the schedule is over."""
    anneal_learning_rate: bool = False
    """Let the learning rate fall linearly to 0 over the run, which steadies the final policy."""
    max_grad_norm: float = 10.0
    """Norm at which the gradient is clipped."""
    n_steps: int = 1
    """Rewards that are summed before a value stands for the rest (not corrected for the actions in between)."""
    huber_delta: float = 1.0
    """TD error, in units of return, beyond which the loss grows linearly; above all errors it is the squared loss."""
    double: bool = False
    """Let the online network choose the action that the target network judges."""
    normalize_observation: bool = False
    """Standardise observations by their running mean and deviation."""
    replay: replays.Setting = replays.Uniform()
    """Which transitions are learnt from: uniform, or prioritised with alpha, beta at the start and at the end."""
    frame_stack: int = 1
    """Frames [k, height, width] that an observation stacks; above 1 the replay keeps each of them once."""
    network: networks.Network = networks.MLP(hidden=(256, 256))
    """What computes Q: mlp, dueling, minatar."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        if not isinstance(spec.action_space, gymnasium.spaces.Discrete):
            raise BadSetting(f"DQN needs discrete actions, and this environment's are {spec.action_space}.")
        block_size = self.train_freq * spec.num_envs
        gradient_steps = block_size if self.gradient_steps == -1 else self.gradient_steps
        num_actions, first_action = int(spec.action_space.n), int(spec.action_space.start)
        encode = networks.encode(spec.observation_space)
        memory = replays.memory(
            self.replay,
            capacity=self.buffer_size,
            spec=spec,
            block_length=self.train_freq,
            n_steps=self.n_steps,
            gamma=self.gamma,
            frame_stack=self.frame_stack,
        )
        optimiser = adam(self.max_grad_norm)

        def init(key: Key) -> State:
            parameters = self.network.init(key, spec.observation_space, num_actions)
            moments = Moments.of((networks.num_features(spec.observation_space),)) if self.normalize_observation else ()
            return State(
                parameters=parameters,
                target=parameters,
                optimiser=optimiser.init(parameters),
                features=moments,
                replay=memory.init(),
                step=jnp.int32(0),
            )

        def noise(key: Key, shape: tuple[int, ...]) -> exploration.EpsilonGreedyNoise:
            return exploration.epsilon_greedy_noise(key, shape, num_actions)

        def epsilon(step: Array) -> Array:
            duration = self.exploration_fraction * spec.total_steps
            return linear(step, self.exploration_initial_eps, self.exploration_final_eps, duration)

        def features(state: State, obs: Array) -> Array:
            return state.features.standardise(encode(obs)) if self.normalize_observation else encode(obs)

        def act(state: State, carry: tuple[()], obs: Array, noise: exploration.EpsilonGreedyNoise, explore: bool):
            q = state.parameters(features(state, obs))
            if explore:
                action = jax.vmap(exploration.epsilon_greedy, (0, None, 0))(q, epsilon(state.step), noise)
            else:
                action = jnp.argmax(q, -1).astype(jnp.int32)
            return action + first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            if self.normalize_observation:
                state = state._replace(features=state.features.update(encode(block.obs).reshape(block_size, -1)))
            block = block._replace(action=block.action - first_action)
            return state._replace(replay=memory.add(state.replay, block), step=state.step + block_size)

        def loss(parameters: PyTree, target: PyTree, batch: Batch) -> tuple[Array, tuple[Array, Array]]:
            q_tm1, q_t = parameters(batch.x_tm1), target(batch.x_t)
            if self.double:
                q_t_selector = jax.lax.stop_gradient(parameters(batch.x_t))
                td_error = jax.vmap(td.double_q_learning)(
                    q_tm1, batch.a_tm1, batch.r_t, batch.discount_t, q_t, q_t_selector
                )
            else:
                td_error = jax.vmap(td.q_learning)(q_tm1, batch.a_tm1, batch.r_t, batch.discount_t, q_t)
            return jnp.mean(batch.weights * td.huber(td_error, self.huber_delta)), (jnp.abs(td_error), q_tm1.mean())

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            interval = self.target_update_interval
            renew = state.step // interval > (state.step - block_size) // interval
            target = jax.lax.cond(
                renew, lambda: polyak_average(state.target, state.parameters, self.tau), lambda: state.target
            )

            learning_rate = jnp.float32(self.learning_rate)
            if self.anneal_learning_rate:
                learning_rate = linear(state.step, self.learning_rate, 0.0, spec.total_steps)

            progress = state.step / spec.total_steps

            def gradient_step(i: Array, carry: tuple[PyTree, PyTree, PyTree, dict[str, Array]]):
                parameters, optimiser_state, remembered, sums = carry
                sample = memory.sample(remembered, jax.random.fold_in(key, i), self.batch_size, progress)
                x_tm1, x_t = features(state, sample.obs), features(state, sample.next_obs)
                batch = Batch(x_tm1, sample.action, sample.r_t, sample.discount_t, x_t, sample.weights)
                (value, (error, q_mean)), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, target, batch)
                parameters, optimiser_state, norm = optimiser.update(
                    parameters, gradient, optimiser_state, learning_rate, value
                )
                remembered = memory.update(remembered, sample, error)
                metrics = {"loss": value, "gradient_norm": norm, "td_error": error.mean(), "q_mean": q_mean}
                return parameters, optimiser_state, remembered, {name: sums[name] + metrics[name] for name in METRICS}

            # Traced, because XLA unrolls a loop of one round, fuses its reads with the write of `observe`, and copies
            # the memory that it then cannot overwrite in place.
            rounds = jnp.where(memory.size(state.replay) > 0, gradient_steps, 0)
            sums = dict.fromkeys(METRICS, jnp.float32(0))
            parameters, optimiser_state, remembered, sums = jax.lax.fori_loop(
                0, rounds, gradient_step, (state.parameters, state.optimiser, state.replay, sums)
            )
            metrics = {name: total / rounds for name, total in sums.items()} | {"epsilon": epsilon(state.step)}
            learnt = {"parameters": parameters, "target": target, "optimiser": optimiser_state, "replay": remembered}
            return state._replace(**learnt), metrics | memory.metrics(remembered)

        def policy(state: State) -> State:
            return state._replace(target=(), optimiser=(), replay=())

        def cut(state: State, which: Array) -> State:
            return state._replace(replay=memory.cut(state.replay, which))

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class Batch(NamedTuple):
    """What a gradient step is made of; N = batch_size."""

    x_tm1: Array  # [N, features] of the states left
    a_tm1: Array  # [N] the actions taken there
    r_t: Array  # [N] the reward, or the discounted sum of n
    discount_t: Array  # [N] of the value of the states reached
    x_t: Array  # [N, features] of the states reached
    weights: Array  # [N] of each error in the loss


class State(NamedTuple):
    """All that a DQN agent knows."""

    parameters: PyTree  # the online network
    target: PyTree  # the target network
    optimiser: PyTree
    features: PyTree  # Moments of the observations, or ()
    replay: PyTree  # what is remembered; () in a policy
    step: Array  # [] int32, environment steps observed
