"""A policy and a value that learn from blocks of fresh steps: what REINFORCE, A2C, TRPO and PPO have in common.

A member of the family says how parameters are improved by the samples that a block makes. All else is here, once:
acting, normalising, advantages and returns, and what is measured meanwhile.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory
from polyak.errors import BadSetting
from polyak.ops import returns, td
from polyak.parts import networks
from polyak.parts.distributions import RULED_OUT, Categorical, Distribution, distribution
from polyak.parts.normalise import Moments
from polyak.parts.schedules import linear_schedule
from polyak.spaces import choices, mask_of

Critic = Literal["state", "action"] | None  # what it answers: V(s), or Q(s, a) for every action


class Parameters(NamedTuple):
    """Of a policy and a value, which share nothing."""

    policy: PyTree  # its network
    free: PyTree  # what its distribution has besides: log-deviations that no observation changes
    value: PyTree  # its network; () where only the policy is meant


class RewardScale(NamedTuple):
    """What `normalize_reward` measures."""

    moments: Moments  # of the discounted sums
    total: Array  # [B] the discounted sum of each environment's episode so far


class State(NamedTuple):
    """All that an agent of the family knows."""

    parameters: Parameters
    optimiser: PyTree
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    rewards: PyTree  # a RewardScale; () unless rewards are normalised
    step: Array  # [] int32, environment steps observed


class Memory(NamedTuple):
    """What networks remember of an episode; () in its place where they remember nothing."""

    policy: PyTree
    value: PyTree


class Extras(NamedTuple):
    """What acting tells learning."""

    draw: PyTree  # [T, B, ...] what the action was made of
    log_prob: Array  # [T, B] of it, under the policy that made it
    memory: PyTree  # [T, B, ...] before the step


class Seen(NamedTuple):
    """What policy and value read of some steps: leaves [N, ...]; of S sequences of L steps, [S, L, ...]."""

    x: Array  # features
    legal: Array | None = None  # [..., outputs] bool, which actions there are; None where all are, always
    first: Array | None = None  # [S, L] bool, where an episode begins; None for networks without a memory
    memory: PyTree = ()  # a Memory before each sequence, leaves [S, ...]; () for networks without one


class Samples(NamedTuple):
    """A block made ready for learning; leaves [N, ...], or [S, L, ...] for networks with a memory."""

    seen: Seen
    draw: PyTree
    log_prob: Array  # under the policy that drew it
    advantage: Array  # A
    judged: Array  # what the critic answered before learning: V_old(s), or Q_old(s, a)
    target: Array  # G


class Estimated(NamedTuple):
    """What advantages are estimated from; leaves [T, B]."""

    r_t: Array
    discount_t: Array  # gamma (1 - terminated)
    v_tm1: Array
    v_t: Array  # of the true successors
    continues_t: Array  # 0 where an episode ended or was cut, else 1
    judged_tm1: Array  # what the critic answered: Q(s, a) if it knows actions, else V(s)


class Model(NamedTuple):
    """A policy and a value for a task."""

    actions: Distribution
    init: Callable[[Key], Parameters]
    start: Callable[[int], PyTree]  # batch -> a Memory, or ()
    critic: Critic

    def chances(self, parameters: Parameters, seen: Seen) -> PyTree:
        """pi(. | s): parameters of the distribution over actions."""
        return self._pi(parameters, _read(parameters.policy, seen, "policy"), seen)

    def judged(self, parameters: Parameters, seen: Seen, draw: PyTree) -> Array:
        """[N] or [S, L]: V(s), or Q(s, a) of what was drawn if the critic knows actions; 0 where there is no critic."""
        if self.critic is None:
            return jnp.zeros(seen.x.shape[:-1])
        return self._of_draw(_read(parameters.value, seen, "value"), draw)

    def step(self, parameters: Parameters, memory: PyTree, seen: Seen) -> tuple[PyTree, PyTree]:
        """One step of B environments: from memory and what is seen [B, ...] to memory and pi(. | s)."""
        if not memory:
            return memory, self.chances(parameters, seen)
        carry, answers = parameters.policy.step(memory.policy, seen.x)
        value_carry = parameters.value.step(memory.value, seen.x)[0] if parameters.value else memory.value
        return Memory(carry, value_carry), self._pi(parameters, answers, seen)

    def values(self, parameters: Parameters, before: Seen, after: Seen, draw: PyTree) -> tuple[Array, Array, Array]:
        """What the steps of a block are judged by.

        Args:
            parameters: of policy and value.
            before: [T, B, ...] what was seen; its memory, leaves [B, ...], is that before the block.
            after: [T, B, ...] the true successors.
            draw: [T, B, ...] what the actions were made of.

        Returns:
            V of what was seen, V of the true successors, and what `judged` answers; [T, B] each.
        """

        def read(which: str) -> tuple[Array, Array]:
            network = getattr(parameters, which)
            if not before.memory:
                return network(before.x), network(after.x)
            carries, answers = network.unroll(getattr(before.memory, which), before.x, before.first)
            return answers, network.step(carries, after.x)[1]

        if self.critic is None:
            nothing = jnp.zeros(before.x.shape[:-1])
            return nothing, nothing, nothing
        answers, next_answers = read("value")
        if self.critic == "state":
            return answers[..., 0], next_answers[..., 0], answers[..., 0]

        def mean(pi: Array, q: Array, seen: Seen) -> Array:
            return jnp.sum(jax.nn.softmax(self._pi(parameters, pi, seen)) * q, -1)

        pi, next_pi = read("policy")
        return mean(pi, answers, before), mean(next_pi, next_answers, after), self._of_draw(answers, draw)

    def _pi(self, parameters: Parameters, answers: Array, seen: Seen) -> PyTree:
        if seen.legal is not None:
            answers = jnp.where(seen.legal, answers, RULED_OUT)
        return self.actions.parameters(answers, parameters.free)

    def _of_draw(self, answers: Array, draw: PyTree) -> Array:
        return answers[..., 0] if self.critic == "state" else jnp.take_along_axis(answers, draw[..., None], -1)[..., 0]


def _read(network: Any, seen: Seen, which: str) -> Array:
    """The answers of a network; `which` says whose memory is its."""
    if not seen.memory:
        return network(seen.x)
    assert seen.first is not None
    x, first = (jnp.swapaxes(leaf, 0, 1) for leaf in (seen.x, seen.first))
    return jnp.swapaxes(network.unroll(getattr(seen.memory, which), x, first)[1], 0, 1)


def model(hyper: Any, spec: Spec, critic: Critic = "state") -> Model:
    """Two networks for a task, or one without a `critic`; they begin as PPO's published code does (Huang et al., 2022).

    Raises:
        BadSetting: the network cannot read such observations, such actions cannot be drawn, or the critic is to judge
            each of them and they cannot be counted.
    """
    space, network = spec.observation_space, hyper.network
    actions = distribution(spec.action_space, hyper.log_std_init, hyper.state_dependent_std, hyper.squash)

    if critic == "action" and not isinstance(actions, Categorical):
        name = type(hyper).__name__
        raise BadSetting(
            f"{name} gives each action a value, and this environment's cannot be counted: {spec.action_space}."
        )
    if (mask := mask_of(space)) and mask.stop - mask.start != sum(choices(spec.action_space) or ()):
        raise BadSetting(
            "A mask has one entry for each choice of Discrete or MultiDiscrete actions; here it has "
            f"{mask.stop - mask.start}, and the actions are {spec.action_space}."
        )
    judgements = actions.outputs if critic == "action" else 1

    def init(key: Key) -> Parameters:
        policy_key, value_key = jax.random.split(key)
        hidden = networks.orthogonal(2**0.5)
        policy = network.init(policy_key, space, actions.outputs, hidden, networks.orthogonal(0.01))
        value = network.init(value_key, space, judgements, hidden, networks.orthogonal(1.0)) if critic else ()
        return Parameters(policy, actions.free(), value)

    def start(batch: int) -> Memory:
        return Memory(network.start(batch), network.start(batch))

    return Model(actions, init, start if isinstance(network, networks.Recurrent) else no_memory, critic)


def agent(
    hyper: Any,
    spec: Spec,
    model: Model,
    init_optimiser: Callable[[Parameters], PyTree],
    improve: Callable[[State, Samples, Array, Key], tuple[Parameters, PyTree, dict[str, Array]]],
    estimate: Callable[[Estimated], tuple[Array, Array]],
    sequence_length: int | None = None,
) -> Agent:
    """Makes the agent of a member of the family.

    Args:
        hyper: the hyperparameters, with the names that `polyak.PPO` has.
        spec: the task.
        model: the policy and the value.
        init_optimiser: parameters -> what `improve` keeps from block to block.
        improve: (state, samples, learning_rate [], key) -> parameters, optimiser, metrics.
        estimate: how much better each step's action was than expected, and what the value should have been; [T, B].
        sequence_length: steps that a network with a memory learns from in a row; None for all of a block.
    """
    block_size = hyper.n_steps * spec.num_envs
    length = sequence_length or hyper.n_steps
    encode = networks.encode(spec.observation_space)
    actions = model.actions

    def init(key: Key) -> State:
        parameters = model.init(key)
        moments = Moments.of((networks.num_features(spec.observation_space),)) if hyper.normalize_observation else ()
        rewards = RewardScale(Moments.of(()), jnp.zeros(spec.num_envs)) if hyper.normalize_reward else ()
        return State(parameters, init_optimiser(parameters), moments, rewards, jnp.int32(0))

    mask = mask_of(spec.observation_space)

    def see(state: State, obs: Array) -> Seen:
        x = state.features.standardise(encode(obs)) if hyper.normalize_observation else encode(obs)
        return Seen(x, obs[..., mask] != 0 if mask else None)

    def act(state: State, carry: PyTree, obs: Array, noise: PyTree, explore: bool):
        after, pi = model.step(state.parameters, carry, see(state, obs))
        draw = actions.sample(pi, noise) if explore else actions.mode(pi)
        extras = Extras(draw, actions.log_prob(pi, draw), carry) if explore else ()
        return actions.action(draw), after, extras

    def observe(state: State, block: Step) -> State:
        if hyper.normalize_observation:
            state = state._replace(features=state.features.update(encode(block.obs).reshape(block_size, -1)))
        if hyper.normalize_reward:
            continues = 1.0 - (block.terminated | block.truncated)
            total, sums = jax.vmap(returns.discounted_sums, (1, 1, None, 0))(
                block.reward, continues, hyper.gamma, state.rewards.total
            )
            state = state._replace(rewards=RewardScale(state.rewards.moments.update(sums.reshape(-1)), total))
        return state._replace(step=state.step + block_size)

    def samples(state: State, block: Step) -> Samples:
        over = block.terminated | block.truncated
        memory, before, after = block.extras.memory, see(state, block.obs), see(state, block.next_obs)
        if memory:
            first = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])
            before = before._replace(first=first, memory=jax.tree.map(lambda leaf: leaf[0], memory))
        value, next_value, judged = model.values(state.parameters, before, after, block.extras.draw)
        reward = state.rewards.moments.scale(block.reward) if hyper.normalize_reward else block.reward
        discount = td.discount(block.terminated, hyper.gamma)
        advantage, target = estimate(Estimated(reward, discount, value, next_value, 1.0 - over, judged))
        seen = before._replace(memory=())
        batch = Samples(seen, block.extras.draw, block.extras.log_prob, advantage, judged, target)
        if not memory:
            return jax.tree.map(lambda leaf: leaf.reshape(block_size, *leaf.shape[2:]), batch)
        batch = jax.tree.map(lambda leaf: cut_up(leaf, length), batch)
        starts = jax.tree.map(lambda leaf: leaf[::length].reshape(-1, *leaf.shape[2:]), memory)
        return batch._replace(seen=batch.seen._replace(memory=starts))

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        learning_rate = annealed(hyper.learning_rate, hyper.anneal_learning_rate, state, spec, block_size)
        data = samples(state, block)
        parameters, optimiser, metrics = improve(state, data, learning_rate, key)
        unexplained = jnp.var(data.target - data.judged) / (jnp.var(data.target) + 1e-8)
        metrics |= {"explained_variance": 1.0 - unexplained, "learning_rate": learning_rate}
        return state._replace(parameters=parameters, optimiser=optimiser), metrics

    def policy(state: State) -> State:
        return state._replace(parameters=state.parameters._replace(value=()), optimiser=(), rewards=())

    def cut(state: State, which: Array) -> State:
        if not hyper.normalize_reward:
            return state
        return state._replace(rewards=state.rewards._replace(total=forget(state.rewards.total, which)))

    return Agent(init, model.start, actions.noise, act, observe, learn, policy, cut)


def gae(steps: Estimated, gae_lambda: float) -> tuple[Array, Array]:
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
