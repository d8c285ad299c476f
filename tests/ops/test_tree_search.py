import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.envs import make, tictactoe
from polyak.envs.mdp import MDP, State
from polyak.ops.tree_search import Task, Tree, most_visited, pick, task_of, uct, upper_bounds
from polyak.spaces import mask_of


def test_each_true_entry_is_picked_equally_often_and_no_other():
    mask = jnp.array([False, True, True, False, True])
    draws = jnp.linspace(0.0, 1.0, 300, endpoint=False)
    assert Counter(np.asarray(jax.vmap(pick, (None, 0))(mask, draws)).tolist()) == {1: 100, 2: 100, 4: 100}
    assert pick(mask, jnp.float32(np.nextafter(1.0, 0.0, dtype=np.float32))) == 4


def test_upper_bounds_by_hand():
    # 9 simulations; values scaled from [-1, 1] to [0, 1]: 0.75, 0.25; the third was never tried
    found = upper_bounds(jnp.array([6, 3, 0]), jnp.array([0.5, -0.5, 0.0]), jnp.array([-1.0, 1.0]), 2.0)
    log = math.log(9)
    np.testing.assert_allclose(found, [0.75 + 2 * math.sqrt(log / 6), 0.25 + 2 * math.sqrt(log / 3), np.inf], rtol=1e-6)


def tree_of(visits, values, proved, legal):
    visits = jnp.array([visits])
    values, proved, legal = jnp.array([values]), jnp.array([proved], jnp.int8), jnp.array([legal])
    return Tree(jnp.zeros_like(visits), visits, visits * values, legal, proved, jnp.array([-1.0, 1.0]))


def test_the_most_visited_action_is_taken_and_of_several_the_best():
    values, legal = [0.9, 0.1, 0.2, 1.0], [True, True, True, False]
    assert most_visited(tree_of([5, 7, 7, 9], values, [0, 0, 0, 0], legal)) == 2
    assert most_visited(tree_of([5, 7, 7, 9], values, [1, 0, 0, 0], legal)) == 0  # it is won
    assert most_visited(tree_of([5, 7, 8, 9], values, [0, 0, -1, 0], legal)) == 1  # the most visited is lost
    assert most_visited(tree_of([5, 7, 8, 9], values, [-1, -1, -1, 0], legal)) in (0, 1, 2)


# ---- node by node against a search in plain Python


class Node:
    """A node of the plain search."""

    def __init__(self):
        self.children, self.visits, self.totals, self.proved, self.legal = {}, Counter(), Counter(), {}, ()


def plain_uct(task: Task, state, legal, key, simulations, exploration, horizon):
    """The same search, written as one would on paper: with dictionaries, one simulation after the other."""
    root, low, high = Node(), *(task.bounds or (math.inf, -math.inf))
    root.legal = [int(action) for action in np.flatnonzero(legal)]
    step = jax.jit(task.step)
    for number in range(simulations):
        now, allowed, node, path, time, over = state, np.flatnonzero(legal), root, [], 0, False
        of_simulation = jax.random.fold_in(key, number)
        while not over and time < horizon:
            draw_key, step_key = jax.random.split(jax.random.fold_in(of_simulation, time))
            draw = float(jax.random.uniform(draw_key))
            candidates = allowed
            if node is not None:
                candidates = candidates_of(node, exploration, low, high)
            action = int(candidates[min(int(np.float32(draw) * len(candidates)), len(candidates) - 1)])
            now, after, reward, over = step(now, action, step_key)
            known = node.proved.get(action, 0) if node else 0
            path.append((node, action, float(known or reward)))
            over = over or known
            if node is not None:
                leaf = [int(action) for action in np.flatnonzero(after)]
            node = node.children.get(action) if node else None
            allowed, time, over = np.flatnonzero(after), time + 1, bool(over)
        expanded = [i for i, (where, _, _) in enumerate(path) if where is not None][-1]
        if len(path) > expanded + 1 or not over:
            where, action, _ = path[expanded]
            if action not in where.children:
                where.children[action] = Node()
                where.children[action].legal = leaf
        elif task.proves:
            prove(path, np.sign(path[expanded][2]))
        followed = 0.0
        for where, action, reward in reversed(path):
            followed = reward + task.discount * followed
            if where is not None:
                where.visits[action] += 1
                where.totals[action] += followed
        if task.bounds is None:
            low, high = min(low, followed), max(high, followed)
    return root


def prove(path, result):
    """Carries the result of the last step up, as far as it settles what was before."""
    for node, action, _ in reversed(path):
        if not result:
            return
        node.proved[action] = result
        result = -1 if 1 in node.proved.values() else int(all(node.proved.get(action) == -1 for action in node.legal))


def candidates_of(node, exploration, low, high):
    """The actions of which one is made at a node of the tree."""
    won = [a for a in node.legal if node.proved.get(a) == 1]
    untried = [a for a in node.legal if not node.visits[a] and a not in node.proved]
    open_ones = [a for a in node.legal if a not in node.proved]
    return won or untried or (best_by_bound(node, open_ones, exploration, low, high) if open_ones else node.legal)


