"""Playing games of two against what was learnt, or against a search, in the terminal: `polyak play connect-four`."""

import contextlib
import dataclasses
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from polyak import training
from polyak.agent import Position
from polyak.envs import CompiledEnv, make
from polyak.envs.games.notation import NOTATIONS, draw, moves, name_of_move, notation_of, ruled
from polyak.errors import BadSetting, UnknownName
from polyak.matches import at_level, game_of, policy_of
from polyak.policy import Policy
from polyak.searching import Search, mcts
from polyak.spaces import AFTERSTATES, from_rows, has_parts

YOU_WIN, DRAW, POLYAK_WINS = "You win.", "A draw.", "polyak wins."
PATIENCE = 1.0  # seconds that a move may take without a word
SHOWN = 8  # moves whose values are shown where cells do not show them
LISTED = 9  # moves that a complaint lists


class Level(NamedTuple):
    """How long a search without a network looks, so that it answers within about a second on one core."""

    simulations: int
    horizon: int = 500  # moves after which a rollout counts as a draw


LEVELS = {
    "tic-tac-toe": Level(1_000),
    "connect-four": Level(1_000),
    "othello": Level(300),
    "hex": Level(300),
    "go-9x9": Level(200),
    "gardner-chess": Level(100, 40),
    "chess": Level(50, 40),
}


class Leave(Exception):
    """The person has had enough."""


class Thought(NamedTuple):
    """What an opponent thinks of a position: its move, and if it can tell what each move is worth to who is to move."""

    action: int
    values: np.ndarray | None = None  # [A] from -1 to 1; NaN for moves that it did not look at
    visits: np.ndarray | None = None  # [A] simulations that began with each
    line: Sequence[int] = ()  # best play


@dataclasses.dataclass(frozen=True)
class Opponent:
    """One to play against.

    Attributes:
        game: what it plays.
        think: state, observation -> what it thinks.
        tells: whether it can say what moves are worth.
    """

    game: str
    think: Callable[[Any, Any], Thought]
    tells: bool = True


def opponent(
    game: str,
    write: TextIO,
    run: str | None = None,
    seed: int | None = None,
    out: str = "runs",
    level: int | None = None,
) -> Opponent:
    """One to play against: a policy of a run or of a file; else a search, or in tic-tac-toe one that learns it first.

    Args:
        game: what is played.
        write: where it is said that learning comes first.
        run: a run folder or a policy file; None for a search with random rollouts, or to learn by self-play.
        seed: whose policy of the run, by default the best one's; or with which seed to learn, by default 0; or that of
            the search, by default another one each time.
        out: the folder for the run of one that learns.
        level: simulations of each search; 0 for the network alone.

    Raises:
        UnknownName: no such game.
        BadSetting: the policy is one for something else, or it does not search.
    """
    if game not in NOTATIONS:
        raise UnknownName("game to play", game, NOTATIONS)
    env = _game(game)
    if run is not None:
        policy = policy_of(run, seed)
        if game_of(policy) != game:
            raise BadSetting(
                f"{run} learnt {policy.env}, not {game}; leave --run out, and polyak has another opponent."
            )
        policy.check_spaces(env.observation_space, env.action_space, game)
        if level is not None:
            policy = at_level(policy, level, run)
        return by_policy(game, policy)
    if level is None and game == "tic-tac-toe":
        _say(write, f"No run is given, so polyak first learns {game} by playing against itself, for some seconds.", "")
        learnt = training.train("afterstate-td", game, seed=seed or 0, out=out, processes=0)
        if learnt.about["status"] == "stopped":
            raise KeyboardInterrupt
        return by_policy(game, learnt.policy())
    how = LEVELS[game] if level is None else LEVELS[game]._replace(simulations=level)
    return by_search(game, how, random.randrange(2**31) if seed is None else seed)


