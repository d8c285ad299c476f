"""Answers of Gymnasium environments, checked and read into rows."""

import math
from typing import Any

import gymnasium
import numpy as np

from polyak.envs.values import short
from polyak.spaces import has_parts, leaves_a_choice, mask_of, row_shape, storage_type, to_rows


class WrongAnswer(Exception):
    """An answer that breaks Gymnasium's interface.

    Args:
        what: what the environment did.
        expected: what it should have returned.
    """

    def __init__(self, what: str, expected: str):
        super().__init__(what, expected)
        self.what, self.expected = what, expected


class AnswerReader:
    """Reads the answers of environments of certain spaces.

    Attributes:
        shape: of a row, which is how an observation is kept: see `polyak.spaces`.
        dtype: of a row.
        masks: whether there is a mask of actions in it.
    """

    def __init__(self, observed: gymnasium.Space, acted: gymnasium.Space):
        self.shape, self.dtype = row_shape(observed), storage_type(observed)
        self._observed, self._acted = observed, acted
        self._in_parts, self._mask = has_parts(observed), mask_of(observed)
        self.masks = self._mask is not None
        kinds: Any = (self.dtype, observed.dtype) if self.dtype.kind != "f" else ()
        self._lossless = [kind for kind in kinds if np.can_cast(kind, self.dtype)]  # others are compared once stored

    def first(self, answer: Any, rows: np.ndarray, i: int) -> None:
        """Reads what `reset` returned into row i; raises `WrongAnswer` if it is none."""
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise WrongAnswer(f"reset returned {type(answer).__name__}", "a tuple (observation, info)")
        self.observation(answer[0], rows, i)
        if self.masks:
            self.mask(rows[i])
        if not all_finite(rows[i]):
            raise WrongAnswer("reset returned an observation with NaN or infinity in it", "finite numbers")

    def observation(self, seen: Any, rows: np.ndarray, i: int) -> None:
        """Writes an observation into row i; raises `WrongAnswer` if the row cannot hold it."""
        if self._in_parts:
            seen = self._row(seen)
        try:
            shape = seen.shape if isinstance(seen, np.ndarray) else np.shape(seen)
        except ValueError as error:  # ragged
            raise self._no_member(seen) from error
        if shape != self.shape:
            raise WrongAnswer(f"the observation has shape {shape}", f"{self.shape}, as in {short(self._observed)}")
        try:
            rows[i] = seen
        except (TypeError, ValueError, OverflowError) as error:
            raise self._no_member(seen) from error
        if self._lossless and getattr(seen, "dtype", None) not in self._lossless and np.count_nonzero(rows[i] != seen):
            raise self._no_member(seen, f" that can be kept as {self.dtype}")

    def mask(self, row: np.ndarray) -> None:
        """Raises `WrongAnswer` if the mask in a row leaves no action."""
        if not leaves_a_choice(row[self._mask], self._acted):
            raise WrongAnswer("the mask rules out every action", "at least one, or of each choice one, to be there")

    def _row(self, seen: Any) -> np.ndarray:
        try:
            return to_rows(self._observed, seen)
        except ValueError as error:
            raise WrongAnswer(f"the observation is wrong: {error}", f"a member of {short(self._observed)}") from error

    def _no_member(self, seen: Any, of_these: str = "") -> WrongAnswer:
        return WrongAnswer(f"the observation is {short(seen)}", f"a member of {short(self._observed)}{of_these}")


def unreadable(answer: Any) -> WrongAnswer:
    """Explains an answer of `step` whose reward or flags could not be read."""
    if not isinstance(answer, tuple) or len(answer) != 5:
        given = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
        return WrongAnswer(f"step returned {given}", "(observation, reward, terminated, truncated, info)")
    _, reward, terminated, truncated, _ = answer
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, bool | np.bool_):
            return WrongAnswer(f"step returned {name}={value!r}", "True or False")
    return WrongAnswer(f"step returned reward={reward!r}", "a number")


def not_finite(reward: np.floating, row: np.ndarray) -> WrongAnswer | None:
    """Explains a step with a number that is NaN or infinite; None where there is none."""
    if not np.isfinite(reward):
        return WrongAnswer(f"step returned the reward {reward}", "a finite number")
    if not np.isfinite(row).all():
        return WrongAnswer("step returned an observation with NaN or infinity in it", "finite numbers")
    return None


def all_finite(x: np.ndarray) -> bool:
    """Whether float32 numbers are; a sum of squares tells it in one call, unless it overflows."""
    return x.dtype != np.float32 or math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())
