"""Tic-tac-toe against the rules as one would tell them, with crosses and noughts on paper."""

from functools import cache

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polyak.agent import Spec
from polyak.algorithms.policy.ppo import PPO
from polyak.envs import make, make_original
from polyak.envs.base import CompiledEnv
from polyak.envs.tictactoe import AFTER, EMPTY, LEGAL, OPPONENTS, OVER, ROWS, SEEN, TURNED, minimax, perfect_moves
from polyak.errors import BadSetting, UnknownName
from polyak.parts.networks import MLP
from polyak.parts.networks.encoding import encode, num_features
from polyak.parts.tables import afterstate_rows_of
from polyak.spaces import from_rows, mask_of
from tests.envs.contests import Record, by_chance, by_policy, contest, in_every_way

# ---- the game on paper: nine letters, of which X moves first


def to_move(paper: str) -> str:
    return "X" if paper.count("X") == paper.count("O") else "O"


def with_mark(paper: str, cell: int) -> str:
    assert paper[cell] == " "
    return paper[:cell] + to_move(paper) + paper[cell + 1 :]


def winner(paper: str) -> str | None:
    rows = [paper[start : start + 3] for start in (0, 3, 6)]
    columns = [paper[start::3] for start in (0, 1, 2)]
    for line in (*rows, *columns, paper[0::4], paper[2:7:2]):
        if line in ("XXX", "OOO"):
            return line[0]
    return None


def number(paper: str, player: str) -> int:
    """The board as a player sees it: in base three, 0 a free cell, 1 one's own, 2 the other's."""
    return sum(3**cell * (0 if mark == " " else 1 if mark == player else 2) for cell, mark in enumerate(paper))


def is_over(paper: str) -> bool:
    return winner(paper) is not None or " " not in paper


def choices(paper: str) -> list[int]:
    """The afterstates that the player to move observes."""
    if is_over(paper):
        return [-1] * 9
    player = to_move(paper)
    return [number(with_mark(paper, cell), player) if paper[cell] == " " else -1 for cell in range(9)]


def planes(paper: str) -> list[list[list[int]]]:
    """The marks that the player to move observes, [3, 3, 2]: its own and the other's."""
    player = to_move(paper)
    marks = [[int(mark == player), int(mark not in (player, " "))] for mark in paper]
    return [marks[start : start + 3] for start in (0, 3, 6)]


def sees(row) -> str:
    """The board on paper whose mover sees this row."""
    return BOARDS_OF[tuple(from_rows(SEEN, np.asarray(row))["afterstates"].tolist())]


@cache
def worth(paper: str) -> int:
    """What the board is worth to who is to move, if both play perfectly."""
    if is_over(paper):
        return -1 if winner(paper) else 0
    return max(-worth(with_mark(paper, cell)) for cell in range(9) if paper[cell] == " ")


@cache
def positions(paper: str = " " * 9) -> frozenset[str]:
    """All that may come of a board, itself included."""
    if is_over(paper):
        return frozenset([paper])
    following = (positions(with_mark(paper, cell)) for cell in range(9) if paper[cell] == " ")
    return frozenset([paper]).union(*following)


# ---- the rules


@cache
def jitted(id: str):
    return jax.jit(make(id).step)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(9)))
def test_a_game_by_self_play_is_the_game_on_paper(cells):
    """Players alternate, each sees its own marks and choices, is paid for its own win, and nothing else ends a game."""
    env, step = make("tic-tac-toe"), jitted("tic-tac-toe")
    state, obs = env.reset(jnp.zeros(()))
    paper = " " * 9
    for cell in cells:
        found = from_rows(SEEN, np.asarray(obs))
        assert found["observation"].tolist() == planes(paper)
        assert found["action_mask"].tolist() == [mark == " " for mark in paper]
        assert found["afterstates"].tolist() == choices(paper)
        paper = with_mark(paper, cell)
        state, obs, reward, terminated, truncated = step(state, cell, jnp.zeros(()))
        assert reward == (winner(paper) is not None)
        assert terminated == is_over(paper)
        assert not truncated
        if terminated:
            break
    found = from_rows(SEEN, np.asarray(obs))
    assert found["afterstates"].tolist() == [-1] * 9 and found["action_mask"].tolist() == [1] * 9


