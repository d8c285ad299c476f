"""Positions of connect four with the exact value of every move: makes src/polyak/envs/games/connect_four.npz.

The values come from bitbully, a solver under the AGPL, which polyak neither needs nor ships. Give it an environment of
its own, and compute the numbers once (ten minutes on one core):

    python -m venv solver && solver/bin/pip install bitbully numpy
    solver/bin/python benchmarks/connect_four_table.py src/polyak/envs/games/connect_four.npz

Positions come from games that weak players play, none of which learns: one moves at random; one wins or blocks where
it can, and else moves at random; one does the same with most of its weight on the middle. Of these games one position
each is kept where it has a move that keeps the result and one that spoils it, and was not met before, nor its mirror
image.
"""

import argparse
import random
import time
from collections.abc import Callable

import numpy as np

PLIES = range(3, 20)  # stones on the board
EACH = 150  # positions of each number of stones; of three there are fewer
PATIENCE = 10_000  # positions that were met before, one after the other, until it is believed that there are no others
WIDTH, HEIGHT = 7, 6
ILLEGAL = -2
MIDDLE = (1, 2, 4, 8, 4, 2, 1)

Columns = list[list[int]]  # of each column the stones from below: 0 of who began, 1 of the other


def won(columns: Columns, last: int) -> bool:
    """Whether the stone on top of a column completes four in a line."""
    row, player = len(columns[last]) - 1, columns[last][-1]

    def reach(across: int, up: int) -> int:
        count, column, height = 0, last + across, row + up
        while 0 <= column < WIDTH and 0 <= height < len(columns[column]) and columns[column][height] == player:
            count, column, height = count + 1, column + across, height + up
        return count

    return any(reach(*way) + reach(-way[0], -way[1]) >= 3 for way in ((1, 0), (0, 1), (1, 1), (1, -1)))


def after(columns: Columns, move: int, player: int) -> Columns:
    return [[*stones, player] if column == move else stones for column, stones in enumerate(columns)]


def at_random(rng: random.Random, columns: Columns, player: int) -> int:
    return rng.choice([column for column in range(WIDTH) if len(columns[column]) < HEIGHT])


def tactical(rng: random.Random, columns: Columns, player: int, weights: tuple[int, ...] = (1,) * WIDTH) -> int:
    free = [column for column in range(WIDTH) if len(columns[column]) < HEIGHT]
    for mover in (player, 1 - player):
        for column in free:
            if won(after(columns, column, mover), column):
                return column
    return rng.choices(free, [weights[column] for column in free])[0]


def central(rng: random.Random, columns: Columns, player: int) -> int:
    return tactical(rng, columns, player, MIDDLE)


PLAYERS: tuple[Callable[[random.Random, Columns, int], int], ...] = (at_random, tactical, central)


def played(rng: random.Random, stones: int) -> list[int] | None:
    """The moves of a game up to so many stones; None where it was over before, or then."""
    players, columns, moves = rng.choices(PLAYERS, k=2), [[] for _ in range(WIDTH)], []
    for ply in range(stones):
        moves.append(players[ply % 2](rng, columns, ply % 2))
        columns = after(columns, moves[-1], ply % 2)
        if won(columns, moves[-1]):
            return None
    return moves


def key(columns: Columns, mover: int) -> int:
    """A position as 49 bits, seven a column: from below 1 for a stone of the mover's, and a 1 above the last stone."""
    total = 0
    for column, stones in enumerate(columns):
        bits = sum((stone == mover) << row for row, stone in enumerate(stones)) + (1 << len(stones))
        total |= bits << 7 * column
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--each", type=int, default=EACH)
    options = parser.parse_args()

    from bitbully import BitBully, Board

    solver, rng, begun = BitBully(), random.Random(0), time.time()
    keys: list[int] = []
    values: list[list[int]] = []
    for stones in PLIES:
        seen: set[int] = set()
        found = repeated = 0
        while found < options.each and repeated < PATIENCE:
            if (moves := played(rng, stones)) is None:
                continue
            columns: Columns = [[] for _ in range(WIDTH)]
            for ply, move in enumerate(moves):
                columns = after(columns, move, ply % 2)
            here, mirrored = key(columns, stones % 2), key(columns[::-1], stones % 2)
            if here in seen or mirrored in seen:
                repeated += 1
                continue
            repeated, seen = 0, seen | {here, mirrored}
            scores = solver.score_all_moves(Board(moves))
            worth = [int(np.sign(scores[column])) if column in scores else ILLEGAL for column in range(WIDTH)]
            legal = [value for value in worth if value != ILLEGAL]
            if max(legal) > min(legal):
                keys.append(here)
                values.append(worth)
                found += 1
        print(f"{stones} stones: {found} of {len(seen) // 2}, {time.time() - begun:.0f} s", flush=True)
    np.savez_compressed(options.file, keys=np.array(keys, np.uint64), values=np.array(values, np.int8))


if __name__ == "__main__":
    main()
