"""Tic-tac-toe: its rules as tables, and the game as compiled environments.

A board is a number, written in base three with a digit a cell, as the player sees it whose turn it is: 0 is a free
cell, 1 one's own, 2 the other's. So a move always writes a 1; then the board is turned, and the other player sees 1 and
2 exchanged. There are 3^9 = 19,683 boards, of which 5,478 come up in games.

A player observes planes of its own and of the other's marks, which moves are allowed, and where they lead: for each
cell the board after a move there, called an afterstate, and -1 where no move is allowed. Moves from different boards
that lead to the same afterstate have the same value.
"""

from collections.abc import Callable
from functools import cache, partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key
from polyak.envs.base import CompiledEnv
from polyak.envs.opponents import Opponent, against
from polyak.envs.symmetries import symmetries
from polyak.spaces import AFTERSTATES, MASK, to_rows

FREE, OWN, OTHER = 0, 1, 2
EMPTY = 0  # the board of that number
LINES = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])

# ---- the rules: N = 3^9 boards, 9 cells

NUMBERS = np.arange(3**9, dtype=np.int32)
POWERS = 3 ** np.arange(9, dtype=np.int32)
CELLS = NUMBERS[:, None] // POWERS % 3  # [N, 9] what lies in each cell
TURNED = (-CELLS % 3) @ POWERS  # [N] the same board as the other player sees it
WON = (CELLS[:, LINES] == OWN).all(-1).any(-1)  # [N] whether oneself has three in a line
OVER = WON | WON[TURNED] | (CELLS != FREE).all(-1)  # [N] whether the game has ended
LEGAL = (CELLS == FREE) & ~OVER[:, None]  # [N, 9] whether a move there is allowed
AFTER = np.where(
    LEGAL, NUMBERS[:, None] + OWN * POWERS, -1
)  # [N, 9] the board after it, as the player who made it sees it


# ---- what a player sees

SEEN = gymnasium.spaces.Dict(
    {
        "observation": gymnasium.spaces.Box(np.int8(0), np.int8(1), (3, 3, 2), np.int8),
        MASK: gymnasium.spaces.MultiBinary(9),
        AFTERSTATES: gymnasium.spaces.Box(-1, len(NUMBERS) - 1, (9,), np.int32),
    }
)


def seen(board: np.ndarray | int) -> dict[str, np.ndarray]:
    """What the player to move observes, a member of `SEEN`.

    Args:
        board: a number, or numbers [M] for M members at once.

    Returns:
        `observation` [3, 3, 2], one's own marks and the other's; `action_mask` [9], 1 for a move that is allowed, and
        all 1 where the game is over, as pgx has it, so that something is left to choose; `afterstates` [9].
    """
    cells = CELLS[board]
    planes = np.stack([cells == OWN, cells == OTHER], -1)
    return {
        "observation": planes.reshape(*planes.shape[:-2], 3, 3, 2).astype(np.int8),
        MASK: (LEGAL[board] | OVER[board, None]).astype(np.int8),
        AFTERSTATES: AFTER[board],
    }


ROWS = to_rows(SEEN, seen(NUMBERS)).astype(np.int16)  # [N, 36] what is seen of each board


def row(board: Array) -> Array:
    """The observation [36] of the player to move, a row of `SEEN`."""
    return jnp.asarray(ROWS)[board].astype(jnp.float32)


# ---- opponents: each is a table [N, 9] of the moves among which it chooses at random


def random_moves() -> np.ndarray:
    """Any move."""
    return LEGAL


def greedy_moves() -> np.ndarray:
    """A move that wins; else one that keeps the other from winning; else any."""
    winning = LEGAL & WON[AFTER]
    blocking = winning[TURNED]
    otherwise = np.where(blocking.any(-1, keepdims=True), blocking, LEGAL)
    return np.where(winning.any(-1, keepdims=True), winning, otherwise)


def perfect_moves() -> np.ndarray:
    """A move of the greatest minimax value."""
    q = minimax()
    return LEGAL & (q == q.max(-1, keepdims=True))


@cache
def minimax() -> np.ndarray:
    """Minimax values [N, 9] of the moves, to the player who makes them: 1, 0 or -1; -2 where a move is not allowed.

    q(s, a) = 1 if a wins, else -max_a' q(s', a'), where s' is the board that the other sees.

    Source: von Neumann (1928), "Zur Theorie der Gesellschaftsspiele".
    """
    values = np.zeros(len(NUMBERS), int)
    for _ in range(9):  # after as many sweeps as there are moves in the longest game, all is settled
        q = np.where(LEGAL, WON[AFTER] - values[TURNED[AFTER]], -2)
        values = np.where(OVER, 0, q.max(-1))
    return q


OPPONENTS: dict[str, Callable[[], np.ndarray]] = {
    "random": random_moves,
    "greedy": greedy_moves,
    "perfect": perfect_moves,
}


# ---- environments


def move(board: Array, cell: Array) -> tuple[Array, Array, Array]:
    """The player to move takes a cell.

    Args:
        board: [] int32, as that player sees it.
        cell: [] int32, from 0, row by row.

    Returns:
        The board as the other player sees it; the reward of the player who moved, 1 for a win, and -1 for a move that
        is not allowed, which loses; whether the game has ended. A game that is over stays as it is, and pays nothing.
    """
    was_over = jnp.asarray(OVER)[board]
    after = jnp.asarray(AFTER)[board, cell]
    allowed = after >= 0
    reward = jnp.where(allowed, jnp.asarray(WON)[after].astype(jnp.float32), jnp.where(was_over, 0.0, -1.0))
    return jnp.where(was_over, board, jnp.asarray(TURNED)[after]), reward, ~allowed | jnp.asarray(OVER)[after]


def self_play() -> CompiledEnv:
    """Self-play: each step is a move of the player whose turn it is, and its reward is that player's.

    The next observation is the other player's, so its value counts with the opposite sign. The return of an episode
    tells only whether either side won, so policies are scored against the perfect opponent.
    """

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jnp.zeros(shape)  # nothing is left to chance

    def reset(noise: Array) -> tuple[Array, Array]:
        return jnp.int32(EMPTY), row(jnp.int32(EMPTY))

    def step(board: Array, cell: Array, noise: Array):
        board, reward, over = move(board, cell)
        return board, row(board), reward, over, jnp.bool_(False)

    return CompiledEnv(
        "tic-tac-toe",
        SEEN,
        gymnasium.spaces.Discrete(9),
        None,
        noise,
        reset,
        step,
        turns=True,
        observe=row,
        symmetries=symmetries(SEEN, 9, "square"),
    )


def by_table(moves: np.ndarray) -> Opponent:
    """The opponent that chooses at random among its moves [N, 9] of a board."""
    count = moves.sum(-1)  # [N] how many moves it considers
    listed = np.argsort(~moves, axis=-1, kind="stable")  # [N, 9] those cells first

    def move(board: Array, obs: Array, uniform: Array) -> Array:
        return jnp.asarray(listed)[board, jnp.int32(uniform * jnp.asarray(count)[board])]

    return Opponent(jax.random.uniform, move)


def against_table(name: str) -> CompiledEnv:
    """One side, against one of `OPPONENTS`; who begins is random. Win 1, draw 0, loss -1."""
    return against(self_play(), by_table(OPPONENTS[name]()), name)


# What is made once is compiled once, however many copies are stepped side by side.
GAMES: dict[str, Callable[[], CompiledEnv]] = {
    "tic-tac-toe": cache(self_play),
    **{f"tic-tac-toe/{name}": cache(partial(against_table, name)) for name in OPPONENTS},
}
