"""Monte Carlo tree search from one state: `polyak.mcts` looks ahead and tells what it saw."""

import dataclasses
import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import numpy as np

from polyak.envs import CompiledEnv, make
from polyak.envs.mdp import MDP, State as MDPState
from polyak.errors import BadSetting
from polyak.spaces import mask_of

if TYPE_CHECKING:
    from polyak.agent import Array, Key, PyTree
    from polyak.ops.tree_search import Tree
    from polyak.pictures.picture import Picture
    from polyak.policy import Policy


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search saw.

    Attributes:
        action: the action to take: that most simulations began with, and of several the best.
        value: the mean return that followed it, to the player who moves.
        visits: [A] the simulations that began with each action.
        values: [A] the mean returns that followed; NaN where an action was not tried.
        line: the actions that most simulations went through, one after the other, from the state on.
        tree: all of its nodes, whose actions are counted from 0.
        first_action: the environment's number of that action.
        env: the environment's id.
    """

    action: int
    value: float
    visits: np.ndarray
    values: np.ndarray
    line: tuple[int, ...]
    tree: "Tree"
    first_action: int
    env: str

    def draw(self, path: str | os.PathLike | None = None, *, depth: int = 3, width: int = 3) -> "Picture":
        """Draws the upper part of the tree: visits as the width of lines, values as colours, best play in one colour.

        Args:
            path: where to save the picture; by default `search-ENV.png`, and in a notebook nowhere.
            depth: how many actions deep.
            width: the most actions that are shown of a node.
        """
        from polyak.pictures.tree import draw_search

        return draw_search(self, path, depth=depth, width=width)

    def __str__(self) -> str:
        tried = np.flatnonzero(self.visits)
        order = tried[np.argsort(-self.visits[tried], kind="stable")][:8]
        rows = [
            f"{action + self.first_action:6} {self.visits[action]:8,} {self.values[action]:+8.3f}" for action in order
        ]
        line = " ".join(map(str, self.line))
        return "\n".join(["action   visits    value", *rows, f"best play: {line}"])


def mcts(
    env: "CompiledEnv | MDP | str",
    state: "PyTree",
    simulations: int = 1_000,
    *,
    policy: "Policy | None" = None,
    exploration: float = 0.7,
    horizon: int = 500,
    gamma: float = 1.0,
    seed: int = 0,
) -> Search:
    """Searches from a state: UCT with random rollouts, or, with a policy of AlphaZero's, as its network guides it.

    Args:
        env: a compiled environment, an `MDP`, or an id of one that compiles.
        state: where to begin: a state of that environment as `reset` and `step` return it; a number of an `MDP`'s.
        simulations: how many; a thousand take about a tenth of a second in connect four.
        policy: a policy that `alphazero` learnt on this environment.
        exploration: c of UCB1 for returns scaled to [0, 1]: the more, the less narrow is the search.
        horizon: steps after which a simulation ends, where the episode has not.
        gamma: the discount per step.
        seed: of all that is random; the same seed gives the same tree.

    Raises:
        BadSetting: the environment is not compiled, its actions cannot be counted, none is legal in the state, or the
            policy is one for something else.

    Source: Kocsis and Szepesvari (2006), "Bandit based Monte-Carlo planning"; `ops.tree_search` has the equations.
    """
    import jax
    import jax.numpy as jnp

    compiled = _compiled(env)
    space = compiled.action_space
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise BadSetting(f"A search needs actions that can be counted (Discrete), not {space}.")
    for name, value in (("simulations", simulations), ("horizon", horizon)):
        if value < 1:
            raise BadSetting(f"{name} is {value}; a search takes at least one.")
    if isinstance(env, MDP) and isinstance(state, int | np.integer):
        state = MDPState(int(state), 0)  # type: ignore[arg-type]
    if compiled.hidden:
        raise BadSetting(f"A state of {compiled.id} holds what its players do not see, so that searching it cheats.")
    state = _checked(compiled, state)
    mask, count, start = mask_of(compiled.observation_space), int(space.n), int(space.start)
    obs = compiled.observe(state) if compiled.observe else None
    if mask is not None and obs is None:
        raise BadSetting(f"{compiled.id} shows a mask of actions and cannot be observed in a given state.")
    legal = np.ones(count, bool) if mask is None or obs is None else np.asarray(obs[mask]) != 0
    if not legal.any():
        raise BadSetting(f"There is no action to take in this state of {compiled.id}.")
    key = jax.random.key(seed)
    if policy is not None:
        tree = _guided(policy, compiled, obs, state, key, simulations)
    else:
        steps = _Steps(compiled.noise, compiled.reset, compiled.step, compiled.turns, compiled.chance)
        search = _searcher(steps, mask and (mask.start, mask.stop), count, start, simulations, horizon)
        tree = search(state, jnp.asarray(legal), key, exploration, gamma)
    return _told(jax.device_get(tree), start, compiled.id)


def _compiled(env: "CompiledEnv | MDP | str") -> CompiledEnv:
    made = make(env)
    if isinstance(made, CompiledEnv):
        return made
    made.close()
    raise BadSetting(f"A search goes on from any state, and {made.id} is stepped from Python.")


def _checked(env: CompiledEnv, state: "PyTree") -> "PyTree":
    """A state as arrays of the types that its environment has; raises `BadSetting` where it is none of its states."""
    import jax
    import jax.numpy as jnp

    like = jax.eval_shape(lambda key: env.reset(env.noise(key, ()))[0], jax.random.key(0))
    try:
        state = jax.tree.map(lambda leaf, one: jnp.asarray(one, leaf.dtype), like, state)
        shapes = jax.tree.map(jnp.shape, state)
    except (TypeError, ValueError):
        shapes = None
    if shapes != jax.tree.map(jnp.shape, like):
        raise BadSetting(f"That is no state of {env.id}; give one that its reset or its step returned.")
    return state


class _Steps(NamedTuple):
    """What a search needs of an environment; equal where the functions are the same."""

    noise: Callable
    reset: Callable
    step: Callable
    turns: bool
    chance: bool
    hidden: bool = False
    symmetries: None = None


@lru_cache(maxsize=16)  # a game is played with one search, which takes seconds to compile
def _searcher(
    steps: _Steps, mask: tuple[int, int] | None, count: int, start: int, simulations: int, horizon: int
) -> Callable:
    import jax

    from polyak.ops.tree_search import task_of, uct

    def search(state: "PyTree", legal: "Array", key: "Key", exploration: "Array", gamma: "Array") -> "Tree":
        task = task_of(steps, slice(*mask) if mask else None, count, start, gamma)
        return uct(task, state, legal, key, simulations=simulations, exploration=exploration, horizon=horizon)

    return jax.jit(search)


def _guided(policy: "Policy", env: CompiledEnv, obs: Any, state: "PyTree", key: "Key", simulations: int) -> "Tree":
    """The tree of a search that is guided by what a policy learnt."""
    import jax

    from polyak.agent import Position

    if not hasattr(policy.algorithm, "planner") or obs is None:
        raise BadSetting(f"{policy.algorithm.name} has no network that guides a search; give a policy of alphazero.")
    policy.check_simulates(env)
    position = jax.tree.map(lambda leaf: leaf[None], Position(obs, state))
    return jax.tree.map(lambda leaf: leaf[0], _planner(policy, simulations)(policy.state, position, key))


@lru_cache(maxsize=16)
def _planner(policy: "Policy", simulations: int) -> Callable[..., "Tree"]:
    import jax

    algorithm: Any = dataclasses.replace(policy.algorithm, num_simulations=simulations)  # type: ignore[type-var]
    planner = algorithm.planner(policy.spec)
    return jax.jit(lambda state, position, key: planner(state.player, position, key, False).tree)


def _told(tree: "Tree", start: int, env: str) -> Search:
    """What a tree says."""
    from polyak.ops.tree_search import most_visited

    visits = np.asarray(tree.visits[0])
    values = np.where(visits > 0, tree.values[0], np.nan)
    line: list[int] = []
    node = 0
    while tree.visits[node].any() and (node or not line):
        line.append(int(most_visited(tree, node)))
        node = int(tree.children[node, line[-1]])
    numbers = tuple(one + start for one in line)
    return Search(numbers[0], float(values[line[0]]), visits, values, numbers, tree, start, env)
