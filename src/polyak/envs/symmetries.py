"""The ways in which boards may be turned and mirrored."""

from typing import Literal

import numpy as np
from gymnasium.spaces import Dict

from polyak.agent import Symmetries
from polyak.spaces import MASK, parts

# Each way is so many quarters of a turn, and whether left and right are exchanged then.
WAYS: dict[str, list[tuple[int, bool]]] = {
    "mirror": [(0, False), (0, True)],
    "square": [(quarters, is_mirrored) for quarters in range(4) for is_mirrored in (False, True)],
    "diagonals": [(0, False), (2, False), (1, True), (3, True)],  # those that exchange no corners of Othello's start
}
Symmetry = Literal["mirror", "square", "diagonals"]


def symmetries(space: Dict, actions: int, kind: Symmetry) -> Symmetries:
    """Those of a game whose observation has the planes [rows, columns, ...] and a mask.

    Args:
        space: its observations. Parts besides these two stay as they are.
        actions: A: a column each, or a cell each, row by row, and after them moves that no turn changes, as a pass.
        kind: which ways there are.
    """
    rows, columns, *planes = space["observation"].shape or ()
    by_column, ways = actions == columns, WAYS[kind]

    def turned(grid: np.ndarray, quarters: int, is_mirrored: bool) -> np.ndarray:
        grid = np.rot90(grid, quarters)
        return grid[:, ::-1] if is_mirrored else grid

    cells = np.arange(rows * columns).reshape(rows, columns)
    moves = [turned(cells, *way)[0] if by_column else turned(cells, *way).ravel() for way in ways]
    of_actions = np.stack([np.concatenate([move, np.arange(len(move), actions)]) for move in moves])
    seen = np.arange(rows * columns * int(np.prod(planes))).reshape(rows, columns, *planes)
    found = {"observation": np.stack([turned(seen, *way).ravel() for way in ways]), MASK: of_actions}
    of_obs = [
        part.begin + found.get(str(part.path[0]), np.tile(np.arange(part.end - part.begin), (len(ways), 1)))
        for part in parts(space)
    ]
    return Symmetries(np.concatenate(of_obs, 1), of_actions)
