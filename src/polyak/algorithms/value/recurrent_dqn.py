"""Recurrent DQN (Kapturowski et al., 2019, "Recurrent experience replay in distributed reinforcement learning", R2D2).

    theta <- theta - alpha d/dtheta huber(h(R_n + gamma^n h^-1(max_a Q_target(s_n, a))) - Q_theta(s, a))

for each step of sequences drawn from a replay memory, with s all that a recurrent network remembers of the episode. A
sequence is kept with the memory that the network had where it begins; as the network has changed since, its first
`burn_in` steps are only read, which brings that memory up to date.

Deviations: one process collects and learns; the last action and reward are not shown to the network; every step of a
sequence is learnt from, the last ones with fewer than n rewards, because the true successor of each step is kept.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step
from polyak.errors import BadSetting
from polyak.ops import returns, td, transforms
from polyak.parts import deep_q, hyper, networks, replay as replays
from polyak.parts.normalise import Moments
from polyak.parts.optimise import Adam
from polyak.parts.ranges import Count, Whole
from polyak.parts.sequences import Sequences, sequence_memory
from polyak.parts.transitions import Transition

LARGEST_SHARE = 0.9  # of the largest error in a sequence's priority; the rest is their mean's


@dataclasses.dataclass(frozen=True)
class RecurrentDQN:
    """Recurrent DQN: learns action values of all that was seen so far from sequences, for discrete actions."""

    name: ClassVar[str] = "recurrent-dqn"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False

    learning_rate: hyper.LearningRate = 1e-4
    gamma: hyper.Gamma = 0.997
    buffer_size: Count = 100_000
    """Steps that the replay memory holds."""
    learning_starts: hyper.LearningStarts = 1_000
    batch_size: Count = 32
    """Sequences per gradient step."""
    train_freq: Count = 16
    """Steps of every environment between two rounds of updates, and between the starts of two sequences."""
    sequence_length: Count = 32
    """Steps of a sequence that are learnt from."""
    burn_in: Whole = 16
    """Steps before them that are only read; together they are a multiple of train_freq."""
    gradient_steps: hyper.GradientSteps = 1
    target_update_interval: hyper.TargetUpdateInterval = 2_500
    tau: hyper.Tau = 1.0
    exploration_fraction: hyper.ExplorationFraction = 0.1
    exploration_initial_eps: hyper.ExplorationInitialEps = 1.0
    exploration_final_eps: hyper.ExplorationFinalEps = 0.05
    exploration: hyper.NetworkExploration = None
    anneal_learning_rate: hyper.AnnealLearningRate = False
    max_grad_norm: hyper.MaxGradNorm = 40.0
    n_steps: hyper.NStepReturn = 5
    huber_delta: hyper.HuberDelta = 1.0
    rescale_values: bool = True
    """Learn h(Q), about the square root of Q, in place of Q: for returns that differ by orders of magnitude."""
    double: hyper.Double = True
    replay: replays.Sampling = replays.Prioritised(alpha=0.9, beta=0.6, final_beta=0.6)
    """Which sequences are drawn: uniform, prioritised."""
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam(eps=1e-3)
    network: networks.Recurrent = networks.Recurrent(networks.Dueling(hidden=(128,)), core="lstm", units=128)
    """What computes Q: any network, +lstm, +gru or +transformer, and the units of its memory."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    def agent(self, spec: Spec) -> Agent:
        length = self.burn_in + self.sequence_length
        if length % self.train_freq:
            raise BadSetting(
                f"RecurrentDQN's train_freq {self.train_freq} does not divide burn_in {self.burn_in} and "
                f"sequence_length {self.sequence_length} together, {length}."
            )
        count, first_action = deep_q.num_actions(self, spec), int(spec.action_space.start)  # type: ignore[attr-defined]
        block_size = self.train_freq * spec.num_envs
        encode = networks.encode(spec.observation_space)
        network, strategy = self.network, deep_q.strategy_of(self)
        optimiser = self.optimizer.rule(self.max_grad_norm)
        draw = networks.noise(lambda key: network.init(key, spec.observation_space, count))
        memory = sequence_memory(
            self.replay,
            capacity=self.buffer_size,
            spec=spec,
            block_length=self.train_freq,
            rows=length // self.train_freq,
            carry=jax.tree.map(lambda leaf: leaf[0], network.start(1)),
        )

        def init(key: Key) -> deep_q.State:
            parameters = network.init(key, spec.observation_space, count)
            moments = Moments.of((networks.num_features(spec.observation_space),)) if self.normalize_observation else ()
            opt_state = optimiser.init(parameters)
            return deep_q.State(parameters, parameters, opt_state, moments, memory.init(), jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> deep_q.Noise:
            choice_key, model_key = jax.random.split(key)
            return deep_q.Noise(strategy.noise(choice_key, shape, count), draw(model_key, shape))

        def features(state: deep_q.State, obs: Array) -> Array:
            return state.features.standardise(encode(obs)) if self.normalize_observation else encode(obs)

        def act(state: deep_q.State, carry: PyTree, obs: Array, noise: deep_q.Noise, explore: bool):
            before = carry
            carry, q = state.parameters.step(carry, features(state, obs), (noise.model or None) if explore else None)
            if explore:
                progress = state.step / spec.total_steps
                action = jax.vmap(strategy.choose, (0, None, None, 0))(q, (), progress, noise.choice)
            else:
                action = jnp.argmax(q, -1).astype(jnp.int32)
            return action + first_action, carry, before if explore else ()

        def observe(state: deep_q.State, block: Step) -> deep_q.State:
            if self.normalize_observation:
                state = state._replace(features=state.features.update(encode(block.obs).reshape(block_size, -1)))
            carry = jax.tree.map(lambda leaf: leaf[0], block.extras)  # before the first step of the block
            counted = block._replace(action=block.action - first_action)
            return state._replace(replay=memory.add(state.replay, counted, carry), step=state.step + block_size)

        def learning_noise(key: Key) -> list[PyTree]:
            return [draw(key, ()) or None for key in jax.random.split(key)]  # all steps of all sequences share it

        def loss(parameters: PyTree, state: deep_q.State, sample: Sequences, noises: list[PyTree]):
            steps = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), sample.steps)  # [L, N, ...]
            x, x_next = features(state, steps.obs), features(state, steps.next_obs)
            over = steps.terminated | steps.truncated
            first = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])

            def read(module, noise: PyTree) -> tuple[Array, Array]:
                """Values before and after each step that is learnt from."""
                at, carry = self.burn_in, sample.carry
                if at:
                    carries, _ = jax.lax.stop_gradient(module.unroll(carry, x[:at], first[:at], noise))
                    carry = jax.tree.map(lambda leaf: leaf[-1], carries)
                carries, q = module.unroll(carry, x[at:], first[at:], noise)
                return q, module.step(carries, x_next[at:], noise)[1]

            q_tm1, q_t_selector = read(parameters, noises[0])
            _, q_t = read(state.target, noises[1])
            q_t_selector = jax.lax.stop_gradient(q_t_selector) if self.double else q_t
            learnt = jax.tree.map(lambda leaf: leaf[self.burn_in :], steps)
            errors = jax.vmap(sequence_errors, 1, 1)(q_tm1, learnt.action, learnt, q_t, q_t_selector)
            losses, size = td.huber(errors, self.huber_delta).mean(0), jnp.abs(errors)
            priorities = LARGEST_SHARE * size.max(0) + (1 - LARGEST_SHARE) * size.mean(0)
            q = transforms.unsquash(q_tm1) if self.rescale_values else q_tm1
            return (sample.weights * losses).mean(), (priorities, deep_q.measured(errors, q))

        def sequence_errors(q_tm1: Array, a_tm1: Array, steps: Transition, q_t: Array, q_t_selector: Array):
            """TD errors [T] of a sequence; n rewards are summed, or as many as there are before its end or a cut."""
            last_step = len(a_tm1) - 1
            ahead = jnp.minimum(jnp.arange(len(a_tm1))[:, None] + jnp.arange(self.n_steps), last_step)  # [T, n]
            over = (steps.terminated | steps.truncated)[ahead] | (ahead == last_step)
            r_t, discount_t, last = jax.vmap(returns.n_step, (0, 0, 0, None))(
                steps.reward[ahead], steps.terminated[ahead], over, self.gamma
            )
            reached = jnp.arange(len(a_tm1)) + last
            error = transforms.squashed_double_q_learning if self.rescale_values else td.double_q_learning
            return jax.vmap(error)(q_tm1, a_tm1, r_t, discount_t, q_t[reached], q_t_selector[reached])

        learn = deep_q.learning(self, spec, memory, optimiser, strategy, learning_noise, loss)

        def policy(state: deep_q.State) -> deep_q.State:
            return state._replace(target=(), optimiser=(), replay=())

        def cut(state: deep_q.State, which: Array) -> deep_q.State:
            return state._replace(replay=memory.cut(state.replay, which))

        return Agent(init, network.start, noise, act, observe, learn, policy, cut)
