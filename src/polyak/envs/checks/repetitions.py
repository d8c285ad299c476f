"""Repetitions, on the same object and on others."""

from polyak.envs.checks.episodes import stays_over
from polyak.envs.checks.record import MANY_RESETS, Record
from polyak.envs.values import capital


def seed_ignored(record: Record) -> str | None:
    """The same seed gives the same first observation."""
    difference = _first_difference(record, "fresh")
    if difference is None or not difference.startswith("reset(seed=") or global_randomness(record):
        return None
    return (
        f"{capital(difference)} on another object; begin reset with super().reset(seed=seed) and draw from "
        f"self.np_random alone."
    )


def not_deterministic(record: Record) -> str | None:
    """The same seed and the same actions give the same episode on every object."""
    difference = _first_difference(record, "fresh")
    if difference is None or difference.startswith("reset(seed=") or global_randomness(record):
        return None
    return (
        f"{capital(difference)} on another object, after the same seed and actions; draw all that is random from "
        f"self.np_random, and use no clock."
    )


def reset_forgets(record: Record) -> str | None:
    """The same seed and the same actions give the same episode on an object that has been played before."""
    difference = _first_difference(record, "again")
    if difference is None or _first_difference(record, "fresh") or global_randomness(record) or stays_over(record):
        return None
    return (
        f"{capital(difference)} when the object was reset with the same seed and played again; something survives "
        f"reset, so let it set every variable anew."
    )


def objects_share_state(record: Record) -> str | None:
    """Two objects do not disturb each other."""
    difference = _first_difference(record, "by turns")
    if difference is None or _first_difference(record, "fresh") or global_randomness(record):
        return None
    return (
        f"{capital(difference)} when another object was played by turns with it; keep what changes in self, set in "
        f"__init__ or reset, not in the class or the module."
    )


def reset_repeats_itself(record: Record) -> str | None:
    """`reset` without a seed begins another episode than before."""
    if not record.seeds_differ or record.equal_starts < MANY_RESETS:
        return None
    return (
        f"Two seeds gave two episodes, but {record.equal_starts} calls of reset() without one all began with the same "
        f"observation; create the random generator only when a seed is given."
    )


def global_randomness(record: Record) -> str | None:
    """Nothing is drawn from the random numbers that the whole process shares."""
    call = next((call for call in record.calls if call.drew_from), None)
    if call is None:
        return None
    return (
        f"{capital(call.where)} used the global random numbers of {call.drew_from}, which no seed of reset governs; "
        f"use self.np_random, after super().reset(seed=seed)."
    )


def _first_difference(record: Record, kind: str) -> str | None:
    """How a repetition went another way, unless the environment says that it cannot be repeated."""
    return None if record.nondeterministic else record.differences.get(kind)
