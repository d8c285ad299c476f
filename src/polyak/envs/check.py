"""Finds out what is wrong with an environment before hours of training do: `polyak.check` and `polyak check ENV`.

`CHECKS` lists everything that is looked for. An error means that training would stop or would learn something false. A
warning means that it would run, but could not be repeated, or that something looks like a mistake and may not be one.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from polyak.envs import MDP, EnvLike, make_original, name_of
from polyak.envs.base import CompiledEnv
from polyak.envs.record import EPISODE_STEPS, MANY_RESETS, Call, Record, TooLong, observe, same, short
from polyak.errors import BadSetting, EnvironmentFault, UnknownName
from polyak.spaces import parts

ERROR, WARNING = "error", "warning"

SECONDS = 10.0  # of playing, and as much again of repeating
SHORT_STEPS, SHORT_SECONDS = 20, 0.3  # of the look that `train` takes at an environment of the user's
SHORT_PATIENCE = 600.0  # seconds: a simulator may take long to start, and training would wait for it too
MISSING = (ImportError, gymnasium.error.DependencyNotInstalled)
SLOW = 100.0  # steps a second, below which a million steps take three hours
LARGE, SMALL = 1e4, 1e-4  # rewards beyond which the losses of most algorithms lose their scale
MOST = float(np.finfo(np.float32).max)
SAME_LENGTH, SAME_EPISODES = 20, 3  # so many episodes, so long and all of one length, look like a clock
FIRST_LENGTH = 10  # of the first episode, at least, beside which episodes of a single step look like a fault


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an environment, or looks wrong."""

    name: str  # short and stable: `reward-not-a-number`
    severity: str  # "error" or "warning"
    sentence: str  # what was wrong, where, and what to do

    def __str__(self) -> str:
        return f"{self.severity:8} {self.name}: {self.sentence}"


@dataclasses.dataclass(frozen=True)
class Findings:
    """All that `check` found; iterates over the findings, errors first, and is false where there are none."""

    id: str
    findings: tuple[Finding, ...]
    episodes: int
    steps: int
    steps_per_second: float  # resets included; 0 where it could not be measured
    complete: bool  # whether everything was tried; an error can make that impossible

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that make training stop or learn something false."""
        return tuple(finding for finding in self.findings if finding.severity == ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Those that training survives."""
        return tuple(finding for finding in self.findings if finding.severity == WARNING)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        speed = f", {self.steps_per_second:,.0f} steps per second" if self.steps_per_second else ""
        played = f"{_count(self.episodes, 'episode')}, {_count(self.steps, 'step')}{speed}"
        if not self.findings:
            return f"{self.id}: nothing found in {played}."
        found = f"{_count(len(self.errors), 'error')}, {_count(len(self.warnings), 'warning')} in {played}"
        rest = [] if self.complete else ["The error ended the check; repair it and check again, there may be more."]
        return "\n".join([f"{self.id}: {found}", *(f"  {finding}" for finding in self.findings), *rest])


def check(env: EnvLike, *, episodes: int = 5, seed: int = 0, patience: float = 60.0) -> Findings:
    """Plays an environment with random actions and tells what is wrong with it.

    It makes three objects. The first is played for some episodes; then the same seed and actions are tried on a
    second, again on the first, and on a third while the second is played too. It plays for ten
    seconds at most, and repeats for ten at most.

    Args:
        env: an id, or a function that returns a `gymnasium.Env`.
        episodes: how many are played, each for a thousand steps at most.
        seed: of the first episode and of the random actions.
        patience: seconds that a single call may take before it counts as hanging.

    Raises:
        UnknownName: there is no environment of that name.
        BadSetting: `env` is an object, where polyak needs as many as it likes; or another argument is out of range.
    """
    if episodes < 1:
        raise BadSetting(f"episodes is {episodes}; it takes at least one.")
    if seed < 0:
        raise BadSetting(f"seed is {seed}; seeds are whole numbers from 0.")
    if not patience > 0:
        raise BadSetting(f"patience is {patience}; it takes more than 0 seconds.")
    if isinstance(env, gymnasium.Env) or not (callable(env) or isinstance(env, str | MDP | CompiledEnv)):
        raise BadSetting(
            f"polyak makes as many environments as it needs, so it checks an id or a function that returns one, "
            f"not {type(env).__name__}."
        )
    return _look(env, episodes=episodes, steps=EPISODE_STEPS, seed=seed, seconds=SECONDS, patience=patience)


