"""`polyak.mcts`, its picture, and policies that plan: how they are evaluated and what they refuse."""

import jax
import numpy as np
import pytest

import polyak
from polyak.agent import Spec
from polyak.envs import make, tictactoe
from polyak.envs.sparse import sparse_cart_pole
from polyak.errors import BadSetting


def searcher(id: str, **settings) -> polyak.Policy:
    """The policy of a search in an environment."""
    env, algorithm = make(id), polyak.MCTS(**settings)
    spec = Spec(env.observation_space, env.action_space, 1, env.max_episode_steps, 1, None, env)
    return polyak.Policy(algorithm, spec, algorithm.agent(spec).init(jax.random.key(0)), id)


def test_a_search_tells_the_move_that_wins_and_the_line_of_best_play():
    #  x x .
    #  o o .
    board = np.int32(1 + 1 * 3 + 2 * 27 + 2 * 81)
    found = polyak.mcts("tic-tac-toe", board, 200)
    assert found.action == 2 and found.value == 1.0 and found.line == (2,)
    assert found.visits.sum() == 200 and np.isnan(found.values[[0, 1, 3, 4]]).all()
    assert "best play: 2" in str(found)


def test_the_same_seed_gives_the_same_tree_and_another_one_another():
    board = np.int32(tictactoe.EMPTY)
    visits = [polyak.mcts("tic-tac-toe", board, 100, seed=seed).visits.tolist() for seed in (3, 3, 4)]
    assert visits[0] == visits[1] != visits[2]


def test_an_mdp_is_searched_from_the_number_of_a_state():
    lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
    found = polyak.mcts(lake, 14, 400, horizon=60, gamma=0.99)  # beside the goal, on ice
    assert found.action in (1, 2)  # either slips to the goal in a third of the simulations
    assert 0.33 < found.value <= 1.0


def test_a_tree_is_drawn(tmp_path):
    found = polyak.mcts("tic-tac-toe", np.int32(tictactoe.EMPTY), 100)
    picture = found.draw(tmp_path / "tree.png", depth=2, width=3)
    assert picture.path.stat().st_size > 1_000 and picture.title.startswith("tic-tac-toe: 100 simulations")
    assert {text.get_text() for text in picture.figure.axes[0].texts} >= {str(found.action)}
    with pytest.raises(BadSetting, match="one action deep"):
        found.draw(tmp_path / "no.png", depth=0)


@pytest.mark.parametrize(
    ("env", "state", "how", "said"),
    [
        ("gymnasium:CartPole-v1", 0, {}, "stepped from Python"),
        ("Pendulum-v1", 0, {}, "that can be counted"),
        ("tic-tac-toe", (1, 2), {}, "no state of tic-tac-toe"),
        ("tic-tac-toe", np.int32(0), {"simulations": 0}, "at least one"),
        ("kuhn-poker", 0, {}, "do not see"),
        ("tic-tac-toe", np.int32(0), {"policy": "mcts"}, "no network"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_sentence(env, state, how, said):
    if "policy" in how:
        how = {"policy": searcher("tic-tac-toe")}
    with pytest.raises(BadSetting, match=said):
        polyak.mcts(env, state, **how)


@pytest.mark.slow
def test_self_play_is_judged_against_an_opponent_and_a_search_holds_a_perfect_one():
    scores = polyak.evaluate(searcher("tic-tac-toe", num_simulations=500), episodes=20)
    assert scores.mean == 0.0  # every game is drawn
    better = polyak.evaluate(searcher("tic-tac-toe", num_simulations=100), "tic-tac-toe/random", episodes=40)
    assert better.mean > 0.8


@pytest.mark.slow
def test_a_search_balances_a_pole_and_needs_the_compiled_one():
    assert polyak.evaluate(searcher("CartPole-v1", num_simulations=32, horizon=30), episodes=2).mean > 100
    with pytest.raises(BadSetting, match="stepped from Python"):
        polyak.evaluate(searcher("CartPole-v1"), "gymnasium:CartPole-v1", episodes=1)
    with pytest.raises(BadSetting, match="are not those of"):
        polyak.evaluate(searcher("CartPole-v1"), "SparseCartPole-v1", episodes=1)


def test_a_sparse_episode_is_paid_once_at_its_end():
    env = sparse_cart_pole()
    step = jax.jit(env.step)
    key = jax.random.key(0)
    state, _ = env.reset(env.noise(key, ()))
    rewards, over = [], False
    while not over:
        state, _, reward, terminated, truncated = step(state, 1, env.noise(key, ()))
        rewards.append(float(reward))
        over = bool(terminated)
        assert not truncated
    assert rewards[:-1] == [0.0] * (len(rewards) - 1) and rewards[-1] == len(rewards)


def test_self_play_is_refused_to_who_takes_all_rewards_for_its_own(tmp_path):
    with pytest.raises(BadSetting, match=r"connect-four/random"):
        polyak.train("ppo", "connect-four", steps=1_000, out=tmp_path, progress=False, processes=0)
