"""Plays an environment with random actions and records all that can be seen of it from outside.

Errors are recorded too, and end the playing.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from polyak.envs.base import environment_seeds
from polyak.envs.checks.player import Player, attempt
from polyak.envs.checks.record import EPISODE_STEPS, MANY_RESETS, ObservedCall, Record, TooLong
from polyak.envs.one import time_limit
from polyak.envs.values import same, short
from polyak.spaces import sample

REPLAY_STEPS = 200  # of the seeded episode and those after it, played again to see whether they repeat
MOST_BYTES = 2**28  # of observations, all kept until the checks have seen them


def observe(
    make_env: Callable[[], Any],
    id: str,
    *,
    episodes: int,
    steps: int,
    seed: int,
    seconds: float,
    patience: float,
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
    act: Callable[[Any], Any],
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
            call = player.step(act(call.obs))
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
    act = _random_actions(record.before, other_seed)
    first.play = second.play = "after a reset in the middle of an episode"
    opening = first.reset()
    if opening.well_formed:
        first.step(act(opening.obs))
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
    act = _random_actions(record.before, seed)
    elsewhere = [other.reset()]

    def act_elsewhere() -> None:
        if elsewhere[0].well_formed:
            elsewhere[0] = other.reset() if elsewhere[0].over else other.step(act(elsewhere[0].obs))

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
    call = attempt(ObservedCall("make", play="once more" if record.made else ""), make_env, patience)
    if call.error is None:
        record.made.append(call.answer)
    if call.error is None and isinstance(call.answer, gymnasium.Env):
        return call.answer
    record.calls.append(call)
    return None


def _random_actions(spaces: tuple[Any, Any], seed: int) -> Callable[[Any], Any]:
    """The function from an observation to a random action that its mask allows; one in eight is a corner of the space.

    The random numbers of the action space itself are not used.
    """
    observed, space = spaces[0], copy.deepcopy(spaces[1])
    space.seed(seed)
    corners = np.random.default_rng(seed)

    def act(obs: Any) -> Any:
        action = sample(space, observed, obs)
        if isinstance(space, gymnasium.spaces.Box) and corners.random() < 1 / 8:
            corner = space.low if corners.random() < 0.5 else space.high
            action = np.where(np.isfinite(corner), corner, action).astype(space.dtype)
        return int(action) if isinstance(space, gymnasium.spaces.Discrete) else action

    return act


def spaces_of(env: gymnasium.Env) -> tuple[Any, Any]:
    """Observation and action space; None where there is none."""
    return getattr(env, "observation_space", None), getattr(env, "action_space", None)


def _declared(env: gymnasium.Env) -> tuple[int | None, bool]:
    """The time limit, and whether it says that it cannot be repeated."""
    return time_limit(env), bool(env.spec and env.spec.nondeterministic)


def _difference(call: ObservedCall, again: ObservedCall) -> str | None:
    """The first difference between two answers, in words."""
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


def _size(obs: Any) -> int:
    """Bytes of an observation, about."""
    if isinstance(obs, dict | tuple | list):
        return 64 + sum(map(_size, obs.values() if isinstance(obs, dict) else obs))
    return int(getattr(obs, "nbytes", 64))
