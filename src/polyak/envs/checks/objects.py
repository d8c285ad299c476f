"""The object: that it can be made, made again and closed, and that its calls return, in time."""

import gymnasium

from polyak.envs.checks.record import Record, TooLong
from polyak.envs.values import capital
from polyak.errors import EnvironmentFault

FEW_STEPS = 20  # of which nothing is said about speed
SLOW = 100.0  # steps a second, below which a million steps take three hours


def cannot_be_made(record: Record) -> str | None:
    """The environment can be made, twice."""
    call = record.raised("make")
    if call is None:
        return None
    if isinstance(call.error, EnvironmentFault):
        return str(call.error)
    which = f" {call.play}" if call.play else ""
    return f"Making it{which} raised {call.said}; it must be possible to make several, one after the other."


def not_an_environment(record: Record) -> str | None:
    """The function that makes it returns a `gymnasium.Env`."""
    wrong = [type(made).__name__ for made in record.made if not isinstance(made, gymnasium.Env)]
    if not wrong:
        return None
    return (
        f"The function that makes it returned {wrong[0]}; return an object whose class is derived from gymnasium.Env."
    )


def same_object_twice(record: Record) -> str | None:
    """Each call makes an object of its own."""
    if len(record.made) < 2 or record.made[0] is not record.made[1]:
        return None
    return (
        "Two calls of the function returned the same object; make a new one in it each time, because several are "
        "stepped side by side."
    )


def close_raises(record: Record) -> str | None:
    """`close` can be called."""
    call = record.raised("close")
    if call is None:
        return None
    return f"close raised {call.said}; it must succeed, whatever was played before."


def hangs(record: Record) -> str | None:
    """Every call returns."""
    call = next((call for call in record.calls if isinstance(call.error, TooLong)), None)
    if call is None:
        return None
    return f"{capital(call.where)} had not returned after {call.seconds:.0f} seconds; find what it waits for there."


def slow(record: Record) -> str | None:
    """A million steps take less than three hours."""
    seconds = record.seconds_a_step
    if len(record.steps) < FEW_STEPS or seconds <= 1.0 / SLOW:
        return None
    return (
        f"It makes {1.0 / seconds:,.1f} steps per second, resets included, so that a million take "
        f"{seconds * 1e6 / 3600:,.0f} hours; profile step and reset."
    )
