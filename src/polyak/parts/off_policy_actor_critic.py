"""Off-policy actor-critics: what DDPG, TD3, SAC and those that came after have in common.

A member of the family brings its networks, how it acts, and one gradient step of all of them on a batch. All else is
here: scaled actions, uniform warm-up, the replay memory, standardised observations. Rounds of gradient steps are in
`parts.off_policy`, critics in `parts.critics`, sampled policies and temperatures in `parts.soft_policy`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.parts import off_policy, replay
from polyak.parts.optimise import GradientRule
from polyak.parts.reader import reader
from polyak.parts.transitions import transitions_of
from polyak.spaces import MASKED, mask_of

NO_CLIPPING = 1e30  # the norm of a gradient that is clipped: none of these methods clips
ON_A_BOUND = 0.98  # from here on a scaled action lies within a hundredth of its range of a bound
Metrics = dict[str, Array]
Learnt = TypeVar("Learnt")
Features = Callable[[Array], Array]  # observations [..., *shape] -> features [..., n]


class Hyper(off_policy.Hyper, Protocol):
    """The hyperparameters that the family shares; `parts.hyper` says what they mean."""

    @property
    def learning_starts(self) -> int: ...
    @property
    def normalize_observation(self) -> bool: ...


class TransitionHyper(Hyper, Protocol):
    """The hyperparameters of those that learn from single transitions."""

    @property
    def gamma(self) -> float: ...
    @property
    def buffer_size(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def replay(self) -> replay.Sampling: ...
    @property
    def frame_stack(self) -> int: ...


class Learner(NamedTuple):
    """What a gradient step changes."""

    parameters: Any  # a NamedTuple of networks, of which acting reads the field `actor`
    target: PyTree  # target networks; () where there are none
    optimiser: Any  # what their rules keep, a field for each that is learnt; checkpoints have it by this name


class State(NamedTuple):
    """The state of an agent of the family."""

    parameters: Any  # see `Learner`
    target: PyTree
    optimiser: Any
    features: PyTree  # Moments of the observations, or ()
    replay: PyTree  # the memory; () in a policy, and in the course of a gradient step
    step: Array  # [] int32, environment steps observed
    learnt: PyTree  # [] int32, environment steps learnt from, which schedules follow; () in a policy
    updates: PyTree  # [] int32, gradient steps made; () in a policy


class Batch(NamedTuple):
    """Transitions of N rows, as networks read them."""

    x_tm1: Array  # [N, n] features of the states left
    a_tm1: Array  # [N, k] the actions, scaled; [N] where they are counted
    r_t: Array  # [N] rewards, summed over n steps
    discount_t: Array  # [N] of the values of what follows
    x_t: Array  # [N, n] features of the states reached
    weights: Array  # [N] importance weights


class Method(NamedTuple):
    """What a member of the family brings."""

    init: Callable[[Key], Learner]
    act: Callable[[Any, PyTree, Array, Array, bool], tuple[Array, PyTree]]
    """(actor, carry, x [B, n], normal numbers [B, draws k], explore) -> scaled actions [B, k], carry."""
    update: Callable[[Learner, Any, PyTree, Array, Array], tuple[Learner, Array, Metrics]]
    """(learner, batch, noise, learning_rate [], updates []) -> learner, priorities [N], metrics [] each. `updates`
    counts the gradient steps that were made before this one."""
    noise: Callable[[Key], PyTree]  # key -> all that is random in an update, the batch aside
    start: Callable[[int], PyTree] = no_memory  # batch -> carry: what acting remembers of an episode
    draws: int = 1  # normal numbers that acting takes for each coordinate of an action
    appraise: Callable[[Any, Batch], Array] | None = None
    """(networks, batch) -> priorities [N], with the networks as their own targets; None where there are none."""


class Actions(Protocol):
    """The actions of a task as networks and memories have them: `ActionBox`, `ActionChoice`."""

    def noise(self, key: Key, shape: tuple[int, ...], draws: int) -> Array:
        """The noise [*shape, ...] of acting; `draws` times as many numbers as one sample of an action takes."""
        ...

    def uniform(self, noise: Array) -> Array:
        """Uniform actions, as networks have them, of noise [B, ...]."""
        ...

    def action(self, scaled: Array) -> Array:
        """The members of the space."""
        ...

    def scaled(self, action: Array) -> Array:
        """What networks have of members of the space."""
        ...


def agent(hyper: TransitionHyper, spec: Spec, actions: Actions, method: Method) -> Agent:
    """Makes the agent of a member that learns from transitions; see `agent_from`.

    Raises:
        BadSetting: the task or a part does not suit.
    """

    def read(sample: replay.Sample, features: Features) -> Batch:
        obs, action, r_t, discount_t, next_obs = sample.steps
        return Batch(features(obs), actions.scaled(action), r_t, discount_t, features(next_obs), sample.weights)

    memory = replay.memory(
        hyper.replay,
        capacity=hyper.buffer_size,
        spec=spec,
        block_length=hyper.train_freq,
        n_steps=hyper.n_steps,
        gamma=hyper.gamma,
        frame_stack=hyper.frame_stack,
    )
    appraised = None
    if replay.are_appraised(hyper.replay):
        if method.appraise is None:
            raise BadSetting(
                f"{type(hyper).__name__} gives new steps no priorities of their own; leave `appraised` out of the "
                "replay's setting."
            )
        appraised = partial(transitions_of, n_steps=hyper.n_steps, gamma=hyper.gamma)
    return agent_from(hyper, spec, actions, method, memory, read, appraised)


def agent_from(
    hyper: Hyper,
    spec: Spec,
    actions: Actions,
    method: Method,
    memory: replay.Memory,
    read_sample: Callable[[replay.Sample, Features], Any],
    appraised: Callable[[Step], PyTree] | None = None,
) -> Agent:
    """Makes the agent of a member of the family.

    Until `learning_starts` steps are observed, actions are uniform within their bounds.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        actions: how they are scaled.
        method: the networks, and how they act and learn.
        memory: what batches are drawn from; the extras of its blocks are what acting remembered before each step.
        read_sample: (sample, features) -> the batch that `method.update` is given.
        appraised: a block [T, B] -> its steps as `memory` reads them, leaves [T B, ...], where new steps come with a
            priority, which `method.appraise` tells.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    if mask_of(spec.observation_space):
        raise BadSetting(f"{type(hyper).__name__} cannot rule actions out by a mask; {MASKED} can.")
    read = reader(spec.observation_space, hyper.normalize_observation)
    block_size = hyper.train_freq * spec.num_envs

    def init(key: Key) -> State:
        return State(*method.init(key), read.init(), memory.init(), jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return actions.noise(key, shape, method.draws)

    def act(state: State, carry: PyTree, obs: Array, noise: Array, explore: bool) -> tuple[Array, PyTree, PyTree]:
        x = read.features(state.features, obs)
        scaled, after = method.act(state.parameters.actor, carry, x, noise, explore)
        if explore:
            scaled = jnp.where(state.step < hyper.learning_starts, actions.uniform(noise), scaled)
        return actions.action(scaled), after, carry if explore else ()

    def appraise(state: State, block: Step) -> Array:
        assert appraised is not None and method.appraise is not None
        sample = replay.Sample(appraised(block), jnp.ones(block.reward.size), jnp.arange(block.reward.size))
        batch = read_sample(sample, partial(read.features, state.features))
        return method.appraise(state.parameters, batch).reshape(block.reward.shape)

    def observe(state: State, block: Step) -> State:
        if appraised and isinstance(block.priority, tuple):
            block = block._replace(priority=appraise(state, block))
        return state._replace(
            features=read.update(state.features, block.obs),
            replay=memory.add(state.replay, block),
            step=state.step + block_size,
        )

    def gradient_step(state: State, sample: replay.Sample, noise: PyTree, learning_rate: Array):
        batch = read_sample(sample, lambda obs: read.features(state.features, obs))
        learner, priorities, metrics = method.update(Learner(*state[:3]), batch, noise, learning_rate, state.updates)
        return State(*learner, *state[3:7], state.updates + 1), priorities, metrics

    improve = off_policy.learning(hyper, spec, memory, gradient_step, method.noise)

    def learn(state: State, block: Step, key: Key) -> tuple[State, Metrics]:
        return improve(off_policy.counted(state, block_size), key)

    def policy(state: State) -> State:
        networks = state.parameters
        networks = networks._replace(**{name: () for name in networks._fields if name != "actor"})
        return State(networks, (), (), state.features, (), state.step, (), ())

    def publish(state: State) -> State:
        return policy(state)._replace(parameters=state.parameters)

    def cut(state: State, which: Array) -> State:
        return state._replace(replay=memory.cut(state.replay, which))

    known = Agent(init, method.start, noise, act, observe, learn, policy, cut)
    return known._replace(publish=publish, appraise=appraise) if appraised else known


def moments_of(rule: GradientRule, parameters: Any) -> Any:
    """What a rule keeps of each of the networks in a NamedTuple; () of what is () there."""
    return parameters._make(rule.init(one) if jax.tree.leaves(one) else () for one in parameters)


class Descent(NamedTuple):
    """What came of a gradient step of one network."""

    parameters: Any
    moments: PyTree
    loss: Array  # []
    aux: Any  # what the loss tells besides
    sound: Array  # [] bool, whether the step was made and none before it was refused


def descend(
    rule: GradientRule,
    loss: Callable[[Any], tuple[Array, Any]],
    parameters: Any,
    moments: PyTree,
    learning_rate: Array | float,
    sound: Array | bool = True,
) -> Descent:
    """One gradient step of one network, refused where `sound` is false or a number is not finite.

    A learner of several networks hands on from one to the next whether the steps before were made: once one is refused
    none moves any more.

    Args:
        rule: moves the parameters.
        loss: parameters -> loss [], and anything besides.
        parameters: of the network.
        moments: what the rule keeps of it.
        learning_rate: [].
        sound: [] bool.
    """
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
    judged = jnp.where(sound, value, jnp.nan)
    parameters, moments, _ = rule.update(parameters, gradient, moments, learning_rate, judged)
    return Descent(parameters, moments, value, aux, moments.updates >= 0)


def delayed(
    every: int, updates: Array, improve: Callable[[], tuple[Learnt, Metrics]], otherwise: Learnt
) -> tuple[Learnt, Metrics]:
    """What `improve` returns at every so many updates; at the others `otherwise`, and metrics of 0.

    Metrics are averaged over many updates; so they are multiplied by `every` here.
    """
    if every == 1:
        return improve()

    def improved() -> tuple[Learnt, Metrics]:
        learnt, metrics = improve()
        return learnt, {name: every * value for name, value in metrics.items()}

    def skipped() -> tuple[Learnt, Metrics]:
        metrics = jax.eval_shape(improve)[1]
        return otherwise, {name: jnp.zeros(value.shape, value.dtype) for name, value in metrics.items()}

    return jax.lax.cond((updates + 1) % every == 0, improved, skipped)


def critic_metrics(q_tm1: Array, error: Array, loss: Array) -> Metrics:
    """Metrics of critics: values and TD errors [...] of a batch, and its loss []."""
    return {"critic_loss": loss, "q_mean": q_tm1.mean(), "q_max": q_tm1.max(), "td_error": jnp.abs(error).mean()}


def saturation(action: Array) -> Array:
    """[] the share of the coordinates of scaled actions [...] that lie on a bound, or within a hundredth of it."""
    return (jnp.abs(action) > ON_A_BOUND).mean()
