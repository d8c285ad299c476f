"""The engines: blocks, episodes and noise. That every algorithm's run is the same on both, whatever its chunks and
beside whatever seeds, is in tests/test_every_algorithm.py.
"""

import dataclasses
from functools import cache
from typing import ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Agent, Spec
from polyak.engines import common
from polyak.engines.common import Episodes, draw_noise, drawn_together
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs import make
from polyak.envs.base import AsGymnasium, CompiledEnv
from polyak.envs.from_gymnasium import GymnasiumVector
from tests import small
from tests.engines.runs import assert_equal, parameters_of, run

NUM_ENVS = 2


def spec_of(env, num_envs: int = NUM_ENVS) -> Spec:
    return Spec(env.observation_space, env.action_space, num_envs, env.max_episode_steps, 1_000)


@cache
def engine_of(name: str, chunk: int = 4, kind: type = CompiledEngine):
    algorithm = small.algorithm(name, initial_value=1.0)  # so that tables change before the first reward
    env = make(("gymnasium:" if kind is HostEngine else "") + small.world_of(algorithm), NUM_ENVS)
    return kind(algorithm, algorithm.agent(spec_of(env)), env, spec_of(env), chunk)


@pytest.mark.parametrize("name", ["dqn", "sarsa"])
def test_the_most_that_a_chunk_holds_does_not_change_a_run(name):
    few, _ = run(engine_of(name), 1, fills=(), trains=(4, 2))
    many, _ = run(engine_of(name, chunk=7), 1, fills=(), trains=(6,))
    assert_equal(few.agent, many.agent)


