"""Spaces that polyak cannot take, or takes at a price: each told in a sentence, with the wrapper that helps."""

import math

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, OneOf

from polyak.envs.values import short
from polyak.errors import EnvironmentFault
from polyak.spaces import ARRAYS, EXACT, Part, for_networks, has_parts, parts, whole_range

TRANSFORM = {"observation": "TransformObservation", "action": "TransformAction"}
PICTURE = 32 * 32  # numbers of two or three axes, from which on they are better read by convolutions


class Caution(UserWarning):
    """Something that works, at a price."""


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
    found = (_not_taken(kind, space, part) or _too_wide(kind, space, part) for part in parts(space))
    return next(filter(None, found), None)


def caution(space: gymnasium.Space) -> str | None:
    """The price of taking such observations, and what to do about it; None where there is none."""
    read = for_networks(space)
    pictures = [part for part in read if _is_picture(part.space)]
    if len(read) < 2 or not pictures:
        return None
    return (
        f"{_name('observation', pictures[0])} is a picture beside other parts, so that it takes four bytes a number "
        f"and is read without convolutions; if the others can be spared, keep it alone with {_alone(pictures[0])}."
    )


def _not_taken(kind: str, space: gymnasium.Space, part: Part) -> str | None:
    """The sentence about a part whose members are no arrays."""
    if isinstance(part.space, ARRAYS):
        return None
    return (
        f"{_name(kind, part)} holds no arrays of numbers, and polyak takes Box, Discrete, MultiDiscrete and "
        f"MultiBinary, and Dict and Tuple spaces of these; {_without(kind, space, part)}."
    )


def _without(kind: str, space: gymnasium.Space, part: Part) -> str:
    """The remedy for a part that is not taken."""
    if kind == "action" or not isinstance(space, Dict):
        wrapper = "FlattenObservation" if kind == "observation" and isinstance(space, OneOf) else TRANSFORM[kind]
        return f"turn it into one of them with gymnasium.wrappers.{wrapper}"
    others = [one for one in parts(space) if isinstance(one.space, ARRAYS)]
    if picture := next((one for one in others if _is_picture(one.space)), None):
        return f"keep the picture alone with {_alone(picture)}"
    lost = {one.path[0] for one in parts(space) if not isinstance(one.space, ARRAYS)}
    keys = [key for key in space.spaces if key not in lost]
    if not keys:
        return f"leave it out, or encode it, with gymnasium.wrappers.{TRANSFORM[kind]}"
    return f"keep the others with gymnasium.wrappers.FilterObservation(env, {keys})"


def _too_wide(kind: str, space: gymnasium.Space, part: Part) -> str | None:
    """The sentence about a part whose bounds allow whole numbers that would wrap or be rounded."""
    low, high = whole_range(part.space)
    beside, last = ("beside other parts ", EXACT) if has_parts(space) else ("", np.iinfo(np.int32).max)
    first = -last if has_parts(space) else np.iinfo(np.int32).min
    if first <= low and high <= last:
        return None
    return (
        f"{_name(kind, part)} holds whole numbers from {low:,} to {high:,}, and {beside}polyak keeps those from "
        f"{first:,} to {last:,}; scale them or make them float32 with gymnasium.wrappers.{TRANSFORM[kind]}."
    )


def _is_picture(space: gymnasium.Space) -> bool:
    shape = space.shape or ()
    return isinstance(space, Box) and len(shape) in (2, 3) and math.prod(shape) >= PICTURE


def _alone(part: Part) -> str:
    """The wrapper that makes one part the whole observation."""
    at = _keys(part)
    return f"gymnasium.wrappers.TransformObservation(env, lambda obs: obs{at}, env.observation_space{at})"


def _name(kind: str, part: Part) -> str:
    """`The action space Discrete(3)`, `Part ['level'] of the action space, Discrete(3),`."""
    space = short(part.space) if isinstance(part.space, ARRAYS) else type(part.space).__name__
    return f"Part {_keys(part)} of the {kind} space, {space}," if part.path else f"The {kind} space {space}"


def _keys(part: Part) -> str:
    """`['inner'][0]`."""
    return "".join(f"[{key!r}]" for key in part.path)
