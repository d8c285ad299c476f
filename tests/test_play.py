"""A person plays in the terminal: what is shown, what is asked again, and how one leaves."""

import io
import itertools
import os
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Spec
from polyak.algorithms.tabular.afterstate_td import AfterstateTD
from polyak.envs import make
from polyak.envs.tictactoe import AFTER, OVER, minimax
from polyak.errors import BadSetting, UnknownName
from polyak.parts.tables import PredictionState
from polyak.play import opponent, play, turns


def perfect_policy(env: str = "tic-tac-toe") -> polyak.Policy:
    """One that knows the worth of every afterstate; of equals it takes the first."""
    values = np.zeros(len(AFTER), np.float32)
    values[AFTER[~OVER]] = minimax()[~OVER]
    game = make("tic-tac-toe")
    spec = Spec(game.observation_space, game.action_space, 1, None, 1)
    return polyak.Policy(AfterstateTD(), spec, PredictionState(jnp.asarray(values), (), jnp.int32(0)), env)


PERFECT = perfect_policy()


def played(lines: str, begins=(True,), policy=PERFECT, show_values: bool = False) -> str:
    """All that is shown to one who types these lines."""
    screen = io.StringIO()
    play(policy, io.StringIO(lines), screen, begins, show_values)
    return screen.getvalue()


def test_a_game_is_drawn_move_by_move_and_ends_with_who_won():
    """X at 1, 2 and 4; polyak answers in the centre and blocks, at 3 and then 7, which wins."""
    shown = played("1\n2\n4\nn\n")
    assert "You are X and begin." in shown
    assert "polyak takes 5.\n\n X | 2 | 3\n---+---+---\n 4 | O | 6\n---+---+---\n 7 | 8 | 9\n" in shown
    assert re.findall(r"polyak takes (\d)", shown) == ["5", "3", "7"]
    last = " X | X | O\n---+---+---\n X | O | 6\n---+---+---\n O | 8 | 9\n"
    assert f"{last}\npolyak wins.\nSo far: you 0, polyak 1, drawn 0." in shown
    assert shown.endswith("Again? [Y/n] Goodbye.\n")


def test_a_person_who_plays_well_draws():
    assert "A draw.\nSo far: you 0, polyak 0, drawn 1." in played("5\n9\n2\n7\n6\nn\n")


class FirstFreeCell:
    """Stands in for a policy that knows nothing."""

    state, algorithm = None, AfterstateTD()

    def __init__(self, blind: bool = False):
        self.blind = blind

    def __call__(self, obs):
        return 0 if self.blind else np.argmax(obs["action_mask"])


def test_who_completes_a_line_wins():
    assert "You win.\nSo far: you 1, polyak 0, drawn 0." in played("3\n5\n7\nn\n", policy=FirstFreeCell())


def test_a_policy_that_takes_a_taken_cell_loses():
    shown = played("1\nn\n", policy=FirstFreeCell(blind=True))
    assert "That cell is taken, and who makes such a move loses.\nYou win." in shown


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
    with pytest.raises(BadSetting, match="keeps no table of values"):
        played("q\n", policy=FirstFreeCell(), show_values=True)


def test_an_opponent_comes_from_a_policy_file(tmp_path):
    PERFECT.save(tmp_path / "policy")
    found = opponent("tic-tac-toe", io.StringIO(), run=str(tmp_path / "policy"))
    np.testing.assert_array_equal(found.state.v, PERFECT.state.v)


def test_what_cannot_be_played_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UnknownName, match="no game to play named 'tic-tac-tow'; did you mean tic-tac-toe"):
        opponent("tic-tac-tow", io.StringIO())
    perfect_policy("CartPole-v1").save(tmp_path / "policy")
    with pytest.raises(BadSetting, match="learnt CartPole-v1, not tic-tac-toe"):
        opponent("tic-tac-toe", io.StringIO(), run=str(tmp_path / "policy"))


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
    assert opponent("tic-tac-toe", io.StringIO(), run=str(path)).env == "tic-tac-toe"