@pytest.mark.parametrize("kind", [CompiledEngine, HostEngine])
def test_the_noise_of_a_chunk_has_a_limit_that_does_not_change_a_run(kind, monkeypatch):
    whole = engine_of("sarsa", kind=kind)
    one = jax.eval_shape(lambda key: whole.agent.noise(key, (1, NUM_ENVS)), jax.random.key(0))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    monkeypatch.setattr(common, "NOISE_BYTES", 3 * size)
    limited = engine_of.__wrapped__("sarsa", kind=kind)
    assert 1 <= limited.chunk < whole.chunk == 4
    first, _ = run(whole, 1, fills=(), trains=(4, 2))
    second, _ = run(limited, 1, fills=(), trains=(limited.chunk,) * (6 // limited.chunk))
    assert_equal((first.agent, first.obs), (second.agent, second.obs))


def test_single_steps_share_keys_and_the_chunks_still_do_not_change_their_noise():
    env, algorithm = make("FrozenLake-v1"), small.algorithm("sarsa")
    spec = spec_of(env, num_envs=1)
    together = drawn_together(algorithm, spec)
    assert together > 1 == drawn_together(algorithm, spec_of(env)) == drawn_together(small.algorithm("dqn"), spec)
    agent, key = algorithm.agent(spec), jax.random.key(0)

    def drawn(first, count):
        return draw_noise(key, first, count, (1, 1), agent, env.noise, together)

    whole = drawn(0, 3 * together)
    assert len(np.unique(whole.env.coin)) > 2.9 * together  # no number twice but by chance
    for first, count in ((0, 1), (together - 1, 2), (together + 5, together), (together + 1, 2 * together - 1)):
        piece = jax.tree.map(lambda leaf: leaf[first : first + count], whole)  # noqa: B023
        assert_equal(drawn(jnp.int32(first), count), piece)


def test_filling_observes_and_learns_nothing():
    engine = engine_of("dqn")
    start, (filled, metrics) = engine.init(0), run(engine, 0, fills=(3,), trains=())
    assert_equal(parameters_of(start.agent), parameters_of(filled.agent))
    assert int(filled.agent.step) == 3 * engine.block_size
    assert metrics[0].keys() == {"episodes", "episode_return", "episode_length"}


def test_what_was_not_measured_is_nan():
    _, history = run(engine_of("dqn"), 0, fills=(), trains=(1,))  # four steps: no CartPole has fallen
    assert history[0]["episodes"] == 0
    assert np.isnan(history[0]["episode_return"])
    assert np.isnan(history[0]["episode_length"])


# A watch that counts and an agent that remembers: what both engines must get right where blocks and episodes meet.


def watch(limit: int) -> CompiledEnv:
    """Observes the steps since the reset, pays as much, and is cut after `limit` of them."""

    def step(clock, action, noise):
        clock = clock + 1
        return clock, clock[None].astype(jnp.float32), jnp.float32(clock), jnp.bool_(False), clock >= limit

    return CompiledEnv(
        "watch",
        gymnasium.spaces.Box(0, 1e6, (1,), np.float32),
        gymnasium.spaces.Discrete(2),
        limit,
        lambda key, shape: jnp.zeros(shape),
        lambda noise: (jnp.int32(0), jnp.zeros(1)),
        step,
    )


class Seen(NamedTuple):
    """The last block, as the agent met it; leaves [T, B]."""

    obs: jax.Array
    next_obs: jax.Array
    carry: jax.Array
    reward: jax.Array
    over: jax.Array


@dataclasses.dataclass(frozen=True)
class Witness:
    """Learns nothing, remembers how many steps it has acted since its memory was last made fresh."""

    name: ClassVar[str] = "witness"
    default_num_envs: ClassVar[int] = 1
    learning_starts: ClassVar[int] = 0
    starts_at_reset: bool = False
    block_length: int = 4

    def agent(self, spec: Spec) -> Agent:
        def observe(state, block):
            obs, next_obs, carry = block.obs[..., 0], block.next_obs[..., 0], block.extras
            return Seen(obs, next_obs, carry, block.reward, block.terminated | block.truncated)

        shape = (self.block_length, spec.num_envs)
        nothing = Seen(*(jnp.zeros(shape) for _ in range(4)), jnp.zeros(shape, bool))
        return Agent(
            init=lambda key: nothing,
            start=lambda batch: jnp.zeros(batch),
            noise=lambda key, shape: jnp.zeros(shape),
            act=lambda state, carry, obs, noise, explore: (jnp.int32(noise), carry + 1, carry),
            observe=observe,
            learn=lambda state, block, key: (state, {"loss": block.reward.mean()}),
            policy=lambda state: state,
        )


def witness_engines(witness: Witness, limit: int):
    env = watch(limit)
    spec, agent = spec_of(env), witness.agent(spec_of(env))
    host_env = GymnasiumVector(lambda: AsGymnasium(env), NUM_ENVS)
    return CompiledEngine(witness, agent, env, spec, 2), HostEngine(witness, agent, host_env, spec, 2)


BOTH = pytest.mark.parametrize("kind", [0, 1], ids=["compiled", "host"])


@BOTH
def test_a_block_that_starts_at_a_reset_begins_with_a_first_observation(kind):
    engine = witness_engines(Witness(starts_at_reset=True), limit=100)[kind]
    loop = engine.init(0)
    for _ in range(3):
        loop, metrics = engine.advance(loop, 2, True)
        np.testing.assert_array_equal(loop.agent.obs[:, 0], [0, 1, 2, 3])
        np.testing.assert_array_equal(loop.agent.carry[:, 0], [0, 1, 2, 3])
        assert metrics["episodes"] == 0  # an episode left behind is not one that ended
    np.testing.assert_array_equal(loop.episodes.running, [[10.0, 10.0], [4, 4]])  # 1 + 2 + 3 + 4, and how many


@BOTH
def test_other_blocks_go_on_where_the_last_one_stopped(kind):
    engine = witness_engines(Witness(), limit=100)[kind]
    loop = engine.init(0)
    for i in range(3):
        loop, _ = engine.advance(loop, 1, True)
        np.testing.assert_array_equal(loop.agent.obs[:, 0], 4 * i + np.arange(4))
        np.testing.assert_array_equal(loop.agent.carry[:, 0], 4 * i + np.arange(4))


@BOTH
def test_at_a_cut_the_successor_is_true_and_the_memory_is_made_fresh(kind):
    engine = witness_engines(Witness(block_length=8), limit=3)[kind]
    loop, _ = engine.advance(engine.init(0), 1, True)
    seen = jax.tree.map(lambda leaf: np.asarray(leaf[:, 0]), loop.agent)
    np.testing.assert_array_equal(seen.obs, [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(seen.next_obs, [1, 2, 3, 1, 2, 3, 1, 2])
    np.testing.assert_array_equal(seen.carry, [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(seen.over, [0, 0, 1, 0, 0, 1, 0, 0])


@BOTH
def test_the_episodes_of_a_chunk_are_counted_as_one_counts_by_hand(kind):
    engine = witness_engines(Witness(), limit=3)[kind]
    loop, running = engine.init(0), []
    for iterations in (1, 2, 2):
        ended = []
        for _ in range(4 * iterations):  # the two environments go in step
            running.append(len(running) + 1.0)
            if len(running) == 3:
                ended.append(sum(running))
                running = []
        loop, metrics = engine.advance(loop, iterations, True)
        assert metrics["episodes"] == NUM_ENVS * len(ended)
        assert metrics["episode_return"] == pytest.approx(6.0)  # 1 + 2 + 3
        assert metrics["episode_length"] == pytest.approx(3.0)
        np.testing.assert_allclose(loop.episodes.running[0], [sum(running)] * NUM_ENVS)


def test_episode_statistics_are_those_of_a_plain_count():
    random = np.random.default_rng(0)
    reward = random.normal(size=(200, 3)).astype(np.float32)
    over = random.random((200, 3)) < 0.1
    episodes, returns, lengths, open_ = Episodes.of(3), [], [], [[], [], []]
    for t in range(200):
        episodes = episodes.update(reward[t], over[t])
        for i in range(3):
            open_[i].append(reward[t, i])
            if over[t, i]:
                returns.append(sum(open_[i]))
                lengths.append(len(open_[i]))
                open_[i] = []
    return_sum, length_sum, finished = map(float, episodes.sums)
    assert finished == len(returns) > 30
    assert return_sum == pytest.approx(sum(returns), rel=1e-4)
    assert length_sum == sum(lengths)
    np.testing.assert_allclose(episodes.running[0], [sum(rewards) for rewards in open_], atol=1e-4)
    np.testing.assert_array_equal(episodes.running[1], [len(rewards) for rewards in open_])
    forgotten = episodes.forget_sums()
    np.testing.assert_array_equal(forgotten.sums, np.zeros(3))
    np.testing.assert_array_equal(forgotten.running, episodes.running)


def test_the_largest_parameter_is_not_how_many_observations_were_seen():
    algorithm = small.algorithm("a2c", normalize_observation=True)
    env = make("CartPole-v1")
    spec = Spec(env.observation_space, env.action_space, 4, env.max_episode_steps, 10_000)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 16)
    loop, metrics = engine.advance(engine.init(0), 8, True)
    assert loop.agent.features.weight > 500 > metrics["largest_parameter"] > 0
