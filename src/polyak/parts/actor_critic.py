"""A policy and a value that learn from blocks of steps: what REINFORCE, A2C, A3C, IMPALA, TRPO, PPO and APPO share.

A member of the family says how parameters are improved by the rollout that a block makes, or, where that is one
gradient step, by which loss. All else is here: acting, normalising, advantages and returns, and metrics. The networks
are in `parts.policy_and_value`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory
from polyak.ops import returns, td
from polyak.parts import policy_and_value
from polyak.parts.normalise import Moments
from polyak.parts.optimise import Gradient, Optimizer
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


class GradientHyper(Hyper, Protocol):
    """The hyperparameters of members that make one gradient step a block."""

    @property
    def max_grad_norm(self) -> float: ...
    @property
    def optimizer(self) -> Optimizer: ...


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
    log_ratio_tm1: (
        Array  # log pi(a|s) / mu(a|s), of the policy that learns and the one that acted, where it is asked for
    )


class Family(NamedTuple):
    """What all members do alike."""

    model: Model
    init: Callable[[Key], State]
    act: Callable[..., tuple[PyTree, PyTree, PyTree]]  # `Agent.act`
    observe: Callable[[State, Step], State]
    rollout: Callable[[State, Step], Rollout]  # a block, judged by the parameters of the state
    rate: Callable[[State], Array]  # the learning rate [] of the block that was observed last
    policy: Callable[[State], State]
    cut: Callable[[State, Array], State]

    def agent(self, learn: Callable, gradient: Callable | None = None, apply: Callable | None = None) -> Agent:
        """The agent that learns so."""

        def publish(state: State) -> State:
            return state._replace(optimiser=(), rewards=state.rewards if gradient is not None else ())

        needs_value = gradient is not None or self.model.start is not no_memory  # its memory steps with the policy's
        return Agent(
            self.init,
            self.model.start,
            self.model.actions.noise,
            self.act,
            self.observe,
            learn,
            self.policy,
            self.cut,
            publish if needs_value else None,
            gradient,
            apply,
        )


Loss = Callable[[Parameters, Rollout], tuple[Array, dict[str, Array]]]  # -> loss [], metrics []
Estimate = Callable[[Trajectories], tuple[Array, Array]]  # -> advantages [T, B], and targets [T, B] of the value


def family(
    hyper: Hyper,
    spec: Spec,
    model: Model,
    init_optimizer: Callable[[Parameters], PyTree],
    estimate: Estimate,
    sequence_length: int | None = None,
    off_policy: bool = False,
) -> Family:
    """Makes what a member does as all do.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        model: the policy and the value.
        init_optimizer: parameters -> what the member keeps from block to block.
        estimate: trajectories -> advantages [T, B], and targets [T, B] of the value.
        sequence_length: steps that a network with a memory learns from in a row; None for all of a block.
        off_policy: whether `estimate` reads `log_ratio_tm1`, which costs a look at the policy.
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
        state = state._replace(features=read.update(state.features, block.obs), step=state.step + block.reward.size)
        if not hyper.normalize_reward:
            return state
        continues = 1.0 - (block.terminated | block.truncated)
        total, sums = jax.vmap(returns.discounted_sums, (1, 1, None, 0))(
            block.reward, continues, hyper.gamma, state.rewards.total
        )
        return state._replace(rewards=RewardScale(state.rewards.moments.update(sums.reshape(-1)), total))

    def rollout(state: State, block: Step) -> Rollout:
        over = block.terminated | block.truncated
        memory, before, after = block.extras.memory, inputs_of(state, block.obs), inputs_of(state, block.next_obs)
        if memory:
            first = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])
            before = before._replace(first=first, memory=jax.tree.map(lambda leaf: leaf[0], memory))
        v_tm1, v_t, q_tm1 = model.values(state.parameters, before, after, block.extras.sample)
        log_ratio = jnp.zeros_like(v_tm1)
        if off_policy:
            pi = model.policy_along(state.parameters, before)
            log_ratio = actions.log_prob(pi, block.extras.sample) - block.extras.log_prob
        r_t = state.rewards.moments.scale(block.reward) if hyper.normalize_reward else block.reward
        discount_t = td.discount(block.terminated, hyper.gamma)
        advantage, target = estimate(Trajectories(r_t, discount_t, v_tm1, v_t, 1.0 - over, q_tm1, log_ratio))
        inputs = before._replace(memory=())
        steps = Rollout(inputs, block.extras.sample, block.extras.log_prob, advantage, q_tm1, target)
        if not memory:
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)
        steps = jax.tree.map(lambda leaf: cut_up(leaf, length), steps)
        starts = jax.tree.map(lambda leaf: leaf[::length].reshape(-1, *leaf.shape[2:]), memory)
        return steps._replace(inputs=steps.inputs._replace(memory=starts))

    def rate(state: State) -> Array:
        return annealed(hyper.learning_rate, hyper.anneal_learning_rate, state, spec, block_size)

    def policy(state: State) -> State:
        return state._replace(parameters=state.parameters._replace(value=()), optimiser=(), rewards=())

    def cut(state: State, which: Array) -> State:
        if not hyper.normalize_reward:
            return state
        return state._replace(rewards=state.rewards._replace(total=forget(state.rewards.total, which)))

    return Family(model, init, act, observe, rollout, rate, policy, cut)


