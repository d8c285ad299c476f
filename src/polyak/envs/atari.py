"""Atari 2600 games by their ids, and the protocols that experiments on them follow.

An id is a game, and behind a slash, where the default is not wanted, a protocol and settings that differ from it:

    Pong-v5                     the protocol `deepmind`
    Pong-v5/dopamine            another one
    Pong-v5/noops=1,fire=false  the default but for two settings
    ALE/Pong-v5                 Gymnasium's id, which stands for what Gymnasium registers: the protocol `dopamine`

Observations are always those of Mnih et al. (2015): grey, 84 x 84, the larger of two frames, every fourth frame, the
four newest of these. A score is always of a whole game, in its own points.
"""

import dataclasses
import re
from typing import Any

from polyak.errors import BadSetting, UnknownName

STACK, SKIP, SIZE = 4, 4, 84  # frames of an observation, frames of a step, pixels a side
LONGEST = 27_000  # steps of a game: 108,000 frames, half an hour of play

_ROMS = """
adventure air_raid alien amidar assault asterix asteroids atlantis atlantis2 backgammon bank_heist basic_math
battle_zone beam_rider berzerk blackjack bowling boxing breakout carnival casino centipede chopper_command crazy_climber
crossbow darkchambers defender demon_attack donkey_kong double_dunk earthworld elevator_action enduro entombed et
fishing_derby flag_capture freeway frogger frostbite galaxian gopher gravitar hangman haunted_house hero
human_cannonball ice_hockey jamesbond journey_escape kaboom kangaroo keystone_kapers king_kong klax koolaid krull
kung_fu_master laser_gates lost_luggage mario_bros miniature_golf montezuma_revenge mr_do ms_pacman name_this_game
othello pacman phoenix pitfall pitfall2 pong pooyan private_eye qbert riverraid road_runner robotank seaquest
sir_lancelot skiing solaris space_invaders space_war star_gunner superman surround tennis tetris tic_tac_toe_3d
time_pilot trondead turmoil tutankham up_n_down venture video_checkers video_chess video_cube video_pinball
wizard_of_wor word_zapper yars_revenge zaxxon
""".split()
GAMES = {rom.title().replace("_", ""): rom for rom in _ROMS}
IDS = tuple(f"{registry}{game}-v5" for registry in ("", "ALE/") for game in GAMES)

_ID = re.compile(r"(?P<registry>ALE/)?(?P<game>\w+)-v5(?:/(?P<words>.*))?")


@dataclasses.dataclass(frozen=True)
class Atari:
    """A game and how it is played."""

    game: str
    """As in the id: `Pong`."""
    sticky: float = 0.0
    """Probability that a frame repeats the last action instead of taking the new one (Machado et al., 2018)."""
    life_loss: bool = True
    """Whether a lost life ends an episode while training; the next one goes on with the same game."""
    noops: int = 30
    """The most frames without an action that begin an episode; how many is drawn, from 1."""
    fire: bool = True
    """Whether the last of those frames presses FIRE, where the game has it: some wait for it before they begin."""
    clip: bool = True
    """Whether rewards are -1, 0 or 1 while training."""
    full_actions: bool = False
    """Whether there are all 18 actions, or only those that do something in the game."""
    limit: int = LONGEST
    """Steps after which a game is truncated."""

    def __post_init__(self) -> None:
        for name, (low, high) in {"sticky": (0.0, 1.0), "noops": (1, 1_000), "limit": (1, LONGEST)}.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise BadSetting(f"Atari's {name} is {value}; it must be from {low:,} to {high:,}.")

    @property
    def rom(self) -> str:
        """The game's file, without its ending."""
        return GAMES[self.game]


# A published figure belongs to one of them; at the same budget they are not comparable.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "deepmind": {},  # Mnih et al. (2015), with FIRE as in OpenAI's baselines; EnvPool's default, and CleanRL's
    "machado": {"sticky": 0.25, "life_loss": False, "noops": 1, "fire": False, "full_actions": True},  # et al. (2018)
    "dopamine": {"sticky": 0.25, "life_loss": False, "noops": 1, "fire": False},  # Castro et al. (2018)
}
_KINDS: dict[str, type] = {
    field.name: type(field.default) for field in dataclasses.fields(Atari) if field.name != "game"
}


def atari_game(id: str) -> Atari | None:
    """The game and the settings of an id without a backend's prefix; None if it is no game's id.

    Raises:
        UnknownName: it is a game's id with the name of no protocol and no setting.
        BadSetting: a setting has a value that it cannot have.
    """
    match = _ID.fullmatch(id)
    if not match or match["game"] not in GAMES:
        return None
    settings = dict(PROTOCOLS["dopamine" if match["registry"] else "deepmind"])
    words = match["words"].split(",") if match["words"] is not None else []
    if words and "=" not in words[0]:
        name = words.pop(0)
        if name not in PROTOCOLS:
            raise UnknownName("Atari protocol", name, [*PROTOCOLS, *(f"{setting}=..." for setting in _KINDS)])
        settings = dict(PROTOCOLS[name])
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _KINDS or not equals:
            raise UnknownName("Atari setting", name, _KINDS)
        settings[name] = _read(name, value)
    return Atari(match["game"], **settings)


def _read(name: str, value: str) -> Any:
    kind = _KINDS[name]
    if kind is bool and value in ("true", "false"):
        return value == "true"
    try:
        if kind is not bool:
            return kind(value)
    except ValueError:
        pass
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
    raise BadSetting(f"Atari's {name} is {value!r}; it must be {wanted}.")
