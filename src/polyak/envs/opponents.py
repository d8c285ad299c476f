"""One side of a game of two players, against an opponent that answers within the step."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree
from polyak.envs.base import CompiledEnv
from polyak.ops.tree_search import most_visited, pick, task_of, uct
from polyak.spaces import mask_of

EXPLORATION, HORIZON = 0.7, 500  # of searches: c of UCB1, and moves after which a rollout counts as a draw


class Opponent(NamedTuple):
    """A player as pure, unbatched functions."""

    noise: Callable[[Key, tuple[int, ...]], PyTree]  # key, shape -> noise of moves, leaves [*shape, ...]
    move: Callable[[PyTree, Array, PyTree], Array]  # state and observation of the game, noise -> action []


class Noise(NamedTuple):
    """The randomness of one step against an opponent."""

    opponent: PyTree  # of its move
    first: (
        Array  # []: the opponent's first move, should a game begin here; its number, or where chance decides, uniform
    )
    begins: Array  # [] bool: whether the learner begins instead
    env: tuple[PyTree, PyTree, PyTree]  # of the game: the learner's move, the opponent's, and its first one


def against(env: CompiledEnv, opponent: Opponent, name: str) -> CompiledEnv:
    """One side of a game, `GAME/name`. Who begins is random; the reward is the learner's.

    Where the opponent begins, its first move is any that is allowed: a fresh game is computed at every step, also where
    none begins, so that it must cost little.

    Args:
        env: the game by self-play (`turns`), with a mask of actions.
        opponent: who answers.
        name: what it is called.
    """
    there = mask_of(env.observation_space)
    if not env.chance:  # all games begin alike
        nothing = env.noise(jax.random.key(0), ())
        start, seen = env.reset(nothing)
        (opening,) = jnp.nonzero(seen[there])  # the moves that begin a game
        opened = jax.jit(jax.vmap(env.step, (None, 0, None)))(start, opening, nothing)[:2]  # what is there after each

    def noise(key: Key, shape: tuple[int, ...]) -> Noise:
        move_key, first_key, coin_key = jax.random.split(key, 3)
        first = jax.random.uniform(first_key, shape)
        if not env.chance:
            first = jax.random.randint(first_key, shape, 0, len(opening))
        own = [env.noise(jax.random.fold_in(key, place), shape) for place in range(3)]
        coin = jax.random.bernoulli(coin_key, shape=shape)
        return Noise(opponent.noise(move_key, shape), first, coin, (own[0], own[1], own[2]))

    def reset(noise: Noise) -> tuple[PyTree, Array]:
        if env.chance:
            fresh = env.reset(noise.env[0])
            begun = env.step(fresh[0], pick(fresh[1][there] != 0, noise.first), noise.env[2])[:2]
        else:
            fresh, begun = (start, seen), jax.tree.map(lambda leaf: leaf[noise.first], opened)
        return jax.tree.map(lambda a, b: jnp.where(noise.begins, a, b), fresh, begun)

    def step(state: PyTree, action: Array, noise: Noise):
        mine, their_obs, reward, over, _ = env.step(state, action, noise.env[0])
        answer = opponent.move(mine, their_obs, noise.opponent)
        theirs, obs, their_reward, over_too, _ = env.step(mine, answer, noise.env[1])
        state, obs = jax.tree.map(lambda a, b: jnp.where(over, a, b), (mine, their_obs), (theirs, obs))
        return state, obs, jnp.where(over, reward, -their_reward), over | over_too, jnp.bool_(False)

    return env._replace(id=f"{env.id}/{name}", noise=noise, reset=reset, step=step, turns=False)


def at_random(env: CompiledEnv) -> Opponent:
    """One who makes any move that the mask allows, each with the same probability."""
    there = mask_of(env.observation_space)

    def move(state: PyTree, obs: Array, uniform: Array) -> Array:
        return pick(obs[there] != 0, uniform)

    return Opponent(jax.random.uniform, move)


def by_search(simulations: int, env: CompiledEnv) -> Opponent:
    """One who makes the move that so many random rollouts speak for; see `ops.tree_search`."""
    there, num_actions = mask_of(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
    task = task_of(env, there, num_actions, 0, 1.0)

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.bits(key, (*shape, 2), jnp.uint32)

    def move(state: PyTree, obs: Array, words: Array) -> Array:
        legal, key = obs[there] != 0, jax.random.wrap_key_data(words)
        tree = uct(task, state, legal, key, simulations=simulations, exploration=EXPLORATION, horizon=HORIZON)
        return most_visited(tree)

    return Opponent(noise, move)


# What an opponent is called, and the function that makes it for a game: each of them is there in each game, but for
# searches where a state holds what their player does not see.
OPPONENTS: dict[str, Callable[[CompiledEnv], Opponent]] = {
    "random": at_random,
    **{f"mcts-{count}": partial(by_search, count) for count in (100, 1_000, 10_000)},
}