def check_in_short(env: EnvLike) -> Findings:
    """The same in twenty steps and less than a second, for `train`."""
    return _look(env, episodes=2, steps=SHORT_STEPS, seed=0, seconds=SHORT_SECONDS, patience=SHORT_PATIENCE)


def _look(env: EnvLike, **how: Any) -> Findings:
    make_env = env if callable(env) else partial(make_original, env)
    record = observe(make_env, name_of(env), **how)
    for call in record.calls:
        if call.error and (isinstance(call.error, UnknownName) or isinstance(call.error.__cause__, MISSING)):
            raise call.error  # nothing is wrong with the environment: it is not there
    return judge(record)


def judge(record: Record) -> Findings:
    """What every check has to say of what was seen."""
    found = [
        Finding(name_of_check(look), severity, sentence)
        for look, severity in CHECKS
        if (sentence := look(record)) is not None
    ]
    found.sort(key=lambda finding: finding.severity)  # "error" comes first; otherwise they stay in the order of CHECKS
    speed = 1.0 / record.seconds_a_step if record.seconds_a_step else 0.0
    complete = not record.stopped and len(record.made) > 1
    return Findings(record.id, tuple(found), len(record.episodes), len(record.steps), speed, complete)


def name_of_check(look: Callable[[Record], str | None]) -> str:
    """`reward_not_a_number` -> `reward-not-a-number`."""
    return look.__name__.replace("_", "-")


# Making it, and letting go of it


def cannot_be_made(record: Record) -> str | None:
    """The environment can be made, twice."""
    call = next((call for call in record.calls if call.method == "make" and call.error), None)
    if call is None or isinstance(call.error, TooLong):
        return None
    if isinstance(call.error, EnvironmentFault):
        return str(call.error)
    which = f" {call.play}" if call.play else ""
    return f"Making it{which} raised {_said(call)}; it must be possible to make several, one after the other."


def not_an_environment(record: Record) -> str | None:
    """What makes it returns a `gymnasium.Env`."""
    wrong = [type(made).__name__ for made in record.made if not isinstance(made, gymnasium.Env)]
    if not wrong:
        return None
    return f"What should make it returned {wrong[0]}; return an object whose class is derived from gymnasium.Env."


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
    call = next((call for call in record.calls if call.method == "close" and call.error), None)
    if call is None or isinstance(call.error, TooLong):
        return None
    return f"close raised {_said(call)}; it must succeed, whatever was played before."


def hangs(record: Record) -> str | None:
    """Every call returns."""
    call = next((call for call in record.calls if isinstance(call.error, TooLong)), None)
    if call is None:
        return None
    return f"{_capital(call.where)} had not returned after {call.seconds:.0f} seconds; find what it waits for there."


# Spaces


def observation_space_missing(record: Record) -> str | None:
    """There is an observation space, of Gymnasium's kind."""
    return _missing(record, "observation_space", 0)


def action_space_missing(record: Record) -> str | None:
    """There is an action space, of Gymnasium's kind."""
    return _missing(record, "action_space", 1)


def space_not_supported(record: Record) -> str | None:
    """The spaces are of a kind that polyak's algorithms take."""
    for name, space, wrapper in zip(
        ("observation", "action"), record.before, ("FlattenObservation", "TransformAction"), strict=True
    ):
        for part in parts(space) if isinstance(space, gymnasium.Space) else ():
            if not isinstance(part.space, ARRAYS):
                return (
                    f"The {name} space holds {short(part.space)}, and polyak's algorithms take Box, Discrete, "
                    "MultiDiscrete and MultiBinary, and Dict and Tuple spaces of these; "
                    f"gymnasium.wrappers.{wrapper} can turn it into one of them."
                )
    return None


def space_changes(record: Record) -> str | None:
    """The spaces are the same for every object and at any time."""
    for later, when in ((record.twin, "on a second object"), (record.after, "after some episodes")):
        for name, one, other in zip(("observation space", "action space"), record.before, later or (), strict=False):
            if one != other:
                return (
                    f"The {name} was {short(one)} and is {short(other)} {when}; an agent is built for one "
                    f"space, so settle it in __init__."
                )
    return None


def unbounded_actions(record: Record) -> str | None:
    """Continuous actions have finite bounds."""
    space = record.before[1]
    if not isinstance(space, spaces.Box) or space.is_bounded():
        return None
    return f"The action space {short(space)} has infinite bounds; give finite ones, which policies scale actions to."


