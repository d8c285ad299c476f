"""Games of two players, by their ids: by self-play, and against opponents.

pgx, which has the rules of most, is imported when a game is made.
"""

from collections.abc import Callable
from functools import cache, partial

from polyak.envs import tictactoe
from polyak.envs.base import CompiledEnv
from polyak.envs.games import from_pgx
from polyak.envs.games.positions import Positions as Positions, connect_four_positions as connect_four_positions
from polyak.envs.opponents import OPPONENTS, against

SELF_PLAY: dict[str, Callable[[], CompiledEnv]] = {
    "tic-tac-toe": tictactoe.GAMES["tic-tac-toe"],
    **{id: partial(from_pgx.make, id) for id in from_pgx.GAMES},
}


@cache  # what is made once is compiled once, however many copies are played
def make_against(id: str, name: str) -> CompiledEnv:
    """The game of an id of `SELF_PLAY` against one of `OPPONENTS`."""
    env = SELF_PLAY[id]()
    return against(env, OPPONENTS[name](env), name)


def _opponents(id: str) -> list[str]:
    """The opponents of a game: all but those that would look at cards that they may not see."""
    is_hidden = id in from_pgx.GAMES and from_pgx.GAMES[id].hidden
    return [name for name in OPPONENTS if not (is_hidden and name.startswith("mcts-"))]


GAMES: dict[str, Callable[[], CompiledEnv]] = {
    **SELF_PLAY,
    **{f"{id}/{name}": partial(make_against, id, name) for id in SELF_PLAY for name in _opponents(id)},
    **tictactoe.GAMES,  # its opponents know what to do on each board, and need no search
}
