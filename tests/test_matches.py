"""Matches and ratings: numbers worked by hand and scipy's, colours and openings, and who wins against whom."""

import dataclasses
import itertools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import polyak
from polyak.agent import Spec, no_memory
from polyak.cli import main
from polyak.envs import make
from polyak.envs.tictactoe import TURNED
from polyak.errors import BadSetting, UnknownName
from polyak.matches import ELO, Arena, Player, _match, _openings, bradley_terry
from polyak.spaces import mask_of
from tests import small

# ---- ratings


def results(wins: int, draws: int, losses: int) -> np.ndarray:
    """[2, K] of as many games, shuffled over colours and openings."""
    values = np.repeat([1, 0, -1], [wins, draws, losses]).astype(np.int8)
    return np.random.default_rng(0).permutation(values).reshape(2, -1)


def arena_of(*records: tuple[int, int, int], names=("a", "b", "c", "d"), anchor: str | None = None) -> Arena:
    """Of each pair, in the order (0, 1), (0, 2), ..., so many wins, draws and losses."""
    count = next(n for n in range(2, 9) if n * (n - 1) // 2 == len(records))
    found = np.stack([results(*record) for record in records])
    openings = np.arange(found.shape[-1])
    pairs = tuple(itertools.combinations(range(count), 2))
    return Arena("go-9x9", tuple(names[:count]), pairs, found, openings, openings, 2, anchor)


def test_ratings_of_two_are_the_logarithm_of_their_points():
    """30 points to 10, and half a point each of the game that is taken for drawn: 400 log10(30.5 / 10.5)."""
    arena = arena_of((28, 4, 8), anchor="b")
    np.testing.assert_allclose(arena.ratings, [400 * np.log10(30.5 / 10.5), 0], atol=1e-6)
    np.testing.assert_allclose(arena_of((28, 4, 8)).ratings.sum(), 0, atol=1e-9)
    assert arena.record("a") == (28, 4, 8) and arena.record("b", "a") == (8, 4, 28)
    assert arena.record("a").score == 0.75


def test_records_tell_who_began():
    """a won both games in which it began, and drew and lost the others."""
    played = np.array([[[1, 1], [0, -1]]], np.int8)
    arena = Arena("hex", ("a", "b"), ((0, 1),), played, np.arange(2), np.arange(2), 2, None)
    assert arena.record("a", begins=True) == (2, 0, 0) and arena.record("a", begins=False) == (0, 1, 1)
    assert arena.record("b", begins=True) == (1, 1, 0) and arena.record("b", "a", begins=False) == (0, 0, 2)
    with pytest.raises(UnknownName, match="no player named 'c'"):
        arena.record("c")


def test_400_points_are_ten_wins_to_one():
    """Three whose points against each other are all as the model has them, apart by 400 points each."""
    points = np.zeros((1, 3, 3))
    points[0, 0, 1], points[0, 1, 0] = 10, 1
    points[0, 1, 2], points[0, 2, 1] = 10, 1
    points[0, 0, 2], points[0, 2, 0] = 100, 1
    np.testing.assert_allclose(
        ELO * bradley_terry(points, points + points.transpose(0, 2, 1)), [[400, 0, -400]], atol=1e-9
    )


def test_ratings_are_the_most_likely_ones_as_scipy_finds_them():
    records = [(61, 10, 29), (80, 0, 20), (97, 2, 1), (40, 40, 20), (70, 6, 24), (55, 5, 40)]
    arena = arena_of(*records)
    half = dict(zip(itertools.combinations(range(4), 2), records, strict=True))

    def unlikely(ratings: np.ndarray) -> float:
        total = 1e-3 * ratings.sum() ** 2
        for (i, j), (wins, draws, losses) in half.items():
            won, lost = wins + draws / 2 + 0.5, losses + draws / 2 + 0.5
            total += won * np.log1p(np.exp(ratings[j] - ratings[i])) + lost * np.log1p(np.exp(ratings[i] - ratings[j]))
        return total

    found = optimize.minimize(unlikely, np.zeros(4), tol=1e-12).x
    np.testing.assert_allclose(arena.ratings, ELO * (found - found.mean()), atol=0.05)


def test_intervals_are_as_wide_as_chance_makes_them():
    """Of 400 games with 240 points the share has a standard error of sqrt(0.6 0.4 / 400); the slope does the rest."""
    arena = arena_of((240, 0, 160), anchor="b")
    low, high = arena.intervals[0]
    wanted = 2 * 1.96 * np.sqrt(0.6 * 0.4 / 400) * ELO / (0.6 * 0.4)
    assert low < arena.ratings[0] < high and abs((high - low) / wanted - 1) < 0.15
    assert arena.intervals[1].tolist() == [0, 0]


def test_who_won_everything_has_no_bound_above_and_is_said_to_have_none():
    """By the binomial, 200 wins of 200 leave at least 98.2 % of the points: 692 points of rating."""
    arena = arena_of((200, 0, 0), anchor="b")
    assert arena.bounded.tolist() == [[True, False], [True, True]]
    low, high = arena.intervals[0]
    assert high == np.inf and 600 < low < 800
    assert arena.rating(0) == "> +1,041" and arena.interval(0).startswith("above +")
    assert arena_of((0, 0, 200), anchor="b").rating(0) == "< -1,041"


def test_a_chain_of_results_bounds_a_rating():
    """a won all against c, but b won against a and lost to c at times."""
    assert arena_of((60, 0, 40), (100, 0, 0), (60, 0, 40), anchor="c").bounded.all()
    alone = arena_of((60, 0, 40), (100, 0, 0), (100, 0, 0), anchor="c")
    assert alone.bounded.tolist() == [[True, False], [True, False], [True, True]]


def test_the_same_game_many_times_says_no_more_than_once():
    """200 games from 4 openings between players who leave nothing to chance: wide; from 100 of them: not so."""
    games = np.tile([[1, 1, 1, -1], [1, -1, 1, -1]], 25).astype(np.int8)[None]
    openings = np.tile(np.arange(4), 25)
    few = Arena("hex", ("a", "b"), ((0, 1),), games, openings, openings, 2, "b")
    many = dataclasses.replace(few, units=np.arange(100))
    width = [float(np.ptp(arena.intervals[0])) for arena in (few, many)]
    assert few.ratings[0] == many.ratings[0] and width[0] > 3 * width[1]


def test_it_shows_itself_as_text_html_and_a_picture(tmp_path):
    arena = arena_of((20, 0, 0), (20, 0, 0), (11, 3, 6), names=("<best>", "mcts-10", "random"), anchor="mcts-10")
    text = str(arena).splitlines()
    assert text[0] == "go-9x9: 20 games a pair, from 10 different openings of 2 random moves, each with both colours."
    assert [line.split()[0] for line in text[3:6]] == ["<best>", "mcts-10", "random"]
    assert "anchor" in text[4] and "+11 =3 -26" in text[4] and "31.2 %" in text[4]
    assert text[8].startswith("<best> against mcts-10") and text[8].endswith("100.0 %")
    html = arena._repr_html_()
    assert "&lt;best&gt;" in html and "<best>" not in html
    picture = arena.draw(tmp_path / "ratings.svg")
    assert picture.path.stat().st_size > 1_000 and picture.title == "go-9x9: 20 games a pair"


# ---- games


MASKED = mask_of(make("tic-tac-toe").observation_space)


def scripted(name: str, moves: str, is_random: bool = False) -> Player:
    """Takes the first free cell of a list."""
    order = jnp.array([int(letter) for letter in moves])

    def act(state, carry, world, obs, noise):
        free = obs[:, MASKED][:, order] != 0
        return order[jnp.argmax(free, -1)], carry

    return Player(name, (), no_memory, jax.random.uniform, act, is_random)


def by_hand(first: str, second: str, board: int = 0) -> int:
    """The result of who moves first when both take the first free cell of their lists."""
    from polyak.envs.tictactoe import AFTER, OVER, WON

    for turn in range(9):
        moves, sign = ((first, 1), (second, -1))[turn % 2]
        after = AFTER[board, next(int(m) for m in moves if AFTER[board, int(m)] >= 0)]
        if OVER[after]:
            return sign * int(WON[after])
        board = int(TURNED[after])
    raise AssertionError


@pytest.mark.parametrize("opening", [0, 1, 2, 3])
def test_colours_are_exchanged_and_openings_shared(opening):
    """Every result is that of the game on paper, from each opening with one player and with the other moving first."""
    env = make("tic-tac-toe")
    one, other = scripted("one", "012345678"), scripted("other", "840713562")
    positions, numbers = _openings(env, 20, opening, jax.random.key(0))
    found = _match(env, one, other, positions, opening % 2, jax.random.key(1), lambda count: None)
    assert found.shape == (2, 20) and len(numbers) == 20
    for place, board in enumerate(np.asarray(positions[0]).tolist()):
        to_move, not_to_move = by_hand(*("012345678", "840713562"), board), -by_hand("840713562", "012345678", board)
        wanted = [to_move, not_to_move] if opening % 2 == 0 else [not_to_move, to_move]
        assert found[:, place].tolist() == wanted


def test_openings_differ_as_far_as_there_are_others():
    env = make("tic-tac-toe")
    (boards, _), numbers = _openings(env, 100, 2, jax.random.key(0))
    assert len(set(numbers.tolist())) == 72, "all openings of two moves"
    assert max(np.bincount(numbers)) == 2
    same = [len(set(np.asarray(boards)[numbers == number].tolist())) for number in range(72)]
    assert set(same) == {1}
    (again, _), _ = _openings(env, 100, 2, jax.random.key(0))
    (others, _), _ = _openings(env, 100, 2, jax.random.key(1))
    np.testing.assert_array_equal(again, boards)
    assert (np.asarray(others) != np.asarray(boards)).any()
    with pytest.raises(BadSetting, match="over before 9 random moves"):
        _openings(env, 100, 9, jax.random.key(0))


def test_a_perfect_player_does_not_lose_to_one_at_random_and_games_follow_the_seed():
    arena = polyak.arena(["random", "perfect"], "tic-tac-toe", 100, opening=1)
    record = arena.record("perfect")
    assert record.losses == 0 and record.wins > 80 and arena.anchor == "random"
    again, other = (polyak.arena(["random", "perfect"], "tic-tac-toe", 100, opening=1, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.results, arena.results)
    assert (other.results != arena.results).any()


@pytest.mark.slow
def test_a_search_beats_a_player_at_random():
    arena = polyak.arena(["random", "mcts-100"], "connect-four", 40)
    assert arena.record("mcts-100").wins >= 36
    assert arena.ratings[1] > 300


# ---- players


def policy_on(env: str, algorithm: Any = None) -> polyak.Policy:
    """One that has learnt nothing."""
    made = make(env)
    kind = algorithm or polyak.PPO(network=polyak.MLP(hidden=(8,)), batch_size=32)
    spec = Spec(made.observation_space, made.action_space, 1, None, 1, simulator=made)
    agent = kind.agent(spec)
    return polyak.Policy(kind, spec, agent.policy(agent.init(jax.random.key(0))), env)


@pytest.mark.slow
def test_policies_play_beside_names_and_searches(tmp_path):
    """Policies that plan and that do not, files and objects; a folder's last two names tell them apart."""
    tiny = polyak.MLP(hidden=(8,))
    planner = policy_on("tic-tac-toe", polyak.AlphaZero(network=tiny, num_simulations=4))
    (tmp_path / "a").mkdir()
    planner.save(tmp_path / "a" / "policy-0.safetensors")
    reader = policy_on("tic-tac-toe/random")
    file = str(tmp_path / "a" / "policy-0.safetensors")
    arena = polyak.arena([file, f"{file}@0", reader, "mcts-8"], games=8)
    assert arena.players == ("a/policy-0.safetensors", "a/policy-0.safetensors@0", "ppo", "mcts-8")
    assert arena.game == "tic-tac-toe" and arena.anchor == "mcts-8"
    assert arena.results.shape == (6, 2, 4) and len(set(arena.units)) == 4


@pytest.mark.parametrize(
    ("players", "options", "sentence"),
    [
        (["random"], {"game": "tic-tac-toe"}, "takes two players at least"),
        (["random", "mcts-5"], {}, "Names alone do not say which game"),
        (["random", "random"], {"game": "tic-tac-toe"}, "random is among the players twice"),
        (["random", "mcts-5"], {"game": "tic-tac-toe", "games": 7}, "takes an even number"),
        (["random", "mcts-5"], {"game": "tic-tac-toe", "opening": -1}, "opening is -1"),
        (["random", "mcts-5"], {"game": "kuhn-poker"}, "mcts-5 plans on the states of kuhn-poker"),
        (["random", "runs/none"], {"game": "tic-tac-toe"}, "There is no run folder or policy file runs/none"),
        (["random", "none@7"], {"game": "tic-tac-toe"}, "There is no run folder or policy file none"),
    ],
)
def test_what_cannot_meet_is_refused_in_a_sentence(players, options, sentence):
    with pytest.raises(BadSetting, match=sentence):
        polyak.arena(players, **options)


def test_unknown_names_are_refused_in_a_sentence():
    for players, game in ((["random", "mtcs-7"], "tic-tac-toe"), (["random", "perfect"], "hex")):
        with pytest.raises(UnknownName, match=r"There is no player named .* players are run folders, policy files"):
            polyak.arena(players, game)
    with pytest.raises(UnknownName, match="did you mean connect-four"):
        polyak.arena(["random", "mcts-5"], "connect-for")
    with pytest.raises(UnknownName, match="no player named 'nobody'"):
        polyak.arena(["random", "greedy"], "tic-tac-toe", anchor="nobody")


def test_policies_of_other_games_and_without_a_search_are_refused(tmp_path):
    ours, theirs = policy_on("tic-tac-toe/random"), policy_on("connect-four/random")
    with pytest.raises(BadSetting, match="ppo plays connect-four, and the game is tic-tac-toe"):
        polyak.arena(["random", theirs], "tic-tac-toe")
    with pytest.raises(BadSetting, match=r"ppo \(2\) plays connect-four, and ppo \(1\) plays tic-tac-toe"):
        polyak.arena([ours, theirs])
    with pytest.raises(BadSetting, match="trained on CartPole-v1, which is no game"):
        polyak.arena(["random", policy_on("CartPole-v1")])
    ours.save(tmp_path / "policy")
    with pytest.raises(BadSetting, match="is a policy of ppo, which does not search"):
        polyak.arena(["random", f"{tmp_path / 'policy'}@64"])
    with pytest.raises(BadSetting, match=r"Neither ppo \(1\) nor ppo \(2\) leaves a move to chance"):
        polyak.arena([ours, ours.with_state(ours.state)], opening=0)


@pytest.mark.slow
def test_the_command_reads_runs_and_draws(tmp_path, monkeypatch, capsys):
    """A run of a learner; what it is called is its folder, and a run that was stopped is refused."""
    monkeypatch.chdir(tmp_path)
    run = polyak.train(small.algorithm("ppo"), "tic-tac-toe/random", steps=512, seed=0, progress=False, processes=0)
    assert main(["arena", str(run.path), "greedy", "random", "--games", "20"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tic-tac-toe: 20 games a pair") and run.path.name in printed and "greedy" in printed
    assert printed.endswith("picture: arena-tic-tac-toe.png\n") and (tmp_path / "arena-tic-tac-toe.png").exists()
    about = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(about | {"status": "stopped"}))
    assert main(["arena", str(run.path), "random"]) == 2
    assert "has not finished (stopped); polyak resume" in capsys.readouterr().err
    assert main(["arena"]) == 2