def by_search(game: str, level: Level, seed: int) -> Opponent:
    """A search with random rollouts; every move has another seed."""
    seeds = itertools.count(seed)

    def think(state: Any, obs: Any) -> Thought:
        return _told(mcts(_game(game), state, level.simulations, horizon=level.horizon, seed=next(seeds)))

    return Opponent(game, think)


def by_policy(game: str, policy: Policy) -> Opponent:
    """A policy: by its search where it has one, else by its answer to what it observes."""
    env = _game(game)
    simulations = getattr(policy.algorithm, "num_simulations", 0)
    if policy.plans and simulations:
        how: dict[str, Any] = {"policy": policy}
        if not hasattr(policy.algorithm, "planner"):  # it has no network
            how = {name: getattr(policy.algorithm, name) for name in ("exploration", "horizon", "gamma")}
        seeds = itertools.count()
        return Opponent(game, lambda state, obs: _told(mcts(env, state, simulations, seed=next(seeds), **how)))
    table, space = getattr(policy.state, "v", None), env.observation_space

    def think(state: Any, obs: Any) -> Thought:
        seen = from_rows(space, np.asarray(obs)) if has_parts(space) else np.asarray(obs)
        action = int(policy(Position(seen, state) if policy.plans else seen))
        if table is None or AFTERSTATES not in seen:
            return Thought(action)
        after = seen[AFTERSTATES]
        return Thought(action, np.where(after >= 0, np.asarray(table)[after], np.nan))

    return Opponent(game, think, tells=table is not None)


def play(opponent: Opponent, read: TextIO, write: TextIO, you_begin: Iterable[bool], show_values: bool = False) -> None:
    """Plays games until the person leaves.

    Args:
        opponent: whom the person plays against.
        read: where the person's lines come from.
        write: where everything is shown.
        you_begin: whether the person begins, for one game after the other.
        show_values: whether to show what the opponent thinks that each move is worth to who makes it.
    """
    if show_values and not opponent.tells:
        raise BadSetting("This opponent tells no values of moves; leave --show-values out, or give it a --level.")
    notation = notation_of(opponent.game)
    ends = dict.fromkeys((YOU_WIN, DRAW, POLYAK_WINS), 0)
    _say(write, f"{notation.help}; ? lists the moves, and q leaves.")
    first, second = notation.sides
    try:
        for begins in you_begin:
            said = f"You are {first} and begin." if begins else f"polyak is {first} and begins; you are {second}."
            _say(write, "", said)
            end = _play_once(opponent, begins, read, write, show_values)
            ends[end] += 1
            _say(write, end, f"So far: you {ends[YOU_WIN]}, polyak {ends[POLYAK_WINS]}, drawn {ends[DRAW]}.")
            if _ask(read, write, "Again? [Y/n] ", ("y", "yes", "", "n", "no"), "Type y or n.") in ("n", "no"):
                break
    except Leave:
        _say(write, "")
    _say(write, "Goodbye.")


def turns(first: bool, second: bool) -> Iterable[bool]:
    """Whether the person begins: always, never, or by turns."""
    if first and second:
        raise BadSetting("Nobody moves first and second in one game; leave out --first or --second, or both for turns.")
    return itertools.repeat(first) if first or second else itertools.cycle((True, False))


@cache
def _game(id: str) -> CompiledEnv:
    """A game whose steps are compiled; nothing in it is left to chance."""
    env = make(id)
    assert isinstance(env, CompiledEnv)
    return env


@cache
def _step(id: str) -> Callable[..., Any]:
    return jax.jit(_game(id).step)


def _told(search: Search) -> Thought:
    return Thought(search.action, search.values, search.visits, search.line)


