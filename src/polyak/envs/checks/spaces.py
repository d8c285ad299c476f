"""The spaces: that they are there, stay as they are, and can be taken."""

import gymnasium
from gymnasium import spaces

from polyak.envs.advice import caution, refusal
from polyak.envs.checks.record import Record
from polyak.envs.values import short


def observation_space_missing(record: Record) -> str | None:
    """There is an observation space, of Gymnasium's kind."""
    return _missing(record, "observation_space", 0)


def action_space_missing(record: Record) -> str | None:
    """There is an action space, of Gymnasium's kind."""
    return _missing(record, "action_space", 1)


def space_not_supported(record: Record) -> str | None:
    """The spaces are of a kind that polyak takes, and their whole numbers are not too large to be kept."""
    for kind, space in zip(("observation", "action"), record.before, strict=True):
        if isinstance(space, gymnasium.Space) and (sentence := refusal(kind, space)):
            return sentence
    return None


def picture_among_parts(record: Record) -> str | None:
    """A picture is the only part of an observation, so that convolutions can read it."""
    space = record.before[0]
    return caution(space) if isinstance(space, gymnasium.Space) else None


def space_changes(record: Record) -> str | None:
    """The spaces are the same for every object and at any time."""
    for later, when in ((record.twin, "on a second object"), (record.after, "after some episodes")):
        for name, one, other in zip(("observation space", "action space"), record.before, later or (), strict=False):
            if one != other:
                return (
                    f"The {name} was {short(one)} and is {short(other)} {when}; an agent is built for one "
                    f"space, so settle it in __init__."
                )
    return None


def unbounded_actions(record: Record) -> str | None:
    """Continuous actions have finite bounds."""
    space = record.before[1]
    if not isinstance(space, spaces.Box) or space.is_bounded():
        return None
    return f"The action space {short(space)} has infinite bounds; give finite ones, which policies scale actions to."


def action_without_choice(record: Record) -> str | None:
    """Every part of an action makes a choice possible."""
    space = record.before[1]
    single = isinstance(space, spaces.Discrete) and space.n == 1
    if single or (isinstance(space, spaces.Box) and bool((space.low == space.high).any())):
        return f"The action space {short(space)} leaves nothing to choose in at least one part; check n, low and high."
    return None


def _missing(record: Record, name: str, which: int) -> str | None:
    if not record.made or not isinstance(record.made[0], gymnasium.Env):
        return None
    space = record.before[which]
    if isinstance(space, gymnasium.Space):
        return None
    return f"The {name.replace('_', ' ')} is {short(space)}; set self.{name} in __init__ to one of gymnasium.spaces."
