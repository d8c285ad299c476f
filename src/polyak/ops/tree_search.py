"""Monte Carlo tree search: UCT, whose leaves are judged by playing on at random (Kocsis and Szepesvari, 2006).

A simulation begins at the root. Inside the tree it chooses, of the actions that were tried from a node, the one with
the greatest upper confidence bound, and any untried one before that,

    Q(n, a) + c sqrt(ln N(n) / N(n, a)),

outside of it at random, until the episode ends; its first step outside adds a node, and the return that followed each
of its steps is averaged into that step's value.

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


class Tree(NamedTuple):
    """A search tree of N nodes, one more than simulations; node 0 is the root. Of each action at each node: [N, A]."""

    children: Array  # int32, the node it leads to; 0 where there is none
    visits: Array  # int32, simulations that took it
    totals: Array  # the sum of the returns that followed, to the player who takes it
    bounds: Array  # [2] the least and the greatest return of a simulation, by which values are scaled to [0, 1]

    @property
    def values(self) -> Array:
        """Q: the mean returns; 0 where there were none."""
        return self.totals / jnp.maximum(self.visits, 1)


class Task(NamedTuple):
    """What is searched in: functions of one state."""

    step: Callable[[PyTree, Array, Key], tuple[PyTree, Array, Array, Array]]
    """state, action, key -> state, which actions are legal there [A], reward [], whether the episode is over []"""
    discount: Array | float  # of what follows a step; negative where the other player gains it
    num_actions: int
    bounds: tuple[float, float] | None  # of returns, where they are known, as in games


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
        return Task(step, -gamma, num_actions, (-1.0, 1.0))
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
            bound = jnp.where(now.legal, bound, -jnp.inf)
            best = bound == jnp.max(bound)
            action = pick(jnp.where(inside, best, now.legal), jax.random.uniform(draw_key))
            state, legal, reward, over = task.step(now.state, action, step_key)
            child = tree.children[node, action]
            stays = inside & (child > 0) & (now.depth + 1 < most)
            place = jnp.where(inside, now.depth, most + 1)  # beyond the end nothing is written
            depth = now.depth + inside
            outside = jnp.where(inside, 0.0, now.weight * reward)
            return _Playing(
                state=state,
                legal=legal,
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
            state, legal, zero, nowhere, no_action, no_reward, zero, jnp.float32(1.0), zero, jnp.bool_(False)
        )
        end = jax.lax.while_loop(lambda now: ~now.over & (now.time < horizon), move, begin)
        returns = weights @ end.rewards
        last = end.nodes[end.depth - 1], end.actions[end.depth - 1]
        is_new = (tree.children[last] == 0) & (~end.over | (end.time > end.depth))
        seen = returns[0] * jnp.array([1.0, jnp.sign(task.discount)])  # by the one player and by the other
        return Tree(
            tree.children.at[last].set(jnp.where(is_new, number + 1, tree.children[last])),
            tree.visits.at[end.nodes, end.actions].add(1, mode="drop"),
            tree.totals.at[end.nodes, end.actions].add(returns, mode="drop"),
            tree.bounds
            if task.bounds
            else jnp.stack([jnp.min(seen, initial=tree.bounds[0]), jnp.max(seen, initial=tree.bounds[1])]),
        )

    bounds = jnp.array(task.bounds or (jnp.inf, -jnp.inf), jnp.float32)
    empty = Tree(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32), jnp.zeros(shape), bounds)
    return jax.lax.fori_loop(0, simulations, simulate, empty)


def most_visited(visits: Array, values: Array, legal: Array) -> Array:
    """The action [] that was tried most often from a node, and of several the best of them; leaves [A]."""
    visits = jnp.where(legal, visits, -1)
    return jnp.argmax(jnp.where(visits == jnp.max(visits), values, -jnp.inf))
