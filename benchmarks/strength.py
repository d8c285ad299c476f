"""How strong AlphaZero becomes, and how soon: its presets on positions that self-play did not choose.

    python -m benchmarks.strength tic-tac-toe                # five seeds, 4,520 positions: minutes
    python -m benchmarks.strength connect-four --games 200   # five seeds, 2,502 positions, MCTS-1000: an hour
    python -m benchmarks.strength connect-four --seeds 1 --steps 20_000_000

Of each seed: the CPU-seconds of training, compilation among them; in how many of the positions its move keeps the
result, with a search and by the network alone; how far it ever fell below its own best; on tic-tac-toe how many games
it loses against every possible reply; and with `--games` the points against UCT. Judging takes no time from training.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import polyak
from polyak.envs import make, tictactoe
from polyak.envs.games import connect_four_positions
from polyak.presets import preset
from polyak.settings import build

POINTS = 10  # at which strength is measured while it learns


class Exam(NamedTuple):
    """Positions of a game, N of them."""

    states: Any  # leaves [N, ...]
    kept: Callable[[np.ndarray], np.ndarray]  # moves [N] -> whether each keeps the result [N]
    lost: Callable[[np.ndarray], int] | None = None  # moves [N] -> games lost against every reply


def tic_tac_toe() -> Exam:
    """All positions in which a move can be made."""
    met, ahead = set(), [tictactoe.EMPTY]
    while ahead:
        board = ahead.pop()
        if board not in met:
            met.add(board)
            ahead += tictactoe.TURNED[tictactoe.AFTER[board][tictactoe.LEGAL[board]]].tolist()
    boards = np.array(sorted(board for board in met if not tictactoe.OVER[board]), np.int32)
    place, exact = {board: i for i, board in enumerate(boards.tolist())}, tictactoe.minimax()[boards]

    def kept(moves: np.ndarray) -> np.ndarray:
        return exact[np.arange(len(boards)), moves] == exact.max(1)

    def lost_from(board: int, moves: np.ndarray, mine: bool) -> int:
        """Games lost from a board on."""
        tried = [moves[place[board]]] if mine else np.flatnonzero(tictactoe.LEGAL[board])
        lost = 0
        for move in tried:
            after = tictactoe.AFTER[board, move]
            if not tictactoe.OVER[after]:
                lost += lost_from(int(tictactoe.TURNED[after]), moves, not mine)
            elif not mine:
                lost += bool(tictactoe.WON[after])
        return lost

    def lost(moves: np.ndarray) -> int:
        return sum(lost_from(tictactoe.EMPTY, moves, begins) for begins in (True, False))

    return Exam(jnp.asarray(boards), kept, lost)


def connect_four() -> Exam:
    """Those that the library has."""
    positions = connect_four_positions()
    return Exam(positions.states, positions.kept)


EXAMS = {"tic-tac-toe": tic_tac_toe, "connect-four": connect_four}


@dataclasses.dataclass
class Notes:
    """When each policy was written."""

    policy_every: int
    written: list[tuple[float, int, Path]] = dataclasses.field(default_factory=list)
    began: float = dataclasses.field(default_factory=time.process_time)

    def on_policy(self, run: polyak.Run, seed: int, step: int, path: Path) -> None:
        self.written.append((time.process_time() - self.began, step, path))


def measure(game: str, seed: int, steps: int | None, settings: dict[str, Any], simulations: int, out: str) -> dict:
    """Trains on a game in this process, and judges what was learnt."""
    found, exam, env = preset("alphazero", game), EXAMS[game](), make(game)
    assert found is not None
    algorithm: Any = build("alphazero", dict(found.settings) | settings)
    block = algorithm.n_steps * found.num_envs
    notes = Notes(block * max(1, (steps or found.steps) // (block * POINTS)))
    run = polyak.train(
        algorithm,
        game,
        steps=POINTS * notes.policy_every,
        seed=seed,
        num_envs=found.num_envs,
        out=out,
        callbacks=[notes],
        processes=0,
        final_episodes=1,
        progress=False,
    )
    policy = run.policy().with_settings(num_simulations=simulations)
    judged = {"search": policy, "network": policy.with_settings(num_simulations=0)}
    seen = np.asarray(jax.jit(jax.vmap(env.observe))(exam.states))  # type: ignore[union-attr]

    def moves(player: polyak.Policy) -> np.ndarray:
        return player.player(len(seen))(polyak.Position(seen, exam.states), np.ones(len(seen), bool))

    points = []
    for seconds, step, path in notes.written:
        learnt = polyak.load(path).state
        shares = {name: float(exam.kept(moves(one.with_state(learnt))).mean()) for name, one in judged.items()}
        points.append({"cpu_seconds": seconds, "moves": step} | shares)
    shares = [point["search"] for point in points]
    fall = max(max(shares[: i + 1]) - share for i, share in enumerate(shares))
    lost = {f"lost_{name}": exam.lost(moves(one)) for name, one in judged.items()} if exam.lost else {}
    return {"seed": seed, "run": str(run.path), "points": points, "fall": fall} | lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", choices=list(EXAMS))
    parser.add_argument("--seed", type=int, default=100, help="the first one; those below were tuned on")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="moves of self-play; by default the preset's")
    parser.add_argument("--settings", type=json.loads, default={}, help="others than the preset's, as JSON")
    parser.add_argument("--simulations", type=int, default=32, help="with which it is judged")
    parser.add_argument("--games", type=int, default=0, help="against UCT with 1,000 rollouts")
    parser.add_argument("--out", default="runs/strength")
    chosen = parser.parse_args()
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        found = measure(chosen.game, seed, chosen.steps, chosen.settings, chosen.simulations, chosen.out)
        for point in found["points"]:
            print(
                f"seed {seed}: {point['moves']:10,} moves, {point['cpu_seconds']:5.0f} CPU-s, "
                f"search {point['search']:.1%}, network {point['network']:.1%}",
                flush=True,
            )
        print(f"seed {seed}: at most {found['fall']:.1%} below its own best", end="")
        for name in ("search", "network"):
            if f"lost_{name}" in found:
                print(f"; {name} lost {found[f'lost_{name}']} games against every reply", end="")
        print(flush=True)
        if chosen.games:
            match = polyak.arena([f"{found['run']}@{chosen.simulations}", "mcts-1000"], games=chosen.games)
            print(f"seed {seed}: {match.record(match.players[0])} against mcts-1000", flush=True)


if __name__ == "__main__":
    main()
