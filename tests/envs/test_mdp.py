"""MDPs: from Gymnasium's tables, from drawings, by hand; and the proof that as environments they equal Gymnasium's."""

import pickle

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.algorithms.planning.backward_induction import expected_return
from polyak.algorithms.planning.policy_evaluation import policy_evaluation_exact
from polyak.envs import make, make_original, mdp
from polyak.envs.base import CompiledEnv
from polyak.envs.mdp import MDP, TWINS, Noise
from polyak.errors import BadSetting, Error
from polyak.evaluation import evaluate

STEPS = 4_000


class Coins:
    """Stands in for a random generator of which a step of the toy environments asks one uniform number."""

    coin = 0.0

    def random(self) -> float:
        return self.coin


def played(env: CompiledEnv, steps: int):
    """A history [steps] of uniformly random actions: place before, coin, action, and what came of it."""

    @jax.jit
    def play(key):
        noise_key, action_key = jax.random.split(key)
        noise = env.noise(noise_key, (steps + 1,))
        actions = jax.random.randint(action_key, (steps,), 0, env.action_space.n)
        first, _ = env.reset(jax.tree.map(lambda leaf: leaf[-1], noise))

        def one(state, now):
            noise, action = now
            after, obs, reward, terminated, truncated = env.step(state, action, noise)
            fresh, _ = env.reset(noise)
            going_on = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), fresh, after)
            return going_on, (state.place, noise.coin, action, obs, reward, terminated, truncated)

        return jax.lax.scan(one, first, (jax.tree.map(lambda leaf: leaf[:-1], noise), actions))[1]

    return jax.device_get(play(jax.random.key(0)))


def test_an_episode_that_begins_in_a_terminal_state_ends_at_once_and_pays_nothing():
    mdp = MDP.from_arrays([[[0.0, 1.0]], [[1.0, 0.0]]], [[1.0], [2.0]], terminal=[1], start=[0.5, 0.5])
    assert expected_return(mdp, np.zeros(2, int), horizon=9) == 0.5
    played = evaluate(lambda obs: np.zeros(len(obs), int), mdp, episodes=40).returns[0]
    assert set(played.tolist()) == {0.0, 1.0}
    env = mdp.compiled()
    state, _ = env.reset(Noise(jnp.float32(0.5), jnp.int32(1)))
    state, obs, reward, terminated, _ = env.step(state, jnp.int32(0), Noise(jnp.float32(0.5), jnp.int32(0)))
    assert (int(obs), float(reward), bool(terminated)) == (1, 0.0, True)


def test_an_mdp_can_be_pickled_and_leaves_behind_what_was_computed_from_it():
    mdp = MDP.random_walk(5)
    before = len(pickle.dumps(mdp))
    mdp.compiled(), mdp.P
    assert len(pickle.dumps(mdp)) == before
    assert np.array_equal(pickle.loads(pickle.dumps(mdp)).P, mdp.P)


@pytest.mark.parametrize("id", TWINS)
def test_a_twin_does_what_gymnasium_does_at_every_step_given_the_same_coins(id):
    env, coins, fresh = gymnasium.make(id, disable_env_checker=True), Coins(), True
    places, *answers = played(make(id), STEPS)
    ends = 0
    for t, (coin, action, obs, reward, terminated, truncated) in enumerate(zip(*answers, strict=True)):
        if fresh:
            env.reset(seed=0)
            env.unwrapped._np_random = coins
            env.unwrapped.s = int(places[t])
        coins.coin = float(coin)
        theirs = env.step(int(action))[:4]
        assert theirs == (obs, reward, terminated, truncated), f"step {t}"
        fresh = terminated or truncated
        ends += fresh
    assert ends > 10 or id.startswith("CliffWalking")  # which has no time limit, and no luck


@pytest.mark.parametrize("id", TWINS)
def test_episodes_begin_where_gymnasiums_begin(id):
    env = make(id)
    _, starts = jax.vmap(env.reset)(env.noise(jax.random.key(0), (20_000,)))
    wanted = gymnasium.make(id).unwrapped.initial_state_distrib
    share = np.bincount(starts, minlength=len(wanted)) / len(starts)
    assert (share[wanted == 0] == 0).all()
    np.testing.assert_allclose(share, wanted, atol=5 * np.sqrt(wanted.max() / len(starts)) * (wanted.max() < 1))


