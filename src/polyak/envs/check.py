"""Finds mistakes in an environment before hours of training do: `polyak.check` and `polyak check ENV`.

`CHECKS` lists everything that is looked for. An error means that training would stop or would learn something false. A
warning means that it would run, but could not be repeated, or that something looks like a mistake and may not be one.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium

from polyak.envs import MDP, EnvLike, make_original, name_of
from polyak.envs.base import CompiledEnv
from polyak.envs.checks import episodes, objects, observations, repetitions, returns, spaces
from polyak.envs.checks.playing import observe
from polyak.envs.checks.record import EPISODE_STEPS, SHORT_STEPS, Record
from polyak.envs.values import count
from polyak.errors import BadSetting, UnknownName

ERROR, WARNING = "error", "warning"

SECONDS = 10.0  # of playing, and as much again of repeating
SHORT_SECONDS = 0.3  # of the look that `train` takes at an environment of the user's
SHORT_PATIENCE = 600.0  # seconds: a simulator may take long to start, and training would wait for it too
MISSING = (ImportError, gymnasium.error.DependencyNotInstalled)


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
        """Findings that make training stop or learn something false."""
        return tuple(finding for finding in self.findings if finding.severity == ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that training survives."""
        return tuple(finding for finding in self.findings if finding.severity == WARNING)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        speed = f", {self.steps_per_second:,.0f} steps per second" if self.steps_per_second else ""
        played = f"{count(self.episodes, 'episode')}, {count(self.steps, 'step')}{speed}"
        if not self.findings:
            return f"{self.id}: nothing found in {played}."
        found = f"{count(len(self.errors), 'error')}, {count(len(self.warnings), 'warning')} in {played}"
        rest = [] if self.complete else ["The error ended the check; repair it and check again, there may be more."]
        return "\n".join([f"{self.id}: {found}", *(f"  {finding}" for finding in self.findings), *rest])


def check(env: EnvLike, *, episodes: int = 5, seed: int = 0, patience: float = 60.0) -> Findings:
    """Plays an environment with random actions and lists the mistakes found in it.

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
    """Findings of a look of twenty steps, which takes less than a second; for `train`."""
    return _look(env, episodes=2, steps=SHORT_STEPS, seed=0, seconds=SHORT_SECONDS, patience=SHORT_PATIENCE)


def _look(env: EnvLike, **how: Any) -> Findings:
    make_env = env if callable(env) else partial(make_original, env)
    record = observe(make_env, name_of(env), **how)
    for call in record.calls:
        if call.error and (isinstance(call.error, UnknownName) or isinstance(call.error.__cause__, MISSING)):
            raise call.error  # nothing is wrong with the environment: it is not there
    return judge(record)


def judge(record: Record) -> Findings:
    """The findings of all checks in a record."""
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


CHECKS: tuple[tuple[Callable[[Record], str | None], str], ...] = (
    (objects.cannot_be_made, ERROR),
    (objects.not_an_environment, ERROR),
    (objects.same_object_twice, ERROR),
    (objects.close_raises, WARNING),
    (objects.hangs, ERROR),
    (spaces.observation_space_missing, ERROR),
    (spaces.action_space_missing, ERROR),
    (spaces.space_not_supported, ERROR),
    (spaces.picture_among_parts, WARNING),
    (spaces.space_changes, ERROR),
    (spaces.unbounded_actions, WARNING),
    (spaces.action_without_choice, WARNING),
    (returns.reset_takes_no_seed, ERROR),
    (returns.reset_raises, ERROR),
    (returns.reset_returns_no_info, ERROR),
    (returns.step_raises, ERROR),
    (returns.step_returns_no_five, ERROR),
    (returns.info_not_a_dictionary, WARNING),
    (returns.flag_not_a_bool, ERROR),
    (returns.flag_is_a_number, WARNING),
    (returns.reward_not_a_number, ERROR),
    (returns.reward_not_finite, ERROR),
    (returns.reward_scale, WARNING),
    (observations.observation_not_numbers, ERROR),
    (observations.observation_shape, ERROR),
    (observations.observation_not_finite, ERROR),
    (observations.observation_not_whole, ERROR),
    (observations.observation_outside_space, ERROR),
    (observations.observation_outside_bounds, WARNING),
    (observations.observation_type, WARNING),
    (observations.observation_constant, WARNING),
    (observations.reused_buffer, WARNING),
    (observations.action_mutated, ERROR),
    (episodes.never_ends, WARNING),
    (episodes.limit_not_kept, WARNING),
    (episodes.truncation_as_termination, WARNING),
    (episodes.stays_over, ERROR),
    (episodes.resets_itself, WARNING),
    (repetitions.seed_ignored, WARNING),
    (repetitions.not_deterministic, WARNING),
    (repetitions.reset_forgets, WARNING),
    (repetitions.objects_share_state, ERROR),
    (repetitions.reset_repeats_itself, WARNING),
    (repetitions.global_randomness, WARNING),
    (objects.slow, WARNING),
)
