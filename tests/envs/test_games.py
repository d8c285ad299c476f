"""Games of two players: pgx's own, move by move, and what is built on them."""

import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pgx
import pytest
from hypothesis import given, settings, strategies as st

import polyak
from polyak.envs import make, make_original
from polyak.envs.games import from_pgx
from polyak.envs.games.from_pgx import GAMES, State, rules_of
from polyak.envs.games.positions import ILLEGAL, connect_four_positions
from polyak.envs.opponents import Opponent, against
from polyak.errors import EnvironmentFault, UnknownName
from polyak.ops.tree_search import pick
from polyak.spaces import from_rows, mask_of

FAST = ("connect-four", "kuhn-poker")
ALL = [pytest.param(id, marks=() if id in FAST else pytest.mark.slow) for id in GAMES]
NOTHING = jnp.zeros(())  # the noise of a game that leaves nothing to chance


@cache
def jitted(id: str):
    return jax.jit(make(id).step)


# ---- pgx's own games


def both(id: str, games: int, steps: int):
    """Random games on pgx and here side by side: what each says, leaves [steps, games, ...], and our last states."""
    game, env, rules = GAMES[id], make(id), rules_of(id)
    there = mask_of(env.observation_space)
    theirs = pgx.make(game.pgx_id)
    moves = len(rules.first.legal_action_mask)

    def begin(key):
        if not game.chance:
            return theirs.init(key), *env.reset(NOTHING)
        first = rules.begin(key)
        return first, *env.reset(from_pgx.Chance(rules.pack(first), key))

    def step(now, key):
        other, state, obs = now
        action = pick(obs[there] != 0, jax.random.uniform(key))
        mover, waits = other.current_player, action == moves
        moved = theirs.step(other, action, key)
        noise = from_pgx.Chance(state, key) if game.chance else NOTHING
        state, obs, reward, terminated, truncated = env.step(state, action, noise)
        other = jax.tree.map(lambda a, b: jnp.where(waits, a, b), other, moved)
        asleep = state.waits if game.waits else False
        seen = {
            "observation": jnp.where(asleep, theirs._observe(other, 1 - other.current_player), other.observation),
            "action_mask": jnp.where(
                asleep, jnp.arange(moves + 1) == moves, jnp.append(other.legal_action_mask, other.terminated)
            )[: moves + game.waits],
        }
        told = jnp.where(waits, 0.0, other.rewards[mover]), other.terminated, jnp.bool_(False)
        return (other, state, obs), ((seen, told), (obs, (reward, terminated, truncated)), state.player)

    def play(key):
        begin_key, step_key = jax.random.split(key)
        return jax.lax.scan(step, begin(begin_key), jax.random.split(step_key, steps))

    (_, state, _), outcomes = jax.jit(jax.vmap(play, out_axes=(0, 1)))(jax.random.split(jax.random.key(0), games))
    return state, jax.device_get(outcomes)


LENGTHS = {"gardner-chess": 260, "chess": 520, "go-9x9": 165, "backgammon": 600, "othello": 70, "hex": 125}


