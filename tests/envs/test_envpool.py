"""EnvPool's environments with observations of several parts, and those that Gymnasium does not have.

What the control suite of EnvPool shares with DeepMind's is proved against `dm_control` itself where it is installed:
`pip install dm-control==1.0.41`. EnvPool takes no state, so the state is read from its observations, which hold all of
it for the tasks in `STATES`, put into DeepMind's, and both make the same steps.
"""

import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import scipy.stats

import polyak
from polyak.envs import from_envpool, make, make_original
from polyak.envs.base import environment_seeds
from polyak.errors import EnvironmentFault, UnknownName
from polyak.spaces import has_parts, parts, to_rows

envpool = pytest.importorskip("envpool")

SWINGUP = "envpool:CartpoleSwingup-v1"
# numbers of 64 bits; bytes beside a choice; parts within parts; a mask of actions; goals
PARTS = ["CartpoleSwingup-v1", "FingerSpin-v1", "MiniGrid-Empty-5x5-v0", "Maze-v0", "Game2048-v1", "FetchReach-v4"]


def bare_pool(id: str, seed: int, num_envs: int) -> Any:
    """EnvPool's own pool, seeded as the adapter seeds it."""
    seeds = [word % 2**31 for word in environment_seeds(seed, num_envs)]
    return envpool.make(id, env_type="gymnasium", num_envs=num_envs, seed=seeds)


def actions(space: gymnasium.Space, steps: int, num_envs: int) -> np.ndarray:
    space.seed(0)
    drawn = np.array([[space.sample() for _ in range(num_envs)] for _ in range(steps)])
    return drawn.astype(np.int32) if drawn.dtype.kind == "i" else drawn


@pytest.mark.parametrize("id", PARTS)
def test_observations_of_several_parts_are_the_rows_of_their_space(id):
    env, bare = make(f"envpool:{id}", 3), bare_pool(id, 5, 3)
    space = env.observation_space
    assert has_parts(space)
    first, expected = env.reset(5), bare.reset()[0]
    np.testing.assert_array_equal(first, to_rows(space, expected))
    assert first.dtype == np.float32 and first.shape == (3, parts(space)[-1].end)
    for action in actions(env.action_space, 20, 3):
        outcome, (expected, reward, terminated, truncated, _) = env.step(action), bare.step(action)
        np.testing.assert_array_equal(outcome.next_obs, to_rows(space, expected))
        np.testing.assert_array_equal(outcome.reward, reward)
        if (terminated | truncated).any():
            break  # EnvPool begins the next episode one step late, and the adapter does not
    env.close()
    bare.close()


def test_an_observation_is_a_copy_that_later_steps_leave_alone():
    env = make(SWINGUP, 2)
    first = env.reset(0)
    kept = first.copy()
    for _ in range(5):
        env.step(np.ones((2, 1), np.float32))
    np.testing.assert_array_equal(first, kept)
    env.close()


def test_the_time_limit_of_the_control_suite_is_truncation_and_a_new_episode_follows():
    env = make(SWINGUP, 2)
    assert env.max_episode_steps == 1000
    env.reset(0)
    outcomes = [env.step(np.zeros((2, 1), np.float32)) for _ in range(1001)]
    assert [t for t, outcome in enumerate(outcomes, 1) if outcome.truncated.any()] == [1000]
    assert not any(outcome.terminated.any() for outcome in outcomes)
    last = outcomes[999]
    assert last.truncated.all() and (last.obs != last.next_obs).any()
    assert (np.abs(last.obs[:, 0]) < 0.1).all() and (last.obs[:, 1] < -0.99).all()  # in the middle, hanging down
    np.testing.assert_allclose(outcomes[1000].next_obs[:, 0], last.obs[:, 0] + 0.01 * last.obs[:, 3], atol=1e-4)
    env.close()


@pytest.mark.parametrize("id", ["CliffWalking-v1", "BabyAI-GoToRedBall-v0"])
def test_where_the_pool_names_no_time_limit_there_is_none(id):
    """One has none, and of the other each episode has its own."""
    assert make(f"envpool:{id}").max_episode_steps is None


