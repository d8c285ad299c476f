"""What Gymnasium environments tell of goals is traced where that can be, else called, and its faults are told of."""

import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

import polyak
from polyak.envs import make, make_original
from polyak.envs.goal_functions import GoalFunctions
from polyak.errors import BadSetting, EnvironmentFault
from polyak.parts.networks import MLP
from polyak.parts.replay import Hindsight

PLACE = Box(-10.0, 10.0, (2,), np.float64)


class Walk(gymnasium.Env):
    """Four steps on a grid towards a goal that is two steps away."""

    observation_space = Dict({"observation": PLACE, "achieved_goal": PLACE, "desired_goal": PLACE})
    action_space = Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = np.zeros(2), self.np_random.choice([-1.0, 1.0], 2)
        self.clock = 0
        return self.see(), {}

    def see(self):
        place = self.place.copy()
        return {"observation": place, "achieved_goal": place, "desired_goal": self.goal.copy()}

    def step(self, action):
        self.place[action // 2] += 2.0 * (action % 2) - 1.0
        self.clock += 1
        reached = bool((self.place == self.goal).all())
        return self.see(), float(reached) - 1.0, reached, self.clock == 4, {}


class Together(Walk):
    """Answers rows of goals at once, with NumPy."""

    calls = 0

    def compute_reward(self, achieved_goal, desired_goal, info):
        assert info == {} and achieved_goal.dtype == desired_goal.dtype == np.float64
        type(self).calls += 1
        return (np.linalg.norm(achieved_goal - desired_goal, axis=-1) == 0).astype(np.float32) - 1

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return self.compute_reward(achieved_goal, desired_goal, info) == 0


class OneByOne(Walk):
    """Answers one pair of goals; rows of them it would take for one."""

    def compute_reward(self, achieved_goal, desired_goal, info):
        return float(np.linalg.norm(achieved_goal - desired_goal) == 0) - 1.0

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return bool(np.linalg.norm(achieved_goal - desired_goal) == 0)


class Traced(Walk):
    """Is written with JAX."""

    def compute_reward(self, achieved_goal, desired_goal, info):
        return jnp.where(jnp.linalg.norm(achieved_goal - desired_goal) == 0, 0.0, -1.0)

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return jnp.all(achieved_goal == desired_goal)


KINDS = pytest.mark.parametrize("kind", [Together, OneByOne, Traced], ids=lambda kind: kind.__name__)
ACHIEVED = jnp.array([[[1.0, 2.0], [0.0, 2.0], [3.0, 3.0]], [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])  # [2, 3, 2]
DESIRED = jnp.array([[[1.0, 2.0], [1.0, 2.0], [3.0, 3.0]], [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]])
MET = [[True, False, True], [True, False, False]]


def functions_of(kind) -> GoalFunctions:
    return GoalFunctions(kind, make(kind))


@KINDS
def test_goals_are_judged_as_the_environment_judges_them_alone(kind):
    functions = functions_of(kind)
    reward, terminated = (jax.jit(function)(ACHIEVED, DESIRED) for function in functions.goal)
    assert (reward.dtype, terminated.dtype) == (jnp.float32, bool)
    np.testing.assert_array_equal(reward, np.array(MET) - 1.0)
    np.testing.assert_array_equal(terminated, MET)
    several = jax.jit(jax.vmap(functions.goal.reward))(ACHIEVED, DESIRED)  # of seeds side by side
    np.testing.assert_array_equal(several, reward)
    functions.check()
    functions.close()


def test_rows_that_an_environment_answers_at_once_are_one_call():
    functions = functions_of(Together)
    before = Together.calls
    jax.block_until_ready(jax.jit(functions.goal.reward)(ACHIEVED, DESIRED))
    assert Together.calls == before + 1


@KINDS
def test_only_what_cannot_be_traced_is_called(kind):
    program = str(jax.make_jaxpr(functions_of(kind).goal.reward)(ACHIEVED, DESIRED))
    assert ("pure_callback" in program) == (kind is not Traced)


class Endless(Together):
    """As the base class of Gymnasium-Robotics, if a task has no end."""

    def compute_terminated(self, achieved_goal, desired_goal, info):
        raise NotImplementedError


class Wrapped(gymnasium.Wrapper):
    """Says nothing of goals itself."""


def test_ends_that_are_not_implemented_are_no_function_and_wrappers_are_looked_through():
    goal = functions_of(lambda: Wrapped(Endless())).goal
    assert goal.terminated is None
    np.testing.assert_array_equal(goal.reward(ACHIEVED, DESIRED), np.array(MET) - 1.0)


def test_without_goals_or_without_a_function_there_is_none():
    assert functions_of(Walk).goal is None
    assert GoalFunctions("CartPole-v1", make("gymnasium:CartPole-v1")).goal is None
    assert GoalFunctions("CartPole-v1", make("CartPole-v1")).goal is None


def test_compiled_environments_bring_their_own_on_both_engines():
    own = make("bit-flipping/5")
    for id in ("bit-flipping/5", "gymnasium:bit-flipping/5"):
        assert GoalFunctions(id, make(id)).goal is own.goal


# ---- in training


def train(env, folder, **changes):
    algorithm = polyak.DQN(replay=Hindsight(), learning_starts=100, n_steps=2, batch_size=32)
    asked = {"steps": 400, "final_episodes": 5, "out": folder, "progress": False, "processes": 0} | changes
    return polyak.train(algorithm, env, **asked)


@pytest.mark.slow
def test_all_kinds_train_alike(tmp_path):
    runs = [train(kind, tmp_path, num_envs=2) for kind in (Together, OneByOne, Traced)]
    for name in ("loss", "episode_return"):
        values = [run.metrics(name)[1] for run in runs]
        np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-5)


@pytest.mark.slow
def test_it_learns_from_what_the_environment_tells_and_the_policy_needs_no_environment(tmp_path):
    run = train(Together, tmp_path, steps=4_000, processes=1, final_episodes=50)
    assert run.scores.mean == -1.0  # two steps, of which the second costs nothing
    policy = polyak.load(run.path / "policy-0.safetensors")
    assert policy.algorithm.replay == Hindsight(4) and policy.spec.goal is None
    env = make_original(Together)
    obs, _ = env.reset(seed=0)
    assert env.action_space.contains(policy(obs))


class Slide(Walk):
    """Ten steps of any direction, up to a half each, towards a place that is drawn from a square."""

    action_space = Box(-0.5, 0.5, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goal = self.np_random.uniform(-2.0, 2.0, 2)
        return self.see(), {}

    def step(self, action):
        self.place, self.clock = self.place + action, self.clock + 1
        return self.see(), float(self.compute_reward(self.place, self.goal, {})), False, self.clock == 10, {}

    def compute_reward(self, achieved_goal, desired_goal, info):
        return (np.linalg.norm(achieved_goal - desired_goal, axis=-1) < 0.05) - 1.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [polyak.DDPG, polyak.SAC], ids=lambda kind: kind.name)
def test_actor_critics_learn_with_it_as_well(kind, tmp_path):
    network = MLP((64, 64))
    algorithm = kind(
        replay=Hindsight(), gamma=0.9, learning_rate=2e-3, batch_size=64, network=network, critic_network=network
    )
    asked = {"steps": 4_000, "final_episodes": 50, "out": tmp_path, "progress": False, "processes": 0}
    run = polyak.train(algorithm, Slide, **asked)
    assert run.scores.mean > -5.0  # the best policy gets -2; chance, and what is learnt without hindsight, -10


class Raises(Walk):
    def compute_reward(self, achieved_goal, desired_goal, info):
        return info["speed"]


class NoNumber(Walk):
    def compute_reward(self, achieved_goal, desired_goal, info):
        return np.full(np.shape(achieved_goal)[:-1], np.nan)


class Mixed(Walk):
    """Answers a pair as such, and rows as if they were one pair."""

    def compute_reward(self, achieved_goal, desired_goal, info):
        return np.abs(achieved_goal - desired_goal)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Raises, r"Raises: compute_reward raised KeyError: 'speed'\.$"),
        (NoNumber, r"NoNumber: compute_reward returned nan; expected finite numbers\.$"),
        (Mixed, r"Mixed: compute_reward returned shape \(64, 2\) for 64 goals; expected a number each\.$"),
    ],
)
def test_a_bad_answer_ends_training_in_one_sentence(kind, sentence, tmp_path, capfd):
    with pytest.raises(EnvironmentFault, match=sentence):
        train(kind, tmp_path)
    assert "Traceback" not in capfd.readouterr().err