@pytest.mark.parametrize("id", ALL)
def test_random_games_are_pgxs_own_move_by_move_and_end_alike(id):
    """Observations and masks of the mover, its rewards, and the ends; what is over stays over and pays nothing."""
    games = 8 if id == "chess" else 32
    state, ((seen, told), (obs, outcome), player) = both(id, games, LENGTHS.get(id, 45))
    found = from_rows(make(id).observation_space, obs)
    for name, values in seen.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    for mine, theirs in zip(outcome, told, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    reward, terminated, truncated = outcome
    assert not truncated.any() and terminated[-1].mean() > 0.9, "whole games were played"
    first = terminated.argmax(0)
    assert not reward[terminated & (np.arange(len(reward))[:, None] > first)].any()
    turns = (player[:-1] != player[1:]) | terminated[1:]
    assert GAMES[id].waits or turns.all(), "players alternate"
    assert bool(state.over[0]) == terminated[-1, 0]


@pytest.mark.parametrize("id", [one for one in ALL if one.values[0] != "kuhn-poker"])  # where all is always allowed
def test_a_move_that_is_not_allowed_loses_and_ends_the_game(id):
    env = make(id)
    state, obs = env.reset(jax.tree.map(lambda leaf: leaf[0], env.noise(jax.random.key(0), (1,))))
    for move in {"connect-four": [3] * 6, "go-9x9": [40]}.get(id, []):  # first all is allowed
        state, obs, *_ = jitted(id)(state, move, NOTHING)
    there = mask_of(env.observation_space)
    wrong = int(np.argmin(obs[there]))
    assert not obs[there][wrong]
    noise = jax.tree.map(lambda leaf: leaf[0], env.noise(jax.random.key(0), (1,)))
    state, obs, reward, terminated, _ = jitted(id)(state, wrong, noise)
    assert terminated and reward == (-3 if id == "backgammon" else -1)
    assert obs[there].all(), "so that something is left to choose"
    _, _, reward, terminated, _ = jitted(id)(state, 0, noise)
    assert terminated and reward == 0


BYTES = {
    "connect-four": 44,
    "othello": 76,
    "hex": 124,
    "go-9x9": 2_042,
    "gardner-chess": 1_284,
    "chess": 2_042,
    "kuhn-poker": 8,
    "leduc-poker": 13,
    "backgammon": 58,
}


@pytest.mark.parametrize("id", ALL)
def test_states_keep_the_rules_part_alone(id):
    state, _ = jax.eval_shape(make(id).reset, make(id).noise(jax.random.key(0), ()))
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) == BYTES[id]


def test_without_pgx_a_sentence_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pgx", None)
    with pytest.raises(EnvironmentFault, match=r"pgx is not installed; `pip install polyak\[games\]` brings it."):
        rules_of.__wrapped__("hex")


def test_what_is_under_another_licence_is_not_imported():
    make("connect-four")
    assert not [name for name in sys.modules if name.startswith("pgx") and "minatar" in name]


# ---- connect four on paper: columns of letters, from below


def winner(columns: list[str]) -> str | None:
    cells = {(x, y): mark for x, column in enumerate(columns) for y, mark in enumerate(column)}
    for (x, y), mark in cells.items():
        for across, up in ((1, 0), (0, 1), (1, 1), (1, -1)):
            if all(cells.get((x + k * across, y + k * up)) == mark for k in range(4)):
                return mark
    return None


def is_over(columns: list[str]) -> bool:
    return winner(columns) is not None or all(len(column) == 6 for column in columns)


def planes(columns: list[str], mover: str) -> np.ndarray:
    """[6, 7, 2]: row by row from above, the mover's stones and the other's."""
    found = np.zeros((6, 7, 2), int)
    for x, column in enumerate(columns):
        for y, mark in enumerate(column):
            found[5 - y, x, int(mark != mover)] = 1
    return found


def check_game(moves) -> str | None:
    """Plays on paper and here, one move after the other, until the game ends; returns who won."""
    env, step = make("connect-four"), jitted("connect-four")
    state, obs = env.reset(NOTHING)
    columns, mover, other = [""] * 7, "X", "O"
    for move in moves:
        found = from_rows(env.observation_space, np.asarray(obs))
        np.testing.assert_array_equal(found["observation"], planes(columns, mover))
        assert found["action_mask"].tolist() == [len(column) < 6 for column in columns]
        if len(columns[move]) == 6:
            continue
        columns[move] += mover
        state, obs, reward, terminated, truncated = step(state, move, NOTHING)
        assert reward == (winner(columns) == mover)
        assert terminated == is_over(columns)
        assert not truncated
        if terminated:
            break
        mover, other = other, mover
    return winner(columns)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=60, max_size=60))
def test_connect_four_is_the_game_on_paper(moves):
    check_game(moves)


DRAWN = [1, 4, 6, 6, 6, 0, 2, 0, 3, 6, 3, 3, 5, 3, 6, 1, 0, 3, 0, 4, 3]
DRAWN += [5, 0, 6, 5, 2, 2, 5, 1, 2, 2, 0, 2, 5, 4, 5, 4, 4, 4, 1, 1, 1]  # fmt: skip


