"""A policy and a value that learn from blocks of fresh steps: what REINFORCE, A2C, TRPO and PPO have in common.

A member of the family says how parameters are improved by the rollout that a block makes. All else is here: acting,
normalising, advantages and returns, and metrics. The networks are in `parts.policy_and_value`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget
from polyak.ops import returns, td
from polyak.parts import policy_and_value
from polyak.parts.normalise import Moments
from polyak.parts.policy_and_value import Inputs, Model, Parameters
from polyak.parts.reader import reader
from polyak.parts.schedules import linear_schedule
from polyak.spaces import mask_of


class Hyper(policy_and_value.Hyper, Protocol):
    """The hyperparameters that the family shares; `parts.hyper` says what they mean."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def anneal_learning_rate(self) -> bool: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def normalize_observation(self) -> bool: ...
    @property
    def normalize_reward(self) -> bool: ...


class RewardScale(NamedTuple):
    """The running scale of rewards, where they are normalised."""

    moments: Moments  # of the discounted sums
    total: Array  # [B] the discounted sum of each environment's episode so far


class State(NamedTuple):
    """The state of an agent of the family."""

    parameters: Parameters
    optimiser: PyTree  # what its rule keeps; checkpoints have it by this name
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    rewards: PyTree  # a RewardScale; () unless rewards are normalised
    step: Array  # [] int32, environment steps observed


class Extras(NamedTuple):
    """The extras of a block: what acting hands on to learning."""

    sample: PyTree  # [T, B, ...] of the distribution, of which the action was made
    log_prob: Array  # [T, B] of it, under the policy that sampled it
    memory: PyTree  # [T, B, ...] before the step


class Rollout(NamedTuple):
    """A block made ready for learning; leaves [N, ...], or [S, L, ...] for networks with a memory."""

    inputs: Inputs
    sample: PyTree  # of the distribution, of which the action was made
    log_prob: Array  # of it, under the policy that sampled it
    advantage: Array  # A
    value: Array  # what the critic answered before learning: V_old(s), or Q_old(s, a)
    target: Array  # G


class Trajectories(NamedTuple):
    """Rewards and values along the steps of a block; leaves [T, B]."""

    r_t: Array
    discount_t: Array  # gamma (1 - terminated)
    v_tm1: Array
    v_t: Array  # of the true successors
    continues_t: Array  # 0 where an episode ended or was cut, else 1
    q_tm1: Array  # Q(s, a) if the critic knows actions, else V(s)