@pytest.mark.parametrize("id", TWINS)
def test_outcomes_happen_as_often_as_the_table_says(id):
    mdp = MDP.from_gymnasium(id)
    env, state, action = mdp.compiled(), mdp.num_states // 3, 1
    noise = env.noise(jax.random.key(0), (20_000,))
    here, _ = env.reset(jax.tree.map(lambda leaf: leaf[0], noise))
    _, reached, *_ = jax.vmap(env.step, (None, None, 0))(here._replace(place=jnp.int32(state)), action, noise)
    share = np.bincount(reached, minlength=mdp.num_states) / len(reached)
    np.testing.assert_allclose(share, mdp.P[state, action], atol=0.018)  # five standard errors of sqrt(1/4 / 20,000)


def test_a_drawing_of_frozen_lake_is_frozen_lake():
    lake = ["SFFF", "FHFH", "FFFH", "HFFG"]
    drawn, theirs = MDP.from_grid(lake, slip=2 / 3), MDP.from_gymnasium("FrozenLake-v1")
    np.testing.assert_allclose(drawn.P, theirs.P, atol=1e-15)
    np.testing.assert_allclose(drawn.R, theirs.R, atol=1e-15)
    np.testing.assert_array_equal(drawn.terminal, theirs.terminal)
    assert drawn.grid == theirs.grid


def test_settings_reach_gymnasium():
    mdp = MDP.from_gymnasium("FrozenLake-v1", desc=["SF", "HG"], is_slippery=False)
    assert mdp.P.shape == (4, 4, 4)
    assert mdp.P[0, 2, 1] == 1.0  # right
    assert mdp.R[1, 1] == 1.0  # down, into the goal


def test_a_cliff_throws_back_to_the_start_and_a_wall_stops():
    mdp = MDP.from_grid("S#. .CG", step=-1.0, goal=-1.0)
    left, down, right, up = range(4)
    assert mdp.P[0, right, 0] == 1.0  # the wall
    assert mdp.P[3, right, 0] == 1.0  # the cliff
    assert mdp.R[3, right] == -100.0
    assert mdp.R[0, left] == mdp.R[0, up] == -1.0
    assert mdp.P[2, down, 5] == 1.0
    assert mdp.terminal[5]


def test_a_random_walk_moves_by_one_and_pays_at_its_ends():
    mdp = MDP.random_walk(3, left=-1.0, right=2.0)
    left, right = range(2)
    assert mdp.P.shape == (5, 2, 5) and mdp.start.tolist() == [0, 0, 1, 0, 0]
    assert mdp.terminal.tolist() == [True, False, False, False, True]
    for s in (1, 2, 3):
        assert mdp.P[s, left, s - 1] == mdp.P[s, right, s + 1] == 1.0
    np.testing.assert_array_equal(mdp.R, [[0, 0], [-1, 0], [0, 0], [0, 2], [0, 0]])
    np.testing.assert_array_equal(mdp.reward[[0, -1]], 0)  # who stays at an end earns nothing more
    with pytest.raises(BadSetting, match="needs a state to walk in, not 0"):
        MDP.random_walk(0)


@pytest.mark.parametrize(
    ("id", "values"), [("random-walk/5", np.arange(1, 6) / 6), ("random-walk/19", np.arange(-9, 10) / 10)]
)
def test_the_walks_of_the_book_are_environments(id, values):
    env, walk = make(id), mdp.walk(id)
    assert env.id == walk.id == id and make(id) is env
    assert (int(env.observation_space.n), int(env.action_space.n)) == (len(values) + 2, 2)
    found = policy_evaluation_exact(walk, np.full((len(values) + 2, 2), 0.5), 1.0).values
    np.testing.assert_allclose(found[1:-1], values, atol=1e-12)


# Two states: from 0, action 0 stays (reward 1), action 1 ends in 1 with 3/4 (reward 8) and stays otherwise (reward 4).
P = np.array([[[1.0, 0.0], [0.25, 0.75]], [[0.0, 1.0], [0.0, 1.0]]])
R = np.array([[[1.0, 0.0], [4.0, 8.0]], [[5.0, 5.0], [5.0, 5.0]]])


