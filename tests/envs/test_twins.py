"""The proof behind every `TWINS`: each twin does, step by step, what the Gymnasium original does.

The compiled twin plays thousands of steps in one scan. Its states are then put into the Gymnasium environment, and
every answer is compared. Twins compute in float32 and Gymnasium mostly in float64, so the tolerance is 2e-4; MinAtar,
whose numbers are whole, must be equal exactly. EnvPool's take no state; how they are compared is said there.
"""

from functools import cache
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from polyak.envs import from_envpool, from_gymnax, make, twins
from polyak.envs.hidden import HIDDEN
from polyak.envs.one import make_one
from tests.speeds import slow

TOLERANCE = 2e-4
STEPS = 4_000  # half of them with random actions, half with a controller that reaches goals and time limits


def original(id: str) -> gymnasium.Env:
    if id.startswith("MinAtar/"):
        pytest.importorskip("minatar")
    return make_one(id)


# Controllers: random actions alone would never swing up, reach a goal, or balance until the clock runs out.
CONTROLLERS = {
    "CartPole-v1": lambda obs: (0.1 * obs[0] + 0.3 * obs[1] + 2.0 * obs[2] + obs[3] > 0).astype(jnp.int32),
    "Acrobot-v1": lambda obs: jnp.where(obs[4] > 0, 0, 2),
    "MountainCar-v0": lambda obs: jnp.where(obs[1] > 0, 2, 0),
    # beyond its bounds, for what is clipped and what is not; and slower to the right, so that it meets the left wall
    "MountainCarContinuous-v0": lambda obs: jnp.where(obs[1:2] > 0, 0.3, -1.5),
    "Pendulum-v1": lambda obs: 2.0 * jnp.sign(obs[2:3]),
    "MinAtar/Breakout-v1": lambda obs: follow(paddle=obs[9, :, 0].argmax(), ball=obs[:, :, 1].max(0).argmax()),
}


def follow(paddle, ball):
    """Left, right, or nothing."""
    return jnp.where(ball < paddle, 1, jnp.where(ball > paddle, 2, 0))


SET_STATE = {
    "CartPole-v1": lambda s: [s.x, s.x_dot, s.theta, s.theta_dot],
    "Acrobot-v1": lambda s: [s.joint_angle1, s.joint_angle2, s.velocity_1, s.velocity_2],
    "MountainCar-v0": lambda s: [s.position, s.velocity],
    "MountainCarContinuous-v0": lambda s: [s.position, s.velocity],
    "Pendulum-v1": lambda s: [s.theta, s.theta_dot],
}


class Coins:
    """Stands in for MinAtar's random state, of which a step asks only `rand()`."""

    coin = 1.0

    def rand(self) -> float:
        return self.coin


def set_state(id: str, env: gymnasium.Env, state) -> None:
    """Puts the original into the compiled twin's state."""
    if id in SET_STATE:
        env.unwrapped.state = np.array(SET_STATE[id](state), np.float64)
        return
    game = env.unwrapped.game
    # MinAtar never forgets the last action at a reset, so that a sticky first step repeats one of the episode before;
    # the twin begins every episode with "none". Here the original is told to do the same.
    game.last_action = game.env.action_map.index("n") if state.env.time == 0 else [0, 1, 3][int(state.last_action)]
    for field in ("ball_y", "ball_x", "ball_dir", "pos", "strike", "last_x", "last_y"):
        setattr(game.env, field, getattr(state.env, field).item())
    game.env.brick_map = np.array(state.env.brick_map)
    game.env.terminal = False


def at(tree, t: int):
    """Row t of every leaf."""
    return jax.tree.map(lambda leaf: leaf[t], tree)


class History(NamedTuple):
    """What the compiled twin did; leaves [STEPS, ...]."""

    state: object  # before the step
    obs: np.ndarray  # before the step
    action: np.ndarray
    noise: object
    next_obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