def agent(
    hyper: Hyper,
    spec: Spec,
    model: Model,
    init_optimizer: Callable[[Parameters], PyTree],
    improve: Callable[[State, Rollout, Array, Key], tuple[Parameters, PyTree, dict[str, Array]]],
    estimate: Callable[[Trajectories], tuple[Array, Array]],
    sequence_length: int | None = None,
) -> Agent:
    """Makes the agent of a member of the family.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        model: the policy and the value.
        init_optimizer: parameters -> what `improve` keeps from block to block.
        improve: (state, rollout, learning_rate [], key) -> parameters, optimizer_state, metrics.
        estimate: trajectories -> advantages [T, B], and targets [T, B] of the value.
        sequence_length: steps that a network with a memory learns from in a row; None for all of a block.
    """
    block_size = hyper.n_steps * spec.num_envs
    length = sequence_length or hyper.n_steps
    read = reader(spec.observation_space, hyper.normalize_observation)
    mask = mask_of(spec.observation_space)
    actions = model.actions

    def init(key: Key) -> State:
        parameters = model.init(key)
        rewards = RewardScale(Moments.of(()), jnp.zeros(spec.num_envs)) if hyper.normalize_reward else ()
        return State(parameters, init_optimizer(parameters), read.init(), rewards, jnp.int32(0))

    def inputs_of(state: State, obs: Array) -> Inputs:
        return Inputs(read.features(state.features, obs), obs[..., mask] != 0 if mask else None)

    def act(state: State, carry: PyTree, obs: Array, noise: PyTree, explore: bool):
        after, pi = model.step(state.parameters, carry, inputs_of(state, obs))
        sample = actions.sample(pi, noise) if explore else actions.mode(pi)
        extras = Extras(sample, actions.log_prob(pi, sample), carry) if explore else ()
        return actions.action(sample), after, extras

    def observe(state: State, block: Step) -> State:
        state = state._replace(features=read.update(state.features, block.obs), step=state.step + block_size)
        if not hyper.normalize_reward:
            return state
        continues = 1.0 - (block.terminated | block.truncated)
        total, sums = jax.vmap(returns.discounted_sums, (1, 1, None, 0))(
            block.reward, continues, hyper.gamma, state.rewards.total
        )
        return state._replace(rewards=RewardScale(state.rewards.moments.update(sums.reshape(-1)), total))

    def rollout_of(state: State, block: Step) -> Rollout:
        over = block.terminated | block.truncated
        memory, before, after = block.extras.memory, inputs_of(state, block.obs), inputs_of(state, block.next_obs)
        if memory:
            first = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])
            before = before._replace(first=first, memory=jax.tree.map(lambda leaf: leaf[0], memory))
        v_tm1, v_t, q_tm1 = model.values(state.parameters, before, after, block.extras.sample)
        r_t = state.rewards.moments.scale(block.reward) if hyper.normalize_reward else block.reward
        discount_t = td.discount(block.terminated, hyper.gamma)
        advantage, target = estimate(Trajectories(r_t, discount_t, v_tm1, v_t, 1.0 - over, q_tm1))
        inputs = before._replace(memory=())
        rollout = Rollout(inputs, block.extras.sample, block.extras.log_prob, advantage, q_tm1, target)
        if not memory:
            return jax.tree.map(lambda leaf: leaf.reshape(block_size, *leaf.shape[2:]), rollout)
        rollout = jax.tree.map(lambda leaf: cut_up(leaf, length), rollout)
        starts = jax.tree.map(lambda leaf: leaf[::length].reshape(-1, *leaf.shape[2:]), memory)
        return rollout._replace(inputs=rollout.inputs._replace(memory=starts))

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        learning_rate = annealed(hyper.learning_rate, hyper.anneal_learning_rate, state, spec, block_size)
        rollout = rollout_of(state, block)
        parameters, optimizer_state, metrics = improve(state, rollout, learning_rate, key)
        unexplained = jnp.var(rollout.target - rollout.value) / (jnp.var(rollout.target) + 1e-8)
        metrics |= {"explained_variance": 1.0 - unexplained, "learning_rate": learning_rate}
        return state._replace(parameters=parameters, optimiser=optimizer_state), metrics

    def policy(state: State) -> State:
        return state._replace(parameters=state.parameters._replace(value=()), optimiser=(), rewards=())

    def cut(state: State, which: Array) -> State:
        if not hyper.normalize_reward:
            return state
        return state._replace(rewards=state.rewards._replace(total=forget(state.rewards.total, which)))

    return Agent(init, model.start, actions.noise, act, observe, learn, policy, cut)


def gae(steps: Trajectories, gae_lambda: float) -> tuple[Array, Array]:
    """Generalised advantage estimates, and the lambda returns that they are part of; [T, B]."""
    advantage = jax.vmap(returns.generalised_advantage, (1, 1, 1, 1, 1, None), 1)(*steps[:5], gae_lambda)
    return advantage, advantage + steps.v_tm1


def cut_up(leaf: Array, length: int) -> Array:
    """A block [T, B, ...] as sequences [T / length x B, length, ...]."""
    steps, num_envs, *rest = leaf.shape
    pieces = leaf.reshape(steps // length, length, num_envs, *rest)
    return jnp.swapaxes(pieces, 1, 2).reshape(-1, length, *rest)


def annealed(start: float, anneal: bool, state: State, spec: Spec, block_size: int) -> Array:
    """[] a number that falls linearly to 0 over the run, as it was when the present block began; or stays."""
    return linear_schedule(state.step - block_size, start, 0.0, spec.total_steps) if anneal else jnp.float32(start)


def standardised(advantage: Array) -> Array:
    """Advantages [N] with mean 0 and deviation 1."""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)