def test_a_task_that_does_not_tell_ends_training_in_one_sentence(tmp_path):
    with pytest.raises(BadSetting, match="give it a method compute_reward"):
        train(Walk, tmp_path)


# ---- Gymnasium-Robotics


def test_without_the_package_its_ids_name_the_extra(monkeypatch):
    for id in [id for id in gymnasium.registry if id.startswith("Fetch")]:
        monkeypatch.delitem(gymnasium.registry, id)
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(EnvironmentFault, match=r"`pip install polyak\[robotics\]` brings it"):
        make("FetchReach-v4")


@pytest.mark.slow
def test_fetch_reach_is_made_by_its_id_and_tells_what_goals_are_worth(tmp_path):
    pytest.importorskip("gymnasium_robotics")
    made = make("FetchReach-v4", 2)
    assert made.observation_space["achieved_goal"].shape == made.observation_space["desired_goal"].shape == (3,)
    assert made.max_episode_steps == 50 and made.reset(0).shape == (2, 16)
    functions = GoalFunctions("FetchReach-v4", made)
    env = make_original("FetchReach-v4")
    obs, _ = env.reset(seed=0)
    achieved, paid = [], []
    for _ in range(20):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not (terminated or truncated)
        achieved.append(obs["achieved_goal"])
        paid.append(reward)
    achieved, desired = np.array(achieved), np.tile(obs["desired_goal"], (20, 1))
    reward, terminated = (jax.jit(function)(achieved, desired) for function in functions.goal)
    np.testing.assert_array_equal(reward, paid)
    aside = np.array([0.0, 0.01, 0.0])
    near, far = achieved + 4.9 * aside, achieved + 5.1 * aside  # within 5 cm it counts as reached
    np.testing.assert_array_equal(functions.goal.reward(achieved, near), 0.0)
    np.testing.assert_array_equal(functions.goal.reward(achieved, far), -1.0)
    assert not terminated.any()
    for one in (env, made, functions):
        one.close()
