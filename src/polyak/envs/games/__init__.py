"""Games of two players, by their ids. pgx, which has their rules, is imported when a game is made."""

from collections.abc import Callable
from functools import cache, partial

from polyak.envs.base import CompiledEnv
from polyak.envs.games import from_pgx
from polyak.envs.games.positions import Positions as Positions, connect_four_positions as connect_four_positions
from polyak.envs.opponents import OPPONENTS, against


@cache  # what is made once is compiled once, however many copies are played
def make_against(id: str, name: str) -> CompiledEnv:
    """The game of an id of `from_pgx.GAMES` against one of `OPPONENTS`."""
    env = from_pgx.make(id)
    return against(env, OPPONENTS[name](env), name)


GAMES: dict[str, Callable[[], CompiledEnv]] = {
    **{id: partial(from_pgx.make, id) for id in from_pgx.GAMES},
    **{f"{id}/{name}": partial(make_against, id, name) for id in from_pgx.GAMES for name in OPPONENTS},
}
