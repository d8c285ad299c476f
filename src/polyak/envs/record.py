"""Plays an environment with random actions and writes down all that can be seen of it from outside, for `envs.check`.

Nothing is judged here. What goes wrong is written down too, and ends the playing.
"""

import contextlib
import copy
import dataclasses
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from polyak.envs.base import environment_seeds
from polyak.spaces import sample

EPISODE_STEPS = 1_000  # after which an episode is left and the next one begun
REPLAY_STEPS = 200  # of the seeded episode and those after it, played again to see whether they repeat
MANY_RESETS = 16  # at most, until one begins with another observation than the first
MOST_BYTES = 2**28  # of observations, all kept until they have been judged


class TooLong(BaseException):
    """A call that had not returned when its time was up; no `except Exception` of an environment swallows it."""


@dataclasses.dataclass
class Call:
    """One call of an environment, and what came of it."""

    method: str  # make, reset, step or close
    episode: int = 0  # counted from 1
    step: int = 0  # of the episode, counted from 1; 0 is the reset
    seed: int | None = None  # the last that `reset` was given
    seeded: bool = False  # whether this very reset was given it
    action: Any = None
    play: str = ""  # how often and why the same was played; "" the first time
    answer: Any = None
    obs: Any = None  # a copy, as it was when it was returned
    error: BaseException | None = None
    seconds: float = 0.0
    action_changed: bool = False
    earlier_changed: bool = False  # the observation that the call before had returned
    drew_from: str = ""  # the global random numbers that it used

    @property
    def well_formed(self) -> bool:
        """Whether it returned a tuple of as many values as it should."""
        expected = {"reset": 2, "step": 5}.get(self.method)
        return self.error is None and isinstance(self.answer, tuple) and len(self.answer) == expected

    @property
    def over(self) -> bool:
        """Whether the episode ended or was cut; flags that make no sense count as no end."""
        return self.method == "step" and self.well_formed and any(_is_true(flag) for flag in self.answer[2:4])

    @property
    def where(self) -> str:
        """Which call this was, in words with which it can be made again."""
        if self.method == "reset":
            text = f"reset({f'seed={self.seed}' if self.seeded else ''}) at the start of episode {self.episode}"
        elif self.method == "step":
            text = f"step {self.step} of episode {self.episode} (seed {self.seed}, action {short(self.action)})"
        else:
            text = self.method
        return f"{text}, {self.play}," if self.play else text


@dataclasses.dataclass
class Record:
    """All that was seen of an environment.

    Attributes:
        id: what it is called.
        calls: every call, in order.
        episodes: the calls of the first playing, an episode each, reset first.
        before, twin, after: observation and action space of the first object, of a second, of the first after playing.
        limit: the time limit that it declares.
        nondeterministic: whether it says of itself that it cannot be repeated.
        seeds_differ: whether two seeds gave two first observations; None where that was not tried.
        equal_starts: how many resets without a seed, one after the other, began with the same observation.
        differences: how a repetition went another way, by its kind; None where it went the same way.
    """

    id: str
    calls: list[Call] = dataclasses.field(default_factory=list)
    episodes: list[list[Call]] = dataclasses.field(default_factory=list)
    made: list[Any] = dataclasses.field(default_factory=list)
    before: tuple[Any, Any] = (None, None)
    twin: tuple[Any, Any] | None = None
    after: tuple[Any, Any] | None = None
    limit: int | None = None
    nondeterministic: bool = False
    seeds_differ: bool | None = None
    equal_starts: int = 0
    differences: dict[str, str | None] = dataclasses.field(default_factory=dict)

    @property
    def steps(self) -> list[Call]:
        """The steps of the first playing that returned five values."""
        return [call for episode in self.episodes for call in episode[1:] if call.well_formed]

    @property
    def answers(self) -> list[Call]:
        """The resets and steps of the first playing whose observation can be looked at."""
        return [call for episode in self.episodes for call in episode if call.well_formed]

    @property
    def finished(self) -> list[list[Call]]:
        """The episodes of the first playing that came to an end by themselves."""
        return [episode for episode in self.episodes if episode[-1].over]

    @property
    def stopped(self) -> bool:
        """Whether something went so wrong that nothing more could be tried."""
        return any(call.error is not None or not call.well_formed for call in self.calls if call.method != "close")

    @property
    def seconds_a_step(self) -> float:
        """Seconds of a step, resets included; the very first calls are left out, because they may load something."""
        counted = [call for episode in self.episodes for call in episode if call.error is None][2:]
        steps = sum(call.method == "step" for call in counted)
        return sum(call.seconds for call in counted) / steps if steps else 0.0


