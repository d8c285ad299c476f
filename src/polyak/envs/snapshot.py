"""The state of a Gymnasium environment as plain data, and by a test, how exactly an environment can be resumed.

`capture` walks through what an environment object holds: its wrappers, what they hold, and so on. What is data is
written down; an object is written as its class's name and its attributes, and `restore` writes these into the object
that a fresh environment holds at the same place. No class is looked up by its name, and nothing that is loaded runs.

Some state cannot be seen this way: class attributes, globals of modules, variables that a closure holds, memory of C
libraries. `tier` finds the consequences. What it cannot find, because one process cannot tell: what differs between
processes only (the order of a set of strings, a random number drawn at import), and what comes into play later than it
looks (a counter in the class that makes the game harder after a thousand episodes).
"""

import contextlib
import copy
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np

from polyak.envs import calls as env_calls
from polyak.envs.calls import FIRST_RESET, MAKE, RESET, STEP
from polyak.envs.plain import from_data, to_data
from polyak.errors import BadFile
from polyak.spaces import sample

Tier = Literal["copyable", "replayable", "cut"]

ROUNDS = 4  # of the test; before each but the first, it looks whether an environment can go on from there
SLACK = 4  # times as much of the clock as of the processor: a busy machine must not change what is found
LONGEST = 100  # steps of its episodes; short ones find more of what outlives a reset


def capture(env: gymnasium.Env) -> dict | None:
    """The state of an environment and all its wrappers, as data that JSON can write.

    An object whose attributes are not all plain data can offer `get_state()`, which returns plain data, and
    `set_state(state)`.

    Returns:
        What `restore` takes; None where something is not plain data, or where it is more than `plain.LARGEST` bytes.
    """
    try:
        _ = env.spec  # wrappers keep it once it was asked for: here as in what `restore` fills
        return to_data(env)
    except Exception:  # one of `get_state` too
        return None


def restore(env: gymnasium.Env, data: Any) -> None:
    """Sets a freshly made environment to a captured state. It is reset once, so that it has what only `reset` makes.

    Args:
        env: of the same kind, with the same wrappers, as the one that was captured. After an error it is as after
            `reset`, unless its own `set_state` raised.
        data: from `capture`, by way of a file; whatever is in it, no code is run but the environment's own.

    Raises:
        BadFile: the data are not the state of such an environment.
    """
    env.reset(seed=0)
    try:
        _ = env.spec
        from_data(data, env)
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(".")
        raise BadFile(
            f"The saved state does not fit {type(env.unwrapped).__name__} ({what}); resume with the version of the "
            f"environment that it was saved with, or from an earlier checkpoint."
        ) from error


def replay(env: gymnasium.Env, seed: int, actions: Iterable[Any]) -> Any:
    """Plays an episode again from its seed and its actions.

    Args:
        env: freshly made.
        seed: that the episode began with.
        actions: taken since.

    Returns:
        The last observation. Compare it with the one that was saved: if it differs, the episode is lost.
    """
    env_calls.HERE.begin(0, 1)
    played = _Noted(env)
    obs, _ = played.play(seed, None)
    for action in actions:
        obs, _ = played.play(None, action)
    return obs


def tier(make: Callable[[], gymnasium.Env], seed: int = 0, *, steps: int = 1000, seconds: float = 0.5) -> Tier:
    """Finds by experiment how an environment can be resumed in the middle of an episode.

    One environment plays random actions in episodes that each begin with `reset(seed=...)`. At three moments, of which
    one is right after a reset, its state is captured. Then a fresh environment is set to that state, or brought there
    by seed and actions, and must repeat all that followed, in this and in later episodes, bit for bit: observations,
    rewards and flags. The first environment plays something else by turns with it, so that what they share shows.

    Args:
        make: makes one environment, another object each time.
        seed: of actions and episodes.
        steps: that are repeated.
        seconds: of the processor, after which the first playing ends; the repetitions take up to six times as long.

    Returns:
        "copyable": `capture` and `restore` are exact. "replayable": they are not, but `replay` is. "cut": neither, or
        the environment raised an error. A hang or a crash is not caught, and told by the note of the call.
    """
    shared = random.getstate(), np.random.get_state()
    made: list[_Noted] = []
    env_calls.HERE.begin(0, 1)

    def another() -> _Noted:
        with _under_way(MAKE, 0, 0, None):
            played = _Noted(make())
        if any(played.env is other.env for other in made):
            raise ValueError("the same object twice")
        made.append(played)
        return played

    try:
        player = _RandomPlay(another(), seed)
        calls, marks = _record(player, steps, seconds)
        if all(mark.state is not None and _goes_on(another(), calls[mark.at :], player, mark.state) for mark in marks):
            return "copyable"
        if all(_goes_on(another(), calls[mark.began :], player) for mark in marks):
            return "replayable"
    except (Exception, SystemExit):
        return "cut"
    finally:
        for played in made:
            with contextlib.suppress(Exception, SystemExit):
                played.env.close()
        random.setstate(shared[0])
        np.random.set_state(shared[1])
    return "cut"


