"""Rounds of gradient steps over a learner of two critics, a policy, their targets and two optimizers."""

import dataclasses
from functools import cache
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Agent, Spec, no_memory
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs.base import AsGymnasium
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.envs.probes import _probe
from polyak.parts import off_policy, replay
from polyak.parts.networks import MLP
from polyak.parts.optimise import adam, polyak_average

GAMMA, NUM_ENVS = 0.5, 4
NUMBERS = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
PAIRS = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)  # of an observation and an action


def number_then_wait():
    """1 - (2 action - o)^2 for the first observation o, -1 or 1; then 0 is seen and 1 paid for ever, cut after 2 steps:
    Q = 1 / (1 - gamma) for the best action, o / 2, and (2 action - o)^2 less for another."""

    def step(place, action):
        cue = 2.0 * place - 1.0
        return jnp.int32(2), jnp.where(place == 2, 1.0, 1.0 - jnp.square(2.0 * action[0] - cue)), False

    def see(place):
        return jnp.where(place < 2, 2.0 * place - 1.0, 0.0)[None]

    return _probe("number-then-wait", step, see, states=2, limit=2, actions=NUMBERS)


class State(NamedTuple):
    networks: tuple[Any, Any]  # the policy; two critics, leaves [2, ...]
    targets: tuple[Any, Any]
    moments: tuple[Any, Any]
    updates: jax.Array
    replay: Any
    step: jax.Array
    learnt: Any = jnp.int32(0)


def action_of(policy, obs):
    return jnp.tanh(policy(obs))


def q(critics, obs, action):
    """[2, N]"""
    return jax.vmap(lambda critic: critic(jnp.concatenate([obs, action], -1))[..., 0])(critics)


@dataclasses.dataclass(frozen=True)
class TwinDelayed:
    """TD3 (Fujimoto, van Hoof and Meger, 2018), as small as can be."""

    name: ClassVar[str] = "twin-delayed"
    starts_at_reset: ClassVar[bool] = False
    learning_rate: float = 3e-3
    anneal_learning_rate: bool = True
    batch_size: int = 64
    train_freq: int = 2
    gradient_steps: int = -1
    learning_starts: int = 0

    @property
    def block_length(self) -> int:
        return self.train_freq

    def parts(self, spec: Spec):
        memory = replay.memory(
            replay.Uniform(), capacity=2_000, spec=spec, block_length=self.train_freq, n_steps=1, gamma=GAMMA
        )
        rule = adam(max_grad_norm=10.0)

        def gradient_step(state: State, sample: replay.Sample, noise, learning_rate):
            (obs, a_tm1, r_t, discount_t, next_obs), (policy, critics) = sample.steps, state.networks
            a_t = jnp.clip(action_of(state.targets[0], next_obs) + jnp.clip(0.2 * noise, -0.5, 0.5), -1.0, 1.0)
            target = r_t + discount_t * q(state.targets[1], next_obs, a_t).min(0)

            def critic_loss(critics):
                error = target - q(critics, obs, a_tm1)
                return jnp.square(error).mean(), jnp.abs(error).max(0)

            def policy_loss(policy):
                return -q(critics, obs, action_of(policy, obs))[0].mean()

            (loss, errors), gradient = jax.value_and_grad(critic_loss, has_aux=True)(critics)
            critics, critic_moments, _ = rule.update(critics, gradient, state.moments[1], learning_rate, loss)
            value, gradient = jax.value_and_grad(policy_loss)(policy)
            moved, policy_moments, _ = rule.update(policy, gradient, state.moments[0], learning_rate, value)
            targets = polyak_average(state.targets, (moved, critics), 0.05)
            policy, policy_moments, targets = jax.tree.map(
                lambda new, old: jnp.where(state.updates % 2 == 1, new, old),
                (moved, policy_moments, targets),
                (policy, state.moments[0], state.targets),
            )
            metrics = {"critic_loss": loss, "policy_loss": value, "td_error": errors.mean()}
            moments = (policy_moments, critic_moments)
            state = State((policy, critics), targets, moments, state.updates + 1, state.replay, state.step)
            return state, errors, metrics

        def init(key):
            policy_key, critic_key = jax.random.split(key)
            policy = MLP((16,)).init(policy_key, NUMBERS, 1)
            critics = jax.vmap(lambda key: MLP((32, 32), "silu").init(key, PAIRS, 1))(jax.random.split(critic_key))
            networks = (policy, critics)
            moments = (rule.init(policy), rule.init(critics))
            return State(networks, networks, moments, jnp.int32(0), memory.init(), jnp.int32(0))

        def noise(key):
            return jax.random.normal(key, (self.batch_size, 1))

        return memory, gradient_step, init, noise

    def agent(self, spec: Spec) -> Agent:
        memory, gradient_step, init, noise = self.parts(spec)
        improve = off_policy.learning(self, spec, memory, gradient_step, noise)

        def act(state, carry, obs, noise, explore):
            action = action_of(state.networks[0], obs)
            return jnp.clip(action + noise, -1.0, 1.0) if explore else action, carry, ()

        def observe(state, block):
            replay = memory.add(state.replay, block)
            return state._replace(replay=replay, step=state.step + self.train_freq * spec.num_envs)

        return Agent(
            init=init,
            start=no_memory,
            noise=lambda key, shape: 0.7 * jax.random.normal(key, (*shape, 1)),
            act=act,
            observe=observe,
            learn=lambda state, block, key: improve(off_policy.counted(state, self.train_freq * spec.num_envs), key),
            policy=lambda state: state._replace(targets=(), moments=(), replay=(), learnt=()),
        )