def test_a_backup_by_hand():
    mdp = MDP.from_arrays(P, R, terminal=[1])
    np.testing.assert_allclose(mdp.R, [[1, 7], [0, 0]])  # 4 / 4 + 3/4 * 8; nothing once it has ended
    q = mdp.backup(np.array([10.0, 0.0]), gamma=0.5)
    np.testing.assert_allclose(q, [[6, 8.25], [0, 0]])  # 1 + 5, 7 + 10 / 8
    np.testing.assert_allclose(mdp.P, P)  # and the terminal state follows itself


def test_rewards_of_actions_alone_are_enough():
    mdp = MDP.from_arrays(P, [[1.0, 7.0], [0.0, 0.0]], terminal=[1])
    np.testing.assert_allclose(mdp.R, [[1, 7], [0, 0]])


def test_an_mdp_by_hand_is_an_environment():
    env = make(MDP.from_arrays(P, R, terminal=[1], max_episode_steps=7))
    places, _, action, obs, reward, terminated, truncated = played(env, 2_000)
    assert (places == 0).all()  # where it ends, it begins anew
    np.testing.assert_array_equal(reward, np.where(action == 0, 1.0, np.where(obs == 1, 8.0, 4.0)))
    np.testing.assert_array_equal(terminated, obs == 1)
    assert (truncated & ~terminated).any()
    behind_gymnasium = make_original(MDP.from_arrays(P, R, terminal=[1]))
    assert behind_gymnasium.reset(seed=0)[0] == 0
    assert behind_gymnasium.step(0)[:4] == (0, 1.0, False, False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"P": P[0]}, "P has shape (2, 2); expected [S, A, S]"),
        ({"P": P * 0.5}, "action 0 in state 0 has outcomes whose probabilities do not sum to one"),
        ({"P": P + np.array([-1.0, 1.0])}, "action 1 in state 0 has a negative probability"),
        ({"R": R[0, 0]}, "R has shape (2,); expected [S, A] or [S, A, S]"),
        ({"R": R * np.nan}, "has a reward that is not finite"),
        ({"terminal": [2]}, "a terminal state is not among the states 0 to 1"),
        ({"start": 2}, "start is 2; states are 0 to 1"),
        ({"start": [0.5, 0.4]}, "start sums to 0.9; it must be a distribution over states"),
    ],
)
def test_what_is_no_mdp_is_refused_in_a_sentence(change, sentence):
    with pytest.raises(BadSetting) as caught:
        MDP.from_arrays(**{"P": P, "R": R, "terminal": [1]} | change)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("rows", ["", "S. .", "..", "S. G"])
def test_a_drawing_that_is_no_grid_is_refused(rows):
    with pytest.raises(BadSetting, match="This is no MDP"):
        MDP.from_grid(rows)


def test_environments_without_a_true_table_are_refused():
    with pytest.raises(BadSetting, match="CartPole-v1 carries no transition table"):
        MDP.from_gymnasium("CartPole-v1")
    with pytest.raises(BadSetting, match="fickle"):
        MDP.from_gymnasium("Taxi-v4", fickle_passenger=True)
    with pytest.raises(Error, match="did you mean Taxi-v4"):
        MDP.from_gymnasium("Taxy-v4")


def test_a_table_in_which_an_end_is_no_matter_of_the_state_is_refused():
    class Moody(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(1)
        initial_state_distrib = np.array([1.0, 0.0])
        P = {  # noqa: RUF012
            0: {0: [(0.5, 1, 0.0, True), (0.5, 1, 0.0, False)]},
            1: {0: [(1.0, 1, 0.0, False)]},
        }

    with pytest.raises(BadSetting, match="action 0 in state 0 goes on in a state in which others end"):
        MDP.from_gymnasium(Moody)


def test_more_states_than_can_be_counted_exactly_are_not_played_in(monkeypatch):
    monkeypatch.setattr(mdp, "EXACT", 6)
    assert MDP.random_walk(4).compiled().observation_space.n == 6
    with pytest.raises(BadSetting, match="random-walk-5 has 7 states with 14 outcomes, and to be played in"):
        MDP.random_walk(5).compiled()