@pytest.mark.parametrize("id", ["CartpoleSwingup-v1", "BipedalWalker-v3", "CartPole-v1"])
def test_observations_lie_within_their_space(id):
    """For the control suite and the walker EnvPool names the least number above zero as the lower bound."""
    env = make(f"envpool:{id}", 4)
    for part in parts(env.observation_space):
        assert (part.space.low < -1e-6).all() and (part.space.high > 1e-6).all()
        seen = part.of(env.reset(0)).astype(part.space.dtype)
        assert (part.space.low <= seen).all() and (seen <= part.space.high).all()
    env.close()


def test_actions_keep_the_bounds_that_are_no_float32():
    """The quadruped's legs reach to 1.1, which float32 oversteps."""
    env = make_original("envpool:QuadrupedWalk-v1")
    high = env.action_space.high
    assert high.max() == 1.1 and (high.astype(np.float32) > high).any()
    bare = bare_pool("QuadrupedWalk-v1", 0, 1)
    bare.reset()
    env.reset(seed=0)
    obs, reward, *_ = env.step(high.astype(np.float32))
    expected, their_reward, *_ = bare.step(high[None])
    assert reward == their_reward[0]
    np.testing.assert_allclose(obs["egocentric_state"], expected["egocentric_state"][0], rtol=1e-6, atol=1e-6)


class TestOneEnvironment:
    """A pool of one behind Gymnasium's interface."""

    def test_it_plays_the_episode_of_its_seed(self):
        env, bare = make_original(SWINGUP), bare_pool("CartpoleSwingup-v1", 7, 1)
        env.reset(seed=8)
        env.step(np.ones(1))
        obs, info = env.reset(seed=7)
        expected = bare.reset()[0]
        assert info == {} and env.observation_space.contains(obs)
        for action in np.linspace(-1.0, 1.0, 30):
            for key, value in obs.items():
                np.testing.assert_allclose(value, expected[key][0], rtol=1e-6)
            obs, reward, terminated, truncated, _ = env.step(np.array([action]))
            expected, their_reward, *_ = bare.step(np.array([[action]], np.float32).astype(np.float64))
            assert (reward, terminated, truncated) == (their_reward[0], False, False)
        env.close()
        bare.close()

    def test_a_reset_without_a_seed_begins_another_episode(self):
        env, other = make_original(SWINGUP), make_original(SWINGUP)
        starts = [env.reset()[0], env.reset()[0], other.reset()[0], env.reset(seed=1)[0], env.reset()[0]]
        again = [env.reset(seed=1)[0], env.reset()[0]]
        positions = [start["position"][0] for start in starts]
        assert len(set(positions)) == 5
        assert [start["position"][0] for start in again] == positions[3:]

    @pytest.mark.parametrize("id", ["MiniGrid-Empty-5x5-v0", "Go9x9-v1", "Taxi-v3", "MetaWorld/Assembly-v3"])
    def test_its_observations_are_members_of_its_space(self, id):
        env = make_original(f"envpool:{id}")
        env.action_space.seed(0)
        assert env.observation_space.contains(env.reset(seed=0)[0])
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(obs)
        assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]

    @pytest.mark.parametrize("id", ["CartpoleSwingup-v1", "Blackjack-v1", "Pendulum-v1"])
    def test_it_stands_in_only_where_gymnasium_has_no_such_observations(self, id):
        """Gymnasium has no swing-up, and shows Blackjack as three choices, which EnvPool shows as three numbers."""
        original = make_original(f"envpool:{id}")
        assert isinstance(original, from_envpool.EnvPoolEnv) == (id != "Pendulum-v1")
        assert parts(original.observation_space)[0].path == parts(make(f"envpool:{id}").observation_space)[0].path

    def test_check_finds_nothing_wrong_with_it(self):
        assert not polyak.check("envpool:MiniGrid-Empty-5x5-v0", episodes=2)

    def test_a_policy_that_holds_still_is_scored_as_by_hand(self):
        """A pole that hangs at rest is paid next to nothing; a push costs a fifth of that at most."""
        scores = polyak.evaluate(lambda obs: np.zeros((len(obs["velocity"]), 1)), SWINGUP, episodes=2, num_envs=2)
        assert scores.returns.shape == (1, 2)
        assert (scores.returns > 0.0).all() and (scores.returns < 10.0).all()


def test_an_id_that_only_envpool_has_is_offered_with_its_prefix():
    for ask in (make, make_original):
        with pytest.raises(UnknownName, match="did you mean envpool:CartpoleSwingup-v1"):
            ask("CartpoleSwingup-v1")
        with pytest.raises(UnknownName, match="did you mean CartpoleSwingup-v1"):
            ask("envpool:CartpoleSwingUp-v1")