def best_by_bound(node, allowed, exploration, low, high):
    """The actions with the greatest upper confidence bound."""
    width, total = max(high - low, 1e-6), sum(node.visits.values())

    def bound(action):
        count = node.visits[action]
        scaled = (node.totals[action] / count - low) / width
        return scaled + exploration * math.sqrt(math.log(total) / count)

    bounds = {action: bound(action) for action in allowed}
    return [action for action in allowed if bounds[action] > max(bounds.values()) - 1e-9]


def assert_same_tree(tree, plain, place=0):
    """Returns how many nodes there are."""
    for action in range(tree.visits.shape[1]):
        assert tree.visits[place, action] == plain.visits[action]
        assert tree.totals[place, action] == pytest.approx(plain.totals[action], abs=1e-3)
        assert tree.proved[place, action] == plain.proved.get(action, 0)
    nodes = 1
    assert {int(a) for a in np.flatnonzero(tree.children[place])} == set(plain.children)
    for action, child in plain.children.items():
        nodes += assert_same_tree(tree, child, int(tree.children[place, action]))
    return nodes


def board(text):
    """The number of a board, nine letters from row to row: x is who moves, o the other."""
    return jnp.int32(sum(" xo".index(letter) * 3**cell for cell, letter in enumerate(text)))


def searched(env, state, simulations, horizon=50, gamma=1.0, exploration=1.0, seed=0):
    mask, space = mask_of(env.observation_space), env.action_space
    task = task_of(env, mask, int(space.n), int(space.start), gamma)
    legal = jnp.ones(int(space.n), bool) if mask is None else env.observe(state)[mask] != 0
    how = {"simulations": simulations, "exploration": exploration, "horizon": horizon}
    key = jax.random.key(seed)
    tree = jax.device_get(jax.jit(lambda state, key: uct(task, state, legal, key, **how))(state, key))
    return tree, plain_uct(task, state, np.asarray(legal), key, **how)


def test_the_tree_of_a_game_is_that_of_a_plain_search_node_by_node():
    tree, plain = searched(make("tic-tac-toe"), board("  o x    "), 150)
    assert assert_same_tree(tree, plain) > 60


def test_where_chance_decides_the_tree_is_that_of_a_plain_search_too():
    lake = MDP.from_gymnasium("FrozenLake-v1").compiled()
    tree, plain = searched(lake, State(jnp.int32(14), jnp.int32(0)), 60, horizon=12, gamma=0.9)
    assert assert_same_tree(tree, plain) > 20


def test_values_are_the_movers_and_what_loses_at_once_is_seen():
    # x wins in the lower right corner; elsewhere o has a reply that wins
    tree, _ = searched(make("tic-tac-toe"), board("xo ox    "[:8] + " "), 300)
    values = tree.values[0]
    assert values[8] == 1.0 and most_visited(tree) == 8
    assert tree.bounds.tolist() == [-1.0, 1.0]


def test_a_search_deeper_than_the_horizon_counts_nothing_of_what_follows():
    lake = MDP.from_gymnasium("FrozenLake-v1").compiled()
    tree, _ = searched(lake, State(jnp.int32(0), jnp.int32(0)), 40, horizon=3)  # the goal is six steps away
    assert tree.visits[0].sum() == 40 and not tree.totals.any()


@pytest.mark.slow
def test_a_thousand_rollouts_never_lose_tic_tac_toe_against_every_reply():
    env = make("tic-tac-toe")
    task = task_of(env, mask_of(env.observation_space), 9, 0, 1.0)

    @jax.jit
    def moves(boards, key):
        def one(board, key):
            tree = uct(
                task, board, jnp.asarray(tictactoe.LEGAL)[board], key, simulations=1_000, exploration=0.7, horizon=9
            )
            return most_visited(tree)

        return jax.vmap(one)(boards, jax.random.split(key, len(boards)))

    def lost(boards, mine, ply=0):
        """How many games are lost of all that begin on these boards, whatever the other side replies."""
        if not boards:
            return 0
        padded = np.resize(boards, 256)  # so that one program serves every ply
        cells = np.asarray(moves(padded, jax.random.key(ply))) if mine else None
        assert len(boards) <= 256 or not mine
        losses, following = 0, []
        for i, now in enumerate(boards):
            for cell in [cells[i]] if mine else np.flatnonzero(tictactoe.LEGAL[now]):
                after = tictactoe.AFTER[now, cell]
                losses += bool(tictactoe.WON[after] and not mine)
                if not tictactoe.OVER[after]:
                    following.append(int(tictactoe.TURNED[after]))
        return losses + lost(sorted(set(following)), not mine, ply + 1)

    assert lost([tictactoe.EMPTY], True) == 0
    assert lost([tictactoe.EMPTY], False) == 0
