"""The path of a policy through a grid."""

import os
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from polyak.algorithms.planning.solution import Solution
from polyak.envs.mdp import MDP
from polyak.errors import BadSetting
from polyak.pictures.board import Board, Style, add_bar, board_of, paint
from polyak.pictures.given import Given, Known, given, probabilities
from polyak.pictures.picture import Picture, default_name, finished, new_axes
from polyak.pictures.values import paint_arrows, paint_values, title_of
from polyak.policy import Policy

TURN = np.pi * (3 - np.sqrt(5))  # the golden angle: no two visits lie behind each other
TIME = matplotlib.colors.LinearSegmentedColormap.from_list("time", ["#f59e72", "#d1365a", "#5c1250"])


class Walk(NamedTuple):
    """One episode of L steps."""

    states: np.ndarray  # [L + 1]
    total: float  # the undiscounted return
    terminated: bool  # false where it was cut


def draw_path(
    mdp: MDP,
    policy: Known,
    *,
    seed: int = 0,
    max_steps: int | None = None,
    behind: Known | None = None,
    path: str | os.PathLike | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Picture:
    """Draws the path of a policy through the grid in one episode; each further visit of a cell lies beside it.

    The line darkens with time; a jump, as from a cliff back to the start, is dashed.

    Args:
        mdp: a world with a grid, in which the episode is played.
        policy: actions [S], probabilities [S, A], a trained `Policy` (greedy) or a `Solution`.
        seed: of the world's randomness, and of the policy's.
        max_steps: where the episode is cut; by default the world's time limit, or 1,000.
        behind: drawn below, values and pale arrows: a `Solution`, a `Policy` or an array as in `draw_values`.
        path: where to save it; by default `path-<world>.png`, and in a notebook nowhere: there it shows itself.
        title: above it, before the return; by default the world, and the algorithm of a `Policy`.
        axes: matplotlib axes to draw into, as one picture among others; then it is saved only to `path`.

    Returns:
        The picture; `picture.path` is the file.

    Raises:
        BadSetting: the world has no grid, or the policy does not fit it.
    """
    below = given(mdp, behind) if behind is not None else Given(None, None, None)
    board = board_of(mdp)
    limit = max_steps if max_steps is not None else mdp.max_episode_steps or 1_000
    if limit < 1:
        raise BadSetting(f"max_steps is {limit}; a path takes at least one.")
    walk = walked(mdp, choices(mdp, policy), seed, limit)
    canvas = axes or new_axes(*board.size)
    if below.values is not None:
        paint_values(canvas, board.masked(below.values))
    paint(board, canvas, busy=True)
    if below.pi is not None:
        elsewhere = ~np.isin(np.arange(mdp.num_states), walk.states)
        paint_arrows(board, canvas, below.pi * elsewhere[:, None], strength=0.35)
    _paint_walk(board, canvas, walk, has_bar=below.values is None)
    canvas.set_title(f"{title_of(mdp, policy) if title is None else title}: {described(walk)}")
    return finished(canvas, axes is None, path, default_name("path", mdp.id))


def choices(mdp: MDP, policy: Known) -> np.ndarray:
    """The policy [S, A]; a trained one is asked for its actions, because it breaks ties in a way of its own."""
    if isinstance(policy, Solution):
        policy = policy.policy
    if not isinstance(policy, Policy):
        return probabilities(mdp, policy)
    spaces = policy.spec.observation_space, policy.spec.action_space
    if [getattr(space, "n", None) for space in spaces] != [mdp.num_states, mdp.num_actions]:
        raise BadSetting(f"The policy was trained on {policy.env}, whose states and actions are not those of {mdp.id}.")
    first_state, first_action = (int(getattr(space, "start", 0)) for space in spaces)
    return np.eye(mdp.num_actions)[policy(np.arange(mdp.num_states) + first_state) - first_action]


def walked(mdp: MDP, pi: np.ndarray, seed: int, max_steps: int) -> Walk:
    """Plays one episode."""
    random = np.random.default_rng(seed)

    def sample(probabilities: np.ndarray) -> int:
        bounds = np.cumsum(probabilities)
        return int(np.searchsorted(bounds, random.random() * bounds[-1], side="right"))

    states, total = [sample(mdp.start)], 0.0
    while len(states) <= max_steps and not mdp.terminal[states[-1]]:
        s = states[-1]
        a = sample(pi[s])
        k = sample(mdp.probability[s, a])
        states.append(int(mdp.next_state[s, a, k]))
        total += mdp.reward[s, a, k]
    return Walk(np.array(states), float(total), bool(mdp.terminal[states[-1]]))


def described(walk: Walk) -> str:
    """`return -13 in 13 steps`."""
    steps = len(walk.states) - 1
    count = f"{steps:,} step{'' if steps == 1 else 's'}"
    total = f"{walk.total:g}".replace("-", "\N{MINUS SIGN}")
    return f"return {total} in {count}" if walk.terminated else f"return {total}, cut after {count}"


def points_of(board: Board, states: np.ndarray) -> np.ndarray:
    """Columns and rows [L + 1, 2]: a first visit is in the middle of the cell, the others around it."""
    visits = np.zeros(board.letters.size, int)
    points = []
    for state in states:
        k = visits[state]
        visits[state] += 1
        radius = min(0.36, 0.1 * np.sqrt(k))
        points.append(np.add(board.place(state), radius * np.array([np.cos(k * TURN), np.sin(k * TURN)])))
    return np.array(points)


def _paint_walk(board: Board, axes: Axes, walk: Walk, has_bar: bool) -> None:
    points = points_of(board, walk.states)
    segments = np.stack([points[:-1], points[1:]], 1)
    cells = np.array([board.place(state) for state in walk.states])
    moves = {(0, 0), *(tuple(step) for step in np.sign(board.directions))}
    jumps = np.array([tuple(step) not in moves for step in np.diff(cells, axis=0)], bool)
    width = max(2, 4.5 * board.cell * min(1, np.sqrt(20 / len(points))))
    styles = [(0, (1.2, 1.2)) if jump else "solid" for jump in jumps]
    halo = LineCollection(list(segments[~jumps]), colors="white", linewidths=1.6 * width, capstyle="round", zorder=3)
    axes.add_collection(halo)
    lines = LineCollection(
        list(segments), array=np.arange(len(segments)) + 1.0, cmap=TIME, linestyles=styles, zorder=3.1,
        linewidths=np.where(jumps, width / 2, width), capstyle="round", gid="path",
    )  # fmt: skip
    lines.set_clim(1, max(2, len(segments)))
    axes.add_collection(lines)
    marker: Style = {
        "markeredgecolor": "white",
        "markersize": max(8, 15 * board.cell),
        "markeredgewidth": 1.2,
        "zorder": 5,
    }
    axes.plot(*points[0], "o", color=TIME(0.0), gid="start", **marker)
    fell = board.letters.flat[walk.states[-1]] == "H"
    end = "X" if fell else "*" if walk.terminated else "s"
    axes.plot(*points[-1], end, color=TIME(1.0), gid="end", **marker | {"markersize": max(10, 21 * board.cell)})
    if has_bar:
        add_bar(axes, lines, "step")