def test_a_missing_package_is_told_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    for ask in (make, make_original):
        with pytest.raises(EnvironmentFault, match=r"pip install polyak\[pool\]"):
            ask(SWINGUP)
        with pytest.raises(UnknownName):
            ask("CartpoleSwingup-v1")


@pytest.mark.slow
def test_a_task_of_the_control_suite_is_trained_scored_and_read_again(tmp_path):
    run = polyak.train("ppo", SWINGUP, steps=4_000, seed=1, out=tmp_path, final_episodes=2)
    assert run.scores.returns.shape == (1, 2) and (run.scores.returns >= 0.0).all()
    policy = polyak.load(next(run.path.glob("policy-*.safetensors")))
    assert policy.env == SWINGUP
    again = polyak.evaluate(policy, episodes=2, seed=3)
    np.testing.assert_array_equal(again.returns, polyak.evaluate(policy, SWINGUP, episodes=2, seed=3).returns)


@pytest.mark.parametrize("id", ["CartpoleSwingup-v1", "CartpoleBalance-v1"])
def test_cartpole_pays_what_the_control_suite_says(id):
    """Tassa et al. (2018): upright, in the middle, with little force and little spin; a Gaussian that is 0.1 at its
    margin (2 metres, 5 radians a second), and a parabola for the force."""
    env = make_original(f"envpool:{id}")
    env.reset(seed=0)
    draws, rewards = np.random.default_rng(0), []
    for t in range(400):
        action = float(np.float32(np.clip(np.sin(t / 12) + draws.normal(0, 0.3), -1.0, 1.0)))
        obs, reward, *_ = env.step(np.array([action]))
        (x, cosine, _), (_, spin) = obs["position"], obs["velocity"]
        upright, centred = (1 + cosine) / 2, (1 + 0.1 ** ((x / 2) ** 2)) / 2
        gentle, still = (4 + 1 - action**2) / 5, (1 + 0.1 ** ((spin / 5) ** 2)) / 2
        assert reward == pytest.approx(upright * centred * gentle * still, abs=1e-5)
        rewards.append(reward)
    env.close()
    assert np.ptp(rewards) > (0.9 if "Balance" in id else 0.05)  # one begins upright and falls, the other swings


def hinged(observed: dict) -> tuple[Any, Any]:
    x, cosine, sine = observed["position"]
    return [x, np.arctan2(sine, cosine)], observed["velocity"]


def everywhere_alike(observed: dict) -> tuple[Any, Any]:
    """What is not observed is how far it has come, and nothing depends on that."""
    return [0.0, *observed["position"]], observed["velocity"]


def all_observed(observed: dict) -> tuple[Any, Any]:
    return observed["position"], observed["velocity"]


def pendulum(observed: dict) -> tuple[Any, Any]:
    cosine, sine = observed["orientation"]
    return [np.arctan2(sine, cosine)], observed["velocity"]


def acrobot(observed: dict) -> tuple[Any, Any]:
    """Sines and cosines of two arms against the vertical; the second joint turns against the first arm."""
    upper, lower = np.arctan2(observed["orientations"][:2], observed["orientations"][2:])
    return [upper, lower - upper], observed["velocity"]


def walker(observed: dict) -> tuple[Any, Any]:
    """Directions of torso, right thigh, leg, foot, and left ones; the joints of the legs turn the other way."""
    x_of_x, x_of_z = observed["orientations"].reshape(7, 2).T
    torso, *limbs = np.arctan2(x_of_z, x_of_x)
    joints = [
        above - limb for side in (limbs[:3], limbs[3:]) for above, limb in zip([torso, *side], side, strict=False)
    ]
    return [observed["height"] - 1.3, 0.0, torso, *(np.mod(np.array(joints) + np.pi, 2 * np.pi) - np.pi)], observed[
        "velocity"
    ]


# A task of the control suite: its positions and velocities from an observation of it.
STATES: dict[tuple[str, str], Callable[[dict], tuple[Any, Any]]] = {
    ("acrobot", "swingup"): acrobot,
    ("ball_in_cup", "catch"): all_observed,
    ("cartpole", "balance"): hinged,
    ("cartpole", "swingup"): hinged,
    ("cheetah", "run"): everywhere_alike,
    ("hopper", "hop"): everywhere_alike,
    ("hopper", "stand"): everywhere_alike,
    ("pendulum", "swingup"): pendulum,
    ("point_mass", "easy"): all_observed,
    ("walker", "walk"): walker,
}
# Tasks for which EnvPool shows parts that DeepMind's do not; they are zeros.
MORE_PARTS = {"dog", "finger", "fish", "humanoid", "quadruped"}


