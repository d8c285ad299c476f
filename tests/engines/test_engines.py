"""The engines: the same run whatever the engine, the chunk, or the number of seeds side by side.

Parameters are compared bit by bit wherever one program is run twice. Between the two engines the programs differ, and
with them the order in which XLA sums: there the tolerance is 1e-5.
"""

import copy
import dataclasses
from functools import cache
from typing import ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Agent, Spec
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.tabular.monte_carlo import MonteCarlo
from polyak.algorithms.tabular.sarsa import SARSA
from polyak.algorithms.value.dqn import DQN
from polyak.algorithms.value.recurrent_dqn import RecurrentDQN
from polyak.engines import common
from polyak.engines.common import Episodes, draw_noise, drawn_together, initial_keys
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs import make
from polyak.envs.base import AsGymnasium, CompiledEnv, HostStep
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.parts.networks import MLP, Recurrent

NETWORK = MLP(hidden=(8,), activation="tanh")
SMALL = {
    "dqn": DQN(
        learning_rate=1e-2, buffer_size=64, batch_size=8, train_freq=4, target_update_interval=16, network=NETWORK,
    ),
    "ppo": PPO(
        learning_rate=1e-2, n_steps=8, batch_size=8, n_epochs=2, network=NETWORK,
        normalize_observation=True, normalize_reward=True,
    ),
    "recurrent-dqn": RecurrentDQN(
        learning_rate=1e-2, buffer_size=64, batch_size=8, train_freq=4, burn_in=4, sequence_length=4,
        target_update_interval=16, network=Recurrent(NETWORK, "lstm", 4),
    ),
}  # fmt: skip
# Of the learners with tables one that learns after every step and one from whole episodes; the rest is in
# tests/algorithms. The tables begin with ones, so that what happens before the first reward changes them too.
SMALL |= {
    "sarsa": SARSA(initial_value=1.0),
    "monte-carlo": MonteCarlo(n_steps=8, initial_value=1.0),
}
NUM_ENVS = 2
EVERY = pytest.mark.parametrize("name", SMALL)
# Without the one that takes longest to compile, where noise is what matters.
FEED_FORWARD = pytest.mark.parametrize("name", [name for name in SMALL if name != "recurrent-dqn"])


def world_of(name: str) -> str:
    return "FrozenLake-v1" if name in ("sarsa", "monte-carlo") else "CartPole-v1"


def parameters_of(agent_state):
    """What is learnt, of a network or a table."""
    return next(getattr(agent_state, name) for name in ("parameters", "q", "w") if hasattr(agent_state, name))


def error_of(metrics):
    return next(metrics[name] for name in ("loss", "td_error") if name in metrics)


def spec_of(env, total_steps: int = 1000) -> Spec:
    return Spec(env.observation_space, env.action_space, NUM_ENVS, env.max_episode_steps, total_steps)


def compiled_engine(algorithm, env: CompiledEnv, chunk: int = 4, batched: bool = False) -> CompiledEngine:
    spec = spec_of(env)
    return CompiledEngine(algorithm, algorithm.agent(spec), env, spec, chunk, batched)


@cache
def cached_engine(name: str) -> CompiledEngine:
    return compiled_engine(SMALL[name], make(world_of(name)))


@cache
def cached_host_engine(name: str) -> HostEngine:
    env = make(f"gymnasium:{world_of(name)}", NUM_ENVS)
    return HostEngine(SMALL[name], SMALL[name].agent(spec_of(env)), env, spec_of(env), chunk=4)


def run(engine, seed, fills=(2,), trains=(4, 3)):
    """Some iterations that only observe, then some that learn; returns the loop and the metrics of every chunk."""
    loop, history = engine.init(seed), []
    for learn, chunks in ((False, fills), (True, trains)):
        for iterations in chunks:
            loop, metrics = engine.advance(loop, iterations, learn)
            history.append(metrics)
    return loop, history


def assert_equal(first, second) -> None:
    """Bit by bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(bare, tree) for tree in (first, second)))


def assert_close(first, second, tolerance: float) -> None:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(bare(a), bare(b), rtol=tolerance, atol=tolerance)


def bare(leaf):
    """Keys as the numbers they are made of."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


