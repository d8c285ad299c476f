"""Spaces that polyak cannot take, each told in a sentence with the wrapper that helps."""

import gymnasium
import numpy as np

from polyak.errors import EnvironmentFault
from polyak.spaces import EXACT, Part, has_parts, parts, whole_range

WRAPPERS = {"observation": "TransformObservation", "action": "TransformAction"}


def check_spaces(id: str, observed: gymnasium.Space, acted: gymnasium.Space) -> None:
    """Raises `EnvironmentFault` where polyak cannot take the observations or the actions of an environment."""
    for kind, space in (("observation", observed), ("action", acted)):
        if sentence := refusal(kind, space):
            raise EnvironmentFault(f"{id}: {sentence}")


def refusal(kind: str, space: gymnasium.Space) -> str | None:
    """Why polyak cannot take a space, and what to do about it; None where it can.

    Args:
        kind: "observation" or "action".
        space: theirs.
    """
    for part in parts(space):
        if sentence := _too_wide(kind, space, part):
            return sentence
    return None


def _too_wide(kind: str, space: gymnasium.Space, part: Part) -> str | None:
    """Whether a part binds itself to whole numbers beyond those that are kept, and so would wrap or be rounded."""
    low, high = whole_range(part.space)
    beside, last = ("beside other parts ", EXACT) if has_parts(space) else ("", np.iinfo(np.int32).max)
    first = -last if has_parts(space) else np.iinfo(np.int32).min
    if first <= low and high <= last:
        return None
    return (
        f"{_name(kind, part)} holds whole numbers from {low:,} to {high:,}, and {beside}polyak keeps those from "
        f"{first:,} to {last:,}; scale them or make them float32 with gymnasium.wrappers.{WRAPPERS[kind]}."
    )


def _name(kind: str, part: Part) -> str:
    """`The action space Discrete(3)`, `Part ['level'] of the action space, Discrete(3),`."""
    path = "".join(f"[{key!r}]" for key in part.path)
    return f"Part {path} of the {kind} space, {part.space}," if path else f"The {kind} space {part.space}"