class _Move(NamedTuple):
    """A reset, which has a seed, or a step, and what it returned."""

    seed: int | None
    action: Any
    answer: Any


class _Mark(NamedTuple):
    """A moment of the first playing."""

    at: int  # the first call after it
    began: int  # the reset before it
    state: str | None  # captured, as JSON


class _Noted:
    """An environment whose calls are noted while they are under way, as one that hangs is found by its note."""

    def __init__(self, env: gymnasium.Env):
        self.env = env
        self.seed, self.steps, self.kind = 0, 0, FIRST_RESET

    def play(self, seed: int | None, action: Any) -> tuple[Any, tuple]:
        """The observation of a call; and its whole answer bit for bit, with whether the episode is over."""
        if seed is not None:
            self.seed, self.steps = seed, 0
            with _under_way(self.kind, seed, 0, None):
                obs = self.env.reset(seed=seed)[0]
            self.kind = RESET
            return obs, (_bits(obs), False)
        self.steps += 1
        with _under_way(STEP, self.seed, self.steps, action):
            obs, reward, terminated, truncated, _ = self.env.step(copy.deepcopy(action))
        return obs, (_bits((obs, reward, terminated, truncated)), bool(terminated or truncated))


@contextlib.contextmanager
def _under_way(kind: int, seed: int, step: int, action: Any) -> Iterator[None]:
    env_calls.HERE.enter(kind, 0, seed, step, action if isinstance(action, int) else 0)
    try:
        yield
    finally:
        env_calls.HERE.leave()


class _RandomPlay:
    """Plays random actions in episodes with seeds of their own, and leaves some episodes early."""

    def __init__(self, played: _Noted, seed: int):
        self.played, env = played, played.env
        self.random = np.random.default_rng(seed)
        self.actions = copy.deepcopy(env.action_space)
        self.actions.seed(seed)
        self.obs: Any = None  # the last one
        self.steps, self.over = 0, True  # to be made before it leaves, and whether the episode is over

    def begin(self) -> _Move:
        self.steps, self.over = int(self.random.integers(1, LONGEST)), False
        seed = int(self.random.integers(2**31))
        self.obs, answer = self.played.play(seed, None)
        return _Move(seed, None, answer)

    def go_on(self) -> _Move:
        if self.over or not self.steps:
            return self.begin()
        self.steps -= 1
        action = sample(self.actions, self.played.env.observation_space, self.obs)
        if isinstance(self.actions, gymnasium.spaces.Discrete):
            action = int(action)  # as polyak's engines give it
        self.obs, answer = self.played.play(None, action)
        self.over = answer[-1]
        return _Move(None, action, answer)


def _record(player: _RandomPlay, steps: int, seconds: float) -> tuple[list[_Move], list[_Mark]]:
    calls: list[_Move] = []
    marks: list[_Mark] = []
    for k in range(ROUNDS):
        if k == ROUNDS // 2:
            calls.append(player.begin())
        elif k:
            calls += [player.go_on()]  # one more, so that a mark in the middle is not at the end of an episode
            for _ in range(ROUNDS):
                if not player.over:
                    break
                calls += [player.go_on(), player.go_on()]
        if k:
            began = max(i for i, call in enumerate(calls) if call.seed is not None)
            state = capture(player.played.env)
            marks.append(_Mark(len(calls), began, None if state is None else json.dumps(state, allow_nan=False)))
        share, processor, wall = seconds / ROUNDS, time.process_time(), time.perf_counter()
        for _ in range(max(1, steps // ROUNDS)):
            calls.append(player.go_on())
            if time.process_time() - processor > share or time.perf_counter() - wall > SLACK * share:
                break
    return calls, marks


def _goes_on(played: _Noted, calls: list[_Move], other: _RandomPlay, state: str | None = None) -> bool:
    """Whether an environment repeats these calls, from a captured state or from the reset that the first of them is."""
    try:
        if state is not None:
            restore(played.env, json.loads(state))
        for seed, action, answer in calls:
            if played.play(seed, action)[1] != answer:
                return False
            other.go_on()
    except (Exception, SystemExit):
        return False
    return True


def _bits(value: Any) -> Any:
    """A key that is equal only for values of the same type, shape and bits."""
    if isinstance(value, dict):
        return [(key, _bits(item)) for key, item in value.items()]
    if isinstance(value, tuple | list):
        return [type(value).__name__, *map(_bits, value)]
    array = np.asarray(value)
    return repr(value) if array.dtype.hasobject else (array.dtype.str, array.shape, array.tobytes())
