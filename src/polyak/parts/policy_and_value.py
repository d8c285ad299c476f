"""The networks of an actor-critic: a policy and a value, which share nothing."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, no_memory
from polyak.errors import BadSetting
from polyak.parts import networks
from polyak.parts.distributions import RULED_OUT, Categorical, Distribution, distribution
from polyak.spaces import choices, mask_of

Critic = Literal["state", "action"] | None  # what it answers: V(s), or Q(s, a) for every action; None for no critic
Network = Literal["policy", "value"]


class Hyper(Protocol):
    """The hyperparameters of the networks; `parts.hyper` says what they mean."""

    @property
    def network(self) -> networks.Network | networks.Recurrent: ...
    @property
    def log_std_init(self) -> float: ...
    @property
    def state_dependent_std(self) -> bool: ...
    @property
    def squash(self) -> bool: ...


class Parameters(NamedTuple):
    """The parameters of policy and value."""

    policy: PyTree  # its network
    free: PyTree  # what its distribution has besides: log-deviations that no observation changes
    value: PyTree  # its network; () where only the policy is meant


class Memory(NamedTuple):
    """The memories of recurrent networks; () in its place for other networks."""

    policy: PyTree
    value: PyTree


class Inputs(NamedTuple):
    """The inputs of policy and value at some steps: leaves [N, ...]; at S sequences of L steps, [S, L, ...]."""

    x: Array  # features
    legal: Array | None = None  # [..., outputs] bool, which actions there are; None where all are, always
    first: Array | None = None  # [S, L] bool, where an episode begins; None for networks without a memory
    memory: PyTree = ()  # a Memory before each sequence, leaves [S, ...]; () for networks without one


class Model(NamedTuple):
    """A policy and a value for a task."""

    actions: Distribution
    init: Callable[[Key], Parameters]
    start: Callable[[int], PyTree]  # batch -> a Memory, or ()
    critic: Critic

    def policy(self, parameters: Parameters, inputs: Inputs) -> PyTree:
        """pi(. | s): the parameters of the distribution over actions."""
        return self._pi(parameters, _answers(parameters, inputs, "policy"), inputs)

    def value(self, parameters: Parameters, inputs: Inputs, sample: PyTree) -> Array:
        """[N] or [S, L]: V(s), or Q(s, a) of the sampled action if the critic knows actions; 0 without a critic."""
        if self.critic is None:
            return jnp.zeros(inputs.x.shape[:-1])
        return self._of_sample(_answers(parameters, inputs, "value"), sample)

    def step(self, parameters: Parameters, memory: PyTree, inputs: Inputs) -> tuple[PyTree, PyTree]:
        """One step of B environments: from memory and inputs [B, ...] to memory and pi(. | s)."""
        if not memory:
            return memory, self.policy(parameters, inputs)
        carry, answers = parameters.policy.step(memory.policy, inputs.x)
        value_carry = parameters.value.step(memory.value, inputs.x)[0] if parameters.value else memory.value
        return Memory(carry, value_carry), self._pi(parameters, answers, inputs)

    def policy_along(self, parameters: Parameters, before: Inputs) -> PyTree:
        """pi(. | s) at the steps of a block [T, B, ...]; the memory of `before`, leaves [B, ...], is that before it."""
        if not before.memory:
            return self.policy(parameters, before)
        _, answers = parameters.policy.unroll(before.memory.policy, before.x, before.first)
        return self._pi(parameters, answers, before)

    def values(
        self, parameters: Parameters, before: Inputs, after: Inputs, sample: PyTree
    ) -> tuple[Array, Array, Array]:
        """The values that advantages are estimated from.

        Args:
            parameters: of policy and value.
            before: [T, B, ...] at the steps of a block; its memory, leaves [B, ...], is that before the block.
            after: [T, B, ...] at the true successors.
            sample: [T, B, ...] the samples that the actions were made of.

        Returns:
            V before each step, V of the true successors, and what `value` answers; [T, B] each.
        """

        def answers(which: Network) -> tuple[Array, Array]:
            network = getattr(parameters, which)
            if not before.memory:
                return network(before.x), network(after.x)
            carries, answers = network.unroll(getattr(before.memory, which), before.x, before.first)
            return answers, network.step(carries, after.x)[1]

        if self.critic is None:
            nothing = jnp.zeros(before.x.shape[:-1])
            return nothing, nothing, nothing
        q, next_q = answers("value")
        if self.critic == "state":
            return q[..., 0], next_q[..., 0], q[..., 0]

        def mean(pi: Array, q: Array, inputs: Inputs) -> Array:
            return jnp.sum(jax.nn.softmax(self._pi(parameters, pi, inputs)) * q, -1)

        pi, next_pi = answers("policy")
        return mean(pi, q, before), mean(next_pi, next_q, after), self._of_sample(q, sample)

    def _pi(self, parameters: Parameters, answers: Array, inputs: Inputs) -> PyTree:
        if inputs.legal is not None:
            answers = jnp.where(inputs.legal, answers, RULED_OUT)
        return self.actions.parameters(answers, parameters.free)

    def _of_sample(self, answers: Array, sample: PyTree) -> Array:
        if self.critic == "state":
            return answers[..., 0]
        return jnp.take_along_axis(answers, sample[..., None], -1)[..., 0]


def _answers(parameters: Parameters, inputs: Inputs, which: Network) -> Array:
    network = getattr(parameters, which)
    if not inputs.memory:
        return network(inputs.x)
    assert inputs.first is not None
    x, first = (jnp.swapaxes(leaf, 0, 1) for leaf in (inputs.x, inputs.first))
    return jnp.swapaxes(network.unroll(getattr(inputs.memory, which), x, first)[1], 0, 1)


def policy_and_value(hyper: Hyper, spec: Spec, critic: Critic = "state") -> Model:
    """Two networks for a task, or one without a `critic`; they begin as PPO's published code does (Huang et al., 2022).

    Raises:
        BadSetting: the network cannot read such observations, or is noisy; such actions cannot be sampled; or the
            critic is to give each of them a value and they cannot be counted.
    """
    space, network, name = spec.observation_space, hyper.network, type(hyper).__name__
    networks.refuse_noisy(name, network)
    actions = distribution(spec.action_space, hyper.log_std_init, hyper.state_dependent_std, hyper.squash)
    if critic == "action" and not isinstance(actions, Categorical):
        raise BadSetting(
            f"{name} gives each action a value, and this environment's cannot be counted: {spec.action_space}."
        )
    if (mask := mask_of(space)) and mask.stop - mask.start != sum(choices(spec.action_space) or ()):
        raise BadSetting(
            "A mask has one entry for each choice of Discrete or MultiDiscrete actions; here it has "
            f"{mask.stop - mask.start}, and the actions are {spec.action_space}."
        )
    values = actions.outputs if critic == "action" else 1

    def init(key: Key) -> Parameters:
        policy_key, value_key = jax.random.split(key)
        hidden = networks.orthogonal(2**0.5)
        policy = network.init(policy_key, space, actions.outputs, hidden, networks.orthogonal(0.01))
        value = network.init(value_key, space, values, hidden, networks.orthogonal(1.0)) if critic else ()
        return Parameters(policy, actions.free(), value)

    if isinstance(network, networks.Recurrent):
        begin = network.start
        return Model(actions, init, lambda batch: Memory(begin(batch), begin(batch)), critic)
    return Model(actions, init, no_memory, critic)
