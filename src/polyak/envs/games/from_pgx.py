"""Games of two players from pgx (Koyamada et al., 2023), as compiled environments.

pgx's state holds an observation, rewards and a mask beside what the rules need, in wide integers. The state here holds
the rules' part alone, in narrow ones, because a search tree keeps one in every node; what is missing is put back before
each of pgx's steps. A mask of actions that is costly to find is kept as bits.

Player 0 begins. pgx's own limits are rules here as there: a game that reaches one has `terminated`, with the result
that stands on the board (chess after 512 moves, Gardner chess after 256: a draw; Go after 162: counted).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree
from polyak.envs.base import CompiledEnv
from polyak.envs.games.symmetries import Symmetry, symmetries
from polyak.errors import EnvironmentFault
from polyak.spaces import MASK, in_row

REPEATS = 109  # positions: a game ends 100 after a move that cannot be undone, and repeats are shown of the last 8


class State(NamedTuple):
    """The state of a game, from step to step."""

    player: Array  # [] int8, who is to move; 0 began
    over: Array  # [] bool; a game that is over stays as it is, and its steps are worth 0
    legal: PyTree  # [ceil(A / 8)] uint8, a bit for each action; () where the rules' part tells it at once
    rules: dict[str, Array]  # what pgx's rules need besides, by its names


class Game(NamedTuple):
    """What of a pgx game is kept."""

    pgx_id: str
    kept: dict[str, type]  # fields of its state, and the type that holds all values that they take
    colour: str | None = None  # the field that says whose turn it is, as `State.player` does
    legal: Callable[[dict[str, Array]], Array] | None = None  # the rules' part -> mask [A], where it tells it at once
    recent: tuple[str, ...] = ()  # histories of which the last `REPEATS` entries are enough
    symmetry: Symmetry | None = None  # how its board may be turned and mirrored


def _connect_four_legal(rules: dict[str, Array]) -> Array:
    return rules["board"][:7] < 0  # whether the upper row is free


def _hex_legal(rules: dict[str, Array]) -> Array:
    return jnp.append(rules["board"] == 0, rules["step_count"] == 1)  # the second player may take the first move over


GAMES = {
    "connect-four": Game("connect_four", {"board": np.int8}, "color", _connect_four_legal, symmetry="mirror"),
    "othello": Game("othello", {"board": np.int8, "passed": np.bool_}, "turn", symmetry="square"),
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
}


@cache  # what is made once is compiled once, however many copies are played
def make(id: str) -> CompiledEnv:
    """The game of an id of `GAMES`, by self-play: each step is a move of the player whose turn it is.

    Raises:
        EnvironmentFault: pgx is not installed.
    """
    game = GAMES[id]
    rules = rules_of(game)
    planes = rules.first.observation
    kind, high = (np.int8, 1) if planes.dtype == np.bool_ else (np.float32, 1.0)
    observed = gymnasium.spaces.Box(kind(0), kind(high), planes.shape, kind)
    actions = len(rules.first.legal_action_mask)
    space = gymnasium.spaces.Dict({"observation": observed, MASK: gymnasium.spaces.MultiBinary(actions)})
    start = rules.pack(rules.first)

    def see(state: Any) -> Array:
        return in_row(space, {"observation": state.observation, MASK: state.legal_action_mask})

    def observe(state: State) -> Array:
        whole = rules.unpack(state)
        return see(whole.replace(observation=rules.env.observe(whole)))

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jnp.zeros(shape)  # nothing is left to chance

    def reset(noise: Array) -> tuple[State, Array]:
        return start, see(rules.first)

    def step(state: State, action: Array, noise: Array):
        after = rules.env.step(rules.unpack(state), action)
        return rules.pack(after), see(after), after.rewards[state.player], after.terminated, jnp.bool_(False)

    return CompiledEnv(
        id,
        space,
        gymnasium.spaces.Discrete(actions),
        None,
        noise,
        reset,
        step,
        turns=True,
        observe=observe,
        symmetries=symmetries(space, actions, game.symmetry) if game.symmetry else None,
    )


class Rules(NamedTuple):
    """A pgx game, and the way from its states to ours and back."""

    env: Any  # pgx.Env
    first: Any  # pgx.State, where player 0 begins
    pack: Callable[[Any], State]
    unpack: Callable[[State], Any]  # all but observation and rewards is there again


def rules_of(game: Game) -> Rules:
    """The rules of a game; raises `EnvironmentFault` where pgx is not installed."""
    try:
        import pgx
    except ImportError:
        raise EnvironmentFault("pgx is not installed; `pip install polyak[games]` brings it.") from None

    env = pgx.make(game.pgx_id)
    first: Any = env.init(jax.random.key(0))
    nested = hasattr(first, "_x")  # most games keep what their rules need in a part of its own
    names = {name: name if nested else f"_{name}" for name in (*game.kept, *filter(None, [game.colour]))}

    def part(state: Any) -> Any:
        return state._x if nested else state

    def changed(state: Any, rules: dict[str, Any]) -> Any:
        fields = {names[name]: value for name, value in rules.items()}
        return state.replace(_x=state._x._replace(**fields)) if nested else state.replace(**fields)

    first = jax.tree.map(jnp.asarray, first).replace(current_player=jnp.int32(0))
    if hasattr(first, "_player_order"):
        first = first.replace(_player_order=jnp.arange(2))
    first = changed(first, {name: getattr(part(first), names[name])[:REPEATS] for name in game.recent})
    first = first.replace(observation=env.observe(first))
    kinds = {name: getattr(part(first), names[name]).dtype for name in names}
    actions = len(first.legal_action_mask)

    def pack(state: Any) -> State:
        kept = {name: getattr(part(state), names[name]).astype(kind) for name, kind in game.kept.items()}
        legal = jnp.packbits(state.legal_action_mask) if game.legal is None else ()
        return State(state.current_player.astype(jnp.int8), state.terminated, legal, kept)

    def unpack(state: State) -> Any:
        rules = {name: value.astype(kinds[name]) for name, value in state.rules.items()}
        if game.colour:
            rules[game.colour] = state.player.astype(kinds[game.colour])
        if game.legal is None:
            legal = jnp.unpackbits(state.legal, count=actions).astype(bool)
        else:
            legal = game.legal(state.rules) | state.over
        whole = changed(first, rules).replace(
            current_player=state.player.astype(jnp.int32), terminated=state.over, legal_action_mask=legal
        )
        if hasattr(part(whole), "legal_action_mask"):  # chess keeps it twice
            whole = whole.replace(_x=whole._x._replace(legal_action_mask=legal))
        return whole

    return Rules(env, first, pack, unpack)
