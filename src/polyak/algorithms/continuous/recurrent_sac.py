"""Soft actor-critic with a memory (Ni, Eysenbach and Salakhutdinov, 2022, "Recurrent model-free RL can be a strong
baseline for many POMDPs"; sequences as in Kapturowski et al., 2019, R2D2).

SAC in which s is all that a recurrent network remembers of the episode: the policy and both critics have memories of
their own, and learn from sequences of steps that are drawn from a replay memory. See `sac.py` for the equations.

A sequence is kept with the memory that the policy had where it begins. Its first `burn_in` steps are only read, which
brings that memory up to date; those of critics begin empty there.

Deviations: the paper's sequences are whole episodes; the last action and reward are not shown to the networks.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from polyak.agent import Agent, Array, Key, PyTree, Spec
from polyak.errors import BadSetting
from polyak.ops import soft, td
from polyak.parts import critics, hyper, networks, off_policy_actor_critic as family, replay as replays
from polyak.parts.action_box import ActionBox
from polyak.parts.optimise import Adam, polyak_average
from polyak.parts.ranges import Count, Whole
from polyak.parts.replay import Sample, sequence_memory
from polyak.parts.soft_actor_critic import Networks
from polyak.parts.soft_policy import Actor, soft_policy


class Sequences(NamedTuple):
    """N sequences of L steps, as networks read them."""

    x: Array  # [L, N, n] features of the states left
    x_next: Array  # [L, N, n] of the states reached
    a_tm1: Array  # [L, N, k] the actions, scaled
    r_t: Array  # [L, N]
    discount_t: Array  # [L, N]
    first: Array  # [L, N] bool, where an episode begins within a sequence
    carry: PyTree  # the policy's memory before the first step, leaves [N, ...]
    weights: Array  # [N]


class Critic(networks.Weights):
    """Q(h, a) for all h that it remembers of the episode."""

    memory: networks.RecurrentNetwork  # x -> what it knows [..., width]
    layers: critics.Critic


@dataclasses.dataclass(frozen=True)
class RecurrentSAC:
    """Soft actor-critic with a memory: learns from sequences, where what is seen is not all, for continuous actions."""

    name: ClassVar[str] = "recurrent-sac"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False

    learning_rate: hyper.LearningRate = 3e-4
    anneal_learning_rate: hyper.AnnealLearningRate = False
    gamma: hyper.Gamma = 0.99
    buffer_size: Count = 100_000
    """Steps that the replay memory holds."""
    learning_starts: hyper.WarmUp = 1_000
    batch_size: Count = 32
    """Sequences per gradient step."""
    train_freq: Count = 8
    """Steps of every environment between two rounds of updates, and between the starts of two sequences."""
    sequence_length: Count = 16
    """Steps of a sequence that are learnt from."""
    burn_in: Whole = 16
    """Steps before them that are only read; together they are a multiple of train_freq."""
    gradient_steps: hyper.GradientSteps = 4
    tau: hyper.Tau = 0.005
    ent_coef: hyper.TemperatureOrNone = None
    ent_coef_init: hyper.FirstTemperature = 1.0
    target_entropy: hyper.TargetEntropy = None
    replay: replays.Sampling = replays.Uniform()
    """Which sequences are drawn: uniform, prioritised."""
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Recurrent = networks.Recurrent(networks.MLP(hidden=(128,)), core="gru", units=128)
    """The network of the policy and, before the action is read, of each critic: any network, +gru, +lstm, ..."""
    critic_network: networks.Network = networks.MLP(hidden=(128,))
    """The layers of each critic that read what its memory answers, and the action: mlp."""

    @property
    def block_length(self) -> int:
        return self.train_freq

    @property
    def action_noise(self) -> None:
        """Nothing is added to sampled actions."""

    def agent(self, spec: Spec) -> Agent:
        length = self.burn_in + self.sequence_length
        if length % self.train_freq:
            raise BadSetting(
                f"RecurrentSAC's train_freq {self.train_freq} does not divide burn_in {self.burn_in} and "
                f"sequence_length {self.sequence_length} together, {length}."
            )
        critics.check_networks("RecurrentSAC", self.network.network, self.critic_network)
        actions = ActionBox.of("RecurrentSAC", spec.action_space)
        policy, rule = soft_policy(self, spec, actions), self.optimizer.rule(family.NO_CLIPPING)
        known = Box(-np.inf, np.inf, (self.network.units,))  # what a critic's memory answers
        layers = critics.critic(self.critic_network, known, actions.size, 1)

        def init_critic(key: Key) -> Critic:
            memory_key, key = jax.random.split(key)
            return Critic(self.network.init(memory_key, spec.observation_space, self.network.units), layers(key))

        def init(key: Key) -> family.Learner:
            actor_key, critic_key = jax.random.split(key)
            parameters = Networks(*policy.init(actor_key), critics.ensemble(init_critic, 2)(critic_key))
            return family.Learner(parameters, parameters.critics, family.moments_of(rule, parameters))

        def act(actor: Any, carry: PyTree, x: Array, noise: Array, explore: bool) -> tuple[Array, PyTree]:
            after, answers = actor.step(carry, x)
            return policy.act_by(answers, (), noise, explore)[0], after

        def noise(key: Key) -> Array:
            return policy.noise(key, (2, self.sequence_length, self.batch_size))

        def read_sample(sample: Sample, features: family.Features) -> Sequences:
            steps = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), sample.steps.steps)
            over = steps.terminated | steps.truncated
            first = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])
            learnt = jax.tree.map(lambda leaf: leaf[self.burn_in :], steps)
            return Sequences(
                features(steps.obs),
                features(learnt.next_obs),
                actions.scaled(learnt.action),
                learnt.reward,
                td.discount(learnt.terminated, self.gamma),
                first,
                sample.steps.carry,
                sample.weights,
            )

        def read(module: networks.RecurrentNetwork, carry: PyTree, batch: Sequences) -> tuple[Array, Array]:
            """The answers before and after each step that is learnt from, [L, N, ...] each."""
            at = self.burn_in
            if at:
                carries, _ = jax.lax.stop_gradient(module.unroll(carry, batch.x[:at], batch.first[:at]))
                carry = jax.tree.map(lambda leaf: leaf[-1], carries)
            carries, answers = module.unroll(carry, batch.x[at:], batch.first[at:])
            return answers, module.step(carries, batch.x_next)[1]

        def known_to(both: Critic, batch: Sequences) -> tuple[Array, Array]:
            """What both critics know before and after each step, [2, L, N, units] each."""
            return jax.vmap(lambda one: read(one.memory, self.network.start(self.batch_size), batch))(both)

        def values(both: Critic, known: Array, action: Array) -> Array:
            """[2, L, N] of actions [L, N, k]."""
            return jax.vmap(lambda one, known: one.layers(known, action)[..., 0])(both, known)

        def update(learner: family.Learner, batch: Sequences, noise: Array, learning_rate: Array, updates: Array):
            now, target, moments = learner
            a_t, log_prob_t = policy.of_answers(read(now.actor, batch.carry, batch)[1], noise[0])
            q_t = values(target, known_to(target, batch)[1], a_t).min(0)
            y = soft.soft_target(batch.r_t, batch.discount_t, q_t, log_prob_t, policy.alpha(now.log_alpha))

            def critic_loss(both: Critic) -> tuple[Array, tuple[Array, Array]]:
                q_tm1 = values(both, known_to(both, batch)[0], batch.a_tm1)
                error = y - q_tm1
                return (batch.weights * 0.5 * jnp.square(error)).mean((1, 2)).sum(), (q_tm1, error)

            judged = family.descend(rule, critic_loss, now.critics, moments.critics, learning_rate)
            known, _ = known_to(judged.parameters, batch)
            (actor, actor_moments), metrics = policy.improve(
                rule,
                Actor(now.actor, now.log_alpha),
                Actor(moments.actor, moments.log_alpha),
                learning_rate,
                sample=lambda actor: policy.of_answers(read(actor, batch.carry, batch)[0], noise[1]),
                q=lambda action: values(judged.parameters, known, action).min(0),
                sound=judged.sound,
            )
            target = polyak_average(target, judged.parameters, self.tau)
            learner = family.Learner(
                Networks(*actor, judged.parameters), target, Networks(*actor_moments, judged.moments)
            )
            q_tm1, error = judged.aux
            metrics |= family.critic_metrics(q_tm1, error, judged.loss)
            metrics |= policy.metrics(a_t, log_prob_t, now.log_alpha)
            return learner, jnp.abs(error).max((0, 1)), metrics

        memory = sequence_memory(
            self.replay,
            capacity=self.buffer_size,
            spec=spec,
            block_length=self.train_freq,
            rows=length // self.train_freq,
            carry=jax.tree.map(lambda leaf: leaf[0], self.network.start(1)),
        )
        method = family.Method(init, act, update, noise, self.network.start)
        return family.agent_from(self, spec, actions, method, memory, read_sample)
