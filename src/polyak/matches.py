"""Matches between players of a game of two, and how strong they are: `polyak.arena`.

Every player meets every other one. The games of a pair begin with some random moves, and from each such opening two are
played, with the colours exchanged, so that neither an opening nor the first move favours anyone.

Ratings are those of the model of Bradley and Terry,

    P(i beats j) = 1 / (1 + 10^((R_j - R_i) / 400)),

with R in Elo points and a draw as half a win: 100 points more are 64 % of the points, 400 are 91 %. They are the most
likely ones given the results and, as a prior, one drawn game between each two players.

Sources: Zermelo (1929), "Die Berechnung der Turnier-Ergebnisse als ein Maximumproblem der Wahrscheinlichkeitsrechnung";
Bradley and Terry (1952), "Rank analysis of incomplete block designs"; Elo (1978), "The rating of chessplayers".
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polyak.errors import BadSetting, UnknownName

if TYPE_CHECKING:
    from polyak.agent import Array, Key, PyTree
    from polyak.envs import CompiledEnv
    from polyak.envs.opponents import Opponent
    from polyak.pictures.picture import Picture
    from polyak.policy import Policy
    from polyak.run import Run

NAMED = "random, mcts-N for any N, and greedy and perfect in tic-tac-toe"
ELO = 400 / np.log(10)  # points of a natural unit of the model
RESAMPLES = 1_000  # of the bootstrap
MOST_MOVES = 5_000  # after which a game that no rule ends counts as a draw
CANDIDATES = 1_024  # openings among which different ones are found
TREES = 2**26  # numbers of actions in the search trees that are grown side by side
SIDE_BY_SIDE = 64  # searches, at most

# ---- what came of it


class Record(NamedTuple):
    """Games of one player against another."""

    wins: int
    draws: int
    losses: int

    @property
    def score(self) -> float:
        """The share of the points, where a draw is half a point."""
        return (self.wins + self.draws / 2) / max(1, sum(self))

    def __str__(self) -> str:
        return f"+{self.wins} ={self.draws} -{self.losses}"


@dataclasses.dataclass(frozen=True)
class Arena:
    """The results of matches of every player against every other one, from K openings, and ratings.

    Attributes:
        game: its id.
        players: [n] names.
        pairs: [M] which two met, by their places in `players`.
        results: [M, 2, K] of the first of each pair: 1 won, 0 drawn, -1 lost; where it began, and where the other did.
        openings: [K] the number of each opening; equal ones have the same.
        units: [K] games with the same number are resampled together: those of an opening, or, where chance decides
            in every match, those of each time that an opening was played.
        moves: random moves in an opening.
        anchor: the player whose rating is 0; None where the mean is.
    """

    game: str
    players: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    results: np.ndarray
    openings: np.ndarray
    units: np.ndarray
    moves: int
    anchor: str | None

    def record(self, player: str, other: str | None = None, *, begins: bool | None = None) -> Record:
        """Wins, draws and losses of a player.

        Args:
            player: its name.
            other: against whom; by default against all.
            begins: of the games in which it began, or in which it did not; by default of both.

        Raises:
            UnknownName: there is no such player.
        """
        for name in (player, other):
            if name is not None and name not in self.players:
                raise UnknownName("player", name, self.players)
        colours = slice(None) if begins is None else [int(not begins)]
        found: list[np.ndarray] = []
        for (first, second), results in zip(self.pairs, self.results, strict=True):
            names = self.players[first], self.players[second]
            if player in names and (other is None or other in names) and player != other:
                mine = results if player == names[0] else -results[::-1]
                found.append(mine[colours].ravel())
        all_of_them = np.concatenate(found) if found else np.zeros(0, int)
        return Record(*(int((all_of_them == result).sum()) for result in (1, 0, -1)))

    @cached_property
    def ratings(self) -> np.ndarray:
        """Elo points [n]; of a player without a bound (`bounded`) they are what the prior makes of its results."""
        return self._anchored(bradley_terry(*self._points(np.ones((1, len(self._units)))))[0])

    @cached_property
    def intervals(self) -> np.ndarray:
        """95 % intervals [n, 2] of the ratings, less that of the anchor; infinite where there is no bound.

        Percentiles of ratings from resampled openings, of which each brings all games that were played from it. Among
        them is one more in which every pair drew two games, so that whoever won all has no interval without a width.
        """
        count = len(self._units)
        drawn = np.random.default_rng(0).multinomial(count, np.full(count + 1, 1 / (count + 1)), RESAMPLES)
        ratings = self._anchored(bradley_terry(*self._points(drawn[:, :-1], drawn[:, -1])))
        found = np.percentile(ratings, (2.5, 97.5), axis=0).T
        below, above = self.bounded.T
        return np.stack([np.where(below, found[:, 0], -np.inf), np.where(above, found[:, 1], np.inf)], -1)

    @cached_property
    def bounded(self) -> np.ndarray:
        """Whether results bound each rating from below and from above: [n, 2] bool.

        Who lost every game against the anchor and those around it has no bound below, who won them all none above:
        ratings are bounded where a chain of wins and draws leads from player to player, both ways (Ford, 1957).
        """
        n = len(self.players)
        reach = np.eye(n, dtype=bool)
        for (first, second), results in zip(self.pairs, self.results, strict=True):
            reach[first, second], reach[second, first] = (results >= 0).any(), (results <= 0).any()
        for middle in range(n):  # Warshall's transitive closure
            reach |= reach[:, middle, None] & reach[None, middle]
        of = range(n) if self.anchor is None else [self.players.index(self.anchor)]
        return np.stack([reach[:, of].all(1), reach[of].all(0)], -1)

    @property
    def _units(self) -> np.ndarray:
        return np.unique(self.units)

    def _points(self, weights: np.ndarray, drawn: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Points of each against each and games between them, [R, n, n], with the prior.

        Args:
            weights: [R, U] how often each unit counts.
            drawn: [R] how often a pair of drawn games counts besides.
        """
        n, count = len(self.players), len(weights)
        _, place = np.unique(self.units, return_inverse=True)
        points, games = np.zeros((count, n, n)), np.zeros((count, n, n))
        for (first, second), results in zip(self.pairs, self.results, strict=True):
            per_unit = np.stack([np.bincount(place, one) for one in ((results + 1).sum(0) / 2, np.full(len(place), 2))])
            won, played = weights @ per_unit[0] + drawn, weights @ per_unit[1] + 2 * np.asarray(drawn)
            points[:, first, second], points[:, second, first] = won + 0.5, played - won + 0.5
            games[:, first, second] = games[:, second, first] = played + 1
        return points, games

    def _anchored(self, ratings: np.ndarray) -> np.ndarray:
        """Ratings [..., n] in Elo points beside the anchor's."""
        zero = ratings.mean(-1) if self.anchor is None else ratings[..., self.players.index(self.anchor)]
        return ELO * (ratings - zero[..., None])

    @property
    def order(self) -> list[int]:
        """The places of the players in `players`, the strongest first."""
        return np.argsort(-self.ratings, kind="stable").tolist()

    def draw(self, path: str | os.PathLike | None = None) -> "Picture":
        """Draws the ratings with their intervals.

        Args:
            path: where to save the picture; by default `arena-GAME.png`, and in a notebook nowhere.
        """
        from polyak.pictures.ratings import draw_ratings

        return draw_ratings(self, path)

    def rating(self, place: int) -> str:
        """`+120`; `> +920` where there is no bound."""
        below, above = self.bounded[place]
        return f"{'' if below and above else '> ' if below else '< ' if above else '? '}{_signed(self.ratings[place])}"

    def interval(self, place: int) -> str:
        """`+80 to +160`."""
        low, high = self.intervals[place]
        if self.players[place] == self.anchor:
            return "anchor"
        if np.isinf(low) and np.isinf(high):
            return "unknown"
        if np.isinf(low) or np.isinf(high):
            return f"below {_signed(high)}" if np.isinf(low) else f"above {_signed(low)}"
        return f"{_signed(low)} to {_signed(high)}"

    def _rows(self) -> list[tuple[str, ...]]:
        """Of each player: name, rating, interval, score and results."""
        rows: list[tuple[str, ...]] = []
        for place in self.order:
            record = self.record(self.players[place])
            rows.append(
                (
                    self.players[place],
                    self.rating(place),
                    self.interval(place),
                    f"{100 * record.score:.1f} %",
                    str(record),
                )
            )
        return rows

    def _matches(self) -> list[tuple[str, ...]]:
        """Of each pair, the stronger first: names, and its results as first and as second player."""
        by_strength = [self.players[place] for place in self.order]
        return [
            (
                f"{one} against {other}",
                *(str(self.record(one, other, begins=begins)) for begins in (True, False)),
                f"{100 * self.record(one, other).score:.1f} %",
            )
            for one, other in itertools.combinations(by_strength, 2)
        ]

    def _about(self) -> str:
        count, different = len(self.openings), len(np.unique(self.openings))
        kinds = f"{different:,} different openings" if different > 1 else "one opening"
        moves = f" of {self.moves} random move{'s' if self.moves != 1 else ''}" if self.moves else ""
        return f"{self.game}: {2 * count:,} games a pair, from {kinds}{moves}, each with both colours."

    def __str__(self) -> str:
        ratings = _aligned(RATINGS, self._rows())
        return "\n".join([self._about(), "", *ratings, "", *_aligned(MATCHES, self._matches())])

    def _repr_html_(self) -> str:
        from html import escape

        from polyak.runs import notebook

        tables = notebook.grid(RATINGS, self._rows()), notebook.grid(MATCHES, self._matches())
        return f"<p>{escape(self._about())}</p>{'<br>'.join(tables)}"