def _play_once(opponent: Opponent, your_turn: bool, read: TextIO, write: TextIO, show_values: bool) -> str:
    game, env = opponent.game, _game(opponent.game)
    nothing = env.noise(jax.random.key(0), ())
    state, obs = env.reset(nothing)
    while True:
        allowed = moves(game, state)
        thought = None
        if show_values:
            with _patience(write):
                thought = opponent.think(state, obs)
        _say(write, *_picture(game, state, thought, "you" if your_turn else "polyak"))
        if your_turn:
            action = allowed[_move(game, allowed, read, write)]
        else:
            if thought is None:
                with _patience(write):
                    thought = opponent.think(state, obs)
            action = thought.action
            _say(write, f"polyak plays {name_of_move(game, state, action)}.")
            if action not in allowed.values():
                _say(write, "That move is not allowed, and who makes such a move loses.")
                return YOU_WIN
        with _patience(write):
            state, obs, reward, terminated, _ = jax.device_get(_step(game)(state, action, nothing))
        if terminated:
            _say(write, *_picture(game, state))
            return DRAW if reward == 0 else YOU_WIN if (reward > 0) == your_turn else POLYAK_WINS
        your_turn = not your_turn


def _move(game: str, allowed: dict[str, int], read: TextIO, write: TextIO) -> str:
    """The name of the person's move."""
    notation = notation_of(game)
    some = _either(list(allowed)) + ", or q to leave"
    if len(allowed) > LISTED:
        some = f"{next(iter(allowed))} for instance, ? to see them all, or q to leave"
    sorry = f"That is no {notation.place}; type {some}."
    while (answer := _ask(read, write, "Your move: ", ("?", *allowed), sorry)) == "?":
        _say(write, f"{notation.help}.", f"Now: {_either(list(allowed))}.")
    return answer


def _picture(game: str, state: Any, thought: Thought | None = None, mover: str = "") -> list[str]:
    """The board, and what each move is worth to who moves now: beside it where moves are cells, else below."""
    drawn = draw(game, state).splitlines()
    if thought is None or thought.values is None:
        return ["", *drawn, ""]
    said = [f"(worth to {mover})"]
    if notation_of(game).ruled:
        worth = ["" if np.isnan(value) else _worth(value) for value in thought.values]
        beside = ruled([worth[row : row + 3] for row in (0, 3, 6)], 7)
        drawn = [f"{left}      {right}" for left, right in zip(drawn, beside, strict=True)]
    elif thought.visits is not None:
        most = [int(action) for action in np.argsort(-thought.visits, kind="stable")[:SHOWN] if thought.visits[action]]
        total = int(thought.visits.sum())
        said = [f"What {total:,} simulations say (worth to {mover}):"]
        for action in most:
            share = f"{100 * thought.visits[action] / total:.0f} %"
            said.append(f"  {name_of_move(game, state, action):6}{share:>5}   {_worth(thought.values[action])}")
    if thought.line:
        said.append(f"best play: {' '.join(_line(game, state, thought.line))}")
    return ["", *drawn, "", *said, ""]


def _worth(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:+.2f}"


def _line(game: str, state: Any, line: Sequence[int]) -> Iterator[str]:
    """The names of moves, one after the other."""
    nothing = _game(game).noise(jax.random.key(0), ())
    for action in line:
        yield name_of_move(game, state, action)
        state, _, _, terminated, _ = jax.device_get(_step(game)(state, action, nothing))
        if terminated:  # a search with a network looks beyond the end
            return


@contextlib.contextmanager
def _patience(write: TextIO) -> Iterator[None]:
    """Says that polyak is thinking, where that takes longer than a moment."""
    timer = threading.Timer(PATIENCE, _say, (write, "polyak is thinking ..."))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _either(names: list[str]) -> str:
    """`2`, `2 or 3`, `2, 3 or 4`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _ask(read: TextIO, write: TextIO, question: str, answers: Iterable[str], sorry: str) -> str:
    while True:
        write.write(question)
        write.flush()
        line = read.readline()
        answer = line.strip().lower()
        if not line or answer in ("q", "quit"):
            raise Leave
        if answer in answers:
            return answer
        _say(write, sorry)


def _say(write: TextIO, *lines: str) -> None:
    for line in lines:
        write.write(f"{line.rstrip()}\n")
    write.flush()