@pytest.mark.parametrize(
    ("moves", "won"),
    [
        ([0, 1, 0, 1, 0, 1, 0], "X"),  # upwards
        ([6, 0, 0, 1, 1, 2, 2, 3], "O"),  # along
        ([0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3], "X"),  # to the upper right
        ([6, 5, 5, 4, 4, 3, 4, 3, 3, 0, 3], "X"),  # to the upper left
        ([2, 0, 3, 0, 4, 6, 5], "X"),
        (DRAWN, None),
    ],
)
def test_four_in_a_line_win_and_a_full_board_is_drawn(moves, won):
    assert check_game(moves) == won


# ---- opponents


def alone(env, steps: int, move):
    """Steps of a learner, (state, obs, action, reward, terminated) each, as arrays [steps, ...]."""

    @jax.jit
    def play(key):
        noise_key, move_key = jax.random.split(key)
        noise = env.noise(noise_key, (steps,))

        def one(now, drawn):
            (state, obs), (noise, uniform) = now, drawn
            action = move(obs, uniform)
            *after, reward, terminated, _ = env.step(state, action, noise)
            following = jax.tree.map(lambda a, b: jnp.where(terminated, a, b), env.reset(noise), tuple(after))
            return following, (state, obs, action, reward, terminated)

        first = env.reset(jax.tree.map(lambda leaf: leaf[-1], noise))
        return jax.lax.scan(one, first, (noise, jax.random.uniform(move_key, (steps,))))[1]

    return jax.device_get(play(jax.random.key(0)))


