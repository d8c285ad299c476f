"""Games of two players from pgx (Koyamada et al., 2023), as compiled environments.

pgx's state holds an observation, rewards and a mask beside what the rules need, in wide integers. The state here holds
the rules' part alone, in narrow ones, because a search tree keeps one in every node; what is missing is put back before
each of pgx's steps. A mask of actions that is costly to find is kept as bits.

Player 0 begins. pgx's own limits are rules here as there: a game that reaches one has `terminated`, with the result
that stands on the board (chess after 512 moves, Gardner chess after 256: a draw; Go after 162: counted).

Players alternate in every game. Where the rules let one move twice (a turn of backgammon is up to four moves, and each
round of Leduc poker begins with the same player), the other must *wait* in between, which is one more action, the last.
Rewards of poker are chips, of backgammon points; of all other games 1, 0 and -1.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree
from polyak.envs.base import CompiledEnv
from polyak.envs.symmetries import Symmetry, symmetries
from polyak.errors import EnvironmentFault
from polyak.spaces import MASK, in_row

REPEATS = 109  # positions: a game ends 100 after a move that cannot be undone, and repeats are shown of the last 8
CHECKERS = 15  # of each player of backgammon


class State(NamedTuple):
    """The state of a game, from step to step."""

    player: Array  # [] int8, who is to move; 0 began
    over: Array  # [] bool; a game that is over stays as it is, and its steps are worth 0
    legal: PyTree  # [ceil(A / 8)] uint8, a bit for each action; () where the rules' part tells it at once
    rules: dict[str, Array]  # what pgx's rules need besides, by its names
    waits: PyTree = ()  # [] bool, whether the other one must wait before `player` moves again; () where none ever must


class Game(NamedTuple):
    """What of a pgx game is kept."""

    pgx_id: str
    kept: dict[str, type]  # fields of its state, and the type that holds all values that they take
    colour: str | None = None  # the field that says whose turn it is, as `State.player` does
    legal: Callable[[dict[str, Array]], Array] | None = None  # the rules' part -> mask [A], where it tells it at once
    recent: tuple[str, ...] = ()  # histories of which the last `REPEATS` entries are enough
    symmetry: Symmetry | None = None  # how its board may be turned and mirrored
    chance: bool = False  # see `CompiledEnv`
    hidden: bool = False  # the same
    waits: bool = False  # whether one may move twice


def _connect_four_legal(rules: dict[str, Array]) -> Array:
    return rules["board"][:7] < 0  # whether the upper row is free


def _hex_legal(rules: dict[str, Array]) -> Array:
    return jnp.append(rules["board"] == 0, rules["step_count"] == 1)  # the second player may take the first move over


GAMES = {
    "connect-four": Game("connect_four", {"board": np.int8}, "color", _connect_four_legal, symmetry="mirror"),
    "othello": Game("othello", {"board": np.int8, "passed": np.bool_}, "turn", symmetry="diagonals"),
    "hex": Game("hex", {"board": np.int8, "step_count": np.int8}, legal=_hex_legal),
    "go-9x9": Game(
        "go_9x9",
        {
            "board": np.int8,
            "board_history": np.int8,
            "consecutive_pass_count": np.int8,
            "hash_history": np.uint32,
            "ko": np.int8,
            "step_count": np.int16,
        },
        symmetry="square",
    ),
    "gardner-chess": Game(
        "gardner_chess",
        {
            "board": np.int8,
            "board_history": np.int8,
            "halfmove_count": np.int8,
            "hash_history": np.uint32,
            "possible_piece_positions": np.int8,
            "step_count": np.int16,
            "zobrist_hash": np.uint32,
        },
        "turn",
        recent=("hash_history",),
    ),
    "chess": Game(
        "chess",
        {
            "board": np.int8,
            "board_history": np.int8,
            "castling_rights": np.bool_,
            "en_passant": np.int8,
            "halfmove_count": np.int8,
            "hash_history": np.uint32,
            "step_count": np.int16,
        },
        "color",
        recent=("hash_history",),
    ),
    "kuhn-poker": Game(
        "kuhn_poker", {"cards": np.int8, "last_action": np.int8, "pot": np.int8}, chance=True, hidden=True
    ),
    "leduc-poker": Game(
        "leduc_holdem",
        {
            "cards": np.int8,
            "chips": np.int8,
            "first_player": np.int8,
            "last_action": np.int8,
            "raise_count": np.int8,
            "round": np.int8,
        },
        chance=True,
        hidden=True,
        waits=True,
    ),
    "backgammon": Game(
        "backgammon",
        {"board": np.int8, "dice": np.int8, "playable_dice": np.int8, "played_dice_num": np.int8},
        chance=True,
        waits=True,
    ),
}


def legal_actions(id: str, state: State) -> np.ndarray:
    """Which moves [A] the rules allow, without the one to wait; all of them where the game is over."""
    id = id.partition("/")[0]
    game = GAMES[id]
    if game.legal is None:
        moves = len(rules_of(id).first.legal_action_mask)
        return np.unpackbits(np.asarray(state.legal), count=moves).astype(bool)
    return np.asarray(game.legal(state.rules) | state.over)


class Chance(NamedTuple):
    """The randomness of one step of a game with cards or dice."""

    deal: State  # how a fresh game begins, should one begin here
    roll: Key  # of the dice


@cache  # what is made once is compiled once, however many copies are played
def make(id: str) -> CompiledEnv:
    """The game of an id of `GAMES`, by self-play: each step is a move of the player whose turn it is.

    Raises:
        EnvironmentFault: pgx is not installed.
    """
    game = GAMES[id]
    rules = rules_of(id)
    env, first = rules.env, rules.first
    moves = len(first.legal_action_mask)
    space = gymnasium.spaces.Dict(
        {"observation": _box(first.observation), MASK: gymnasium.spaces.MultiBinary(moves + game.waits)}
    )
    start = rules.pack(first)

    def see(state: Any, waits: PyTree) -> Array:
        """The row of the player to move, or to wait."""
        planes, mask = state.observation, state.legal_action_mask
        if game.waits:
            planes = jnp.where(waits, env._observe(state, 1 - state.current_player), planes)
            mask = jnp.append(mask & (~waits | state.terminated), waits | state.terminated)
        return in_row(space, {"observation": planes, MASK: mask})

    def observe(state: State) -> Array:
        whole = rules.unpack(state)
        return see(whole.replace(observation=env.observe(whole)), state.waits)

    def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
        if not game.chance:
            return jnp.zeros(shape)
        deal_key, roll_key = jax.random.split(key)
        deals = jax.vmap(lambda key: rules.pack(rules.begin(key)))(jax.random.split(deal_key, math.prod(shape)))
        deals = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), deals)
        return Chance(deals, jax.random.split(roll_key, shape))

    def reset(noise: PyTree) -> tuple[State, Array]:
        if not game.chance:
            return start, see(first, ())
        begun = rules.unpack(noise.deal)
        return noise.deal, see(begun.replace(observation=env.observe(begun)), noise.deal.waits)

    def step(state: State, action: Array, noise: PyTree):
        before = rules.unpack(state)
        after = env.step(before, action, noise.roll if game.chance else None)
        moved = rules.pack(after)
        reward = after.rewards[state.player]
        if game.waits:  # either it is a move and one is made, or it is not and none is
            wrong = (state.waits != (action == moves)) & ~state.over
            moved = jax.tree.map(lambda a, b: jnp.where(state.waits | wrong, a, b), state, moved)
            waits = ~state.waits & (after.current_player == before.current_player) & ~moved.over
            moved = moved._replace(over=moved.over | wrong, waits=waits & ~wrong)
            reward = jnp.where(wrong, env._illegal_action_penalty, jnp.where(state.waits, 0.0, reward))
            after = rules.unpack(moved)
            after = after.replace(observation=env.observe(after))
        return moved, see(after, moved.waits), reward, after.terminated, jnp.bool_(False)

    actions: gymnasium.spaces.Discrete = gymnasium.spaces.Discrete(moves + game.waits)
    return CompiledEnv(
        id,
        space,
        actions,
        None,
        noise,
        reset,
        step,
        turns=True,
        chance=game.chance,
        hidden=game.hidden,
        observe=observe,
        symmetries=symmetries(space, moves, game.symmetry) if game.symmetry else None,
    )


def _box(seen: Array) -> gymnasium.spaces.Box:
    """The space of what a player observes: planes of 0 and 1, shares, or checkers and dice."""
    if seen.dtype == np.bool_:
        return gymnasium.spaces.Box(np.int8(0), np.int8(1), seen.shape, np.int8)
    if seen.dtype == np.float32:
        return gymnasium.spaces.Box(0.0, 1.0, seen.shape, np.float32)
    return gymnasium.spaces.Box(np.int8(-CHECKERS), np.int8(CHECKERS), seen.shape, np.int8)


class Rules(NamedTuple):
    """A pgx game, and the way from its states to ours and back."""

    env: Any  # pgx.Env
    first: Any  # pgx.State, how games begin that all begin alike
    begin: Callable[[Key], Any]  # how one begins that chance decides; player 0 begins
    pack: Callable[[Any], State]
    unpack: Callable[[State], Any]  # all but observation and rewards is there again


@cache
def rules_of(id: str) -> Rules:
    """The rules of an id of `GAMES`; raises `EnvironmentFault` where pgx is not installed."""
    game = GAMES[id]
    try:
        import pgx
    except ImportError:
        raise EnvironmentFault("pgx is not installed; `pip install polyak[games]` brings it.") from None

    env = pgx.make(game.pgx_id)
    nested = hasattr(
        jax.eval_shape(env.init, jax.random.key(0)), "_x"
    )  # most keep what rules need in a part of its own
    names = {name: name if nested else f"_{name}" for name in (*game.kept, *filter(None, [game.colour]))}

    def part(state: Any) -> Any:
        return state._x if nested else state

    def changed(state: Any, rules: dict[str, Any]) -> Any:
        fields = {names[name]: value for name, value in rules.items()}
        return state.replace(_x=state._x._replace(**fields)) if nested else state.replace(**fields)

    def begin(key: Key) -> Any:
        state: Any = env.init(key)
        zero = {name: jnp.int32(0) for name in ("current_player", "_first_player") if hasattr(state, name)}
        state = state.replace(**zero)
        if hasattr(state, "_player_order"):
            state = state.replace(_player_order=jnp.arange(2))
        state = changed(state, {name: getattr(part(state), names[name])[:REPEATS] for name in game.recent})
        return jax.tree.map(jnp.asarray, state.replace(observation=env.observe(state)))

    first = jax.jit(begin)(jax.random.key(0))  # one program in place of many small ones
    kinds = {name: getattr(part(first), names[name]).dtype for name in names}
    moves = len(first.legal_action_mask)

    def pack(state: Any) -> State:
        kept = {name: getattr(part(state), names[name]).astype(kind) for name, kind in game.kept.items()}
        legal = jnp.packbits(state.legal_action_mask) if game.legal is None else ()
        waits = jnp.bool_(False) if game.waits else ()
        return State(state.current_player.astype(jnp.int8), state.terminated, legal, kept, waits)

    def unpack(state: State) -> Any:
        rules = {name: value.astype(kinds[name]) for name, value in state.rules.items()}
        if game.colour:
            rules[game.colour] = state.player.astype(kinds[game.colour])
        if game.legal is None:
            legal = jnp.unpackbits(state.legal, count=moves).astype(bool)
        else:
            legal = game.legal(state.rules) | state.over
        whole = changed(first, rules).replace(
            current_player=state.player.astype(jnp.int32), terminated=state.over, legal_action_mask=legal
        )
        if nested and hasattr(whole._x, "legal_action_mask"):  # chess keeps it twice
            whole = whole.replace(_x=whole._x._replace(legal_action_mask=legal))
        return whole

    return Rules(env, first, begin, pack, unpack)