def pool_id(domain: str, task: str) -> str:
    """`ball_in_cup`, `catch` -> `BallInCupCatch-v1`."""
    return "".join(word[0].upper() + word[1:] for word in f"{domain}_{task}".split("_")) + "-v1"


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")  # nothing is drawn
    return pytest.importorskip("dm_control.suite")


def one_of(batch: dict) -> dict:
    return {key: value[0].copy() for key, value in batch.items()}


@pytest.mark.slow
@pytest.mark.parametrize("task", STATES, ids=" ".join)
def test_the_control_suite_moves_and_pays_as_deepminds_does(suite, task):
    """From the same first state, 120 steps under the same random actions.

    They differ by no bit where the state can be read without rounding; elsewhere the rounding grows from step to step.
    """
    theirs, id = suite.load(*task, task_kwargs={"random": 0}), pool_id(*task)
    pool, bounds = bare_pool(id, 5, 1), theirs.action_spec()
    observed = one_of(pool.reset()[0])
    theirs.reset()
    with theirs.physics.reset_context():
        theirs.physics.data.qpos[:], theirs.physics.data.qvel[:] = STATES[task](observed)
    draws, moved = np.random.default_rng(1), 0.0
    for t in range(120):
        action = draws.uniform(bounds.minimum, bounds.maximum)
        expected, (obs, reward, *_) = theirs.step(action), pool.step(action[None])
        obs = one_of(obs)
        assert list(obs) == list(expected.observation)
        for key, value in expected.observation.items():
            np.testing.assert_allclose(obs[key], value, rtol=0, atol=1e-7, err_msg=f"{key} at step {t}")
        assert abs(expected.reward - reward[0]) <= 1e-6, f"reward at step {t}"
        moved = max(moved, *np.abs(obs["velocity"]))
    assert moved > 0.02  # a point mass is heavy; the others are faster
    pool.close()


@pytest.mark.slow
def test_the_control_suite_has_the_tasks_the_spaces_and_the_time_limits_of_deepminds(suite):
    seen = set()
    for task in suite.ALL_TASKS:
        theirs, id = suite.load(*task), pool_id(*task)
        env = make(f"envpool:{id}")
        bounds = theirs.action_spec()
        np.testing.assert_array_equal(np.broadcast_to(bounds.minimum, bounds.shape), env.action_space.low, id)
        np.testing.assert_array_equal(np.broadcast_to(bounds.maximum, bounds.shape), env.action_space.high, id)
        assert theirs._step_limit in (env.max_episode_steps, float("inf")), id
        expected = {key: spec.shape for key, spec in theirs.observation_spec().items()}
        shown = {part.path[0]: part.space.shape for part in parts(env.observation_space)}
        assert expected.items() <= shown.items(), id
        assert set(shown) == set(expected) or task[0] in MORE_PARTS, id
        seen.add(id)
    suite_of_pool = {id for id in envpool.list_all_envs() if id in seen}
    assert suite_of_pool == seen and len(seen) > 50


@pytest.mark.slow
@pytest.mark.parametrize("task", [*STATES, ("reacher", "easy")], ids=" ".join)
def test_episodes_of_the_control_suite_begin_as_deepminds_do(suite, task):
    """A two-sample Kolmogorov-Smirnov test of each coordinate."""
    theirs, id = suite.load(*task, task_kwargs={"random": 0}), pool_id(*task)
    pool = make(f"envpool:{id}", 4)
    order = [part.path[0] for part in parts(pool.observation_space)]
    mine = np.concatenate([pool.reset(0), *(pool.reset() for _ in range(24))]).astype(np.float64)
    pool.close()
    starts = [theirs.reset().observation for _ in range(100)]
    expected = np.array([np.concatenate([np.ravel(start[key]) for key in order]) for start in starts])
    for i in range(mine.shape[1]):
        if np.ptp(expected[:, i]) < 1e-6:
            np.testing.assert_allclose(mine[:, i], expected[0, i], atol=1e-5)
        else:
            assert scipy.stats.ks_2samp(mine[:, i], expected[:, i]).pvalue > 1e-4, f"coordinate {i} of {order}"
