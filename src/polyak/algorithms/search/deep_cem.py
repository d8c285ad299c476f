"""The cross-entropy method with a network (Rubinstein, 1999, "The cross-entropy method for combinatorial and continuous
optimization"; Mannor, Rubinstein and Gat, 2003, "The cross entropy method for fast policy search").

    theta <- argmax_theta  mean of log pi(a | s) + c_e H(pi(. | s))  over the steps of the best sessions that pi played

by a few epochs of gradient steps a round: the policy imitates its own best, and no value is estimated. A session is the
first episode of an environment in a block; its score is the discounted return, as far as `session_length` reaches.

The share is exact: of sessions with equal scores the first are taken. A session that is no better than the worst of its
round is never imitated. Three things deserve care:

- Where only arriving pays, few sessions arrive, and all that do are equally good. `gamma` below 1 ranks the short ones
  first: on a lake without slipping, 4 of 4 seeds then walk the 6 steps that are the fewest, and up to 7.9 with 1.
- Where a return depends much on where the episode begins or on chance, the best sessions are the lucky ones. A small
  `elite_share`, a large `keep_rounds` and a `gamma` below 1 make that worse; the slippery lake is not solved with any.
- Deviations of numbers are fitted too, and shrink: by little where a session has many steps, at once where it has few.
  An entropy bonus of weight c_e divides the variance that is fitted by 1 - c_e, and where it outweighs what the choice
  of the best takes away, deviations grow from round to round. On Pendulum, with sessions of 100 steps and a million in
  all: without a bonus they fell from 1 to 0.4, and the final policy's return was -590, the mean of four seeds; with
  0.05 they rose to 2.3 and fell to 1.6, and it was -235; with 0.1 they rose to 38, and it was -455.

Deviations: gradient steps begin where the last round ended, and come to an end before the maximum.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.parts import hyper, networks
from polyak.parts.minibatches import minibatch, minibatches_of, shuffled_first
from polyak.parts.optimise import Adam
from polyak.parts.policy_and_value import Inputs, Parameters, policy_and_value
from polyak.parts.ranges import BlockLength, Count, PositiveShare, Whole
from polyak.parts.reader import reader
from polyak.parts.schedules import linear_schedule
from polyak.parts.sessions import first_episodes, session_returns
from polyak.spaces import mask_of, row_shape, storage_type


@dataclasses.dataclass(frozen=True)
class DeepCEM:
    """Cross-entropy method with a network: plays sessions, and imitates the best of them; for actions of all kinds."""

    name: ClassVar[str] = "deep-cem"
    default_num_envs: ClassVar[int] = 32
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    session_length: BlockLength = 300
    """Most steps of a session; every environment plays one a round, and what it does after that is not looked at."""
    elite_share: PositiveShare = 0.25
    """Share of a round's sessions that are imitated, at least one."""
    keep_rounds: Whole = 1
    """Rounds after its own in which an elite session may be chosen again."""
    gamma: hyper.Gamma = 1.0
    learning_rate: hyper.LearningRate = 1e-2
    anneal_learning_rate: hyper.AnnealLearningRate = False
    batch_size: Count = 256
    """Most elite steps per gradient step; an epoch is cut into as few and as equal minibatches as that allows."""
    n_epochs: Count = 10
    """Passes over the elite steps of each round."""
    ent_coef: hyper.EntCoef = 0.0
    max_grad_norm: hyper.MaxGradNorm = 0.5
    log_std_init: hyper.LogStdInit = 0.0
    state_dependent_std: hyper.StateDependentStd = False
    squash: hyper.Squash = False
    normalize_observation: hyper.NormalizeObservation = False
    optimizer: hyper.Optimizer = Adam()
    network: networks.Network = networks.MLP(hidden=(64, 64), activation="tanh")
    """The network of the policy: mlp, minatar, nips, nature, impala."""

    @property
    def block_length(self) -> int:
        return self.session_length

    def agent(self, spec: Spec) -> Agent:
        model, rule = policy_and_value(self, spec, critic=None), self.optimizer.rule(self.max_grad_norm)
        read, mask = reader(spec.observation_space, self.normalize_observation), mask_of(spec.observation_space)
        actions = model.actions
        block_size = self.session_length * spec.num_envs
        num_elites = max(1, round(self.elite_share * spec.num_envs))

        def inputs_of(features: PyTree, obs: Array) -> Inputs:
            return Inputs(read.features(features, obs), obs[..., mask] != 0 if mask else None)

        def init(key: Key) -> State:
            parameters, features = model.init(key), read.init()
            elites = no_sessions(parameters, features) if self.keep_rounds else ()
            return State(parameters, rule.init(parameters), features, elites, jnp.int32(0))

        def no_sessions(parameters: Parameters, features: PyTree) -> Sessions:
            space, shape = spec.observation_space, (self.session_length, num_elites)
            obs = jnp.zeros((*shape, *row_shape(space)), storage_type(space))
            samples = jax.eval_shape(
                lambda key: actions.sample(
                    model.policy(parameters, inputs_of(features, obs)), actions.noise(key, shape)
                ),
                jax.random.key(0),
            )
            sample = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), samples)
            score, age = jnp.full(num_elites, -jnp.inf, jnp.float32), jnp.zeros(num_elites, jnp.int32)
            return Sessions(obs, sample, jnp.zeros(shape, bool), score, age)

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            pi = model.policy(state.parameters, inputs_of(state.features, obs))
            sample = actions.sample(pi, noise) if explore else actions.mode(pi)
            return actions.action(sample), carry, sample if explore else ()

        def observe(state: State, block: Step) -> State:
            return state._replace(features=read.update(state.features, block.obs), step=state.step + block_size)

        def elites_of(state: State, block: Step, score: Array) -> Sessions:
            age = jnp.zeros(spec.num_envs, jnp.int32)
            fresh = best(Sessions(block.obs, block.extras, first_episodes(block), score, age), num_elites)
            if not self.keep_rounds:
                return fresh
            age = state.elites.age + 1
            score = jnp.where(age > self.keep_rounds, -jnp.inf, state.elites.score)
            return best(joined(fresh, state.elites._replace(score=score, age=age)), num_elites)

        def loss(parameters: Parameters, inputs: Inputs, sample: PyTree, belongs: Array) -> tuple[Array, Array]:
            pi, weight = model.policy(parameters, inputs), belongs / jnp.maximum(belongs.sum(), 1)
            entropy = (weight * actions.entropy(pi)).sum()
            return -(weight * actions.log_prob(pi, sample)).sum() - self.ent_coef * entropy, entropy

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            score = session_returns(block, self.gamma)
            elites = elites_of(state, block, score)
            better = elites.score > score.min()
            # Where none is, they are measured all the same, at a rate of zero.
            imitated = (elites.counts & (better | ~better.any())).reshape(-1)
            rate = jnp.float32(self.learning_rate)
            if self.anneal_learning_rate:
                rate = linear_schedule(state.step - block_size, self.learning_rate, 0.0, spec.total_steps)
            steps = inputs_of(state.features, elites.obs), elites.sample
            steps = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)
            orders, count = shuffled_first(key, imitated, self.n_epochs), imitated.sum(dtype=jnp.int32)
            minibatches = minibatches_of(count, self.batch_size)
            spoilt = 0.0 * score.mean()  # NaN where scores overflow: then no update is made

            def gradient_step(carry: tuple[Array, Parameters, PyTree, dict[str, Array]]):
                i, parameters, optimizer_state, sums = carry
                order = orders[i // minibatches]
                indices, belongs = minibatch(order, count, self.batch_size, i % minibatches)
                inputs, sample = jax.tree.map(lambda leaf: leaf[indices], steps)
                (value, entropy), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, inputs, sample, belongs)
                parameters, optimizer_state, norm = rule.update(
                    parameters, gradient, optimizer_state, rate * better.any(), value + spoilt
                )
                metrics = {"loss": value + spoilt, "gradient_norm": norm, "entropy": entropy}
                return i + 1, parameters, optimizer_state, {name: sums[name] + metrics[name] for name in sums}

            turns = self.n_epochs * minibatches
            sums = dict.fromkeys(("loss", "gradient_norm", "entropy"), jnp.float32(0))
            start = jnp.int32(0), state.parameters, state.optimiser, sums
            _, parameters, optimizer_state, sums = jax.lax.while_loop(lambda c: c[0] < turns, gradient_step, start)
            metrics = {name: total / turns for name, total in sums.items()}
            metrics |= {"session_return": score.mean(), "elite_return": elites.score.min(), "learning_rate": rate}
            kept = elites if self.keep_rounds else ()
            return state._replace(parameters=parameters, optimiser=optimizer_state, elites=kept), metrics

        def policy(state: State) -> State:
            return state._replace(optimiser=(), elites=())

        return Agent(init, no_memory, actions.noise, act, observe, learn, policy)


