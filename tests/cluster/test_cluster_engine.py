"""The cluster engine with real actors in this process: it does what one machine would have, or counts what it did."""

import gymnasium
import jax
import numpy as np
import pytest

import polyak
from polyak.algorithms import ALGORITHMS
from polyak.cluster.messages import Begin, Collect
from polyak.cluster.plan import AHEAD, plan
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs import make
from polyak.errors import BadSetting, EnvironmentFault
from polyak.parts import replay
from polyak.parts.sampling import LEAST
from tests import small
from tests.cluster.engines import cluster, spec_of
from tests.engines.runs import assert_close, assert_equal, parameters_of, run

PPO = polyak.PPO(n_steps=16, batch_size=64, n_epochs=2)


def host(algorithm, env, num_envs):
    spec, _ = spec_of(env, num_envs)
    return HostEngine(algorithm, algorithm.agent(spec), make(env, num_envs), spec, 16)


# ---- fresh


def test_a_synchronous_cluster_makes_the_run_of_one_machine_bit_by_bit():
    engines = cluster(PPO, "gymnasium:CartPole-v1", 2, 8), host(PPO, "gymnasium:CartPole-v1", 8)
    (ours, our_metrics), (theirs, their_metrics) = (run(engine, 3, fills=(), trains=(2, 3)) for engine in engines)
    assert_equal(ours, theirs)  # parameters, optimiser, observations, episodes under way
    for mine, other in zip(our_metrics, their_metrics, strict=True):
        assert {name: float(mine[name]) for name in other} == pytest.approx(
            {name: float(value) for name, value in other.items()}, nan_ok=True
        )


def test_it_makes_the_run_of_a_compiled_environment_too():
    spec, env = spec_of("CartPole-v1", 8)
    whole = run(CompiledEngine(PPO, PPO.agent(spec), env, spec, 16), 3, fills=(), trains=(2, 3))[0]
    shared_out = run(cluster(PPO, "CartPole-v1", 2, 8), 3, fills=(), trains=(2, 3))[0]
    assert_close(parameters_of(whole.agent), parameters_of(shared_out.agent), 1e-5)
    assert_close((whole.obs, whole.episodes.running), (shared_out.obs, shared_out.episodes.running), 1e-5)


def test_a_run_that_begins_at_resets_is_shared_out_too():
    algorithm = polyak.REINFORCE(n_steps=64)
    engines = cluster(algorithm, "gymnasium:CartPole-v1", 2, 8), host(algorithm, "gymnasium:CartPole-v1", 8)
    ours, theirs = (run(engine, 0, fills=(), trains=(2, 1))[0] for engine in engines)
    assert_equal(parameters_of(ours.agent), parameters_of(theirs.agent))


@pytest.mark.parametrize("env", ["gymnasium:CartPole-v1", "CartPole-v1"])
def test_a_run_goes_on_from_its_environments_places_as_if_it_had_not_stopped(env):
    engine = cluster(PPO, env, 2, 8)
    loop, _ = engine.advance(engine.init(1), 3, True)
    kept, places = jax.device_get(loop), engine.environments()
    straight, _ = engine.advance(loop, 3, True)
    other = cluster(PPO, env, 2, 8)
    other.init(1)
    resumed, lost = other.resume(jax.tree.map(jax.numpy.asarray, kept), places)
    assert lost == 0
    resumed, _ = other.advance(resumed, 3, True)
    assert_equal(straight.agent, resumed.agent)
    assert_equal(straight.obs, resumed.obs)


