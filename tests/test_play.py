"""A person plays in the terminal: what is shown, what is asked again, and how one leaves."""

import io
import itertools
import os
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
import polyak.play
from polyak.agent import Spec
from polyak.algorithms.tabular.afterstate_td import AfterstateTD
from polyak.envs import make
from polyak.envs.tictactoe import AFTER, OVER, minimax
from polyak.errors import BadSetting, UnknownName
from polyak.parts.tables import PredictionState
from polyak.play import Level, Opponent, Thought, by_policy, by_search, opponent, play, turns


def perfect_policy(env: str = "tic-tac-toe") -> polyak.Policy:
    """One that knows the worth of every afterstate; of equals it takes the first."""
    values = np.zeros(len(AFTER), np.float32)
    values[AFTER[~OVER]] = minimax()[~OVER]
    game = make("tic-tac-toe")
    spec = Spec(game.observation_space, game.action_space, 1, None, 1)
    return polyak.Policy(AfterstateTD(), spec, PredictionState(jnp.asarray(values), (), jnp.int32(0)), env)


PERFECT = perfect_policy()


@pytest.fixture(autouse=True)
def at_leisure(monkeypatch):
    """What compiles in a test is slow, and nobody waits for it."""
    monkeypatch.setattr(polyak.play, "PATIENCE", 1_000.0)


def played(lines: str, begins=(True,), policy=PERFECT, show_values: bool = False, game: str = "tic-tac-toe") -> str:
    """All that is shown to one who types these lines."""
    screen = io.StringIO()
    against = policy if isinstance(policy, Opponent) else by_policy(game, policy)
    play(against, io.StringIO(lines), screen, begins, show_values)
    return screen.getvalue()


def test_a_game_is_drawn_move_by_move_and_ends_with_who_won():
    """X at 1, 2 and 4; polyak answers in the centre and blocks, at 3 and then 7, which wins."""
    shown = played("1\n2\n4\nn\n")
    assert "You are X and begin." in shown
    assert "polyak plays 5.\n\n X | 2 | 3\n---+---+---\n 4 | O | 6\n---+---+---\n 7 | 8 | 9\n" in shown
    assert re.findall(r"polyak plays (\d)", shown) == ["5", "3", "7"]
    last = " X | X | O\n---+---+---\n X | O | 6\n---+---+---\n O | 8 | 9\n"
    assert f"{last}\npolyak wins.\nSo far: you 0, polyak 1, drawn 0." in shown
    assert shown.endswith("Again? [Y/n] Goodbye.\n")


def test_a_person_who_plays_well_draws():
    assert "A draw.\nSo far: you 0, polyak 0, drawn 1." in played("5\n9\n2\n7\n6\nn\n")


class FirstFreeCell:
    """Stands in for a policy that knows nothing."""

    state, algorithm, plans = None, AfterstateTD(), False

    def __init__(self, blind: bool = False):
        self.blind = blind

    def __call__(self, obs):
        return 0 if self.blind else np.argmax(obs["action_mask"])


def test_who_completes_a_line_wins():
    assert "You win.\nSo far: you 1, polyak 0, drawn 0." in played("3\n5\n7\nn\n", policy=FirstFreeCell())


def test_a_policy_that_takes_a_taken_cell_loses():
    shown = played("1\nn\n", policy=FirstFreeCell(blind=True))
    assert "That move is not allowed, and who makes such a move loses.\nYou win." in shown


@pytest.mark.parametrize("nonsense", ["x", "", "0", "10", "1 2", "-1", "5", "one", "²"])
def test_nonsense_is_asked_again_in_one_sentence(nonsense):
    shown = played(f"1\n{nonsense}\nq\n")  # 5 is where polyak is by then
    complaint = "That is no free cell; type 2, 3, 4, 6, 7, 8 or 9, or q to leave.\nYour move: "
    assert shown.count("That is no free cell") == shown.count(complaint) == 1


def test_the_last_free_cell_is_asked_for_by_its_number():
    assert "That is no free cell; type 8, or q to leave." in played("2\n5\n4\n9\n0\nq\n", policy=FirstFreeCell())


