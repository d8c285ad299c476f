"""Positions of connect four whose exact values are known: how strong a player is, apart from who it plays against."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from polyak.agent import Array
from polyak.envs.games.from_pgx import State

TABLE = Path(__file__).with_name("connect_four.npz")
WIDTH, HEIGHT = 7, 6
ILLEGAL = -2


class Positions(NamedTuple):
    """N positions, and what each move is worth to the player to move."""

    states: State  # leaves [N, ...], of the environment `connect-four`
    values: np.ndarray  # [N, 7] int8: 1 wins, 0 draws, -1 loses, if both play perfectly after it; -2 is not allowed

    def kept(self, actions: np.ndarray) -> np.ndarray:
        """Whether each of the moves [N] keeps the result that the position has: [N] bool."""
        return np.take_along_axis(self.values, np.asarray(actions)[:, None], 1)[:, 0] == self.values.max(1)


@cache
def connect_four_positions() -> Positions:
    """2,502 positions of 3 to 19 stones where some moves keep the result and others spoil it.

    They come from games of weak players, who move at random, or win and block where they can; none of them learnt from
    its own play. No two are alike, or mirror images. The exact values were computed once, by
    `benchmarks/connect_four_table.py`.
    """
    with np.load(TABLE, allow_pickle=False) as table:
        keys, values = table["keys"], table["values"]
    columns = (keys[:, None] >> np.arange(0, 7 * WIDTH, 7, dtype=np.uint64)) & np.uint64(127)  # [N, 7], from the left
    bits = (columns[:, :, None] >> np.arange(7, dtype=np.uint64)) & np.uint64(1)  # [N, 7, 7], from below
    rows = np.arange(HEIGHT)
    heights = 6 - bits[:, :, ::-1].argmax(-1)  # the highest bit stands above the last stone
    stones = heights.sum(-1)
    player = (stones % 2)[:, None, None]
    owner = np.where(bits[:, :, :HEIGHT] == 1, player, 1 - player)
    boards = np.where(rows < heights[:, :, None], owner, -1)  # [N, column, row from below]
    boards = boards[:, :, ::-1].transpose(0, 2, 1).reshape(len(keys), -1).astype(np.int8)
    state = State(
        _array(stones % 2, np.int8), _array(np.zeros(len(keys)), np.bool_), (), {"board": jnp.asarray(boards)}
    )
    return Positions(state, values)


def _array(values: np.ndarray, kind: type) -> Array:
    return jnp.asarray(values.astype(kind))
