"""Positions that draw themselves: pgx's pictures in a notebook, text elsewhere."""

import dataclasses
from typing import Any

from polyak.envs.base import CompiledEnv
from polyak.envs.games.from_pgx import GAMES, rules_of
from polyak.envs.games.notation import NOTATIONS, draw
from polyak.errors import UnknownName


@dataclasses.dataclass(frozen=True, repr=False)
class Board:
    """A position of a game; a notebook draws it, and `print` writes it."""

    game: str
    state: Any

    def __repr__(self) -> str:
        return draw(self.game, self.state) if self.game in NOTATIONS else f"a position of {self.game}"

    def _repr_svg_(self) -> str | None:
        """The picture; None in tic-tac-toe, which is text."""
        return rules_of(self.game).unpack(self.state).to_svg() if self.game in GAMES else None


def show(env: CompiledEnv | str, state: Any) -> Board:
    """A position that draws itself.

    Args:
        env: the game, or its id; also the one against an opponent.
        state: as its `reset` and `step` return it.

    Raises:
        UnknownName: it is no game that can be drawn.
    """
    game = (env if isinstance(env, str) else env.id).partition("/")[0]
    if game not in {*GAMES, *NOTATIONS}:
        raise UnknownName("game whose boards can be drawn", game, {*GAMES, *NOTATIONS})
    return Board(game, state)
