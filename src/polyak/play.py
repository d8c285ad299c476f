"""Playing against what was learnt, in the terminal: `polyak play tic-tac-toe`."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import numpy as np

from polyak import training
from polyak.envs.tictactoe import AFTER, CELLS, EMPTY, FREE, GAMES, LEGAL, OVER, OWN, TURNED, WON, seen
from polyak.errors import BadSetting, UnknownName
from polyak.policy import Policy, load
from polyak.run import Run

PLAYABLE = ("tic-tac-toe",)
YOU_WIN, DRAW, POLYAK_WINS = "You win.", "A draw.", "polyak wins."


class Leave(Exception):
    """The person has had enough."""


def opponent(game: str, write: TextIO, run: str | None = None, seed: int | None = None, out: str = "runs") -> Policy:
    """A policy to play against: that of a run or of a policy file, or one that learns the game first.

    Args:
        game: what is played.
        write: where it is said that learning comes first.
        run: a run folder or a policy file; None to learn by self-play with the preset.
        seed: whose policy of the run, by default the best one's; or with which seed to learn, by default 0.
        out: the folder for the run of one that learns.

    Raises:
        UnknownName: no such game.
        BadSetting: the policy is one for something else.
    """
    if game not in PLAYABLE:
        raise UnknownName("game to play", game, PLAYABLE)
    if run is None:
        _say(write, f"No run is given, so polyak first learns {game} by playing against itself, for some seconds.", "")
        learnt = training.train("afterstate-td", game, seed=seed or 0, out=out, processes=0)
        if learnt.about["status"] == "stopped":
            raise KeyboardInterrupt
        return learnt.policy()
    policy = load(run) if Path(run).is_file() else Run(run).policy(seed)
    if policy.env.rpartition(":")[2] not in GAMES:
        raise BadSetting(
            f"{run} learnt {policy.env}, not {game}; leave --run out, and an opponent will learn it first."
        )
    policy.check_actions(GAMES[game]().action_space, game)
    return policy


def play(policy: Policy, read: TextIO, write: TextIO, you_begin: Iterable[bool], show_values: bool = False) -> None:
    """Plays games of tic-tac-toe until the person leaves.

    Args:
        policy: the opponent.
        read: where the person's lines come from.
        write: where everything is shown.
        you_begin: whether the person begins, for one game after the other.
        show_values: whether to show what the table thinks that each move is worth to who makes it.
    """
    values = _values_of(policy) if show_values else None
    ends = dict.fromkeys((YOU_WIN, DRAW, POLYAK_WINS), 0)
    _say(write, "Type the number of a cell to take it, or q to leave.")
    try:
        for begins in you_begin:
            _say(write, "", "You are X and begin." if begins else "polyak is X and begins; you are O.")
            end = _play_once(policy, values, begins, read, write)
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


def _play_once(policy: Policy, values: np.ndarray | None, your_turn: bool, read: TextIO, write: TextIO) -> str:
    board = EMPTY
    while True:
        _say(write, *_picture(board, values, "you" if your_turn else "polyak"))
        if your_turn:
            free = [str(cell + 1) for cell in np.flatnonzero(LEGAL[board])]
            sorry = f"That is no free cell; type {_either(free)}, or q to leave."
            cell = int(_ask(read, write, "Your move: ", free, sorry)) - 1
        else:
            cell = int(policy(seen(board)))
            _say(write, f"polyak takes {cell + 1}.")
            if not LEGAL[board, cell]:
                _say(write, "That cell is taken, and who makes such a move loses.")
                return YOU_WIN
        after = AFTER[board, cell]
        board = TURNED[after]
        if OVER[after]:
            _say(write, *_picture(board))
            return DRAW if not WON[after] else YOU_WIN if your_turn else POLYAK_WINS
        your_turn = not your_turn


def _picture(board: int, values: np.ndarray | None = None, mover: str = "") -> list[str]:
    """The board, its free cells numbered; beside it what each move is worth to who moves now."""
    moved = np.count_nonzero(CELLS[board])
    own, other = "XO" if moved % 2 == 0 else "OX"  # crosses begin
    marks = [{FREE: str(cell + 1), OWN: own}.get(mark, other) for cell, mark in enumerate(CELLS[board])]
    drawn = _grid(marks, 3)
    if values is None:
        return ["", *drawn, ""]
    worth = [f"{round(float(values[x]), 2) + 0.0:+.2f}" if x >= 0 else "" for x in AFTER[board]]
    beside = _grid(worth, 7)
    return ["", *(f"{left}      {right}" for left, right in zip(drawn, beside, strict=True)), f"(worth to {mover})", ""]


def _grid(cells: list[str], width: int) -> list[str]:
    rows = ["|".join(cell.center(width) for cell in cells[row : row + 3]) for row in (0, 3, 6)]
    line = "+".join(["-" * width] * 3)
    return [rows[0], line, rows[1], line, rows[2]]


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


def _values_of(policy: Policy) -> np.ndarray:
    values = getattr(policy.state, "v", None)
    if values is None:
        raise BadSetting(f"{policy.algorithm.name} keeps no table of values to show; leave --show-values out.")
    return np.asarray(values)
