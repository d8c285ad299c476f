"""Episodes with seeds of their own, and worker processes, which must give what one process gives."""

import os
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

import polyak
from polyak.envs import calls, env_process, make
from polyak.envs.base import BATCH, EpisodeSeeds, environment_seeds
from polyak.envs.worker_vector import WorkerVector
from polyak.errors import BadSetting, EnvironmentFault
from polyak.parts.distributions import distribution
from tests.envs.broken import Grows, Moody, is_gone


def cart(num_envs, **how):
    return make("gymnasium:CartPole-v1", num_envs, **how)


def test_every_episode_of_every_environment_has_a_seed_of_its_own():
    seeds = EpisodeSeeds(5, 3)
    drawn = [[seeds(i, number) for number in range(3 * BATCH)] for i in range(3)]
    assert [row[0] for row in drawn] == environment_seeds(5, 3)
    assert len({seed for row in drawn for seed in row}) == 9 * BATCH
    again = EpisodeSeeds(5, 3)
    for i, number in ((2, 150), (0, 0), (2, 1), (1, 64), (1, 65), (2, 191)):  # in any order
        assert again(i, number) == drawn[i][number]
    assert all(0 <= seed < 2**32 for row in drawn for seed in row)


def test_an_episode_can_be_had_again_from_its_seed_and_its_actions():
    vector = cart(3)
    vector.reset(11)
    random = np.random.default_rng(0)
    for _ in range(90):
        obs = vector.step(random.integers(0, 2, 3).astype(np.int32)).obs
    seeds, steps, actions = list(vector.seeds), list(vector.steps), [list(taken) for taken in vector.actions]
    assert min(vector.episodes) >= 2
    assert steps == [len(taken) for taken in actions] and max(steps) > 0
    vector.close()
    for i in range(3):
        env = gymnasium.make("CartPole-v1")
        last, _ = env.reset(seed=seeds[i])
        for action in actions[i]:
            last = env.step(action)[0]
        np.testing.assert_array_equal(last, obs[i])


def test_a_reset_without_a_seed_goes_on_with_the_next_episodes():
    vector = cart(2)
    vector.reset(4)
    obs = vector.reset()
    assert vector.episodes == [1, 1]
    for i in range(2):
        first, _ = gymnasium.make("CartPole-v1").reset(seed=EpisodeSeeds(4, 2)(i, 1))
        np.testing.assert_array_equal(obs[i], first)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D's bindings
def test_workers_are_had_where_a_pool_would_else_be_chosen():
    vector = make("BipedalWalker-v3", 2, workers=1)
    assert isinstance(vector, WorkerVector)
    vector.close()


@pytest.mark.parametrize(("id", "workers"), [("gymnasium:CartPole-v1", 2), ("gymnasium:Pendulum-v1", 2)])
def test_workers_give_the_same_bits_as_one_process(id, workers):
    here, there = make(id, 5), make(id, 5, workers=workers)
    assert (there.observation_space, there.action_space) == (here.observation_space, here.action_space)
    assert there.max_episode_steps == here.max_episode_steps
    np.testing.assert_array_equal(here.reset(2), there.reset(2))
    random, kept = np.random.default_rng(0), []
    for t in range(260):
        if t == 50:  # as blocks that start at a reset do
            np.testing.assert_array_equal(here.reset(), there.reset())
        draws = random.integers(0, 2, 5) if here.action_space.shape == () else random.uniform(-2, 2, (5, 1))
        action = draws.astype(np.int32 if here.action_space.shape == () else np.float32)
        ours, theirs = here.step(action), there.step(action)
        assert ours.score is theirs.score is None
        for name, mine, other in zip(ours._fields, ours[:-1], theirs[:-1], strict=False):
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other, name)
        kept.append((ours, theirs))
    for ours, theirs in kept:  # no later step was written over them
        np.testing.assert_array_equal(ours.next_obs, theirs.next_obs)
        np.testing.assert_array_equal(ours.truncated, theirs.truncated)
    assert (here.episodes, here.seeds, here.steps) == (there.episodes, there.seeds, there.steps)
    assert any(ours.truncated.any() or ours.terminated.any() for ours, _ in kept)
    there.close()


