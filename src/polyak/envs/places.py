"""The places of environments, as JSON: where an episode is, and what another environment is put there with."""

from typing import Any

import gymnasium
import numpy as np

from polyak.envs import snapshot
from polyak.envs.answers import AnswerReader
from polyak.envs.episode_log import EpisodeLog
from polyak.spaces import has_parts, members, row_shape


def place_of(env: gymnasium.Env, tier: snapshot.Tier, log: EpisodeLog, i: int) -> dict[str, Any]:
    """The place of environment i: with its state, else with the actions of its episode, where either is exact."""
    place = log.place(i)
    if tier == "copyable":
        place["state"] = snapshot.capture(env)
    elif tier == "replayable" and len(log.actions[i]) == log.steps[i]:
        place["actions"] = np.asarray(log.actions[i]).tolist()
    return place


def put(
    env: gymnasium.Env, place: dict[str, Any], log: EpisodeLog, i: int, reader: AnswerReader, row: np.ndarray
) -> bool:
    """Puts a fresh environment where environment i was when it showed an observation.

    Args:
        env: the fresh one.
        place: from `place_of`, by way of a file.
        log: brought to that place; what is played again is written into it.
        i: which environment it is.
        reader: of its answers.
        row: the observation.

    Returns:
        Whether that succeeded; if not, a new episode must begin.
    """
    try:
        if place.get("state") is not None:
            snapshot.restore(env, place["state"])
            return True
        if "actions" not in place:
            return False
        actions = _actions(env.action_space, place["actions"])
        again = np.empty_like(row[None])
        reader.observation(snapshot.replay(env, log.seeds[i], members(env.action_space)(actions)), again, 0)
        log.actions[i] = list(actions)
        return np.array_equal(again[0], row)
    except (Exception, SystemExit):
        return False


def _actions(space: gymnasium.Space, found: list) -> np.ndarray:
    """[T, ...] in the type in which they were written down."""
    return np.asarray(found, np.float32 if has_parts(space) else space.dtype).reshape(-1, *row_shape(space))
