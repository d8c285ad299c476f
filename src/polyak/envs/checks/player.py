"""An environment with a record of every call."""

import contextlib
import copy
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from polyak.envs.checks.record import ObservedCall, Record, TooLong
from polyak.envs.values import same


class Player:
    """One environment object, whose every call is written into a record."""

    def __init__(self, env: gymnasium.Env, record: Record, patience: float):
        self.env, self.record, self.patience = env, record, patience
        self.seed: int | None = None
        self.play, self.episode, self.steps = "", 0, 0
        self.kept: tuple[Any, Any] | None = None  # the last observation as it was returned, and a copy

    def reset(self, seed: int | None = None) -> ObservedCall:
        """Begins an episode, as polyak's engines do."""
        self.seed = self.seed if seed is None else seed
        self.episode, self.steps = self.episode + 1, 0
        call = ObservedCall("reset", self.episode, 0, self.seed, seed is not None, play=self.play)
        return self._write(call, lambda: self.env.reset(seed=seed))

    def step(self, action: Any) -> ObservedCall:
        """Acts, with an action of the type that polyak's engines give."""
        self.steps += 1
        given = copy.deepcopy(action)
        call = ObservedCall("step", self.episode, self.steps, self.seed, action=action, play=self.play)
        self._write(call, lambda: self.env.step(given))
        call.action_changed = not same(given, action)
        return call

    def close(self) -> None:
        """Closes it."""
        self._write(ObservedCall("close", play=self.play), self.env.close)

    def _write(self, call: ObservedCall, make: Callable[[], Any]) -> ObservedCall:
        random_before = _global_random_state()
        attempt(call, make, self.patience)
        random_after = _global_random_state()
        call.drew_from = next((name for name in random_before if random_before[name] != random_after[name]), "")
        if self.kept is not None:
            call.earlier_changed = not same(*self.kept)
        self.kept = None
        if call.well_formed:
            call.obs = copy.deepcopy(call.answer[0])
            self.kept = call.answer[0], call.obs
        self.record.calls.append(call)
        return call


def attempt(call: ObservedCall, make: Callable[[], Any], patience: float) -> ObservedCall:
    """Makes a call; records its answer or its error, and its time."""
    began = time.perf_counter()
    try:
        with _time_limit(patience):
            call.answer = make()
    except (Exception, SystemExit, TooLong) as error:
        call.error = error
    call.seconds = time.perf_counter() - began
    return call


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises `TooLong` in what takes longer; where there is no alarm clock (Windows, other threads), never."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _global_random_state() -> dict[str, Any]:
    """The state of each generator that everybody shares."""
    state: Any = np.random.get_state(legacy=False)
    inner = {key: value.tobytes() if isinstance(value, np.ndarray) else value for key, value in state["state"].items()}
    return {"np.random": (inner, state["has_gauss"]), "random": random.getstate()}