class SameNoise:
    """A host environment that steps a compiled one with the very noise that the compiled engine would draw."""

    def __init__(self, env: CompiledEnv, algorithm, agent: Agent):
        self.id, self.num_envs, self.max_episode_steps = env.id, NUM_ENVS, env.max_episode_steps
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.length = algorithm.block_length
        shape = (self.length, NUM_ENVS)

        def env_noise(key, shape):
            return env.noise(key, (shape[0] + algorithm.starts_at_reset, shape[1]))

        self._begin = jax.jit(lambda key: jax.vmap(env.reset)(env.noise(key, (NUM_ENVS,))))
        self._begin_block = jax.jit(lambda noise: jax.vmap(env.reset)(jax.tree.map(lambda x: x[-1], noise)))
        self._draw = jax.jit(
            lambda key, i: jax.tree.map(lambda x: x[0], draw_noise(key, i, 1, shape, agent, env_noise).env)
        )

        @jax.jit
        def advance(state, action, noise):
            state, next_obs, reward, terminated, truncated = jax.vmap(env.step)(state, action, noise)
            over = terminated | truncated
            fresh = jax.vmap(env.reset)(noise)

            def pick(a, b):
                return jnp.where(over.reshape(-1, *[1] * (b.ndim - 1)), a, b)

            state, obs = jax.tree.map(pick, fresh, (state, next_obs))
            return state, HostStep(next_obs, obs, reward, terminated, truncated)

        self._advance = advance

    def reset(self, seed=None):
        if seed is None:  # a block that starts at a reset
            self._state, obs = self._begin_block(self._draw(self._key, self._t // self.length))
            return np.asarray(obs)
        _, env_key, self._key = initial_keys(seed)
        self._state, obs = self._begin(env_key)
        self._t = 0
        return np.asarray(obs)

    def step(self, action):
        iteration, t = divmod(self._t, self.length)
        if t == 0:
            self._noise = self._draw(self._key, iteration)
        self._t += 1
        self._state, outcome = self._advance(self._state, action, jax.tree.map(lambda x: x[t], self._noise))
        return jax.device_get(outcome)

    def close(self):
        """Nothing to close."""


@EVERY
def test_both_engines_make_the_same_run(name):
    env, compiled = make(world_of(name)), cached_engine(name)
    host = copy.copy(cached_host_engine(name))  # the same programs around another environment
    host.collector = copy.copy(host.collector)
    host.collector.env = SameNoise(env, SMALL[name], host.agent)
    (first, first_metrics), (second, second_metrics) = (
        run(compiled, 3, trains=(4, 4, 4)),
        run(host, 3, trains=(4, 4, 4)),
    )
    assert_close(first.agent, second.agent, 1e-5)  # parameters, optimiser, replay or moments, step
    assert_close((first.obs, first.episodes, first.iteration), (second.obs, second.episodes, second.iteration), 1e-5)
    assert_equal(first.key, second.key)
    for one, other in zip(first_metrics, second_metrics, strict=True):
        assert one.keys() == other.keys()
        for metric in one:
            np.testing.assert_allclose(one[metric], other[metric], rtol=1e-3, atol=1e-4, err_msg=metric)
    assert sum(metrics["episodes"] for metrics in first_metrics) > 0  # an end of an episode was among the steps


@EVERY
def test_learning_changes_the_parameters_and_filling_does_not(name):
    engine = cached_engine(name)
    start, (filled, _), (trained, _) = engine.init(0), run(engine, 0, fills=(3,), trains=()), run(engine, 0)
    assert_equal(parameters_of(start.agent), parameters_of(filled.agent))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), parameters_of(filled.agent), parameters_of(trained.agent))
    assert all(jax.tree.leaves(moved))
    assert int(filled.agent.step) == 3 * engine.block_size


@EVERY
def test_the_size_of_the_chunks_does_not_change_a_run(name):
    whole, _ = run(cached_engine(name), 1, trains=(4, 4))
    pieces, _ = run(cached_engine(name), 1, fills=(1, 1), trains=(1, 2, 3, 2))
    assert_equal(whole._replace(episodes=()), pieces._replace(episodes=()))  # its sums are those of the last chunk