@pytest.mark.parametrize("last", ["q\n", "quit\n", "Q\n", ""])
@pytest.mark.parametrize("before", ["", "1\n", "1\n2\n4\n", "1\n2\n4\ny\n"])
def test_q_and_the_end_of_input_leave_politely_anywhere(before, last):
    assert played(before + last, begins=(True, True)).endswith("\nGoodbye.\n")


def test_games_go_on_by_turns_and_are_counted():
    shown = played("1\n2\n4\n\nq\n", begins=turns(False, False))
    assert shown.index("You are X and begin.") < shown.index("polyak is X and begins; you are O.")
    assert "Type y or n." in played("1\n2\n4\nmaybe\nn\n")


def test_one_may_begin_always_or_never():
    for first, second, wanted in [(1, 0, [1, 1, 1]), (0, 1, [0, 0, 0]), (0, 0, [1, 0, 1])]:
        assert list(itertools.islice(turns(bool(first), bool(second)), 3)) == wanted
    with pytest.raises(BadSetting, match="Nobody moves first and second"):
        turns(True, True)


def test_values_stand_beside_the_board_for_who_is_to_move():
    shown = played("1\nq\n", show_values=True)
    assert "(worth to you)" in shown and "(worth to polyak)" in shown
    first_row, middle_row = "       | -1.00 | -1.00", " -1.00 | +0.00 | -1.00"
    assert f"      {first_row}" in shown and f"      {middle_row}" in shown, (
        "once a corner is taken, only the centre draws"
    )
    assert "-0.00" not in shown
    with pytest.raises(BadSetting, match="tells no values of moves"):
        played("q\n", policy=FirstFreeCell(), show_values=True)


def test_an_opponent_comes_from_a_policy_file(tmp_path):
    PERFECT.save(tmp_path / "policy")
    found = opponent("tic-tac-toe", io.StringIO(), run=str(tmp_path / "policy"))
    assert played("1\n2\n4\nn\n", policy=found, show_values=True) == played("1\n2\n4\nn\n", show_values=True)


def test_what_cannot_be_played_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UnknownName, match="no game to play named 'tic-tac-tow'; did you mean tic-tac-toe"):
        opponent("tic-tac-tow", io.StringIO())
    perfect_policy("CartPole-v1").save(tmp_path / "policy")
    with pytest.raises(BadSetting, match="learnt CartPole-v1, not tic-tac-toe"):
        opponent("tic-tac-toe", io.StringIO(), run=str(tmp_path / "policy"))
    perfect_policy().save(tmp_path / "policy")
    with pytest.raises(BadSetting, match="learnt tic-tac-toe, not hex"):
        opponent("hex", io.StringIO(), run=str(tmp_path / "policy"))
    with pytest.raises(BadSetting, match="afterstate-td, which does not search, so it has no level"):
        opponent("tic-tac-toe", io.StringIO(), run=str(tmp_path / "policy"), level=50)


def columns(moves: str) -> Opponent:
    """Plays these columns of connect four, one after the other."""
    names = iter(moves)
    return Opponent("connect-four", lambda state, obs: Thought("abcdefg".index(next(names))), tells=False)


def test_connect_four_is_played_by_columns():
    shown = played("d\nD\nd\nd\nn\n", policy=columns("abca"))
    assert shown.startswith("Type the letter of a column to drop a stone there, such as d; ? lists the moves, and q")
    assert "polyak plays a.\n" in shown and " O . . X . . .\n a b c d e f g\n" in shown
    assert "You win.\nSo far: you 1, polyak 0, drawn 0." in shown
    shown = played("a\na\na\nb\nn\n", policy=columns("dddd"))
    assert "polyak wins.\nSo far: you 0, polyak 1, drawn 0." in shown


def test_a_column_that_is_full_is_no_move_and_a_question_mark_lists_those_that_are():
    shown = played("c\nc\nc\nc\n?\nq\n", policy=columns("ccc"))
    assert "That is no free column; type a, b, d, e, f or g, or q to leave.\nYour move: " in shown
    assert "Now: a, b, d, e, f or g.\n" in shown and shown.endswith("Goodbye.\n")


