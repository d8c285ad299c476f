"""Ends of episodes."""

from polyak.envs.checks.record import EPISODE_STEPS, ObservedCall, Record
from polyak.envs.values import same

SAME_LENGTH, SAME_EPISODES = 20, 3  # so many episodes, so long and all of one length, look like a clock
FIRST_LENGTH = 10  # of the first episode, at least, beside which episodes of a single step look like a fault


def never_ends(record: Record) -> str | None:
    """Episodes end, or a time limit cuts them."""
    longest = max((len(episode) - 1 for episode in record.episodes), default=0)
    if record.finished or record.limit or longest < EPISODE_STEPS:
        return None
    return (
        f"No episode of random actions ended within {longest:,} steps, and no time limit is declared; if there is "
        f"none, add one with gymnasium.wrappers.TimeLimit(env, max_episode_steps=...)."
    )


def limit_not_kept(record: Record) -> str | None:
    """No episode is longer than the time limit that the environment declares."""
    longest = max((len(episode) - 1 for episode in record.episodes), default=0)
    if not record.limit or longest <= record.limit:
        return None
    return (
        f"An episode went on to step {longest}, and max_episode_steps is {record.limit}; return truncated=True at that "
        f"step, or correct the number."
    )


def truncation_as_termination(record: Record) -> str | None:
    """The clock truncates an episode; it does not terminate it."""
    ended = [episode for episode in record.finished if _only_terminated(episode[-1])]
    at_limit = [episode for episode in ended if record.limit and len(episode) - 1 == record.limit]
    lengths = {len(episode) - 1 for episode in record.finished}
    alike = len(lengths) == 1 and min(lengths) >= SAME_LENGTH and len(ended) == len(record.finished) >= SAME_EPISODES
    if not alike and not (len(at_limit) >= 2 and len(at_limit) == len(ended)):
        return None
    length = len((at_limit or ended)[0]) - 1
    return (
        f"All {len(ended)} episodes that terminated did so at exactly step {length}; if that is a clock, return "
        f"truncated=True instead of terminated=True, or the agent learns that nothing is worth anything then."
    )


def stays_over(record: Record) -> str | None:
    """An episode after the first does not end at its first step."""
    lengths = [len(episode) - 1 for episode in record.finished]
    if len(lengths) < SAME_EPISODES or lengths[0] < FIRST_LENGTH or any(length != 1 for length in lengths[1:]):
        return None
    return (
        f"The first episode had {lengths[0]} steps, and each of the {len(lengths) - 1} after it ended at its first; "
        f"let reset clear whatever says that the episode is over."
    )


def resets_itself(record: Record) -> str | None:
    """The last observation of an episode is its own, not the first of the next."""
    ended = [episode for episode in record.finished if len(episode) > 2]
    if (
        len(ended) < SAME_EPISODES
        or not all(same(episode[0].obs, episode[-1].obs) for episode in ended)
        or all(same(episode[0].obs, call.obs) for episode in ended for call in episode)
    ):
        return None
    return (
        f"All {len(ended)} episodes ended with the very observation that they began with; if step begins the next "
        f"episode by itself, leave that to reset and return the observation of the end."
    )


def _only_terminated(call: ObservedCall) -> bool:
    return bool(call.answer[2]) and not call.answer[3]