SPEC = Spec(NUMBERS, NUMBERS, NUM_ENVS, 2, total_steps=4_000)


@cache
def engine_of(kind: str):
    algorithm, env = TwinDelayed(), number_then_wait()
    agent = algorithm.agent(SPEC)
    if kind == "compiled":
        return CompiledEngine(algorithm, agent, env, SPEC, chunk=500)
    return HostEngine(algorithm, agent, GymnasiumVector(lambda: AsGymnasium(env), NUM_ENVS), SPEC, chunk=500)


def check_that_it_is_known(networks) -> None:
    policy, critics = networks
    obs, best = jnp.array([[-1.0], [1.0], [0.0]]), jnp.array([[-0.5], [0.5], [0.0]])
    np.testing.assert_allclose(action_of(policy, obs)[:2], best[:2], atol=0.1)
    np.testing.assert_allclose(q(critics, obs, best), np.full((2, 3), 1 / (1 - GAMMA)), atol=0.2)
    np.testing.assert_allclose(q(critics, obs, 0 * best)[:, :2], np.full((2, 2), 1 / (1 - GAMMA) - 1), atol=0.2)


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_two_critics_a_policy_and_delayed_targets_reach_the_known_answer(kind):
    engine = engine_of(kind)
    loop, metrics = engine.advance(engine.init(0), 500, True)
    check_that_it_is_known(loop.agent.networks)
    assert int(loop.agent.updates) == 500 * 2 * NUM_ENVS
    assert {"critic_loss", "policy_loss", "td_error", "replay_size"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


@cache
def offline():
    """4,000 gradient steps, and no environment."""
    memory, gradient_step, _, noise = TwinDelayed().parts(SPEC)
    improve = off_policy.rounds(memory, 4_000, TwinDelayed.batch_size, gradient_step, noise)
    return jax.jit(lambda state, key: improve(state._replace(replay=()), state.replay, key, 1.0, 2e-3))


def test_a_memory_that_was_filled_once_is_enough_to_learn_from():
    engine = engine_of("compiled")
    filled = engine.advance(engine.init(1), 500, False)[0].agent
    learner, kept, metrics = offline()(filled, jax.random.key(0))
    check_that_it_is_known(learner.networks)
    jax.tree.map(np.testing.assert_array_equal, kept, filled.replay)
    assert int(learner.updates) == 4_000
    assert int(learner.step) == int(filled.step)
    assert float(metrics["critic_loss"]) > 0


def test_nothing_is_learnt_from_an_empty_memory():
    empty = engine_of("compiled").init(2).agent
    learner, _, metrics = offline()(empty, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, learner, empty._replace(replay=()))
    assert set(map(float, metrics.values())) == {0.0}


def test_metrics_are_means_over_the_gradient_steps_of_a_round():
    """A learner that counts: its steps tell 1, 2, 3 and 4, and its rate."""
    memory, *_ = TwinDelayed().parts(SPEC)
    filled = engine_of("compiled").advance(engine_of("compiled").init(1), 1, False)[0].agent.replay

    def count(learner, sample, noise, learning_rate):
        assert noise == ()
        return learner + 1, sample.weights, {"count": learner + 1.0, "rate": learning_rate}

    improve = off_policy.rounds(memory, 4, 2, count)
    learner, _, metrics = improve(jnp.int32(0), filled, jax.random.key(0), 0.0, jnp.float32(0.5))
    assert (int(learner), float(metrics["count"]), float(metrics["rate"])) == (4, 2.5, 0.5)


@pytest.mark.parametrize(
    ("learnt", "passed"), [(8, True), (12, False), (16, True), (20, False), (23, False), (25, True)]
)
def test_a_target_is_renewed_by_the_block_in_which_a_multiple_of_its_interval_is_reached(learnt, passed):
    after = off_policy.renewed(jnp.float32(0), jnp.float32(1), jnp.int32(learnt), every=8, block_size=4, tau=0.25)
    assert float(after) == (0.25 if passed else 0.0)


@pytest.mark.parametrize(
    ("observed", "counts"),
    [
        ((4, 8, 12), (4, 8, 12)),  # from the beginning, a block each time
        ((24, 28, 32), (24, 28, 32)),  # after five blocks that were only observed
        ((20, 20, 20), (20, 24, 28)),  # from a memory that was filled once
        ((0, 0, 0), (4, 8, 12)),  # from one that was filled without observing
    ],
)
def test_steps_learnt_from_go_on_where_the_observed_ones_stand_when_learning_begins(observed, counts):
    state, found = State((), (), (), jnp.int32(0), (), jnp.int32(0)), []
    for step in observed:
        state = off_policy.counted(state._replace(step=jnp.int32(step)), block_size=4)
        found.append(int(state.learnt))
    assert tuple(found) == counts