@FEED_FORWARD
def test_the_most_that_a_chunk_holds_does_not_change_a_run(name):
    small, _ = run(cached_engine(name), 1, fills=(), trains=(4, 2))
    large, _ = run(compiled_engine(SMALL[name], make(world_of(name)), chunk=7), 1, fills=(), trains=(6,))
    assert_equal(small.agent, large.agent)


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_the_noise_of_a_chunk_has_a_limit_that_does_not_change_a_run(kind, monkeypatch):
    whole = {"compiled": cached_engine, "host": cached_host_engine}[kind]("sarsa")
    one = jax.eval_shape(lambda key: whole.agent.noise(key, (1, NUM_ENVS)), jax.random.key(0))
    monkeypatch.setattr(
        common, "NOISE_BYTES", 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    )
    env = make("FrozenLake-v1" if kind == "compiled" else "gymnasium:FrozenLake-v1", NUM_ENVS)
    spec = spec_of(env)
    small = type(whole)(SMALL["sarsa"], SMALL["sarsa"].agent(spec), env, spec, 4)
    assert 1 <= small.chunk < whole.chunk == 4
    first, _ = run(whole, 1, fills=(), trains=(4, 2))
    second, _ = run(small, 1, fills=(), trains=(small.chunk,) * (6 // small.chunk))
    assert_equal((first.agent, first.obs), (second.agent, second.obs))


@EVERY
def test_the_same_seed_makes_the_same_run(name):
    first, again, other = (run(cached_engine(name), seed)[0] for seed in (5, 5, 6))
    assert_equal(first, again)
    assert any(
        (a != b).any()
        for a, b in zip(*map(jax.tree.leaves, (parameters_of(first.agent), parameters_of(other.agent))), strict=True)
    )


@EVERY
def test_the_same_seed_makes_the_same_run_on_the_host(name):
    engine = cached_host_engine(name)
    (first, _), (again, _) = run(engine, 5, trains=(4, 2)), run(engine, 5, trains=(1, 3, 2))
    assert_equal(first.agent, again.agent)
    np.testing.assert_array_equal(first.obs, again.obs)


@EVERY
def test_no_program_is_compiled_twice_in_a_run(name):
    engine = cached_engine(name)
    run(engine, 0, fills=(2, 1), trains=(4, 1, 4, 3))
    run(engine, 1)
    assert [program._cache_size() for program in (engine._init, engine._fill, engine._train)] == [1, 1, 1]


@EVERY
def test_no_program_is_compiled_twice_in_a_run_on_the_host(name):
    engine = cached_host_engine(name)
    run(engine, 0, fills=(2, 1), trains=(4, 1, 4, 3))
    programs = {"init": engine.learner._init, "noise": engine._noise, "act": engine.collector._act}
    programs |= {f"update, learn={learn}": program for learn, program in engine.learner._update.items()}
    assert {name: program._cache_size() for name, program in programs.items()} == dict.fromkeys(programs, 1)


@EVERY
def test_seeds_side_by_side_are_the_seeds_alone(name):
    batched = compiled_engine(SMALL[name], make(world_of(name)), batched=True)
    together, metrics = run(batched, np.array([0, 1, 2]))
    assert error_of(metrics[-1]).shape == (3,)
    assert batched._train._cache_size() == 1
    for i in range(3):
        alone, alone_metrics = run(cached_engine(name), i)
        this_one = jax.tree.map(lambda leaf: leaf[i], parameters_of(together.agent))  # noqa: B023
        assert_close(this_one, parameters_of(alone.agent), 1e-4)
        np.testing.assert_allclose(error_of(metrics[-1])[i], error_of(alone_metrics[-1]), rtol=1e-3, atol=1e-5)


def test_single_steps_share_keys_and_the_chunks_still_do_not_change_their_noise():
    env, algorithm = make("FrozenLake-v1"), SMALL["sarsa"]
    spec = spec_of(env)._replace(num_envs=1)
    together = drawn_together(algorithm, spec)
    assert together > 1 == drawn_together(algorithm, spec_of(env)) == drawn_together(SMALL["dqn"], spec)
    agent, key = algorithm.agent(spec), jax.random.key(0)

    def drawn(first, count):
        return draw_noise(key, first, count, (1, 1), agent, env.noise, together)

    whole = drawn(0, 3 * together)
    assert len(np.unique(whole.env.coin)) > 2.9 * together  # no number twice but by chance
    for first, count in ((0, 1), (together - 1, 2), (together + 5, together), (together + 1, 2 * together - 1)):
        piece = jax.tree.map(lambda leaf: leaf[first : first + count], whole)  # noqa: B023
        assert_equal(drawn(jnp.int32(first), count), piece)


def test_what_was_not_measured_is_nan():
    _, history = run(cached_engine("dqn"), 0, fills=(1,), trains=(1,))  # four steps: no CartPole has fallen
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