def action_without_choice(record: Record) -> str | None:
    """Every part of an action makes a choice possible."""
    space = record.before[1]
    single = isinstance(space, spaces.Discrete) and space.n == 1
    if single or (isinstance(space, spaces.Box) and bool((space.low == space.high).any())):
        return f"The action space {short(space)} leaves nothing to choose in at least one part; check n, low and high."
    return None


# What reset returns


def reset_takes_no_seed(record: Record) -> str | None:
    """`reset` takes a seed."""
    if not record.made or not _lacks_seed(record.made[0]):
        return None
    return "reset takes no argument named seed; declare it as reset(self, *, seed=None, options=None)."


def reset_raises(record: Record) -> str | None:
    """`reset` succeeds at any time: at first, after an end, and in the middle of an episode."""
    call = _raised(record, "reset")
    if call is None or _lacks_seed(record.made[0]):
        return None
    return f"{_capital(call.where)} raised {_said(call)}; it must be possible to begin anew at any time, with any seed."


def reset_returns_no_info(record: Record) -> str | None:
    """`reset` returns an observation and an info dictionary."""
    call = next((c for c in record.calls if c.method == "reset" and not c.error and not c.well_formed), None)
    if call is None:
        return None
    return f"{_capital(call.where)} returned {_shape_of(call.answer)}; return the pair (observation, info)."


# What step returns


def step_raises(record: Record) -> str | None:
    """`step` succeeds with every action of the action space until the episode is over."""
    call = _raised(record, "step")
    if call is None:
        return None
    return f"{_capital(call.where)} raised {_said(call)}; every member of the action space must be possible."


def step_returns_no_five(record: Record) -> str | None:
    """`step` returns five values."""
    call = next((c for c in record.calls if c.method == "step" and not c.error and not c.well_formed), None)
    if call is None:
        return None
    return (
        f"{_capital(call.where)} returned {_shape_of(call.answer)}; return (observation, reward, terminated, "
        f"truncated, info)."
    )


def info_not_a_dictionary(record: Record) -> str | None:
    """The info is a dictionary."""
    call = next((call for call in record.answers if not isinstance(call.answer[-1], dict)), None)
    if call is None:
        return None
    return f"{_capital(call.where)} returned {type(call.answer[-1]).__name__} for info; return a dictionary, or {{}}."


def flag_not_a_bool(record: Record) -> str | None:
    """`terminated` and `truncated` are True or False."""
    for call, name, flag in _flags(record):
        if not isinstance(flag, bool | np.bool_ | int | np.integer) or flag not in (0, 1):
            return (
                f"{_capital(call.where)} returned {name}={short(flag)}; return True or False, with bool() around it if "
                f"need be."
            )
    return None


def flag_is_a_number(record: Record) -> str | None:
    """`terminated` and `truncated` are not 0 or 1."""
    for call, name, flag in _flags(record):
        if not isinstance(flag, bool | np.bool_) and isinstance(flag, int | np.integer) and flag in (0, 1):
            return f"{_capital(call.where)} returned {name}={flag}; return True or False, which `not` and ~ need."
    return None


def reward_not_a_number(record: Record) -> str | None:
    """The reward is one number."""
    for call in record.steps:
        reward = call.answer[1]
        if _array(reward) is None or np.shape(reward) != ():
            return f"{_capital(call.where)} returned the reward {short(reward)}; return one number, float(reward)."
    return None