class Sessions(NamedTuple):
    """Sessions side by side."""

    obs: Array  # [T, E, ...]
    sample: PyTree  # [T, E, ...] of the distribution, of which the action was made
    counts: Array  # [T, E] bool, the steps of the session
    score: Array  # [E] minus infinity where there is no session
    age: Array  # [E] int32, rounds since it was played


class State(NamedTuple):
    """A policy, and the best sessions of late."""

    parameters: Parameters
    optimiser: PyTree  # what its rule keeps; checkpoints have it by this name
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    elites: PyTree  # Sessions; () unless they are kept
    step: Array  # [] int32, environment steps observed


def best(sessions: Sessions, count: int) -> Sessions:
    """The `count` sessions with the highest scores, highest first; of equals the first."""
    _, which = jax.lax.top_k(sessions.score, count)
    obs, sample, counts = jax.tree.map(lambda leaf: leaf[:, which], sessions[:3])
    return Sessions(obs, sample, counts, sessions.score[which], sessions.age[which])


def joined(first: Sessions, second: Sessions) -> Sessions:
    """The sessions of both."""
    obs, sample, counts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 1), first[:3], second[:3])
    score, age = (jnp.concatenate(leaves) for leaves in zip(first[3:], second[3:], strict=True))
    return Sessions(obs, sample, counts, score, age)