def agent(
    hyper: Hyper,
    spec: Spec,
    model: Model,
    init_optimizer: Callable[[Parameters], PyTree],
    improve: Callable[[State, Rollout, Array, Key], tuple[Parameters, PyTree, dict[str, Array]]],
    estimate: Estimate,
    sequence_length: int | None = None,
    off_policy: bool = False,
    judge: Callable[[State], State] = lambda state: state,
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
        off_policy: whether `estimate` reads `log_ratio_tm1`.
        judge: state -> the state whose parameters advantages are estimated by.
    """
    alike = family(hyper, spec, model, init_optimizer, estimate, sequence_length, off_policy)

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        learning_rate = alike.rate(state)
        rollout = alike.rollout(judge(state), block)
        parameters, optimizer_state, metrics = improve(state, rollout, learning_rate, key)
        metrics |= {"explained_variance": explained_variance(rollout), "learning_rate": learning_rate}
        return state._replace(parameters=parameters, optimiser=optimizer_state), metrics

    return alike.agent(learn)


def gradient_agent(
    hyper: GradientHyper, spec: Spec, model: Model, loss: Loss, estimate: Estimate, off_policy: bool = False
) -> Agent:
    """Makes the agent of a member that makes one gradient step a block, which may be computed elsewhere.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        model: the policy and the value.
        loss: (parameters, rollout) -> loss [], metrics [].
        estimate: trajectories -> advantages [T, B], and targets [T, B] of the value.
        off_policy: whether `estimate` reads `log_ratio_tm1`.
    """
    rule = hyper.optimizer.rule(hyper.max_grad_norm)
    alike = family(hyper, spec, model, rule.init, estimate, off_policy=off_policy)

    def gradient(state: State, block: Step, key: Key) -> Gradient:
        rollout = alike.rollout(state, block)
        (value, metrics), of_parameters = jax.value_and_grad(loss, has_aux=True)(state.parameters, rollout)
        return Gradient(of_parameters, value, metrics | {"explained_variance": explained_variance(rollout)})

    def apply(state: State, gradient: Gradient) -> tuple[State, dict[str, Array]]:
        learning_rate = alike.rate(state)
        parameters, optimizer_state, norm = rule.update(
            state.parameters, gradient.parameters, state.optimiser, learning_rate, gradient.loss
        )
        metrics = {"loss": gradient.loss, "gradient_norm": norm, "learning_rate": learning_rate, **gradient.metrics}
        return state._replace(parameters=parameters, optimiser=optimizer_state), metrics

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        return apply(state, gradient(state, block, key))

    return alike.agent(learn, gradient, apply)


def score_loss(model: Model, vf_coef: float, ent_coef: float) -> Loss:
    """The loss whose derivative is that of -log pi(a|s) A + c_v (V(s) - G)^2 / 2 - c_e H(pi(.|s)), mean over a block.

    Args:
        model: the policy and the value.
        vf_coef: c_v.
        ent_coef: c_e.
    """

    def loss(parameters: Parameters, batch: Rollout) -> tuple[Array, dict[str, Array]]:
        pi, value = model.policy(parameters, batch.inputs), model.value(parameters, batch.inputs, batch.sample)
        policy_loss = -(model.actions.log_prob(pi, batch.sample) * batch.advantage).mean()
        value_loss = 0.5 * jnp.square(value - batch.target).mean()
        entropy = model.actions.entropy(pi).mean()
        metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        return policy_loss + vf_coef * value_loss - ent_coef * entropy, metrics

    return loss


def gae(steps: Trajectories, gae_lambda: float) -> tuple[Array, Array]:
    """Generalised advantage estimates, and the lambda returns that they are part of; [T, B]."""
    advantage = jax.vmap(returns.generalised_advantage, (1, 1, 1, 1, 1, None), 1)(*steps[:5], gae_lambda)
    return advantage, advantage + steps.v_tm1


def v_trace(steps: Trajectories, clip_rho: float, clip_c: float) -> tuple[Array, Array]:
    """V-trace advantages, and the values that they belong to, from steps of another policy; [T, B]."""
    ratio = jnp.exp(steps.log_ratio_tm1)
    target, advantage = jax.vmap(returns.vtrace, (1, 1, 1, 1, 1, 1, None, None), 1)(*steps[:5], ratio, clip_rho, clip_c)
    return advantage, target


def explained_variance(rollout: Rollout) -> Array:
    """[] 1 - Var(G - V) / Var(G): 1 where the value was right, 0 where it said no more than a constant does."""
    return 1.0 - jnp.var(rollout.target - rollout.value) / (jnp.var(rollout.target) + 1e-8)


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