def test_a_worker_is_deaf_to_ctrl_c_and_ends_with_its_vector():
    vector = cart(2, workers=1)
    vector.reset(0)
    pid = vector._processes[0].pid
    os.kill(pid, signal.SIGINT)
    vector.step(np.zeros(2, np.int32))
    del vector
    assert is_gone([pid], 0.0)


def reading(data):
    """A function that makes environments which observe the sum of what the function holds."""

    class Reads(Moody):
        observation_space = Box(0, 1e9, (), np.float32)

        def reset(self, *, seed=None, options=None):
            return np.float32(data.sum()), {}

    return Reads


def test_a_large_environment_function_reaches_every_worker_whole():
    """It is larger than what a socket takes at once, and a process imports for longer than a look at it takes."""
    vector = make(reading(np.ones(500_000)), 2, workers=2, step_timeout=0.2)
    assert vector.reset(0).tolist() == [500_000, 500_000]
    vector.close()


def test_a_worker_that_never_reads_what_it_is_sent_is_told_of(monkeypatch):
    """Its process is stopped while it imports."""
    monkeypatch.setattr(env_process, "START_TIMEOUT", 0.2)
    popen = subprocess.Popen

    def stopped(*words, **how):
        process = popen(*words, **how)
        os.kill(process.pid, signal.SIGSTOP)
        return process

    monkeypatch.setattr(subprocess, "Popen", stopped)
    with pytest.raises(
        EnvironmentFault, match=r"Reads, environments 0 to 1 of 2: .* within 0.2 seconds because it was"
    ):
        make(reading(np.ones(500_000)), 2, workers=1, step_timeout=0.1)


def test_a_process_that_only_steps_loads_no_jax():
    code = (
        "import sys; from polyak.envs import env_worker; from polyak.envs.from_gymnasium import GymnasiumVector\n"
        "GymnasiumVector('CartPole-v1', 1).reset(0); print('jax' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_restarts_stop_it(workers, monkeypatch):
    monkeypatch.setattr(calls, "RESTARTS", 2)
    vector = make(lambda: Moody(0), 1, workers=workers, on_fault="restart")
    vector.reset(0)
    with pytest.raises(EnvironmentFault, match=r"too tired.*; this is fault 3 within 1,000 steps"):
        for _ in range(3):
            assert vector.step(np.zeros(1, np.int32)).truncated.all()
    assert len(vector.faults) == 2
    vector.close()


def test_faults_far_apart_never_stop_it():
    vector = make(lambda: Moody(150), 1, on_fault="restart")
    vector.reset(0)
    for _ in range(151 * 20):
        vector.step(np.zeros(1, np.int32))
    assert len(vector.faults) == 20


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_in_the_very_first_reset_stops_it(workers):
    class Never(Moody):
        def reset(self, *, seed=None, options=None):
            raise ValueError("no level")

    vector = make(Never, 1, workers=workers, on_fault="restart")
    with pytest.raises(EnvironmentFault, match=f"seed {environment_seeds(3, 1)[0]}: reset raised ValueError: no level"):
        vector.reset(3)
    vector.close()


@pytest.mark.parametrize(
    "answer", [np.array([0.5, 1.0]), np.array([1, 300]), [0, 0.25]], ids=["floats", "range", "list"]
)
def test_an_observation_that_its_space_cannot_hold_is_a_fault(answer):
    vector = make(type("Moody", (Moody,), {"answer": answer}))
    vector.reset(0)
    with pytest.raises(EnvironmentFault, match=r"action 1: the observation is .*; expected a member of Box\(0, 255"):
        vector.step(np.ones(1, np.int32))


@pytest.mark.parametrize("dtype", [np.int64, np.uint32], ids=["int64", "uint32"])
def test_a_whole_number_beyond_32_bits_is_a_fault(dtype):
    """Its space names no bound, so that it may never come; when it comes, it is not stored as another."""
    space = Box(0, np.iinfo(dtype).max, (2,), dtype)
    vector = make(type("Moody", (Moody,), {"observation_space": space, "answer": np.array([4e9, 1], dtype)}), 1)
    vector.reset(0)
    with pytest.raises(EnvironmentFault, match=r"the observation is .*4000000000.*; expected a member of Box"):
        vector.step(np.ones(1, np.int32))


class Strict(Moody):
    """Takes members of its action space alone, and observes the last one."""

    action_space = Box(-0.1, 0.1, (1,), np.float64)
    observation_space = Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1), {}

    def step(self, action):
        pushed = action if isinstance(action, np.ndarray) else action["push"]
        if not self.action_space.contains(action):
            raise ValueError(f"{pushed} is no member")
        return pushed, 0.0, False, False, {}


