"""Deep Q-learning from a replay memory: what DQN, Ape-X, C51, QR-DQN, IQN, Rainbow and recurrent DQN have in common.

A member of the family brings a network, the action values that follow from an answer of it, and the loss of a
transition. All else is here: the replay memory, the loss of a batch, the target network, and metrics. Acting is in
`parts.q_network`, rounds of gradient steps in `parts.off_policy`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step
from polyak.ops import td
from polyak.parts import off_policy, q_network, replay
from polyak.parts.optimise import Optimizer
from polyak.parts.q_network import QNetwork, acting, first_action
from polyak.parts.reader import reader
from polyak.parts.transitions import transitions_of


class Hyper(off_policy.Hyper, q_network.Hyper, Protocol):
    """The hyperparameters that the family shares; `parts.hyper` says what they mean."""

    @property
    def target_update_interval(self) -> int: ...
    @property
    def tau(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def normalize_observation(self) -> bool: ...


class TransitionHyper(Hyper, Protocol):
    """The hyperparameters of those that learn from single transitions."""

    @property
    def gamma(self) -> float: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def buffer_size(self) -> int: ...
    @property
    def replay(self) -> replay.Sampling: ...
    @property
    def frame_stack(self) -> int: ...
    @property
    def double(self) -> bool: ...


class State(NamedTuple):
    """The state of an agent of the family."""

    parameters: PyTree  # the online network
    target: PyTree  # the target network
    optimiser: PyTree  # what its rule keeps; checkpoints have it by this name
    features: PyTree  # Moments of the observations, or ()
    replay: PyTree  # the memory; () in a policy, and in the course of a gradient step
    step: Array  # [] int32, environment steps observed
    learnt: PyTree  # [] int32, environment steps learnt from, which renew the target; () in a policy


class Loss(NamedTuple):
    """The loss of a transition, and how soon it should be drawn again."""

    loss: Array  # []
    priority: Array  # [] 0 or more


Features = Callable[[Array], Array]  # observations [..., *shape] -> features [..., n]
BatchLoss = Callable[
    [PyTree, PyTree, Features, replay.Sample, list[PyTree]], tuple[Array, tuple[Array, dict[str, Array]]]
]
"""(parameters, target network, features, sample, noises) -> loss [], (priorities [N], what `measured` returns). Each of
the noises serves one call of a network on the whole sample."""


def agent(
    hyper: TransitionHyper,
    spec: Spec,
    network: QNetwork,
    values: Callable[[PyTree], Array],
    loss: Callable[..., Loss],
) -> Agent:
    """Makes the agent of a member that learns from transitions.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        network: computes the answers.
        values: an answer, for one state -> [A] action values.
        loss: (answer_tm1, a_tm1 [], r_t [], discount_t [], answer_t, q_t_selector [A]) -> the loss of that transition.
            `answer_tm1` is the online network's and `answer_t` the target network's; the largest of `q_t_selector`
            tells which action follows.

    Raises:
        BadSetting: the task or a part does not suit.
    """

    def batch_loss(parameters: PyTree, target: PyTree, features: Features, sample: replay.Sample, noises: list[PyTree]):
        obs, a_tm1, r_t, discount_t, next_obs = sample.steps
        x_tm1, x_t = features(obs), features(next_obs)
        answer_tm1, answer_t = parameters(x_tm1, noises[0]), target(x_t, noises[1])
        selector_t = jax.lax.stop_gradient(parameters(x_t, noises[2])) if hyper.double else answer_t
        q_tm1, q_t, q_t_selector = (jax.vmap(values)(answer) for answer in (answer_tm1, answer_t, selector_t))
        losses, priorities = jax.vmap(loss)(answer_tm1, a_tm1, r_t, discount_t, answer_t, q_t_selector)
        error = jax.vmap(td.double_q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector)
        return (sample.weights * losses).mean(), (priorities, measured(error, q_tm1))

    memory = replay.memory(
        hyper.replay,
        capacity=hyper.buffer_size,
        spec=spec,
        block_length=hyper.train_freq,
        n_steps=hyper.n_steps,
        gamma=hyper.gamma,
        frame_stack=hyper.frame_stack,
    )
    transitions = partial(transitions_of, n_steps=hyper.n_steps, gamma=hyper.gamma)
    appraised = transitions if replay.are_appraised(hyper.replay) else None
    return agent_from(hyper, spec, network, values, memory, batch_loss, calls=3, appraised=appraised)


def agent_from(
    hyper: Hyper,
    spec: Spec,
    network: QNetwork,
    values: Callable[[PyTree], Array],
    memory: replay.Memory,
    loss: BatchLoss,
    calls: int,
    appraised: Callable[[Step], PyTree] | None = None,
) -> Agent:
    """Makes the agent of a member that learns from whatever `memory` keeps.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        network: computes the answers.
        values: an answer, for one state -> [A] action values.
        memory: is given blocks whose actions are counted from 0.
        loss: the loss of a sample.
        calls: how many noises it takes.
        appraised: a block [T, B] -> its steps as `memory` reads them, leaves [T B, ...], where new steps come with a
            priority: that of their loss with the online network as its own target network, and means for its noise.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    block_size = hyper.train_freq * spec.num_envs
    read = reader(spec.observation_space, hyper.normalize_observation)
    choose = acting(hyper, spec, network, read, values)
    rule = hyper.optimizer.rule(hyper.max_grad_norm)

    def init(key: Key) -> State:
        parameters = network.init(key)
        moments, features = rule.init(parameters), read.init()
        return State(parameters, parameters, moments, features, memory.init(), step=jnp.int32(0), learnt=jnp.int32(0))

    def observe(state: State, block: Step) -> State:
        counted = block._replace(action=block.action - first_action(spec))
        if appraised and isinstance(block.priority, tuple):
            counted = counted._replace(priority=appraise(state, block))
        return state._replace(
            features=read.update(state.features, block.obs),
            replay=memory.add(state.replay, counted),
            step=state.step + block_size,
        )

    def appraise(state: State, block: Step) -> Array:
        assert appraised is not None
        steps = appraised(block._replace(action=block.action - first_action(spec)))
        sample = replay.Sample(steps, jnp.ones(block.reward.size), jnp.arange(block.reward.size))
        features, networks = partial(read.features, state.features), (state.parameters, state.parameters)
        _, (priorities, _) = loss(*networks, features, sample, [None] * calls)
        return priorities.reshape(block.reward.shape)

    def noises(key: Key) -> list[PyTree]:
        return [network.noise(key, ()) for key in jax.random.split(key, calls)]

    def gradient_step(state: State, sample: replay.Sample, noises: list[PyTree], learning_rate: Array):
        def features(obs: Array) -> Array:
            return read.features(state.features, obs)

        (value, (priorities, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.parameters, state.target, features, sample, noises
        )
        # A TD error may be infinite where the loss is finite: C51 moves every return beyond v_max to its last atom.
        sound = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        parameters, optimizer_state, norm = rule.update(
            state.parameters, gradient, state.optimiser, learning_rate, jnp.where(sound, value, jnp.nan)
        )
        metrics |= {"loss": value, "gradient_norm": norm}
        return state._replace(parameters=parameters, optimiser=optimizer_state), priorities, metrics

    improve = off_policy.learning(hyper, spec, memory, gradient_step, noises)

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        every, progress = hyper.target_update_interval, state.step / spec.total_steps
        state = off_policy.counted(state, block_size)
        target = off_policy.renewed(state.target, state.parameters, state.learnt, every, block_size, hyper.tau)
        state, metrics = improve(state._replace(target=target), key)
        return state, metrics | choose.measures(progress)

    def policy(state: State) -> State:
        return state._replace(target=(), optimiser=(), replay=(), learnt=())

    def cut(state: State, which: Array) -> State:
        return state._replace(replay=memory.cut(state.replay, which))

    appraises = appraise if appraised else None
    return Agent(init, network.start, choose.noise, choose.act, observe, learn, policy, cut, appraise=appraises)


def measured(td_error: Array, q_tm1: Array) -> dict[str, Array]:
    """Metrics of a batch; any shapes."""
    return {"td_error": jnp.abs(td_error).mean(), "q_mean": q_tm1.mean(), "q_max": q_tm1.max()}