def test_against_an_opponent_who_begins_is_random_and_so_is_its_first_move():
    env = make("connect-four/random")
    there = mask_of(env.observation_space)
    state, _, _, _, terminated = alone(env, 20_000, lambda obs, uniform: pick(obs[there] != 0, uniform))
    fresh = np.append(True, terminated[:-1])
    boards = state.rules["board"][fresh]
    stones = (boards >= 0).sum(-1)
    assert set(stones) == {0, 1} and len(boards) > 1_500
    assert abs((stones == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(boards))
    first = boards[stones == 1][:, -7:]
    assert (first.max(-1) == 0).all(), "the opponent's stone is that of who begins, in the lowest row"
    share = (first == 0).mean(0)
    np.testing.assert_allclose(share, 1 / 7, atol=4 * np.sqrt(1 / 7 * 6 / 7 / len(first)))


def test_players_at_random_win_alike_often_from_both_sides():
    """Of uniformly random games of connect four who begins wins 55.6 %, the other 44.2 %: here half of each."""
    env = make("connect-four/random")
    there = mask_of(env.observation_space)
    *_, reward, terminated = alone(env, 60_000, lambda obs, uniform: pick(obs[there] != 0, uniform))
    ends = reward[terminated]
    assert set(ends) == {-1.0, 0.0, 1.0} and not reward[~terminated].any()
    assert abs(ends.mean()) < 4 / np.sqrt(len(ends))


def column_zero(env) -> Opponent:
    """One who always plays the first column."""
    return Opponent(jax.random.uniform, lambda state, obs, noise: jnp.int32(0))


@pytest.mark.parametrize(
    ("moves", "rewards"),
    [
        ([1, 1, 1, 1], [0, 0, 0, 1]),  # four upwards, one move before the opponent has them
        ([1, 2, 1, 2], [0, 0, 0, -1]),  # the opponent has them
        ([0, 0, 0, 1], [0, 0, 0, 1]),  # the column is full, and the opponent's move not allowed
        ([0, 0, 0, 0], [0, 0, 0, -1]),  # one's own is not
    ],
)
def test_rewards_against_an_opponent_are_the_learners(moves, rewards):
    game = make("connect-four")
    env = against(game, column_zero(game), "zero")
    assert env.id == "connect-four/zero" and not env.turns
    noise = env.noise(jax.random.key(0), ())._replace(begins=jnp.bool_(True))
    (state, _), step = env.reset(noise), jax.jit(env.step)
    for move, wanted in zip(moves, rewards, strict=True):
        state, _, reward, terminated, _ = step(state, move, noise)
        assert reward == wanted and terminated == (wanted != 0)


def test_a_random_choice_gives_each_allowed_action_the_same_share():
    allowed = jnp.array([False, True, False, True, True, False])
    uniforms = (jnp.arange(300) + 0.5) / 300
    found = jax.vmap(pick, (None, 0))(allowed, uniforms)
    assert np.bincount(found, minlength=6).tolist() == [0, 100, 0, 100, 100, 0]
    last = np.nextafter(np.float32(1), np.float32(0))
    assert pick(jnp.ones(4_672, bool), last) == 4_671


@pytest.mark.parametrize("id", ["kuhn-poker/random", pytest.param("leduc-poker/random", marks=pytest.mark.slow)])
def test_an_opponent_in_a_game_of_cards_is_dealt_other_cards_each_time(id):
    env = make(id)
    there = mask_of(env.observation_space)
    state, _, _, reward, terminated = alone(env, 4_000, lambda obs, uniform: pick(obs[there] != 0, uniform))
    fresh = np.append(True, terminated[:-1])
    assert len(np.unique(state.rules["cards"][fresh], axis=0)) == (6 if id.startswith("kuhn") else 24)
    assert abs(reward[terminated].mean()) < 0.3, "players who play alike earn nothing from each other"


# ---- cards


@pytest.mark.parametrize(
    ("moves", "wanted"),
    [
        ((1, 1), (0, 1)),  # both pass: one chip to the higher card, which is the second player's
        ((0, 0), (0, 2)),  # a bet that is called: two
        ((0, 1), (0, -1)),  # a bet, and the other gives up
        ((1, 0, 1), (0, 0, -1)),
        ((1, 0, 0), (0, 0, -2)),
    ],
)
def test_kuhn_poker_pays_who_moves_last(moves, wanted):
    """The first player has the jack, the second the queen; 0 bets and calls, 1 passes and folds."""
    env = make("kuhn-poker")
    noise = env.noise(jax.random.key(0), ())
    state, _ = env.reset(noise)
    state.rules["cards"] = jnp.array([0, 1], jnp.int8)
    for move, worth in zip(moves, wanted, strict=True):
        state, _, reward, terminated, _ = jitted("kuhn-poker")(state, move, noise)
        assert reward == worth
    assert terminated and env.hidden and env.chance


@pytest.mark.slow
def test_who_is_not_to_move_waits():
    """Leduc poker: check, raise and call end the first round, and its first player moves first in the second, too."""
    env = make("leduc-poker")
    noise, there = env.noise(jax.random.key(0), ()), mask_of(env.observation_space)
    state, obs = env.reset(noise)
    for move in (0, 1, 0):
        state, obs, reward, terminated, _ = jitted("leduc-poker")(state, move, noise)
        assert not terminated and reward == 0
    assert obs[there].tolist() == [0, 0, 0, 1] and state.waits
    waited, obs, reward, terminated, _ = jitted("leduc-poker")(state, 3, noise)
    assert not terminated and reward == 0 and obs[there].tolist() == [1, 1, 0, 0]
    *_, reward, terminated, _ = jitted("leduc-poker")(state, 0, noise)
    assert terminated and reward == -1, "one who does not wait loses"
    *_, reward, terminated, _ = jitted("leduc-poker")(waited, 3, noise)
    assert terminated and reward == -1, "and so does one who waits when it is its turn"


# ---- positions with exact values


def on_paper(board: np.ndarray) -> list[str]:
    rows = np.asarray(board).reshape(6, 7)[::-1]
    return ["".join("XO"[mark] for mark in rows[:, x] if mark >= 0) for x in range(7)]


def test_positions_of_connect_four_are_many_legal_and_of_all_stages():
    positions = connect_four_positions()
    boards = np.asarray(positions.states.rules["board"])
    assert len(boards) == len(positions.values) > 2_000
    stones = (boards >= 0).sum(1)
    assert set(stones) == set(range(3, 20))
    np.testing.assert_array_equal(positions.states.player, stones % 2)
    papers = [on_paper(board) for board in boards]
    for paper, board, values in zip(papers, boards, positions.values, strict=True):
        assert sum(map(len, paper)) == (board >= 0).sum(), "no stone hangs in the air"
        assert "".join(paper).count("X") - "".join(paper).count("O") in (0, 1)
        assert not is_over(paper)
        assert [value == ILLEGAL for value in values] == [len(column) == 6 for column in paper]
    named = {min(tuple(paper), tuple(paper[::-1])) for paper in papers}
    assert len(named) == len(papers), "no two are alike, or mirror images"


def test_every_position_has_a_move_that_keeps_the_result_and_one_that_spoils_it():
    positions = connect_four_positions()
    legal = positions.values != ILLEGAL
    lowest = np.where(legal, positions.values, 1).min(1)
    assert (lowest < positions.values.max(1)).all()
    assert positions.kept(positions.values.argmax(1)).all()
    assert not positions.kept(np.where(legal, positions.values, 2).argmin(1)).any()


def four(stones: int) -> bool:
    """Whether there are four in a line; bit 7 x + y is the stone of column x and row y."""
    pairs = [(stones & stones >> way, 2 * way) for way in (1, 6, 7, 8)]
    return any(pair & pair >> way for pair, way in pairs)


def solved(own: int, all: int, low: int, high: int, known: dict) -> int:
    """What a position is worth to the player to move, -1, 0 or 1, by a search to the end (alpha-beta)."""
    free = [place for x in (3, 2, 4, 1, 5, 0, 6) if (place := (all + (1 << 7 * x)) & ~all & (63 << 7 * x))]
    if not free:
        return 0
    if any(four(own | place) for place in free):
        return 1
    at_least, at_most = known.get((own, all), (-1, 1))
    low, high = max(low, at_least), min(high, at_most)
    if low >= high:
        return low if at_least >= low else high
    best, tried = -1, low
    for place in free:
        best = max(best, -solved(all ^ own, all | place, -high, -tried, known))
        tried = max(tried, best)
        if tried >= high:
            break
    known[own, all] = (best if best > low else at_least, best if best < high else at_most)
    return best


@pytest.mark.slow
def test_values_are_those_of_a_search_to_the_end():
    """Of positions with 19 stones, by a search that shares nothing with the solver that computed them."""
    positions = connect_four_positions()
    boards = np.asarray(positions.states.rules["board"])
    for i in np.flatnonzero((boards >= 0).sum(1) == 19)[::30]:
        paper, known = on_paper(boards[i]), {}
        marks = {
            mark: sum((c == mark) << 7 * x + y for x, column in enumerate(paper) for y, c in enumerate(column))
            for mark in "XO"
        }
        own, all = marks["O"], marks["X"] | marks["O"]
        for x, value in enumerate(positions.values[i]):
            if value != ILLEGAL:
                place = 1 << 7 * x + len(paper[x])
                after = 1 if four(own | place) else -solved(all ^ own, all | place, -1, 1, known)
                assert value == after, (paper, x)


# ---- by name


def test_games_are_found_by_name_and_judged_against_an_opponent():
    judge = make_original("connect-four")
    stones = {int(judge.reset(seed=seed)[0]["observation"].sum()) for seed in range(8)}
    assert stones == {0, 1}, "it may begin"
    assert make("connect-four").turns and not make("connect-four/random").turns
    with pytest.raises(UnknownName, match="connect-four/random"):
        make("connect-four/rendom")


@pytest.mark.slow
def test_the_check_of_environments_finds_no_fault():
    found = polyak.check("connect-four/random")
    assert found.complete and {finding.name for finding in found.findings} <= {"slow"}, "a busy machine is no fault"


def test_a_state_says_whose_turn_it_is():
    state, _ = make("connect-four").reset(NOTHING)
    assert isinstance(state, State) and state.player == 0
    assert jitted("connect-four")(state, 3, NOTHING)[0].player == 1