def reward_not_finite(record: Record) -> str | None:
    """The reward is finite, in 32 bits too."""
    for call, reward in _rewards(record):
        if not abs(reward) <= MOST:
            return (
                f"{_capital(call.where)} returned the reward {reward}; return a finite number of 32 bits, and look for "
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


# Observations


def observation_not_numbers(record: Record) -> str | None:
    """An observation consists of numbers, where its space does."""
    for call, name, space, value in _parts(record):
        if isinstance(space, ARRAYS) and _array(value) is None:
            return f"{_capital(call.where)} returned {name} {short(value)}; return numbers, a member of {short(space)}."
    return None


def observation_shape(record: Record) -> str | None:
    """An observation has the shape of its space."""
    for call, name, space, value in _arrays(record):
        if value.shape != space.shape:
            return (
                f"{_capital(call.where)} returned {name} with the shape {value.shape}; {short(space)} asks for "
                f"{space.shape}."
            )
    return None


def observation_not_finite(record: Record) -> str | None:
    """No observation holds NaN or infinity."""
    for call, name, _, value in _arrays(record):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            place = f" at index {', '.join(map(str, at))}" if at else ""
            return (
                f"{_capital(call.where)} returned {name} with {value[at]}{place}; return finite numbers, and look for "
                f"a division by zero."
            )
    return None


def observation_not_whole(record: Record) -> str | None:
    """An observation in a space of whole numbers holds no fractions, which would be cut off."""
    for call, name, space, value in _arrays(record):
        if np.dtype(space.dtype).kind in "iub" and value.dtype.kind == "f" and (value != np.floor(value)).any():
            return (
                f"{_capital(call.where)} returned {name} {short(value)} with fractions, and {short(space)} holds whole "
                f"numbers; give the space a type of fractions, dtype=np.float32."
            )
    return None


def observation_outside_space(record: Record) -> str | None:
    """An observation that counts or chooses is a member of its space."""
    for call, name, space, value in _parts(record):
        if isinstance(space, ARRAYS):
            array = _array(value)
            if isinstance(space, spaces.Box) or array is None or not _fits(array, space):
                continue  # other checks see to bounds, types and shapes
            inside = space.contains(array.astype(space.dtype))
        else:
            inside = space.contains(value)
        if not inside:
            return (
                f"{_capital(call.where)} returned {name} {short(value)}, which is not in {short(space)}; correct "
                f"the one or the other."
            )
    return None


def observation_outside_bounds(record: Record) -> str | None:
    """An observation lies within the bounds of its Box."""
    for call, name, space, value in _arrays(record):
        if not isinstance(space, spaces.Box) or not _fits(value, space) or not np.isfinite(value).all():
            continue
        value = value.astype(space.dtype) if np.dtype(space.dtype).kind == "f" else value
        outside = (value < space.low) | (value > space.high)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            place = f" at index {', '.join(map(str, at))}" if at else ""
            return (
                f"{_capital(call.where)} returned {name} with {value[at]:.6g}{place}, outside of "
                f"[{space.low[at]:.6g}, {space.high[at]:.6g}]; widen the bounds of the space or clip the value."
            )
    return None


def observation_type(record: Record) -> str | None:
    """An observation has the type of its space, or one that fits into it."""
    for call, name, space, value in _parts(record):
        if isinstance(space, spaces.Box) and not hasattr(value, "dtype") and _array(value) is not None:
            return (
                f"{_capital(call.where)} returned {name} as {type(value).__name__}; return "
                f"np.array(..., dtype=np.{np.dtype(space.dtype)}), which is faster too."
            )
        given = getattr(value, "dtype", None)
        array = _array(value)
        known = isinstance(space, ARRAYS) and array is not None and _fits(array, space)
        if known and given is not None and not np.can_cast(given, space.dtype, "safe"):
            return (
                f"{_capital(call.where)} returned {name} of type {given}, and its space is of {np.dtype(space.dtype)}; "
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
        f"{_capital(call.where)} changed the observation that the call before had returned; return a copy, "
        f"obs.copy(), because whoever keeps observations would keep one many times."
    )


def action_mutated(record: Record) -> str | None:
    """The action that was given is left alone."""
    call = next((call for call in record.calls if call.action_changed), None)
    if call is None:
        return None
    return (
        f"{_capital(call.where)} changed the array of the action that it was given; work on a copy, because the agent "
        f"learns from what it believes to have played."
    )


# How episodes end


def never_ends(record: Record) -> str | None:
    """Episodes end, or a time limit cuts them."""
    longest = max((len(episode) - 1 for episode in record.episodes), default=0)
    if record.finished or record.limit or longest < EPISODE_STEPS:
        return None
    return (
        f"No episode of random actions ended within {longest:,} steps, and no time limit is declared; if there is "
        f"none, add one with gymnasium.wrappers.TimeLimit(env, max_episode_steps=...)."
    )


def limit_not_kept(record: Record) -> str | None:
    """No episode is longer than the time limit that the environment declares."""
    longest = max((len(episode) - 1 for episode in record.episodes), default=0)
    if not record.limit or longest <= record.limit:
        return None
    return (
        f"An episode went on to step {longest}, and max_episode_steps is {record.limit}; return truncated=True at that "
        f"step, or correct the number."
    )


def truncation_as_termination(record: Record) -> str | None:
    """The clock truncates an episode; it does not terminate it."""
    ended = [episode for episode in record.finished if _only_terminated(episode[-1])]
    at_limit = [episode for episode in ended if record.limit and len(episode) - 1 == record.limit]
    lengths = {len(episode) - 1 for episode in record.finished}
    alike = len(lengths) == 1 and min(lengths) >= SAME_LENGTH and len(ended) == len(record.finished) >= SAME_EPISODES
    if not alike and not (len(at_limit) >= 2 and len(at_limit) == len(ended)):
        return None
    length = len((at_limit or ended)[0]) - 1
    return (
        f"All {len(ended)} episodes that terminated did so at exactly step {length}; if that is a clock, return "
        f"truncated=True instead of terminated=True, or the agent learns that nothing is worth anything then."
    )


def stays_over(record: Record) -> str | None:
    """An episode after the first does not end at its first step."""
    lengths = [len(episode) - 1 for episode in record.finished]
    if len(lengths) < SAME_EPISODES or lengths[0] < FIRST_LENGTH or any(length != 1 for length in lengths[1:]):
        return None
    return (
        f"The first episode had {lengths[0]} steps, and each of the {len(lengths) - 1} after it ended at its first; "
        f"let reset clear whatever says that the episode is over."
    )


def resets_itself(record: Record) -> str | None:
    """The last observation of an episode is its own, not the first of the next."""
    ended = [episode for episode in record.finished if len(episode) > 2]
    if (
        len(ended) < SAME_EPISODES
        or not all(same(episode[0].obs, episode[-1].obs) for episode in ended)
        or all(same(episode[0].obs, call.obs) for episode in ended for call in episode)
    ):
        return None
    return (
        f"All {len(ended)} episodes ended with the very observation that they began with; if step begins the next "
        f"episode by itself, leave that to reset and return the observation of the end."
    )


# Repeating


def seed_ignored(record: Record) -> str | None:
    """The same seed gives the same first observation."""
    difference = _first_difference(record, "fresh")
    if difference is None or not difference.startswith("reset(seed=") or global_randomness(record):
        return None
    return (
        f"{_capital(difference)} on another object; begin reset with super().reset(seed=seed) and draw from "
        f"self.np_random alone."
    )


def not_deterministic(record: Record) -> str | None:
    """The same seed and the same actions give the same episode on every object."""
    difference = _first_difference(record, "fresh")
    if difference is None or difference.startswith("reset(seed=") or global_randomness(record):
        return None
    return (
        f"{_capital(difference)} on another object, after the same seed and actions; draw all that is random from "
        f"self.np_random, and use no clock."
    )


def reset_forgets(record: Record) -> str | None:
    """The same seed and the same actions give the same episode on an object that has been played before."""
    difference = _first_difference(record, "again")
    if difference is None or _first_difference(record, "fresh") or global_randomness(record) or stays_over(record):
        return None
    return (
        f"{_capital(difference)} when the object was reset with the same seed and played again; something survives "
        f"reset, so let it set every variable anew."
    )


def objects_share_state(record: Record) -> str | None:
    """Two objects do not disturb each other."""
    difference = _first_difference(record, "by turns")
    if difference is None or _first_difference(record, "fresh") or global_randomness(record):
        return None
    return (
        f"{_capital(difference)} when another object was played by turns with it; keep what changes in self, set in "
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
        f"{_capital(call.where)} used the global random numbers of {call.drew_from}, which no seed of reset governs; "
        f"use self.np_random, after super().reset(seed=seed)."
    )


# Speed


def slow(record: Record) -> str | None:
    """A million steps take less than three hours."""
    seconds = record.seconds_a_step
    if len(record.steps) < SAME_LENGTH or seconds <= 1.0 / SLOW:
        return None
    return (
        f"It makes {1.0 / seconds:,.1f} steps per second, resets included, so that a million take "
        f"{seconds * 1e6 / 3600:,.0f} hours; profile step and reset."
    )


CHECKS: tuple[tuple[Callable[[Record], str | None], str], ...] = (
    (cannot_be_made, ERROR),
    (not_an_environment, ERROR),
    (same_object_twice, ERROR),
    (close_raises, WARNING),
    (hangs, ERROR),
    (observation_space_missing, ERROR),
    (action_space_missing, ERROR),
    (space_not_supported, WARNING),
    (space_changes, ERROR),
    (unbounded_actions, WARNING),
    (action_without_choice, WARNING),
    (reset_takes_no_seed, ERROR),
    (reset_raises, ERROR),
    (reset_returns_no_info, ERROR),
    (step_raises, ERROR),
    (step_returns_no_five, ERROR),
    (info_not_a_dictionary, WARNING),
    (flag_not_a_bool, ERROR),
    (flag_is_a_number, WARNING),
    (reward_not_a_number, ERROR),
    (reward_not_finite, ERROR),
    (reward_scale, WARNING),
    (observation_not_numbers, ERROR),
    (observation_shape, ERROR),
    (observation_not_finite, ERROR),
    (observation_not_whole, ERROR),
    (observation_outside_space, ERROR),
    (observation_outside_bounds, WARNING),
    (observation_type, WARNING),
    (observation_constant, WARNING),
    (reused_buffer, WARNING),
    (action_mutated, ERROR),
    (never_ends, WARNING),
    (limit_not_kept, WARNING),
    (truncation_as_termination, WARNING),
    (stays_over, ERROR),
    (resets_itself, WARNING),
    (seed_ignored, WARNING),
    (not_deterministic, WARNING),
    (reset_forgets, WARNING),
    (objects_share_state, ERROR),
    (reset_repeats_itself, WARNING),
    (global_randomness, WARNING),
    (slow, WARNING),
)

ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)

