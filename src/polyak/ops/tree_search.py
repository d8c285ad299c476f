"""Monte Carlo tree search: UCT, whose leaves are judged by playing on at random (Kocsis and Szepesvari, 2006).

A simulation begins at the root. Inside the tree it chooses, of the actions that were tried from a node, the one with
the greatest upper confidence bound, and any untried one before that,

    Q(n, a) + c sqrt(ln N(n) / N(n, a)),

outside of it at random, until the episode ends; its first step outside adds a node, and the return that followed each
of its steps is averaged into that step's value.

In games of two players without chance results are proved as well (Winands, Bjornsson and Saito, 2008, "Monte-Carlo tree
search solver"): a move that wins at once is won, a move after which the other player has a won one is lost, and one
after which all of theirs are lost is won. Won moves are made, lost ones avoided, and neither is looked into again.

A node stands for the actions that lead to it and holds no state: every simulation begins at the root's, and what is
left to chance falls anew in each. So values are right for environments that are not deterministic as well, where
each plan is judged on all that may come of it (open-loop planning), and a node takes no more than its numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Simulator

MOST_DEPTH = 64  # actions; what lies deeper is played at random
UNTRIED, LOST = 1e9, -1e9  # bounds of actions, below those that are won and above those that are not legal
MOST = 2**31 - 1


class Tree(NamedTuple):
    """A search tree of N nodes, one more than simulations; node 0 is the root. Of each action at each node: [N, A]."""

    children: Array  # int32, the node it leads to; 0 where there is none
    visits: Array  # int32, simulations that took it
    totals: Array  # the sum of the returns that followed, to the player who takes it
    legal: Array  # bool
    proved: Array  # int8, 1 where it is won whatever follows, -1 where it is lost; 0 where that is not known
    bounds: Array  # [2] the least and the greatest return of a simulation, by which values are scaled to [0, 1]

    @property
    def values(self) -> Array:
        """Q: what is proved, or the mean returns; 0 where there were none."""
        return jnp.where(self.proved != 0, self.proved, self.totals / jnp.maximum(self.visits, 1))


class Task(NamedTuple):
    """What is searched in: functions of one state."""

    step: Callable[[PyTree, Array, Key], tuple[PyTree, Array, Array, Array]]
    """state, action, key -> state, which actions are legal there [A], reward [], whether the episode is over []"""
    discount: Array | float  # of what follows a step; negative where the other player gains it
    num_actions: int
    bounds: tuple[float, float] | None  # of returns, where they are known, as in games
    proves: bool = False  # whether results can be proved: two players, a win is 1, and nothing is left to chance


def task_of(
    simulator: Simulator, mask: slice | None, num_actions: int, first_action: int, gamma: Array | float
) -> Task:
    """A task in which a simulator is searched.

    Args:
        simulator: steps it.
        mask: where an observation says which actions are legal; None where all are, always.
        num_actions: A.
        first_action: the number of the first of them.
        gamma: the discount per step.
    """

    def step(state: PyTree, action: Array, key: Key) -> tuple[PyTree, Array, Array, Array]:
        noise = simulator.noise(key, ())
        state, obs, reward, terminated, truncated = simulator.step(state, action + first_action, noise)
        legal = jnp.ones(num_actions, bool) if mask is None else obs[mask] != 0
        return state, legal, reward, terminated | truncated

    if simulator.turns:
        return Task(step, -gamma, num_actions, (-1.0, 1.0), not simulator.chance)
    return Task(step, gamma, num_actions, None)


def pick(mask: Array, draw: Array) -> Array:
    """The index [] int32 of one of the true entries of a mask [A], each as likely as the others.

    Args:
        mask: bool, at least one of them true.
        draw: [] uniform in [0, 1).
    """
    counted = jnp.cumsum(mask)
    place = jnp.minimum(jnp.int32(draw * counted[-1]), counted[-1] - 1)
    return jnp.argmax(counted > place).astype(jnp.int32)


def upper_bounds(visits: Array, values: Array, bounds: Array, exploration: Array | float) -> Array:
    """UCB1 [A] of the actions at a node; infinite for those that were not tried.

    Args:
        visits: [A] how often each was tried.
        values: [A] their mean returns.
        bounds: [2] what they are scaled by.
        exploration: c, for values in [0, 1].

    Source: Auer, Cesa-Bianchi and Fischer (2002), "Finite-time analysis of the multiarmed bandit problem".
    """
    width = jnp.maximum(bounds[1] - bounds[0], 1e-6)
    scaled = (values - bounds[0]) / width
    log_total = jnp.log(jnp.maximum(jnp.sum(visits), 1))
    bound = scaled + exploration * jnp.sqrt(log_total / jnp.maximum(visits, 1))
    return jnp.where(visits > 0, bound, jnp.inf)


class _Playing(NamedTuple):
    """A simulation under way."""

    state: PyTree
    legal: Array  # [A] bool
    leaf: Array  # [A] bool, the actions that are legal where it left the tree
    node: Array  # [] int32, where it is in the tree; -1 outside
    nodes: Array  # [D] int32, the nodes that it came through; beyond its depth one that there is not
    actions: Array  # [D] int32, what it chose there
    rewards: Array  # [D + 1] what it was rewarded with; the last holds the return of all that was outside
    depth: Array  # [] int32
    weight: Array  # [] the discount of the next reward outside
    time: Array  # [] int32
    over: Array  # [] bool


def uct(
    task: Task,
    state: PyTree,
    legal: Array,
    key: Key,
    *,
    simulations: int,
    exploration: Array | float,
    horizon: int,
) -> Tree:
    """Searches from a state.

    Args:
        task: what is searched in.
        state: the root's.
        legal: [A] bool, the actions that are legal there, one at least.
        key: of all that is random.
        simulations: how many are made.
        exploration: c of `upper_bounds`.
        horizon: steps after which a simulation ends, and what would follow counts nothing.
    """
    most = min(simulations, MOST_DEPTH, horizon)
    shape = simulations + 1, task.num_actions
    # how much a reward counts for the return of each step [D, D + 1]
    ahead = jnp.arange(most + 1) - jnp.arange(most)[:, None]
    weights = jnp.where(ahead >= 0, jnp.asarray(task.discount, jnp.float32) ** jnp.maximum(ahead, 0), 0.0)

    def simulate(number: Array, tree: Tree) -> Tree:
        of_simulation = jax.random.fold_in(key, number)

        def move(now: _Playing) -> _Playing:
            draw_key, step_key = jax.random.split(jax.random.fold_in(of_simulation, now.time))
            inside = now.node >= 0
            node = jnp.maximum(now.node, 0)
            bound = upper_bounds(tree.visits[node], tree.values[node], tree.bounds, exploration)
            if task.proves:
                proved = tree.proved[node]
                bound = jnp.where(proved == 0, jnp.minimum(bound, UNTRIED), proved * jnp.inf)
            bound = jnp.where(now.legal, jnp.maximum(bound, LOST), -jnp.inf)
            best = bound == jnp.max(bound)
            action = pick(jnp.where(inside, best, now.legal), jax.random.uniform(draw_key))
            state, legal, reward, over = task.step(now.state, action, step_key)
            if task.proves:
                known = jnp.where(inside, proved[action], 0)
                reward, over = jnp.where(known != 0, known, reward), over | (known != 0)
            child = tree.children[node, action]
            stays = inside & (child > 0) & (now.depth + 1 < most)
            place = jnp.where(inside, now.depth, most + 1)  # beyond the end nothing is written
            depth = now.depth + inside
            outside = jnp.where(inside, 0.0, now.weight * reward)
            return _Playing(
                state=state,
                legal=legal,
                leaf=jnp.where(inside, legal, now.leaf),
                node=jnp.where(stays, child, -1),
                nodes=now.nodes.at[place].set(node, mode="drop"),
                actions=now.actions.at[place].set(action, mode="drop"),
                rewards=now.rewards.at[place].set(reward, mode="drop").at[depth].add(outside),
                depth=depth,
                weight=jnp.where(inside, 1.0, now.weight * task.discount),
                time=now.time + 1,
                over=over,
            )

        nowhere, no_action = jnp.full(most, shape[0], jnp.int32), jnp.zeros(most, jnp.int32)
        zero, no_reward = jnp.int32(0), jnp.zeros(most + 1)
        begin = _Playing(
            state, legal, legal, zero, nowhere, no_action, no_reward, zero, jnp.float32(1.0), zero, jnp.bool_(False)
        )
        end = jax.lax.while_loop(lambda now: ~now.over & (now.time < horizon), move, begin)
        returns = weights @ end.rewards
        last = end.nodes[end.depth - 1], end.actions[end.depth - 1]
        is_new = (tree.children[last] == 0) & (~end.over | (end.time > end.depth))
        seen = returns[0] * jnp.array([1.0, jnp.sign(task.discount)])  # by the one player and by the other
        low, high = jnp.min(seen, initial=tree.bounds[0]), jnp.max(seen, initial=tree.bounds[1])
        is_end = end.over & (end.time == end.depth)
        result = jnp.where(is_end, jnp.sign(end.rewards[end.depth - 1]), 0.0).astype(jnp.int8)
        return Tree(
            tree.children.at[last].set(jnp.where(is_new, number + 1, tree.children[last])),
            tree.visits.at[end.nodes, end.actions].add(1, mode="drop"),
            tree.totals.at[end.nodes, end.actions].add(returns, mode="drop"),
            tree.legal.at[jnp.where(is_new, number + 1, shape[0])].set(end.leaf, mode="drop"),
            _proved(tree, end, result) if task.proves else tree.proved,
            tree.bounds if task.bounds else jnp.stack([low, high]),
        )

    bounds = jnp.array(task.bounds or (jnp.inf, -jnp.inf), jnp.float32)
    counts, nothing = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int8)
    empty = Tree(counts, counts, jnp.zeros(shape), jnp.zeros(shape, bool).at[0].set(legal), nothing, bounds)
    return jax.lax.fori_loop(0, simulations, simulate, empty)


def _proved(tree: Tree, end: _Playing, result: Array) -> Array:
    """What is proved of each action, once the last step of a simulation is known to be won, lost, or neither."""

    def carry_up(now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        depth, result, results = now
        node, action = end.nodes[depth - 1], end.actions[depth - 1]
        row = tree.proved[node].at[action].set(result)
        is_won, is_lost = jnp.any(row == 1), jnp.all((row == -1) | ~tree.legal[node])
        # one's own won move loses for who let it come to this, and the other way round
        above = jnp.where(is_won, -1, jnp.where(is_lost, 1, 0)).astype(jnp.int8)
        return depth - 1, above, results.at[depth - 1].set(result)

    begin = end.depth, result, jnp.zeros(end.nodes.shape, jnp.int8)
    results = jax.lax.while_loop(lambda now: (now[0] > 0) & (now[1] != 0), carry_up, begin)[2]
    nodes = jnp.where(results != 0, end.nodes, len(tree.proved))  # beyond the end nothing is written
    return tree.proved.at[nodes, end.actions].set(results, mode="drop")


def most_visited(tree: Tree, node: Array | int = 0) -> Array:
    """The action [] to take at a node: one that is won, else of those that are not lost that with the most visits."""
    proved = tree.proved[node]
    worth = jnp.where(proved == 0, tree.visits[node], jnp.where(proved == 1, MOST, -1))
    worth = jnp.where(tree.legal[node], worth, -2)
    return jnp.argmax(jnp.where(worth == jnp.max(worth), tree.values[node], -jnp.inf))