def test_a_lost_actors_episodes_are_cut_and_its_successor_plays_others():
    algorithm = polyak.DQN(buffer_size=4_000, learning_starts=0, batch_size=16, n_steps=3, replay=polyak.Prioritised())
    object.__setattr__(algorithm, "flow", "fresh")  # blocks that follow each other, in a memory that links them
    engine = cluster(algorithm, "gymnasium:CartPole-v1", 2, 4)
    loop, _ = engine.advance(engine.init(0), 2, True)
    engine.port.kill(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polyak.cluster.fleet.BACK_OFF", (0.0, 0.0))
        loop, metrics = engine.advance(loop, 2, True)
    assert metrics["actors"] == 2 and engine.fleet.restarts == 1
    assert len(engine.faults) == 1 and "Actor 1 was lost" in engine.faults[0]
    rows = loop.agent.replay.ring if hasattr(loop.agent.replay, "ring") else loop.agent.replay
    truncated = np.asarray(jax.tree.leaves({"t": find(rows, "truncated")})[0])
    assert truncated[4 * 8 - 2 : 4 * 8].all() and not truncated[4 * 8 - 4 : 4 * 8 - 2].any()  # after two blocks of 4
    begins = [message for slot, message in engine.port.asked if isinstance(message, Begin) and slot == 1]
    assert begins[0].life is None and begins[1].life is not None


def test_that_an_actor_was_lost_is_told_while_the_learner_waits_for_another():
    told = []
    engine = cluster(PPO, "CartPole-v1", 2, 8, tell=lambda: told.append((engine.faults.pop(0), engine.fleet.up)))
    loop, _ = engine.advance(engine.init(0), 1, True)
    engine.port.kill(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polyak.cluster.fleet.BACK_OFF", (0.0, 0.0))
        engine.advance(loop, 1, True)
    ((sentence, up),) = told
    assert "Actor 1 was lost" in sentence and up == [0]  # its successor has not begun yet


def find(tree, name):
    """The first field of that name in a tree of tuples."""
    if hasattr(tree, "_fields"):
        if name in tree._fields:
            return getattr(tree, name)
        for field in tree._fields:
            if (found := find(getattr(tree, field), name)) is not None:
                return found
    return None


# ---- streams and gradients


@pytest.mark.parametrize(
    ("actors", "num_envs", "max_staleness", "expected"), [(2, 8, 0.0, 0), (4, 8, 1.0, 1), (4, 8, 7.0, 7)]
)
def test_staleness_is_actors_times_requests_over_the_blocks_of_an_update_less_that_update(
    actors, num_envs, max_staleness, expected
):
    algorithm = polyak.IMPALA(n_steps=4)
    engine = cluster(algorithm, "CartPole-v1", actors, num_envs, max_staleness)
    loop, _ = engine.advance(engine.init(0), 16, True)
    loop, metrics = engine.advance(loop, 16, True)  # once those that began together are spread
    together = plan(algorithm, actors, num_envs, max_staleness).together
    assert actors * AHEAD / together - 1 == expected
    assert metrics["staleness"] == pytest.approx(expected, rel=0.1) and metrics["staleness_max"] <= 2 * expected + 1
    assert loop.agent.learner.step == 32 * 4 * num_envs  # every step that was learnt from was counted


def test_one_actor_of_many_brings_all_that_an_update_takes():
    """As it begins with one, and when all others are cut off: an update takes four blocks, and two are asked ahead."""
    engine = cluster(polyak.IMPALA(n_steps=4), "CartPole-v1", 3, 8, max_staleness=1.0)
    port = engine.port
    port.wait = lambda handles, seconds: [handle for handle in handles if port.answers[handle][0] == 0]
    loop, metrics = engine.advance(engine.init(0), 3, True)
    assert metrics["actors"] == 1 and int(loop.iteration) == 3
    collected = [slot for slot, message in port.asked if isinstance(message, Collect)]
    assert set(collected) == {0} and len(collected) >= 12


def test_no_block_is_learnt_from_twice_and_none_is_left_out():
    engine = cluster(polyak.IMPALA(n_steps=4), "CartPole-v1", 3, 8)
    engine.advance(engine.init(0), 16, True)
    numbers = {}
    for slot, message in engine.port.asked:
        if isinstance(message, Collect):
            numbers.setdefault(slot, []).append(message.iteration)
    assert all(found == list(range(len(found))) for found in numbers.values())


def test_gradients_move_the_learner_one_by_one_and_as_often_as_there_are_actors():
    algorithm = polyak.A3C(n_steps=5)
    engine = cluster(algorithm, "CartPole-v1", 4, 4)
    loop, metrics = engine.advance(engine.init(0), 8, True)
    assert loop.agent.learner.step == 8 * 4 * 5
    assert loop.agent.learner.optimiser.updates == 8 * 4
    assert metrics["staleness"] == pytest.approx(3, abs=0.5)  # all others have moved the parameters meanwhile


def test_what_streams_is_cut_at_a_resume_and_begins_with_other_noise():
    engine = cluster(polyak.IMPALA(n_steps=4), "CartPole-v1", 2, 8)
    loop, _ = engine.advance(engine.init(0), 4, True)
    assert engine.environments() is None
    other = cluster(polyak.IMPALA(n_steps=4), "CartPole-v1", 2, 8)
    other.init(0)
    resumed, _ = other.resume(loop, None)
    assert "at most 4, and their episodes" in other.faults[-1]
    lives = [message.life for _, message in other.port.asked if isinstance(message, Begin)]
    assert len(set(lives[:2]) & set(lives[2:])) == 0
    other.advance(resumed, 2, True)


class Counting(gymnasium.Env):
    """Shows stacks of three frames [id of the environment, number of the step], in episodes of 20 to 29 steps."""

    observation_space, action_space = gymnasium.spaces.Box(0, 255, (3, 1, 2), np.uint8), gymnasium.spaces.Discrete(2)
    made = 0

    def __init__(self):
        Counting.made += 1
        self.id = Counting.made

    def observation(self):
        return np.array([[[self.id, max(self.steps + j - 2, 0)]] for j in range(3)], np.uint8)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.length = 0, self.np_random.integers(20, 30)
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        return self.observation(), 1.0, self.steps == self.length, False, {}


@pytest.mark.slow
def test_frames_of_actors_that_take_turns_are_read_as_they_were_seen():
    algorithm = polyak.DQN(
        buffer_size=256, learning_starts=0, batch_size=16, n_steps=2, frame_stack=3, network=polyak.MLP(hidden=(8,))
    )
    engine = cluster(algorithm, Counting, 3, 4)
    assert engine.flow == "replay"
    loop, metrics = engine.advance(engine.init(0), 16, True)  # blocks of 4 steps of 4 environments
    assert metrics["replay_size"] == 136  # of 16, 32, ... 256, the mean
    spec = spec_of(Counting, 4)[0]._replace(streamed=True)
    memory = replay.memory(
        algorithm.replay, capacity=256, spec=spec, block_length=4, n_steps=2, gamma=algorithm.gamma, frame_stack=3
    )
    drawn = jax.device_get(jax.jit(memory.sample, static_argnums=2)(loop.agent.replay, jax.random.key(0), 512, 0.0))
    ids, numbers = drawn.steps.obs[..., 0], drawn.steps.obs[:, :, 0, 1].astype(int)
    assert (drawn.weights == 1).all()
    newest, ahead = numbers[:, -1:], np.rint(drawn.steps.r_t)[:, None]  # as many rewards as steps ahead
    assert (ids == ids[:, -1:]).all() and set(ids.reshape(-1)) == set(drawn.steps.next_obs[..., 0].reshape(-1))
    np.testing.assert_array_equal(numbers, np.maximum(newest + np.arange(-2, 1), 0))
    successors = drawn.steps.next_obs[:, :, 0, 1].astype(int)
    np.testing.assert_array_equal(successors, np.maximum(newest + ahead + np.arange(-2, 1), 0))
    assert set(ahead.reshape(-1)) == {1, 2} and len(set(numbers[:, -1])) > 5


@pytest.mark.slow
def test_steps_enter_the_memory_with_the_errors_that_their_actor_found():
    """Nothing is learnt here, so that the actors' parameters are the learner's."""
    algorithm = polyak.DQN(
        buffer_size=64, learning_starts=0, n_steps=3, double=True, replay=polyak.Prioritised(alpha=1.0, appraised=True)
    )
    engine = cluster(algorithm, "CartPole-v1", 2, 4)
    agent, blocks = engine.agent, []
    update = engine.learner.update
    engine.learner.update = lambda state, block, key, learn: blocks.append(block) or update(state, block, key, learn)
    loop, _ = engine.advance(engine.init(0), 4, False)  # four blocks of 4 steps of 4 environments
    found = np.asarray(loop.agent.replay.sampler.tree[-1]).ravel()[:64]
    expected = np.stack([agent.appraise(loop.agent, block) for block in blocks])
    np.testing.assert_allclose(found, expected.ravel() + LEAST, rtol=1e-4)
    assert all(block.priority.shape == (4, 4) for block in blocks) and found.std() > 0


# ---- faults


class Broken(gymnasium.Env):
    """Raises at its third step."""

    observation_space, action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("worn out")
        return np.zeros(2, np.float32), 1.0, False, False, {}


def test_a_fault_of_an_environment_ends_the_run_with_its_own_sentence():
    engine = cluster(PPO, Broken, 2, 8)
    with pytest.raises(EnvironmentFault, match=r"own.*worn out"):
        engine.advance(engine.init(0), 1, True)


def test_a_fault_that_is_recovered_from_is_told_of():
    algorithm = polyak.IMPALA(n_steps=4)
    engine = cluster(algorithm, Broken, 1, 2, on_fault="restart")
    engine.advance(engine.init(0), 1, True)
    assert any("worn out" in fault for fault in engine.faults)


# ---- every algorithm

POPULATIONS = [name for name, kind in ALGORITHMS.items() if hasattr(kind, "search")]


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in (*ALGORITHMS, *small.VARIANTS) if case not in POPULATIONS])
def test_every_algorithm_can_be_trained_by_actors(case):
    algorithm = small.algorithm(case, normalize_reward=False)
    id = small.world_of(algorithm)
    if small.VARIANTS.get(case, (case,))[0] in POPULATIONS:
        return
    engine = cluster(algorithm, id, 2, 8)
    _, history = run(engine, 0, fills=(1,), trains=(2, 2)) if engine.flow != "gradients" else run(engine, 0, (), (2, 2))
    assert np.isfinite(history[-1]["largest_parameter"])
    assert history[-1]["actors"] == 2


def test_a_population_is_refused_with_a_sentence():
    with pytest.raises(BadSetting, match="is a population"):
        cluster(polyak.CEM(), "CartPole-v1", 2, 64)