def test_every_position_has_the_afterstates_of_the_game_on_paper():
    assert len(positions()) == 5_478
    for paper in positions():
        board = number(paper, to_move(paper))
        assert AFTER[board].tolist() == choices(paper)
        assert OVER[board] == is_over(paper)
        assert TURNED[board] == number(paper, "O" if to_move(paper) == "X" else "X")


def test_all_games_there_are_end_as_others_have_counted():
    """255,168 games, of which X wins 131,184, O wins 77,904, and 46,080 are drawn."""
    assert contest(in_every_way, in_every_way, 1) == Record(131_184, 46_080, 77_904)


def test_a_move_that_is_not_allowed_loses():
    state, _ = make("tic-tac-toe").reset(jnp.zeros(()))
    state, _, reward, terminated, _ = jitted("tic-tac-toe")(state, 4, jnp.zeros(()))
    assert reward == 0 and not terminated
    state, obs, reward, terminated, _ = jitted("tic-tac-toe")(state, 4, jnp.zeros(()))
    assert reward == -1 and terminated
    assert from_rows(SEEN, np.asarray(obs))["afterstates"].tolist() == [-1] * 9
    again, _, reward, terminated, _ = jitted("tic-tac-toe")(state, 0, jnp.zeros(()))
    assert again == state and reward == 0 and terminated, "what is over stays over and pays nothing"


def test_tables_read_the_afterstates_and_networks_the_marks():
    """One id suits learners of both kinds: each reads its own parts."""
    assert num_features(SEEN) == 18
    for paper in ("X  O     ", "XX O     "):
        seen_row = ROWS[number(paper, to_move(paper))].astype(np.float32)
        np.testing.assert_array_equal(encode(SEEN)(seen_row), np.ravel(planes(paper)))
        assert from_rows(SEEN, seen_row)["afterstates"].tolist() == choices(paper)
    spec = Spec(SEEN, gymnasium.spaces.Discrete(9), 8, None, 10_000)
    agent = PPO(network=MLP((4,))).agent(spec)
    full_but_one = np.repeat(ROWS[number("XOXXOOO X", "X")][None].astype(np.float32), 30, 0)
    actions, *_ = agent.act(
        agent.init(jax.random.key(0)), (), full_but_one, agent.noise(jax.random.key(1), (30,)), True
    )
    assert (actions == 7).all()
    assert afterstate_rows_of(spec, "A table").num_states == 3**9


# ---- opponents


def test_the_perfect_player_plays_as_a_search_through_the_whole_game_does():
    for paper in positions():
        if not is_over(paper):
            q = minimax()[number(paper, to_move(paper))]
            assert q.tolist() == [-worth(with_mark(paper, i)) if paper[i] == " " else -2 for i in range(9)]


@pytest.mark.parametrize(
    ("paper", "wanted"),
    [
        ("XX OO    ", [2]),  # wins rather than to block
        ("XX O     ", [2]),  # blocks
        ("XXOOX    ", [7, 8]),  # of two threats, either is blocked
        ("X   O    ", [1, 2, 3, 5, 6, 7, 8]),  # nothing to win or to block
    ],
)
def test_the_greedy_player_wins_blocks_or_does_anything(paper, wanted):
    moves = OPPONENTS["greedy"]()[number(paper, to_move(paper))]
    assert np.flatnonzero(moves).tolist() == wanted


@pytest.mark.parametrize("name", OPPONENTS)
def test_an_opponent_only_makes_moves_that_are_allowed_and_always_has_one(name):
    moves = OPPONENTS[name]()
    assert not (moves & ~LEGAL).any()
    assert moves[~OVER].any(-1).all()