class StrictParts(Strict):
    action_space = Dict({"push": Strict.action_space})


class StrictFloats(Strict):
    action_space = Box(-0.1, 0.1, (1,), np.float32)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [Strict, StrictParts, StrictFloats])
def test_the_largest_action_of_an_agent_lies_within_its_space(kind, workers):
    """float32 0.1 lies outside of bounds of 64 bits; what a user gives that lies outside is told."""
    vector = make(kind, 2, workers=workers)
    vector.reset(0)
    for squash in (False, True):
        of_agent = distribution(vector.action_space, squash=squash)
        draw = np.array([[-30.0], [30.0]], np.float32)
        action = np.asarray(of_agent.action((draw,) if kind is StrictParts else draw))
        np.testing.assert_array_equal(vector.step(action).next_obs, np.float32([[-0.1], [0.1]]))
    with pytest.raises(EnvironmentFault, match=r"step raised ValueError: \[0.25\] is no member"):
        vector.step(np.full((2, 1), 0.25, np.float32))
    vector.close()


def test_another_integer_type_with_the_same_numbers_is_none():
    vector = make(type("Moody", (Moody,), {"answer": np.array([3, 255])}))
    vector.reset(0)
    assert vector.step(np.ones(1, np.int32)).next_obs.tolist() == [[3, 255]]


def test_a_space_that_changes_is_a_fault():
    vector = make(Grows)
    vector.reset(0)
    with pytest.raises(EnvironmentFault, match=r"its observation space is Box\(0, 1.*expected Box\(0, 255.*at first"):
        vector.reset()


@pytest.mark.parametrize("workers", [0, 2])
def test_environments_of_one_vector_have_the_same_spaces(workers):
    class Random(Moody):
        def __init__(self):
            self.action_space = Discrete(2 + int.from_bytes(os.urandom(3), "big"))
            super().__init__()

    with pytest.raises(EnvironmentFault, match=r"environment 1 of 2.* its action space is Discrete"):
        make(Random, 2, workers=workers)


@pytest.mark.parametrize(
    ("env", "how", "says"),
    [
        ("CartPole-v1", {"workers": 2}, "CartPole-v1 is compiled or pooled"),
        ("gymnasium:CartPole-v1", {"workers": 5}, "workers is 5; 4 environments take 1 to 4"),
        ("gymnasium:CartPole-v1", {"step_timeout": 0.0}, "step_timeout is 0.0"),
        ("gymnasium:CartPole-v1", {"on_fault": "ignore"}, "on_fault is 'ignore'; it takes 'stop' or 'restart'"),
    ],
)
def test_what_cannot_work_is_told_in_a_sentence(env, how, says):
    with pytest.raises(BadSetting, match=says):
        make(env, 4, **how)


def test_what_cannot_be_made_in_a_worker_is_told_as_it_is_told_here():
    with pytest.raises(polyak.Error, match="did you mean CartPole-v1"):
        make("gymnasium:Cartpole-v1", 2, workers=1)
