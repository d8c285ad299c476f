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

from polyak.agent import Agent, Array, PyTree, Spec
from polyak.errors import BadSetting
from polyak.ops import returns, td, transforms
from polyak.parts import deep_q, hyper, networks, replay as replays
from polyak.parts.optimise import Adam
from polyak.parts.q_network import num_actions, q_network
from polyak.parts.ranges import Count, Whole
from polyak.parts.replay import Sample, sequence_memory
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
    """The network that computes Q: any network, +lstm, +gru or +transformer, and the units of its memory."""

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
        network = q_network(self.network, spec, num_actions(self, spec))
        memory = sequence_memory(
            self.replay,
            capacity=self.buffer_size,
            spec=spec,
            block_length=self.train_freq,
            rows=length // self.train_freq,
            carry=jax.tree.map(lambda leaf: leaf[0], network.start(1)),
        )

        def loss(parameters: PyTree, target: PyTree, features: deep_q.Features, sample: Sample, noises: list[PyTree]):
            steps = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), sample.steps.steps)  # [L, N, ...]
            x, x_next = features(steps.obs), features(steps.next_obs)
            over = steps.terminated | steps.truncated
            first = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])

            def read(module: PyTree, noise: PyTree) -> tuple[Array, Array]:
                """Values before and after each step that is learnt from; the steps share the noise."""
                at, carry = self.burn_in, sample.steps.carry
                if at:
                    carries, _ = jax.lax.stop_gradient(module.unroll(carry, x[:at], first[:at], noise))
                    carry = jax.tree.map(lambda leaf: leaf[-1], carries)
                carries, q = module.unroll(carry, x[at:], first[at:], noise)
                return q, module.step(carries, x_next[at:], noise)[1]

            q_tm1, q_t_selector = read(parameters, noises[0])
            _, q_t = read(target, noises[1])
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

        return deep_q.agent_from(self, spec, network, lambda q: q, memory, loss, calls=2)
