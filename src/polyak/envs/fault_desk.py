"""The calls that a vector makes of its environments, noted while they are under way and named when they go wrong."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from polyak.envs import calls
from polyak.envs.answers import WrongAnswer
from polyak.envs.calls import STEP, Call, show_action
from polyak.envs.episode_log import EpisodeLog
from polyak.errors import EnvironmentFault

NUMBERS = itertools.count(1)  # of the vectors of this process, which note their calls in one place


class FaultDesk:
    """Notes the call that is under way, and names it in faults.

    Args:
        id: what the vector is called.
        log: of its episodes.

    Attributes:
        note: where calls are noted.
    """

    def __init__(self, id: str, log: EpisodeLog):
        self.note, self._number = calls.HERE, next(NUMBERS)
        self._action_rows: tuple[int, ...] = ()
        self._id, self._log = id, log
        self._nothing = [0] * len(log.numbers)
        self._actions: Any = self._nothing  # of the present step
        self._noted: np.ndarray | None = None  # where they are noted

    def expect(self, action_rows: tuple[int, ...]) -> None:
        """Takes note of the shape [B, ...] of actions that are not single whole numbers."""
        self._action_rows = action_rows
        self._claim()

    @contextlib.contextmanager
    def call(self, kind: int, i: int) -> Iterator[None]:
        """Notes a call of environment i that is no step, while it is under way."""
        if self.note.owner != self._number:
            self._claim()
        self.note.enter(kind, self._log.first + i, self._log.seeds[i], self._log.steps[i], 0)
        try:
            yield
        finally:
            self.note.leave()

    def enter_steps(self, rows: np.ndarray, actions: Sequence[Any]) -> list[int]:
        """Notes the actions of the steps that come next; returns the number to note with each step.

        Args:
            rows: the actions [B, ...] as agents give them.
            actions: the same as environments take them.
        """
        if self.note.owner != self._number:
            self._claim()
        self._actions = rows
        if self._noted is not None and self._noted.shape == rows.shape:
            self._noted[...] = rows
        return list(actions) if isinstance(actions[0], int) else self._nothing

    def fault(self, i: int, kind: int, error: EnvironmentFault | WrongAnswer) -> EnvironmentFault:
        """The fault of environment i, in a sentence that names the call."""
        if isinstance(error, EnvironmentFault):
            return error
        fault = EnvironmentFault(f"{self.where(i, kind)}: {error.what}; expected {error.expected}.")
        fault.__cause__ = error.__cause__
        return fault

    def where(self, i: int, kind: int) -> str:
        """Which environment, which step of which episode, and which action."""
        action, log = show_action(self._actions[i]) if kind == STEP else "", self._log
        return Call(kind, log.first + i, log.of, log.seeds[i], log.steps[i], action).where(self._id)

    def _claim(self) -> None:
        """Tells whose calls the next ones are."""
        self._noted = self.note.begin(self._number, self._log.of, self._log.first, self._action_rows)
