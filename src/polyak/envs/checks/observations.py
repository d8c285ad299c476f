"""Observations, part by part; and arrays that an environment must leave alone."""

import numpy as np
from gymnasium import spaces

from polyak.envs.checks.reading import array_of, arrays, fits, parts
from polyak.envs.checks.record import SHORT_STEPS, Record
from polyak.envs.values import capital, same, short
from polyak.spaces import ARRAYS


def observation_not_numbers(record: Record) -> str | None:
    """An observation consists of numbers, where its space does."""
    for call, name, space, value in parts(record):
        if isinstance(space, ARRAYS) and array_of(value) is None:
            return f"{capital(call.where)} returned {name} {short(value)}; return numbers, a member of {short(space)}."
    return None


def observation_shape(record: Record) -> str | None:
    """An observation has the shape of its space."""
    for call, name, space, value in arrays(record):
        if value.shape != space.shape:
            return (
                f"{capital(call.where)} returned {name} with the shape {value.shape}; {short(space)} asks for "
                f"{space.shape}."
            )
    return None


def observation_not_finite(record: Record) -> str | None:
    """No observation holds NaN or infinity."""
    for call, name, _, value in arrays(record):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            place = f" at index {', '.join(map(str, at))}" if at else ""
            return (
                f"{capital(call.where)} returned {name} with {value[at]}{place}; return finite numbers, and look for "
                f"a division by zero."
            )
    return None


def observation_not_whole(record: Record) -> str | None:
    """An observation in a space of whole numbers holds no fractions, which would be cut off."""
    for call, name, space, value in arrays(record):
        if np.dtype(space.dtype).kind in "iub" and value.dtype.kind == "f" and (value != np.floor(value)).any():
            return (
                f"{capital(call.where)} returned {name} {short(value)} with fractions, and {short(space)} holds whole "
                f"numbers; give the space a type of fractions, dtype=np.float32."
            )
    return None


def observation_outside_space(record: Record) -> str | None:
    """An observation that counts or chooses is a member of its space."""
    for call, name, space, value in parts(record):
        if isinstance(space, ARRAYS):
            array = array_of(value)
            if isinstance(space, spaces.Box) or array is None or not fits(array, space):
                continue  # other checks see to bounds, types and shapes
            inside = space.contains(array.astype(space.dtype))
        else:
            inside = space.contains(value)
        if not inside:
            return (
                f"{capital(call.where)} returned {name} {short(value)}, which is not in {short(space)}; correct "
                f"the one or the other."
            )
    return None


def observation_outside_bounds(record: Record) -> str | None:
    """An observation lies within the bounds of its Box."""
    for call, name, space, value in arrays(record):
        if not isinstance(space, spaces.Box) or not fits(value, space) or not np.isfinite(value).all():
            continue
        value = value.astype(space.dtype) if np.dtype(space.dtype).kind == "f" else value
        outside = (value < space.low) | (value > space.high)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            place = f" at index {', '.join(map(str, at))}" if at else ""
            return (
                f"{capital(call.where)} returned {name} with {value[at]:.6g}{place}, outside of "
                f"[{space.low[at]:.6g}, {space.high[at]:.6g}]; widen the bounds of the space or clip the value."
            )
    return None


def observation_type(record: Record) -> str | None:
    """An observation has the type of its space, or one that fits into it."""
    for call, name, space, value in parts(record):
        if isinstance(space, spaces.Box) and not hasattr(value, "dtype") and array_of(value) is not None:
            return (
                f"{capital(call.where)} returned {name} as {type(value).__name__}; return "
                f"np.array(..., dtype=np.{np.dtype(space.dtype)}), which is faster too."
            )
        given = getattr(value, "dtype", None)
        array = array_of(value)
        known = isinstance(space, ARRAYS) and array is not None and fits(array, space)
        if known and given is not None and not np.can_cast(given, space.dtype, "safe"):
            return (
                f"{capital(call.where)} returned {name} of type {given}, and its space is of {np.dtype(space.dtype)}; "
                f"convert it with .astype(np.{np.dtype(space.dtype)}) or declare the space so."
            )
    return None


def observation_constant(record: Record) -> str | None:
    """Observations change."""
    seen = [call.obs for call in record.answers]
    if observation_not_numbers(record) or observation_not_finite(record):
        return None
    if len(seen) < SHORT_STEPS or not all(same(seen[0], obs) for obs in seen[1:]):
        return None
    return (
        f"All {len(seen)} observations were equal, {short(seen[0])}; an agent cannot tell one state from another, so "
        f"look for a sensor that is never read."
    )


def reused_buffer(record: Record) -> str | None:
    """An observation that was returned is left alone."""
    call = next((call for call in record.calls if call.earlier_changed), None)
    if call is None:
        return None
    return (
        f"{capital(call.where)} changed the observation that the call before had returned; return a copy, "
        f"obs.copy(), because code that keeps observations would keep the same one many times."
    )


def action_mutated(record: Record) -> str | None:
    """The action that was given is left alone."""
    call = next((call for call in record.calls if call.action_changed), None)
    if call is None:
        return None
    return (
        f"{capital(call.where)} changed the array of the action that it was given; work on a copy, because the agent "
        f"learns from what it believes to have played."
    )