RATINGS = ("player", "Elo", "95 % interval", "score", "won, drawn, lost")
MATCHES = ("match", "going first", "going second", "score")


def _signed(points: float) -> str:
    return f"{round(float(points)) + 0:+,}"


def _aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first to the left and the others to the right."""
    table = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    ]


def bradley_terry(points: np.ndarray, games: np.ndarray) -> np.ndarray:
    """The most likely ratings [R, n] in natural units, with a mean of 0, by Newton's method.

    Args:
        points: [R, n, n] of each against each; a win is one, a draw half.
        games: [R, n, n] between them. The results must bound the ratings: a chain of points from each to each.
    """
    n = points.shape[-1]
    ratings = np.zeros(points.shape[:2])
    for _ in range(100):
        chance = 1 / (1 + np.exp(ratings[:, None, :] - ratings[:, :, None]))  # that i beats j
        gradient = (points - games * chance).sum(-1)
        weight = games * chance * (1 - chance)
        curvature = np.eye(n) * weight.sum(-1)[:, None] - weight + 1 / n  # which keeps the mean where it is
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        ratings = ratings + step / np.maximum(1.0, np.abs(step).max(-1, keepdims=True))  # far away steps are too long
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    return ratings - ratings.mean(-1, keepdims=True)


# ---- players


class Player(NamedTuple):
    """One who plays a game, as functions of many boards at once."""

    name: str
    state: "PyTree"  # what it has learnt
    start: "Callable[[int], PyTree]"  # games -> carry
    noise: "Callable[[Key, tuple[int, ...]], PyTree]"  # key, shape -> noise of moves
    act: "Callable[..., tuple[Array, PyTree]]"  # state, carry, world, obs, noise -> actions [B], carry
    is_random: bool  # whether it may move differently on the same board


def arena(
    players: "Sequence[str | os.PathLike | Run | Policy]",
    game: "str | CompiledEnv | None" = None,
    games: int = 200,
    *,
    opening: int = 2,
    seed: int = 0,
    anchor: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Arena:
    """Plays every player against every other one, and rates them.

    All games of a pair are played side by side in one compiled program. Each opening, the same ones for all pairs, is
    played twice, with the colours exchanged.

    Args:
        players: run folders (of each the best policy), policy files, `Run`s and `Policy`s that were trained on the game
            or on the game against an opponent; and names: random, mcts-N for any N, and in tic-tac-toe greedy and
            perfect. `RUN@128` is a run with 128 simulations a move, `RUN@0` its network alone.
        game: an id, or a compiled game; by default that of the runs.
        games: of each pair, an even number.
        opening: random moves that each game begins with.
        seed: of openings and of all that is random in players and games.
        anchor: whose rating is 0; by default the first player that is no run, else their mean.
        progress: called as `progress(finished, games)` of all pairs together.

    Raises:
        UnknownName: no such player, or no such game.
        BadSetting: players of different games, a run that has not finished, a player that cannot play this game, or too
            many moves or too few players.
    """
    import jax

    if len(players) < 2:
        raise BadSetting("A match takes two players at least; for instance RUN and mcts-1000.")
    if games < 2 or games % 2:
        raise BadSetting(f"games is {games}; each opening is played with both colours, so it takes an even number.")
    if opening < 0:
        raise BadSetting(f"opening is {opening}; it is a number of moves, 0 or more.")
    given = _distinct([_given(player) for player in players])
    env = _game_of(given, game)
    entrants = [_player(one, env) for one in given]
    names = [player.name for player in entrants]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadSetting(f"{twice[0]} is among the players twice, and results could not tell which of them won.")
    if anchor is None:
        anchor = next((one.name for one in given if one.policy is None), None)
    elif anchor not in names:
        raise UnknownName("player", anchor, names)
    key = jax.random.key(seed)
    positions, numbers = _openings(env, games // 2, opening, jax.random.fold_in(key, 0))
    pairs = tuple(itertools.combinations(range(len(entrants)), 2))
    fixed = [(a, b) for a, b in pairs if not (env.chance or entrants[a].is_random or entrants[b].is_random)]
    if fixed and len(set(numbers.tolist())) == 1:
        one, other = (names[place] for place in fixed[0])
        raise BadSetting(
            f"Neither {one} nor {other} leaves a move to chance, so that all their games from one opening are the "
            "same; begin with random moves, by opening=2 (--opening 2)."
        )
    report = progress or (lambda finished, games: None)
    results = []
    for place, (a, b) in enumerate(pairs):
        before, total = place * games, len(pairs) * games

        def finished(count: int, before: int = before, total: int = total) -> None:
            report(before + count, total)

        match_key = jax.random.fold_in(key, 1 + place)
        results.append(_match(env, entrants[a], entrants[b], positions, opening % 2, match_key, finished))
    units = numbers if fixed else np.arange(games // 2)
    return Arena(env.id, tuple(names), pairs, np.stack(results), numbers, units, opening, anchor)


class Given(NamedTuple):
    """A player as it was given: a policy, or a name alone."""

    name: str
    policy: "Policy | None" = None
    path: str | None = None  # where the policy comes from


def _distinct(given: list[Given]) -> list[Given]:
    """With whole paths where the names of folders are alike, and numbers where those of policies are."""
    found: list[Given] = []
    for one in given:
        alike = [other for other in given if other.name == one.name]
        if len(alike) > 1 and one.policy is not None:
            number = 1 + next(place for place, other in enumerate(alike) if other is one)
            one = one._replace(name=one.path or f"{one.name} ({number})")
        found.append(one)
    return found


def _given(player: "str | os.PathLike | Run | Policy") -> Given:
    from polyak.policy import Policy
    from polyak.run import Run

    if isinstance(player, Policy):
        simulations = getattr(player.algorithm, "num_simulations", None)
        return Given(player.algorithm.name + (f"@{simulations}" if simulations is not None else ""), player)
    if isinstance(player, Run):
        return Given(player.path.name, policy_of(player.path), str(player.path))
    text = os.fspath(player)
    path, at, number = text.rpartition("@")
    if not at or Path(text).exists() or not number.isdecimal():
        path, number = text, ""
    if not Path(path).exists():
        if isinstance(player, str) and not at and os.sep not in text:
            return Given(text)
        raise BadSetting(f"There is no run folder or policy file {path}; other players are {NAMED}.")
    policy = policy_of(path)
    name = Path(path).name
    if Path(path).is_file():
        name = "/".join(Path(path).parts[-2:])
    if number:
        policy = at_level(policy, int(number), path)
    level = f"@{number}" if number else ""
    return Given(name + level, policy, path + level)


def policy_of(path: str | os.PathLike, seed: int | None = None) -> "Policy":
    """The policy of a file, or of a run that has finished: that of a seed, by default of the best one.

    Raises:
        BadSetting: the run has not finished.
        BadFile: there is no policy.
    """
    from polyak.policy import load
    from polyak.run import Run

    if Path(path).is_file():
        return load(path)
    run = Run(path)
    if run.about["status"] != "finished":
        raise BadSetting(f"{path} has not finished ({run.about['status']}); polyak resume {path} goes on with it.")
    return run.policy(seed)


def at_level(policy: "Policy", simulations: int, name: str) -> "Policy":
    """The policy with so many simulations a move; raises `BadSetting` where it does not search."""
    if not policy.plans:
        raise BadSetting(f"{name} is a policy of {policy.algorithm.name}, which does not search, so it has no level.")
    return policy.with_settings(num_simulations=simulations)


def game_of(policy: "Policy") -> str | None:
    """The game that a policy plays, by self-play or against an opponent; None where it is none of two players."""
    from polyak.envs import GAMES

    id = policy.env.rpartition(":")[2].partition("/")[0]
    return id if id in GAMES else None


def _game_of(given: "Sequence[Given]", game: "str | CompiledEnv | None") -> "CompiledEnv":
    """The game that all of them play."""
    from polyak.envs import GAMES, CompiledEnv, make

    if isinstance(game, CompiledEnv):
        if not game.turns:
            raise BadSetting(
                f"{game.id} is no game by self-play, in which each step is the move of one of two players."
            )
        return game
    known = {id for id in GAMES if "/" not in id}
    if game is not None and game not in known:
        raise UnknownName("game of two players", game, known)
    named, by = game, "the game"
    for one in given:
        if one.policy is None:
            continue
        own = game_of(one.policy)
        if own is None:
            raise BadSetting(f"{one.name} was trained on {one.policy.env}, which is no game of two players.")
        if named is not None and own != named:
            raise BadSetting(f"{one.name} plays {own}, and {by} {'is' if by == 'the game' else 'plays'} {named}.")
        named, by = own, one.name if game is None else by
    if named is None:
        raise BadSetting("Names alone do not say which game is played; give it: --game connect-four.")
    found = make(named)
    assert isinstance(found, CompiledEnv)
    return found


def _player(given: Given, env: "CompiledEnv") -> Player:
    """Makes a player ready; raises `BadSetting` where it cannot play the game."""
    import jax

    from polyak.agent import Position, no_memory

    policy = given.policy
    if policy is None:
        opponent, side_by_side, plans = _opponent(given.name, env)
        if plans:
            _check_open(given.name, env)

        def move(state: Any, carry: Any, world: Any, obs: Any, noise: Any) -> tuple[Any, Any]:
            return jax.lax.map(lambda one: opponent.move(*one), (world, obs, noise), batch_size=side_by_side), carry

        return Player(given.name, (), no_memory, opponent.noise, move, True)
    policy.check_spaces(env.observation_space, env.action_space, env.id)
    if policy.plans:
        _check_open(given.name, env)
        policy.check_simulates(env)
    agent = policy.agent

    def act(state: Any, carry: Any, world: Any, obs: Any, noise: Any) -> tuple[Any, Any]:
        action, carry, _ = agent.act(state, carry, Position(obs, world) if policy.plans else obs, noise, False)
        return action, carry

    return Player(given.name, policy.state, agent.start, agent.noise, act, policy.algorithm.name == "mcts")


def _check_open(name: str, env: "CompiledEnv") -> None:
    if env.hidden:
        raise BadSetting(f"{name} plans on the states of {env.id}, which hold what players do not see: it would cheat.")


def _opponent(name: str, env: "CompiledEnv") -> "tuple[Opponent, int, bool]":
    """The opponent of a name; how many of its moves are found side by side; whether it plans."""
    from polyak.envs import opponents, tictactoe

    if match := re.fullmatch(r"mcts-([1-9]\d*)", name):
        simulations = int(match[1])
        numbers = (simulations + 1) * int(env.action_space.n)  # type: ignore[attr-defined]
        return opponents.by_search(simulations, env), min(SIDE_BY_SIDE, max(1, TREES // numbers)), True
    if env.id == "tic-tac-toe" and name in tictactoe.OPPONENTS:
        return tictactoe.by_table(tictactoe.OPPONENTS[name]()), SIDE_BY_SIDE, False
    if name == "random":
        return opponents.at_random(env), SIDE_BY_SIDE, False
    raise UnknownName("player", name, [], hint=f"players are run folders, policy files, {NAMED}.")


# ---- games


def _openings(env: "CompiledEnv", count: int, moves: int, key: "Key") -> "tuple[tuple[PyTree, Array], np.ndarray]":
    """Positions (states and observations [count, ...]) after random moves, and numbers [count] of the openings.

    As many of them differ as there are; where chance decides, all do.
    """
    import jax
    import jax.numpy as jnp

    from polyak.ops.tree_search import pick
    from polyak.spaces import mask_of

    tries = max(CANDIDATES, 4 * count) if moves else count
    mask, size = mask_of(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]

    def open_one(key: "Key"):
        begin_key, *keys = jax.random.split(key, moves + 1)
        now, over, played = env.reset(env.noise(begin_key, ())), jnp.bool_(False), []
        for one in keys:
            pick_key, step_key = jax.random.split(one)
            legal = jnp.ones(size, bool) if mask is None else now[1][mask] != 0
            action = pick(legal, jax.random.uniform(pick_key))
            *after, _, terminated, truncated = env.step(now[0], action, env.noise(step_key, ()))
            now, over = tuple(after), over | terminated | truncated
            played.append(action)
        return now, over, jnp.stack(played) if played else jnp.zeros(0, jnp.int32)

    positions, over, played = jax.jit(jax.vmap(open_one))(jax.random.split(key, tries))
    going_on = np.flatnonzero(~np.asarray(over))
    if len(going_on) < count:
        raise BadSetting(f"Games of {env.id} are over before {moves} random moves; begin with fewer: --opening.")
    if env.chance:
        chosen, numbers = going_on[:count], np.arange(count)
    else:
        _, first = np.unique(np.asarray(played)[going_on], axis=0, return_index=True)
        different = np.sort(first)[:count]  # in the order in which they were found
        numbers = np.resize(np.arange(len(different)), count)
        chosen = going_on[different][numbers]
    return jax.tree.map(lambda leaf: leaf[chosen], positions), numbers


class Games(NamedTuple):
    """The half of a match's games in which the same player is to move; leaves [K, ...]."""

    world: "PyTree"
    obs: "Array"
    carries: "tuple[PyTree, PyTree]"  # of the first player and of the other
    gained: "Array"  # by the first player
    over: "Array"  # bool