def test_a_search_says_what_it_thinks_and_wins_where_it_can():
    """polyak has two in the middle row and is given the third: it completes the line, as it says."""
    shown = played("1\n2\n6\n8\nn\n", policy=by_search("tic-tac-toe", Level(200), 0), show_values=True)
    assert "(worth to you)" in shown and "(worth to polyak)" in shown
    assert "polyak wins." in shown
    last = shown[: shown.index("polyak wins.")].rpartition("(worth to polyak)")[2]
    _, line, _, said = last.split("\n")[:4]
    assert line == f"best play: {said.removeprefix('polyak plays ').rstrip('.')}", "a line that ends with the game"
    assert shown == played("1\n2\n6\n8\nn\n", policy=by_search("tic-tac-toe", Level(200), 0), show_values=True)


def test_polyak_says_that_it_thinks_only_where_that_takes_long(monkeypatch):
    def think(state, obs):
        time.sleep(0.2)
        return Thought(4)

    slow = Opponent("tic-tac-toe", think)
    assert "thinking" not in played("1\nq\n", policy=slow)
    monkeypatch.setattr(polyak.play, "PATIENCE", 0.02)
    assert "polyak is thinking ...\npolyak plays 5." in played("1\nq\n", policy=slow)


@pytest.mark.slow
def test_a_search_in_connect_four_lists_moves_by_their_simulations():
    """Three in a column: the fourth stone wins, and all speaks for it."""
    stack = [Thought(1), Thought(0)]
    search = by_search("connect-four", Level(300), 0)

    def think(state, obs):
        return stack.pop() if stack else search.think(state, obs)

    shown = played("d\nd\nd\nq\n", policy=Opponent("connect-four", think))
    assert "polyak plays d.\n" in shown, "it blocks"
    shown = played("d\nq\n", policy=search, show_values=True)
    assert "What 300 simulations say (worth to you):\n  d " in shown and "best play: d" in shown


@pytest.mark.slow
def test_a_policy_that_plans_plays_with_its_search_and_without():
    game = make("tic-tac-toe")
    kind = polyak.AlphaZero(network=polyak.MLP(hidden=(8,)), num_simulations=8)
    spec = Spec(game.observation_space, game.action_space, 1, None, 1, simulator=game)
    agent = kind.agent(spec)
    policy = polyak.Policy(kind, spec, agent.policy(agent.init(jax.random.key(0))), "tic-tac-toe")
    shown = played("1\nq\n", policy=policy, show_values=True)
    assert "(worth to polyak)\nbest play: " in shown
    alone = policy.with_settings(num_simulations=0)
    assert "polyak plays " in played("1\nq\n", policy=alone)
    with pytest.raises(BadSetting, match="tells no values of moves"):
        played("1\nq\n", policy=alone, show_values=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "move", "board"),
    [
        ("othello", "d3", "3 . . . X . . . ."),
        ("hex", "f6", " 6 . . . . . X . . . . ."),
        ("go-9x9", "e5", "5 . . . . X . . . ."),
        ("gardner-chess", "b2b3", "3 . P . . ."),
        ("chess", "e2e4", "4 . . . . P . . ."),
    ],
)
def test_every_game_of_the_list_is_played_in_coordinates(game, move, board):
    shown = played(f"?\nz9z9\n{move}\nq\n", policy=by_search(game, Level(2, 10), 0))
    assert re.search(r"That is no move; type .+, or q to leave\.\nYour move: ", shown)
    assert ("for instance, ? to see them all" in shown) == (game not in ("othello", "gardner-chess")), "if many"
    assert re.search(r"polyak plays \w+\.", shown)
    assert board in shown


@pytest.mark.slow
def test_without_a_run_polyak_learns_first_and_then_cannot_be_beaten(tmp_path):
    """The command as it is typed; what it learnt stays in a run, scored against a perfect player."""
    command = [sys.executable, "-m", "polyak.cli", "play", "tic-tac-toe", "--first"]
    told = subprocess.run(
        command, input="1\n2\n4\n6\n", cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("No run is given, so polyak first learns tic-tac-toe by playing against itself")
    assert "300,000 of 300,000 steps" in told.stderr
    assert "Next: polyak play tic-tac-toe --run runs/" in told.stderr
    assert "polyak wins." in told.stdout and told.stdout.endswith("Goodbye.\n")
    (path,) = (tmp_path / "runs").iterdir()
    run = polyak.Run(path)
    assert run.scores.returns.shape == (1, 100) and (run.scores.returns == 0).all()
    assert opponent("tic-tac-toe", io.StringIO(), run=str(path)).tells
