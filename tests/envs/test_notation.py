"""Boards as text and moves as people write them, against positions and moves that are known by name."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.envs import make
from polyak.envs.games.from_pgx import legal_actions
from polyak.envs.games.notation import NOTATIONS, draw, move_named, moves, name_of_move
from polyak.errors import UnknownName
from polyak.spaces import mask_of

NOTHING = jnp.zeros(())


@cache
def jitted(id: str):
    return jax.jit(make(id).step)


def after(id: str, text: str):
    """The state after moves that are given by their names, and whether the game is over."""
    state, terminated = make(id).reset(NOTHING)[0], False
    for name in text.split():
        action = move_named(id, state, name)
        assert action is not None, f"{name} is not allowed"
        assert name_of_move(id, state, action) == name.lower()
        state, _, _, terminated, _ = jitted(id)(state, action, NOTHING)
    return state, bool(terminated)


def picture(text: str) -> str:
    return "\n".join(line[4:] for line in text.strip("\n").splitlines())


def test_connect_four_is_drawn_from_above():
    state, _ = after("connect-four", "d d C a")
    wanted = """
     . . . . . . .
     . . . . . . .
     . . . . . . .
     . . . . . . .
     . . . O . . .
     O . X X . . .
     a b c d e f g
    """
    assert draw("connect-four", state) == picture(wanted).rstrip()
    assert draw("connect-four/random", state) == draw("connect-four", state)


@pytest.mark.parametrize("text", ["", "h", "4", "dd", "d4", "²"])
def test_what_is_no_move_gives_none(text):
    assert move_named("connect-four", make("connect-four").reset(NOTHING)[0], text) is None


def test_a_full_column_is_not_named():
    state, _ = after("connect-four", "d d d d d d")
    assert move_named("connect-four", state, "d") is None and move_named("connect-four", state, " C ") == 2


def test_games_without_boards_are_refused_in_a_sentence():
    with pytest.raises(UnknownName, match="no game whose boards can be drawn named 'kuhn-poker'"):
        draw("kuhn-poker", make("connect-four").reset(NOTHING)[0])


@pytest.mark.slow
def test_othello_flips_what_is_enclosed():
    state, _ = after("othello", "d3 c3")
    wanted = """
      . . . . . . . .
      . . . . . . . .
      . . O X . . . .
      . . . O X . . .
      . . . X O . . .
      . . . . . . . .
      . . . . . . . .
      . . . . . . . .
    """
    rows = [line.strip() for line in wanted.strip().splitlines()]
    lines = draw("othello", state).splitlines()
    assert [line[2:] for line in lines[:8]] == rows
    assert [line[0] for line in lines[:8]] == list("12345678") and lines[8].split() == list("abcdefgh")


@pytest.mark.slow
def test_hex_is_won_by_x_from_above_to_below_and_the_first_move_may_be_taken_over():
    column = "f1 a2 f2 b2 f3 c2 f4 d2 f5 e2 f6 g2 f7 h2 f8 i2 f9 j2 f10 k2"
    state, over = after("hex", column)
    assert not over, "O has not joined left and right where X stands"
    _, over = after("hex", f"{column} f11")
    assert over
    lines = draw("hex", state).splitlines()
    assert lines[0].split() == list("abcdefghijk")
    assert lines[1] == " 1 . . . . . X . . . . ." and lines[2] == "  2 O O O O O X O O O O O"
    swapped, _ = after("hex", "c1 swap")
    stones = [line.split()[1:] for line in draw("hex", swapped).splitlines()[1:]]
    assert stones[2][0] == "O" and sum(row.count("O") for row in stones) == 1
    assert sum(row.count("X") for row in stones) == 0


@pytest.mark.slow
def test_go_takes_stones_without_liberties_and_has_no_column_i():
    state, _ = after("go-9x9", "a2 a1 b1")
    lines = draw("go-9x9", state).splitlines()
    assert lines[7] == "2 X . . . . . . . ." and lines[8] == "1 . X . . . . . . ."
    assert lines[9].split() == list("abcdefghj")
    state, over = after("go-9x9", "j9 pass pass")
    assert over and draw("go-9x9", state).splitlines()[0] == "9 . . . . . . . . X"


@pytest.mark.slow
def test_chess_is_written_square_by_square():
    """The shortest mate; castling, a pawn taken in passing, and a promotion."""
    state, over = after("chess", "f2f3 e7e5 g2g4 d8h4")
    assert over
    lines = draw("chess", state).splitlines()
    assert lines[0] == "8 r n b . k b n r" and lines[4] == "4 . . . . . . P q" and lines[7] == "1 R N B Q K B N R"
    state, _ = after("chess", "e2e4 a7a6 e4e5 d7d5 e5d6 a6a5 g1f3 a5a4 f1e2 a4a3 e1g1")
    lines = draw("chess", state).splitlines()
    assert lines[2] == "6 . . . P . . . ." and lines[3] == "5 . . . . . . . ." and lines[7] == "1 R N B Q . R K ."
    before = "a2a4 b7b5 a4b5 a7a6 b5a6 c7c6 a6a7 c6c5"
    state, _ = after("chess", before)
    names = {name_of_move("chess", state, int(action)) for action in np.flatnonzero(legal_actions("chess", state))}
    assert {"a7b8q", "a7b8r", "a7b8b", "a7b8n"} <= names and "a7b8" not in names
    for promoted, letter in (("a7b8n", "N"), ("a7b8q", "Q"), ("a7b8r", "R"), ("a7b8b", "B")):
        state, _ = after("chess", f"{before} {promoted}")
        assert draw("chess", state).splitlines()[0] == f"8 r {letter} b q k b n r"


@pytest.mark.slow
def test_gardner_chess_is_written_alike():
    state, _ = after("gardner-chess", "b2b3 a4b3")
    lines = draw("gardner-chess", state).splitlines()
    assert lines[:5] == ["5 r n b q k", "4 . p p p p", "3 . p . . .", "2 P . P P P", "1 R N B Q K"]
    assert lines[5].split() == list("abcde")


@pytest.mark.slow
@pytest.mark.parametrize("id", NOTATIONS)
def test_every_move_of_random_games_has_a_name_of_its_own_that_leads_back_to_it(id):
    state, rng = make(id).reset(NOTHING)[0], np.random.default_rng(0)
    for _ in range(40):
        obs = make(id).observe(state)
        allowed = np.flatnonzero(obs[mask_of(make(id).observation_space)])
        named = moves(id, state)
        assert sorted(named.values()) == allowed.tolist()  # so that no two of them have one name
        name = str(rng.choice(sorted(named)))
        assert name_of_move(id, state, named[name]) == name
        assert move_named(id, state, name.upper()) == named[name]
        state, _, _, terminated, _ = jitted(id)(state, named[name], NOTHING)
        if terminated:
            break


def test_a_position_shows_itself_as_pgx_draws_it_and_as_text():
    state, _ = after("connect-four", "d d")
    board = polyak.show("connect-four/random", state)
    assert str(board) == repr(board) == draw("connect-four", state)
    picture = board._repr_svg_()
    assert (
        picture.startswith("<svg")
        and picture != polyak.show(make("connect-four"), after("connect-four", "d")[0])._repr_svg_()
    )
    ours = polyak.show("tic-tac-toe", 0)
    assert str(ours).startswith(" 1 | 2 | 3") and ours._repr_svg_() is None
    with pytest.raises(UnknownName, match="no game whose boards can be drawn named 'CartPole-v1'"):
        polyak.show("CartPole-v1", 0)