class Player:
    """One environment object, whose every call is written into a record."""

    def __init__(self, env: gymnasium.Env, record: Record, patience: float):
        self.env, self.record, self.patience = env, record, patience
        self.seed: int | None = None
        self.play, self.episode, self.steps = "", 0, 0
        self.kept: tuple[Any, Any] | None = None  # the last observation as it was returned, and a copy

    def reset(self, seed: int | None = None) -> Call:
        """Begins an episode, as polyak's engines do."""
        self.seed = self.seed if seed is None else seed
        self.episode, self.steps = self.episode + 1, 0
        call = Call("reset", self.episode, 0, self.seed, seed is not None, play=self.play)
        return self._write(call, lambda: self.env.reset(seed=seed))

    def step(self, action: Any) -> Call:
        """Acts, with an action of the type that polyak's engines give."""
        self.steps += 1
        given = copy.deepcopy(action)
        call = Call("step", self.episode, self.steps, self.seed, action=action, play=self.play)
        self._write(call, lambda: self.env.step(given))
        call.action_changed = not same(given, action)
        return call

    def close(self) -> None:
        """Lets go of it; what an earlier call has kept from returning is let be."""
        self._write(Call("close", play=self.play), self.env.close)

    def _write(self, call: Call, make: Callable[[], Any]) -> Call:
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


def observe(
    make_env: Callable[[], Any], id: str, *, episodes: int, steps: int, seed: int, seconds: float, patience: float
) -> Record:
    """Makes an environment, plays it, and plays it again to see whether it repeats.

    Args:
        make_env: makes one; must return another object each time.
        id: what it is called.
        episodes: how many are played.
        steps: of an episode, at most; fewer than `EPISODE_STEPS` is the short form: one repetition, no more.
        seed: of the first reset; the others are given none.
        seconds: after which no further step is made, in the first playing and in all repetitions together.
        patience: seconds that a single call may take.
    """
    record = Record(id)
    first = _make(make_env, record, patience)
    if first is None:
        return record
    players = [Player(first, record, patience)]
    try:
        record.before = copy.deepcopy(spaces_of(first))
        record.limit, record.nondeterministic = _declared(first)
        if not all(isinstance(space, gymnasium.Space) for space in record.before):
            return record
        first_seed, other_seed = environment_seeds(seed, 2)
        _play(players[0], record, _random_actions(record.before, seed), episodes, steps, first_seed, seconds)
        record.after = spaces_of(first)
        if record.stopped:
            return record
        second = _make(make_env, record, patience)
        if second is None or second is first:
            return record
        record.twin = spaces_of(second)
        players.append(Player(second, record, patience))
        until = time.perf_counter() + seconds
        record.differences["fresh"] = _replay(players[1], record, first_seed, until, "played on a second object")
        if steps >= EPISODE_STEPS and not record.stopped:
            _repeat_more(players, record, first_seed, other_seed, until)
            if not record.stopped and not record.differences["fresh"]:
                _repeat_by_turns(players, make_env, record, first_seed, until)
    finally:
        for player in players:
            if not any(isinstance(call.error, TooLong) for call in record.calls):
                player.close()
    return record


def _play(
    player: Player,
    record: Record,
    draw: Callable[[Any], Any],
    episodes: int,
    steps: int,
    seed: int,
    seconds: float,
) -> None:
    """The first playing; the first reset is given the seed."""
    until, size = time.perf_counter() + seconds, 0
    for k in range(episodes):
        call = player.reset(seed if k == 0 else None)
        record.episodes.append([call])
        size += _size(call.obs)
        while call.well_formed and not call.over and call.step < steps:
            if time.perf_counter() > until or size > MOST_BYTES:
                return
            call = player.step(draw(call.obs))
            record.episodes[-1].append(call)
            size += _size(call.obs)
        if not call.well_formed:
            return


def _replay(
    player: Player,
    record: Record,
    seed: int,
    until: float,
    play: str,
    meanwhile: Callable[[], Any] = lambda: None,
) -> str | None:
    """Plays the first `REPLAY_STEPS` steps of the record again; returns the first difference in words."""
    player.play, player.episode, taken = play, 0, 0
    for k, episode in enumerate(record.episodes):
        for call in episode:
            again = player.reset(seed if k == 0 else None) if call.method == "reset" else player.step(call.action)
            if not again.well_formed:
                return None
            difference = _difference(call, again)
            if difference:
                return difference
            meanwhile()
            taken += call.method == "step"
            if taken >= REPLAY_STEPS or time.perf_counter() > until:
                return None
    return None


def _repeat_more(players: list[Player], record: Record, seed: int, other_seed: int, until: float) -> None:
    """Repeats on the object that has been played before, and looks at what resets with and without a seed give."""
    first, second = players
    draw = _random_actions(record.before, other_seed)
    first.play = second.play = "after a reset in the middle of an episode"
    opening = first.reset()
    if opening.well_formed:
        first.step(draw(opening.obs))
    if not record.stopped:
        record.differences["again"] = _replay(first, record, seed, until, "played a second time")
    if not record.stopped:
        second.play = "with another seed"
        other = second.reset(other_seed)
        record.seeds_differ = not same(record.episodes[0][0].obs, other.obs)
        second.play = "reset again and again"
        begun = second.reset()
        again = begun
        while record.seeds_differ and again.well_formed and same(begun.obs, again.obs):
            record.equal_starts += 1
            if record.equal_starts >= MANY_RESETS or time.perf_counter() > until:
                break
            again = second.reset()