def _match(
    env: "CompiledEnv",
    one: Player,
    other: Player,
    positions: "tuple[PyTree, Array]",
    second_moves: int,
    key: "Key",
    finished: Callable[[int], None],
) -> np.ndarray:
    """Results [2, K] of the first player: where it began, and where the other did.

    Players move in turns in every game, so that in half of the games it is always the one's turn, and in the others
    the other's. After each move the halves change hands.
    """
    import jax
    import jax.numpy as jnp

    count = len(positions[1])

    def step(games: Games, action: "Array", carries: Any, sign: float, key: "Key") -> Games:
        world, obs, reward, terminated, truncated = jax.vmap(env.step)(games.world, action, env.noise(key, (count,)))
        gained = games.gained + jnp.where(games.over, 0.0, sign * reward)
        return Games(world, obs, carries, gained, games.over | terminated | truncated)

    def ply(states: Any, mine: Games, theirs: Games, key: "Key") -> tuple[Games, Games, "Array"]:
        keys = jax.random.split(key, 4)
        action, carry = one.act(states[0], mine.carries[0], mine.world, mine.obs, one.noise(keys[0], (count,)))
        answer, memory = other.act(
            states[1], theirs.carries[1], theirs.world, theirs.obs, other.noise(keys[1], (count,))
        )
        mine = step(mine, action, (carry, mine.carries[1]), 1.0, keys[2])
        theirs = step(theirs, answer, (theirs.carries[0], memory), -1.0, keys[3])
        return theirs, mine, jnp.sum(mine.over) + jnp.sum(theirs.over)

    compiled = jax.jit(ply)
    carries = one.start(count), other.start(count)
    begun = Games(*positions, carries, jnp.zeros(count), jnp.zeros(count, bool))
    mine, theirs, plies = begun, begun, 0
    finished(0)
    while plies < MOST_MOVES:
        mine, theirs, ended = compiled((one.state, other.state), mine, theirs, jax.random.fold_in(key, plies))
        plies += 1
        finished(int(ended))
        if int(ended) == 2 * count:
            break
    # `mine` began as the games in which the first player moves first after the opening, and has changed hands since
    halves = (mine, theirs) if plies % 2 == 0 else (theirs, mine)
    results = np.stack([np.sign(np.asarray(half.gained)).astype(np.int8) for half in halves])
    return results[::-1] if second_moves else results