def played(env: CompiledEnv, steps: int):
    """Steps [T] of a learner that plays at random: observation, move, and what came of it."""

    @jax.jit
    def play(key):
        noise_key, tie_key = jax.random.split(key)
        noise = env.noise(noise_key, (steps,))
        first = env.reset(jax.tree.map(lambda leaf: leaf[-1], noise))

        def one(now, drawn):
            (state, obs), (noise, ties) = now, drawn
            cell = jnp.argmax(jnp.where(obs[mask_of(SEEN)] > 0, ties, -1.0))
            after, next_obs, reward, terminated, _ = env.step(state, cell, noise)
            going_on = jax.tree.map(lambda a, b: jnp.where(terminated, a, b), env.reset(noise), (after, next_obs))
            return going_on, (obs, cell, reward, terminated, next_obs)

        return jax.lax.scan(one, first, (noise, jax.random.uniform(tie_key, (steps, 9))))[1]

    return jax.device_get(play(jax.random.key(0)))


BOARDS_OF = {tuple(choices(paper)): paper for paper in positions() if not is_over(paper)}


@pytest.mark.parametrize("name", ["random", "greedy"])
def test_an_opponent_answers_by_the_rules_and_with_its_own_moves(name):
    moves, fresh, starts = OPPONENTS[name](), True, []
    for obs, cell, reward, terminated, next_obs in zip(*played(make(f"tic-tac-toe/{name}"), 2_000), strict=True):
        paper = sees(obs)
        if fresh:
            starts.append(paper)
        mine = with_mark(paper, cell)
        if is_over(mine):
            assert terminated and reward == (winner(mine) is not None)
        else:
            board = number(mine, to_move(mine))
            answers = [with_mark(mine, reply) for reply in np.flatnonzero(moves[board])]
            if terminated:
                ends = {-1.0 if winner(answer) else 0.0 for answer in answers if is_over(answer)}
                assert reward in ends
            else:
                assert reward == 0
                assert sees(next_obs) in answers
        fresh = terminated
    empty = " " * 9
    assert set(starts) == {empty, *(with_mark(empty, cell) for cell in range(9))}
    assert abs(starts.count(empty) / len(starts) - 0.5) < 0.1  # four standard errors of 500 coins


# ---- contests


def test_perfect_players_draw_and_beat_whoever_is_not():
    perfect, at_random = by_chance(perfect_moves(), 0), by_chance(LEGAL, 1)
    assert contest(perfect, perfect, 1_000) == Record(0, 1_000, 0)
    assert contest(perfect, at_random, 1_000).second_won == 0
    assert contest(at_random, perfect, 1_000).first_won == 0


def test_players_at_random_win_as_often_as_the_rules_give():
    """X 58.5 %, O 28.8 %, 12.7 % drawn: known of uniformly random play."""
    record = contest(by_chance(LEGAL, 0), by_chance(LEGAL, 1), 20_000)
    np.testing.assert_allclose(np.array(record) / 20_000, [0.585, 0.127, 0.288], atol=0.015)


def test_one_who_takes_the_first_free_cell_can_be_beaten():
    first_free = by_policy(lambda obs: obs[:, mask_of(SEEN)].argmax(-1))
    assert contest(first_free, in_every_way, 1).second_won > 0
    assert contest(in_every_way, first_free, 1).first_won > 0


def test_a_policy_that_makes_a_move_that_is_not_allowed_is_told_so():
    with pytest.raises(BadSetting, match="where that cell is not free"):
        contest(by_policy(lambda obs: np.zeros(len(obs), int)), in_every_way, 1)


# ---- by name


def test_self_play_is_judged_against_a_perfect_player():
    judge = make_original("tic-tac-toe")
    openings = {tuple(judge.reset(seed=seed)[0]["afterstates"].tolist()) for seed in range(8)}
    assert len(openings) > 1, "it may begin"
    assert make("tic-tac-toe").id == "tic-tac-toe"


def test_games_are_found_by_name_and_behind_gymnasiums_interface():
    vector = make("gymnasium:tic-tac-toe/perfect", 3)
    obs = vector.reset(seed=0)
    assert obs.shape == (3, 36) and obs.dtype == np.float32
    cells = obs[:, mask_of(SEEN)].argmax(-1)
    outcome = vector.step(cells)
    assert not outcome.terminated.any() and (outcome.reward == 0).all()
    outcome = vector.step(cells)
    assert outcome.terminated.all() and (outcome.reward == -1).all(), "the cells are taken"
    with pytest.raises(UnknownName, match="tic-tac-toe/random"):
        make("tic-tac-toe/rendom")
    assert (AFTER[EMPTY] >= 0).all()