@cache
def history(id: str) -> History:
    """Plays the compiled twin."""
    env = make(id)
    env.action_space.seed(1)
    actions = np.stack([env.action_space.sample() for _ in range(STEPS)])

    @jax.jit
    def play(key):
        noise = env.noise(key, (STEPS + 1,))
        first = env.reset(jax.tree.map(lambda leaf: leaf[-1], noise))

        def one(now, inputs):
            state, obs = now
            noise, action, controlled = inputs
            action = jnp.where(controlled, CONTROLLERS[id](obs).astype(action.dtype), action)
            next_state, next_obs, reward, terminated, truncated = env.step(state, action, noise)
            entry = History(state, obs, action, noise, next_obs, reward, terminated, truncated)
            over = terminated | truncated
            now = jax.tree.map(lambda a, b: jnp.where(over, a, b), env.reset(noise), (next_state, next_obs))
            return now, entry

        inputs = (jax.tree.map(lambda leaf: leaf[:-1], noise), actions, jnp.arange(STEPS) >= STEPS // 2)
        return jax.lax.scan(one, first, inputs)[1]

    played = play(jax.random.key(0))
    played = played._replace(noise=getattr(played.noise, "coin", ()))
    return jax.device_get(played)


TWINS = pytest.mark.parametrize(
    "id", [slow(id) if "MinAtar" in id else id for id in (*from_gymnax.TWINS, *twins.TWINS)]
)
# Some are chaotic in the long run (a pole that falls, two arms that swing): there an error of float32 grows for ever,
# so the state is put in anew at every step; the others run freely from the first state of an episode to its last.
FREE = {"MountainCar-v0", "MountainCarContinuous-v0", "MinAtar/Breakout-v1"}


@TWINS
def test_a_twin_does_what_the_original_does_at_every_step(id):
    env, played = original(id), history(id)
    tolerance = 0.0 if id.startswith("MinAtar/") else TOLERANCE
    coins = Coins()
    if id.startswith("MinAtar/"):
        env.unwrapped.game.random = coins
    fresh = True
    for t in range(STEPS):
        if fresh:
            env.reset()
        if fresh or id not in FREE:
            set_state(id, env, at(played.state, t))
        if id.startswith("MinAtar/"):
            coins.coin = float(played.noise[t])
        action = played.action[t]
        obs, reward, terminated, truncated, _ = env.step(action if action.ndim else action.item())
        error = np.abs(np.asarray(obs, np.float64) - played.next_obs[t]).max()
        assert error <= tolerance, f"observation at step {t}"
        assert abs(reward - played.reward[t]) <= tolerance, f"reward at step {t}"
        assert terminated == played.terminated[t], f"terminated at step {t}"
        assert truncated == played.truncated[t], f"truncated at step {t}"
        fresh = terminated or truncated


@TWINS
def test_the_comparison_has_seen_episodes_end_in_each_way_they_can(id):
    """Without ends to compare, the test above would prove little."""
    played = history(id)
    assert (played.terminated | played.truncated).sum() >= 8
    assert played.terminated.any() == (id != "Pendulum-v1")
    assert played.truncated.any() == (id != "MinAtar/Breakout-v1")
    if id == "MinAtar/Breakout-v1":
        assert played.reward.sum() > 30  # a wall of 30 bricks has come down and been built anew
        assert (played.noise < 0.1).sum() > 100  # sticky steps
    if id == "MountainCarContinuous-v0":
        at_wall = played.next_obs[:, 0] == np.float32(-1.2)
        assert at_wall.sum() >= 5 and (played.next_obs[at_wall, 1] == 0.0).all()
        assert (np.abs(played.action) > 1.0).sum() > 100  # forces that are clipped


@TWINS
def test_a_twin_has_the_spaces_and_the_time_limit_of_the_original(id):
    env, twin = original(id), make(id)
    assert twin.action_space == env.action_space
    assert twin.max_episode_steps == env.spec.max_episode_steps
    if id.startswith("MinAtar/"):  # booleans there, the same zeros and ones as float32 here
        assert (env.observation_space.dtype, twin.observation_space.dtype) == (np.bool_, np.float32)
    else:
        assert twin.observation_space.dtype == env.observation_space.dtype
    assert twin.observation_space.shape == env.observation_space.shape
    for bound in ("low", "high"):
        mine, theirs = (np.asarray(getattr(e.observation_space, bound), np.float64) for e in (twin, env))
        unbounded = (np.abs(mine) > 1e30) & (np.abs(theirs) > 1e30)  # largest float32 or infinity: no bound either way
        np.testing.assert_allclose(np.where(unbounded, 0, mine), np.where(unbounded, 0, theirs), rtol=1e-6)


@TWINS
def test_fresh_episodes_begin_as_the_original_ones_do(id):
    """A two-sample Kolmogorov-Smirnov test of each coordinate over 500 starts."""
    env, twin = original(id), make(id)
    theirs = np.array([np.ravel(env.reset(seed=seed)[0]) for seed in range(500)], np.float64)
    _, mine = jax.jit(jax.vmap(twin.reset))(twin.noise(jax.random.key(0), (500,)))
    mine = np.asarray(mine, np.float64).reshape(500, -1)
    for i in range(mine.shape[1]):
        if np.ptp(theirs[:, i]) == 0:
            np.testing.assert_allclose(mine[:, i], theirs[0, i], atol=1e-6)
        else:
            assert scipy.stats.ks_2samp(mine[:, i], theirs[:, i]).pvalue > 1e-3, f"coordinate {i}"


@pytest.mark.parametrize("id", ["CartPoleNoVel-v1", "PendulumNoVel-v1", "LunarLanderNoVel-v3"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D's bindings
def test_an_environment_without_velocities_is_the_original_with_zeros_for_them(id):
    of, velocities = HIDDEN[id]
    blind, sighted = make_one(id), make_one(of)
    assert blind.spec.max_episode_steps == sighted.spec.max_episode_steps
    seen = [blind.reset(seed=3)[0]], [sighted.reset(seed=3)[0]]
    sighted.action_space.seed(0)
    for _ in range(8):  # a pole falls after nine
        action = sighted.action_space.sample()
        (obs, *outcome), (full, *expected) = blind.step(action), sighted.step(action)
        assert outcome == expected
        seen[0].append(obs)
        seen[1].append(full)
    hidden = np.isin(np.arange(sighted.observation_space.shape[0]), velocities)
    np.testing.assert_array_equal(seen[0], np.where(hidden, 0.0, seen[1]))


def test_a_twin_without_velocities_is_the_twin_with_zeros_for_them():
    blind, sighted = make("CartPoleNoVel-v1"), make("CartPole-v1")
    noise = blind.noise(jax.random.key(0), (2,))
    here, there = jax.tree.map(lambda leaf: leaf[0], noise), jax.tree.map(lambda leaf: leaf[1], noise)
    (state, obs), (_, full) = blind.reset(here), sighted.reset(here)
    np.testing.assert_array_equal(obs, full * np.array([1, 0, 1, 0]))
    outcome, expected = blind.step(state, 1, there), sighted.step(state, 1, there)
    np.testing.assert_array_equal(outcome[1], expected[1] * np.array([1, 0, 1, 0]))
    assert jax.tree.all(jax.tree.map(np.array_equal, (outcome[0], outcome[2:]), (expected[0], expected[2:])))
    assert blind.id == "CartPoleNoVel-v1"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D's bindings
@pytest.mark.parametrize("id", from_envpool.TWINS)
def test_a_twin_of_envpool_moves_as_the_original_does(id):
    """A walker begins with a random push, which its first observation tells: of two that were pushed alike, whatever
    the simulator, the next 18 observations and rewards are alike too, under the same actions."""
    pytest.importorskip("envpool")
    steps, pushed, pool = 18, 2, make(id, 32)
    assert isinstance(pool, from_envpool.EnvPoolVector)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (steps, 4)).astype(np.float32)
    seen, rewards = [pool.reset(3)], []
    for action in actions:
        outcome = pool.step(np.tile(action, (pool.num_envs, 1)))
        seen.append(outcome.next_obs)
        rewards.append(outcome.reward)
    pool.close()
    theirs: list[tuple] = []
    for seed in range(24):
        original = make_one(id)  # a new one each time: its world outlives a reset
        first = original.reset(seed=seed)[0]
        answers = [original.step(action) for action in actions]
        theirs.append(([first, *(answer[0] for answer in answers)], [answer[1] for answer in answers]))
    assert (original.action_space, original.observation_space.shape) == (pool.action_space, seen[0].shape[1:])
    assert original.spec.max_episode_steps == pool.max_episode_steps
    their_obs, their_rewards = (np.array(leaf, np.float64) for leaf in zip(*theirs, strict=True))
    nearest = np.abs(their_obs[None, :, 0, pushed] - seen[0][:, None, pushed]).argmin(1)
    np.testing.assert_allclose(np.array(seen).swapaxes(0, 1), their_obs[nearest], atol=5e-3)
    np.testing.assert_allclose(np.array(rewards).T, their_rewards[nearest], atol=5e-3)
    assert their_obs.std((0, 1)).max() > 0.3  # it moves


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("id", from_envpool.TWINS)
def test_a_twin_of_envpool_ends_as_the_original_does(id):
    """A walker without a plan falls on its hull: minus 100, terminated, and as early in either simulator."""
    pytest.importorskip("envpool")
    draws, limit = np.random.default_rng(1), 120

    def falls(vector) -> np.ndarray:
        """[B] steps to the first end of each; `limit` where it comes later."""
        vector.reset(0)
        first = np.full(vector.num_envs, limit)
        for t in range(1, limit):
            outcome = vector.step(draws.uniform(-1.0, 1.0, (vector.num_envs, 4)).astype(np.float32))
            assert (outcome.reward[outcome.terminated] == -100.0).all() and not outcome.truncated.any()
            first[outcome.terminated] = np.minimum(first[outcome.terminated], t)
        vector.close()
        return first

    ours, theirs = falls(make(id, 24)), falls(make(f"gymnasium:{id}", 24))
    assert (theirs < limit).mean() > 0.25
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3