def _repeat_by_turns(
    players: list[Player], make_env: Callable[[], Any], record: Record, seed: int, until: float
) -> None:
    """Repeats on a new object, which bears no trace of earlier episodes, while the second is played too."""
    other = players[1]
    other.play = "played by turns with a third object"
    draw = _random_actions(record.before, seed)
    elsewhere = [other.reset()]

    def act_elsewhere() -> None:
        if elsewhere[0].well_formed:
            elsewhere[0] = other.reset() if elsewhere[0].over else other.step(draw(elsewhere[0].obs))

    def repeat(play: str, meanwhile: Callable[[], None]) -> str | None:
        env = _make(make_env, record, other.patience)
        if env is None or record.stopped:
            return None
        players.append(Player(env, record, other.patience))
        return _replay(players[-1], record, seed, until, play, meanwhile)

    difference = repeat("played by turns with the second object", act_elsewhere)
    if difference and not repeat("played alone again", lambda: None):
        record.differences["by turns"] = difference


def _make(make_env: Callable[[], Any], record: Record, patience: float) -> Any:
    """An environment, or None where there is none."""
    call = attempt(Call("make", play="once more" if record.made else ""), make_env, patience)
    if call.error is None:
        record.made.append(call.answer)
    if call.error is None and isinstance(call.answer, gymnasium.Env):
        return call.answer
    record.calls.append(call)
    return None


def attempt(call: Call, make: Callable[[], Any], patience: float) -> Call:
    """Makes a call; writes down what it returned or raised, and how long it took."""
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


def _random_actions(spaces: tuple[Any, Any], seed: int) -> Callable[[Any], Any]:
    """The function from what is seen to a random action that is there, one in eight in a corner of its space.

    The action space's own random numbers are let be.
    """
    observed, space = spaces[0], copy.deepcopy(spaces[1])
    space.seed(seed)
    chance = np.random.default_rng(seed)

    def draw(obs: Any) -> Any:
        action = sample(space, observed, obs)
        if isinstance(space, gymnasium.spaces.Box) and chance.random() < 1 / 8:
            corner = space.low if chance.random() < 0.5 else space.high
            action = np.where(np.isfinite(corner), corner, action).astype(space.dtype)
        return int(action) if isinstance(space, gymnasium.spaces.Discrete) else action

    return draw


def spaces_of(env: gymnasium.Env) -> tuple[Any, Any]:
    """Observation and action space; None where there is none."""
    return getattr(env, "observation_space", None), getattr(env, "action_space", None)


def _declared(env: gymnasium.Env) -> tuple[int | None, bool]:
    """The time limit, and whether it says that it cannot be repeated."""
    spec = env.spec
    return (spec.max_episode_steps, spec.nondeterministic) if spec else (getattr(env, "max_episode_steps", None), False)


def _difference(call: Call, again: Call) -> str | None:
    """What differs between two answers, in words."""
    names = ("observation", "reward", "terminated", "truncated") if call.method == "step" else ("observation",)
    before, after = (call.obs, *call.answer[1:4]), (again.obs, *again.answer[1:4])
    for name, one, other in zip(names, before, after, strict=False):
        if not same(one, other):
            try:
                left, right = np.asarray(one), np.asarray(other)
            except ValueError:  # parts of different shapes
                left = right = np.asarray(None)
            if left.shape == right.shape != () and left.dtype.kind in "biuf":
                at = tuple(int(i) for i in np.argwhere(left != right)[0])
                name, one, other = f"{name}[{', '.join(map(str, at))}]", left[at], right[at]
            return f"{call.where} returned {name} {short(one)} and then {short(other)}"
    return None


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays within them included; NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    try:
        left, right = np.asarray(one), np.asarray(other)
        return np.array_equal(left, right, equal_nan=left.dtype.kind == right.dtype.kind == "f")
    except (TypeError, ValueError):
        return bool(one == other)


def short(value: Any) -> str:
    """A value in at most sixty letters and on one line."""
    if isinstance(value, np.ndarray):
        value = np.array2string(value, separator=", ", threshold=30, max_line_width=10_000)
    elif isinstance(value, np.generic):
        value = str(value)  # without its type
    else:
        value = repr(value)
    text = " ".join(value.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_true(flag: Any) -> bool:
    return isinstance(flag, bool | np.bool_ | int) and bool(flag)


def _size(obs: Any) -> int:
    """Bytes of an observation, about."""
    if isinstance(obs, dict | tuple | list):
        return 64 + sum(map(_size, obs.values() if isinstance(obs, dict) else obs))
    return int(getattr(obs, "nbytes", 64))


def _global_random_state() -> dict[str, Any]:
    """The state of each generator that everybody shares."""
    state: Any = np.random.get_state(legacy=False)
    inner = {key: value.tobytes() if isinstance(value, np.ndarray) else value for key, value in state["state"].items()}
    return {"np.random": (inner, state["has_gauss"]), "random": random.getstate()}
