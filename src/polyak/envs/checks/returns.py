"""Arguments and answers of `reset` and `step`, observations left aside."""

import inspect
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from polyak.envs.checks.reading import array_of
from polyak.envs.checks.record import ObservedCall, Record
from polyak.envs.values import capital, count, short

LARGE, SMALL = 1e4, 1e-4  # rewards beyond which the losses of most algorithms lose their scale
MOST = float(np.finfo(np.float32).max)


def reset_takes_no_seed(record: Record) -> str | None:
    """`reset` takes a seed."""
    if not record.made or not _lacks_seed(record.made[0]):
        return None
    return "reset takes no argument named seed; declare it as reset(self, *, seed=None, options=None)."


def reset_raises(record: Record) -> str | None:
    """`reset` succeeds at any time: at first, after an end, and in the middle of an episode."""
    call = record.raised("reset")
    if call is None or _lacks_seed(record.made[0]):
        return None
    return f"{capital(call.where)} raised {call.said}; it must be possible to begin anew at any time, with any seed."


def reset_returns_no_info(record: Record) -> str | None:
    """`reset` returns an observation and an info dictionary."""
    call = next((c for c in record.calls if c.method == "reset" and not c.error and not c.well_formed), None)
    if call is None:
        return None
    return f"{capital(call.where)} returned {_shape_of(call.answer)}; return the pair (observation, info)."


def step_raises(record: Record) -> str | None:
    """`step` succeeds with every action of the action space until the episode is over."""
    call = record.raised("step")
    if call is None:
        return None
    return f"{capital(call.where)} raised {call.said}; every member of the action space must be possible."


def step_returns_no_five(record: Record) -> str | None:
    """`step` returns five values."""
    call = next((c for c in record.calls if c.method == "step" and not c.error and not c.well_formed), None)
    if call is None:
        return None
    return (
        f"{capital(call.where)} returned {_shape_of(call.answer)}; return (observation, reward, terminated, "
        f"truncated, info)."
    )


def info_not_a_dictionary(record: Record) -> str | None:
    """The info is a dictionary."""
    call = next((call for call in record.answers if not isinstance(call.answer[-1], dict)), None)
    if call is None:
        return None
    return f"{capital(call.where)} returned {type(call.answer[-1]).__name__} for info; return a dictionary, or {{}}."


def flag_not_a_bool(record: Record) -> str | None:
    """`terminated` and `truncated` are True or False."""
    for call, name, flag in _flags(record):
        if not isinstance(flag, bool | np.bool_ | int | np.integer) or flag not in (0, 1):
            return (
                f"{capital(call.where)} returned {name}={short(flag)}; return True or False, with bool() around it if "
                f"need be."
            )
    return None


def flag_is_a_number(record: Record) -> str | None:
    """`terminated` and `truncated` are not 0 or 1."""
    for call, name, flag in _flags(record):
        if not isinstance(flag, bool | np.bool_) and isinstance(flag, int | np.integer) and flag in (0, 1):
            return f"{capital(call.where)} returned {name}={flag}; return True or False, which `not` and ~ need."
    return None


def reward_not_a_number(record: Record) -> str | None:
    """The reward is one number."""
    for call in record.steps:
        reward = call.answer[1]
        if array_of(reward) is None or np.shape(reward) != ():
            return f"{capital(call.where)} returned the reward {short(reward)}; return one number, float(reward)."
    return None


def reward_not_finite(record: Record) -> str | None:
    """The reward is finite, in 32 bits too."""
    for call, reward in _rewards(record):
        if not abs(reward) <= MOST:
            return (
                f"{capital(call.where)} returned the reward {reward}; return a finite number of 32 bits, and look for "
                f"a division by zero or a logarithm of it."
            )
    return None


def reward_scale(record: Record) -> str | None:
    """Rewards are neither huge nor tiny."""
    sizes = [abs(reward) for _, reward in _rewards(record) if reward and np.isfinite(reward)]
    largest = max(sizes, default=1.0)
    if SMALL <= largest <= LARGE or largest > MOST:
        return None
    return (
        f"The largest reward seen was {largest:.3g} in size; scale rewards to about 1 with "
        f"gymnasium.wrappers.TransformReward, because learning rates are tuned for that."
    )


def _rewards(record: Record) -> Iterator[tuple[ObservedCall, float]]:
    for call in record.steps:
        if array_of(call.answer[1]) is not None and np.shape(call.answer[1]) == ():
            yield call, float(call.answer[1])


def _flags(record: Record) -> Iterator[tuple[ObservedCall, str, Any]]:
    for call in record.steps:
        yield call, "terminated", call.answer[2]
        yield call, "truncated", call.answer[3]


def _lacks_seed(env: Any) -> bool:
    """Whether its `reset` has neither an argument named seed nor arguments of any name."""
    if not isinstance(env, gymnasium.Env):
        return False
    arguments = inspect.signature(env.unwrapped.reset).parameters
    return "seed" not in arguments and not any(one.kind is one.VAR_KEYWORD for one in arguments.values())


def _shape_of(answer: Any) -> str:
    return count(len(answer), "value") if isinstance(answer, tuple) else type(answer).__name__