Part = tuple[Call, str, Any, Any]  # a call, what to call the value, its space, the value


def _parts(record: Record) -> Iterator[Part]:
    """Every observation, those of Dict and Tuple spaces taken apart."""
    if isinstance(record.before[0], gymnasium.Space):
        for call in record.answers:
            for name, space, value in _leaves("the observation", record.before[0], call.obs):
                yield call, name, space, value


def _leaves(name: str, space: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(space, spaces.Dict) and isinstance(value, dict) and value.keys() == space.spaces.keys():
        for key, inner in space.spaces.items():
            yield from _leaves(f"{name}[{key!r}]", inner, value[key])
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple | list) and len(value) == len(space.spaces):
        for k, inner in enumerate(space.spaces):
            yield from _leaves(f"{name}[{k}]", inner, value[k])
    else:
        yield name, space, value


def _arrays(record: Record) -> Iterator[Part]:
    """Those parts that consist of numbers, as arrays."""
    for call, name, space, value in _parts(record):
        array = _array(value)
        if isinstance(space, ARRAYS) and array is not None:
            yield call, name, space, array


def _array(value: Any) -> np.ndarray | None:
    """The value as an array of numbers; None where it is something else."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None


def _fits(value: np.ndarray, space: Any) -> bool:
    """Whether the shape is right, and whole numbers are where they must be."""
    whole = value.dtype.kind != "f" or bool((value == np.floor(value)).all())
    return value.shape == space.shape and (whole or np.dtype(space.dtype).kind == "f")


def _rewards(record: Record) -> Iterator[tuple[Call, float]]:
    for call in record.steps:
        if _array(call.answer[1]) is not None and np.shape(call.answer[1]) == ():
            yield call, float(call.answer[1])


def _flags(record: Record) -> Iterator[tuple[Call, str, Any]]:
    for call in record.steps:
        yield call, "terminated", call.answer[2]
        yield call, "truncated", call.answer[3]


def _only_terminated(call: Call) -> bool:
    return bool(call.answer[2]) and not call.answer[3]


def _missing(record: Record, name: str, which: int) -> str | None:
    if not record.made or not isinstance(record.made[0], gymnasium.Env):
        return None
    space = record.before[which]
    if isinstance(space, gymnasium.Space):
        return None
    return f"The {name.replace('_', ' ')} is {short(space)}; set self.{name} in __init__ to one of gymnasium.spaces."


def _lacks_seed(env: Any) -> bool:
    """Whether its `reset` has neither an argument named seed nor arguments of any name."""
    if not isinstance(env, gymnasium.Env):
        return False
    arguments = inspect.signature(env.unwrapped.reset).parameters
    return "seed" not in arguments and not any(one.kind is one.VAR_KEYWORD for one in arguments.values())


def _raised(record: Record, method: str) -> Call | None:
    """The first call of that method that raised something, hanging left aside."""
    raised = (call for call in record.calls if call.method == method and call.error is not None)
    return next((call for call in raised if not isinstance(call.error, TooLong)), None)


def _first_difference(record: Record, kind: str) -> str | None:
    """How a repetition went another way, unless the environment says that it cannot be repeated."""
    return None if record.nondeterministic else record.differences.get(kind)


def _shape_of(answer: Any) -> str:
    return _count(len(answer), "value") if isinstance(answer, tuple) else type(answer).__name__


def _said(call: Call) -> str:
    """`ZeroDivisionError: division by zero`."""
    lines = str(call.error).splitlines() or [""]
    return f"{type(call.error).__name__}: {lines[0]}".removesuffix(": ").removesuffix(".")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
