"""Deep Q-learning from a replay memory: what DQN, C51, QR-DQN, IQN and Rainbow have in common.

A member of the family says which network it has, which action values follow from an answer of the network, and what one
transition teaches. All else is here, once: acting, remembering, drawing transitions, rounds of gradient steps, the
target network, and what is measured meanwhile.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.ops import td
from polyak.parts import networks, replay
from polyak.parts.exploration import Exploration, exploring, measures
from polyak.parts.normalise import Moments
from polyak.parts.optimise import GradientRule, polyak_average
from polyak.parts.schedules import linear_schedule
from polyak.spaces import mask_of

METRICS = ("loss", "gradient_norm", "td_error", "q_mean", "q_max")  # means over a round of gradient steps


class Model(NamedTuple):
    """A network for a task: a module that is called as `parameters(x [..., n], noise [...])`, None for no noise."""

    init: Callable[[Key], Any]  # key -> parameters
    noise: Callable[[Key, tuple[int, ...]], PyTree]
    """key, shape -> what calls on x [*shape, n] need, () for nothing; of shape () it serves a whole batch alike."""


class Lesson(NamedTuple):
    """What one transition teaches."""

    loss: Array  # []
    priority: Array  # [] 0 or more: how soon it should be drawn again


class State(NamedTuple):
    """All that an agent of the family knows."""

    parameters: PyTree  # the online network
    target: PyTree  # the target network
    optimiser: PyTree
    features: PyTree  # Moments of the observations, or ()
    replay: PyTree  # the memory; () in a policy
    step: Array  # [] int32, environment steps observed


class Noise(NamedTuple):
    """All that is random in a step."""

    choice: PyTree  # of the exploration
    model: PyTree  # of the network


def num_actions(algorithm: Any, spec: Spec) -> int:
    """A; raises `BadSetting` where actions are not discrete, or are not always all there."""
    name = type(algorithm).__name__
    if mask_of(spec.observation_space):
        raise BadSetting(f"{name} cannot rule actions out by a mask; ppo, a2c, trpo and reinforce can.")
    if not isinstance(spec.action_space, gymnasium.spaces.Discrete):
        raise BadSetting(f"{name} needs discrete actions, and this environment's are {spec.action_space}.")
    return int(spec.action_space.n)


def model(network: networks.Network, spec: Spec, outputs: int | tuple[int, int]) -> Model:
    """A network with these outputs: A, or (A, K) for K numbers of each action."""

    def init(key: Key) -> networks.Module:
        return network.init(key, spec.observation_space, outputs)

    return Model(init, networks.noise(init))


def agent(
    hyper: Any, spec: Spec, model: Model, values: Callable[[PyTree], Array], lesson: Callable[..., Lesson]
) -> Agent:
    """Makes the agent of a member of the family.

    Args:
        hyper: the hyperparameters, with the names that `polyak.DQN` has.
        spec: the task.
        model: the network.
        values: an answer of the network, for one state -> [A] action values.
        lesson: (answer_tm1, a_tm1 [], r_t [], discount_t [], answer_t, q_t_selector [A]) -> what that transition
            teaches. `answer_tm1` is the online network's and `answer_t` the target network's; the largest of
            `q_t_selector` tells which action follows.

    Raises:
        BadSetting: the task or a part does not suit.
    """
    count, first_action = num_actions(hyper, spec), int(spec.action_space.start)  # type: ignore[attr-defined]
    block_size = hyper.train_freq * spec.num_envs
    encode = networks.encode(spec.observation_space)
    strategy = strategy_of(hyper)
    optimiser = hyper.optimizer.rule(hyper.max_grad_norm)
    memory = replay.memory(
        hyper.replay,
        capacity=hyper.buffer_size,
        spec=spec,
        block_length=hyper.train_freq,
        n_steps=hyper.n_steps,
        gamma=hyper.gamma,
        frame_stack=hyper.frame_stack,
    )
    is_random = bool(jax.tree.leaves(jax.eval_shape(lambda: model.noise(jax.random.key(0), (1,)))))

    def init(key: Key) -> State:
        parameters = model.init(key)
        moments = Moments.of((networks.num_features(spec.observation_space),)) if hyper.normalize_observation else ()
        return State(parameters, parameters, optimiser.init(parameters), moments, memory.init(), jnp.int32(0))

    def noise(key: Key, shape: tuple[int, ...]) -> Noise:
        choice_key, model_key = jax.random.split(key) if is_random else (key, key)
        return Noise(strategy.noise(choice_key, shape, count), model.noise(model_key, shape))

    def features(state: State, obs: Array) -> Array:
        return state.features.standardise(encode(obs)) if hyper.normalize_observation else encode(obs)

    def act(state: State, carry: tuple[()], obs: Array, noise: Noise, explore: bool):
        answer = state.parameters(features(state, obs), noise.model if explore and is_random else None)
        q = jax.vmap(values)(answer)
        if explore:
            progress = state.step / spec.total_steps
            action = jax.vmap(strategy.choose, (0, None, None, 0))(q, (), progress, noise.choice)
        else:
            action = jnp.argmax(q, -1).astype(jnp.int32)
        return action + first_action, carry, ()

    def observe(state: State, block: Step) -> State:
        if hyper.normalize_observation:
            state = state._replace(features=state.features.update(encode(block.obs).reshape(block_size, -1)))
        counted = block._replace(action=block.action - first_action)
        return state._replace(replay=memory.add(state.replay, counted), step=state.step + block_size)

    def learning_noise(key: Key) -> list[PyTree]:
        """For three looks at a batch, whose transitions share it."""
        return [model.noise(key, ()) for key in jax.random.split(key, 3)] if is_random else [None, None, None]

    def loss(parameters: PyTree, state: State, sample: replay.Sample, noises: list[PyTree]):
        x_tm1, x_t = features(state, sample.obs), features(state, sample.next_obs)
        answer_tm1, answer_t = parameters(x_tm1, noises[0]), state.target(x_t, noises[1])
        selector_t = jax.lax.stop_gradient(parameters(x_t, noises[2])) if hyper.double else answer_t
        q_tm1, q_t, q_t_selector = (jax.vmap(values)(answer) for answer in (answer_tm1, answer_t, selector_t))
        a_tm1, r_t, discount_t = sample.action, sample.r_t, sample.discount_t
        losses, priorities = jax.vmap(lesson)(answer_tm1, a_tm1, r_t, discount_t, answer_t, q_t_selector)
        error = jax.vmap(td.double_q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector)
        return (sample.weights * losses).mean(), (priorities, measured(error, q_tm1))

    learn = learning(hyper, spec, memory, optimiser, strategy, learning_noise, loss)

    def policy(state: State) -> State:
        return state._replace(target=(), optimiser=(), replay=())

    def cut(state: State, which: Array) -> State:
        return state._replace(replay=memory.cut(state.replay, which))

    return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


def strategy_of(hyper: Any) -> Exploration:
    """How actions are chosen while collecting; raises `BadSetting` for a strategy that counts visits."""
    initial, final = hyper.exploration_initial_eps, hyper.exploration_final_eps
    return exploring(hyper.exploration, initial, final, hyper.exploration_fraction)


def measured(td_error: Array, q_tm1: Array) -> dict[str, Array]:
    """Metrics of a batch; any shapes."""
    return {"td_error": jnp.abs(td_error).mean(), "q_mean": q_tm1.mean(), "q_max": q_tm1.max()}


def learning(
    hyper: Any,
    spec: Spec,
    memory: Any,
    optimiser: GradientRule,
    strategy: Exploration,
    noise: Callable[[Key], PyTree],
    loss: Callable[..., Any],
) -> Callable[[State, Step, Key], tuple[State, dict[str, Array]]]:
    """Makes `Agent.learn`: the target network's renewal, and a round of gradient steps on what the memory draws.

    Args:
        hyper: the hyperparameters, with the names that `polyak.DQN` has.
        spec: the task.
        memory: a `replay.Memory`, or what is used as one.
        optimiser: moves the parameters.
        strategy: its metrics are told with the others.
        noise: key -> all that is random in the loss of a gradient step, the sample aside.
        loss: (parameters, state, sample, noise) -> loss [], (priorities [N], what `measured` tells).
    """
    block_size = hyper.train_freq * spec.num_envs
    gradient_steps = block_size if hyper.gradient_steps == -1 else hyper.gradient_steps

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        interval, progress = hyper.target_update_interval, state.step / spec.total_steps
        renew = state.step // interval > (state.step - block_size) // interval
        target = jax.lax.cond(
            renew, lambda: polyak_average(state.target, state.parameters, hyper.tau), lambda: state.target
        )
        fixed = state._replace(target=target)
        learning_rate = jnp.float32(hyper.learning_rate)
        if hyper.anneal_learning_rate:
            learning_rate = linear_schedule(state.step, hyper.learning_rate, 0.0, spec.total_steps)

        # Drawn before the loop: inside it XLA would compute the draws of a noisy layer anew for each of its weights.
        noise_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, gradient_steps + jnp.arange(gradient_steps))
        noises = jax.vmap(noise)(noise_keys)

        def gradient_step(i: Array, carry: tuple[PyTree, PyTree, PyTree, dict[str, Array]]):
            parameters, optimiser_state, memory_state, sums = carry
            sample_key = jax.random.fold_in(key, i)
            sample = memory.sample(memory_state, sample_key, hyper.batch_size, jnp.minimum(progress, 1.0))
            (value, (priorities, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(
                parameters, fixed, sample, jax.tree.map(lambda leaf: leaf[i], noises)
            )
            # An error may be no number where the loss is one: that of C51 counts every return that is too large alike.
            sound = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
            parameters, optimiser_state, norm = optimiser.update(
                parameters, gradient, optimiser_state, learning_rate, jnp.where(sound, value, jnp.nan)
            )
            memory_state = memory.update(memory_state, sample, priorities)
            metrics |= {"loss": value, "gradient_norm": norm}
            return parameters, optimiser_state, memory_state, {name: sums[name] + metrics[name] for name in METRICS}

        # Traced, because XLA unrolls a loop of one round, fuses its reads with the write of `observe`, and copies the
        # memory that it then cannot overwrite in place.
        rounds = jnp.where(memory.size(state.replay) > 0, gradient_steps, 0)
        sums = dict.fromkeys(METRICS, jnp.float32(0))
        parameters, optimiser_state, memory_state, sums = jax.lax.fori_loop(
            0, rounds, gradient_step, (state.parameters, state.optimiser, state.replay, sums)
        )
        metrics = {name: total / jnp.maximum(rounds, 1) for name, total in sums.items()}
        metrics |= measures(strategy, progress) | memory.metrics(memory_state)
        return fixed._replace(parameters=parameters, optimiser=optimiser_state, replay=memory_state), metrics

    return learn
