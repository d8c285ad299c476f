"""Hyperparameters as plain data, for presets, run folders and policy files; and whether their values can work."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from polyak.agent import Algorithm
from polyak.algorithms import ALGORITHMS
from polyak.errors import BadSetting, UnknownName
from polyak.parts.exploration import Exploration, exploration_from_text, exploration_or_none, exploration_text
from polyak.parts.features import Features, features_from_text, features_text
from polyak.parts.networks import (
    Network,
    Recurrent,
    any_network_from_text,
    any_network_text,
    network_from_text,
    network_text,
    recurrent_from_text,
    recurrent_text,
)
from polyak.parts.optimise import Optimizer, optimizer_from_text, optimizer_text
from polyak.parts.policies import TabularPolicy, policy_from_text
from polyak.parts.replay import Setting, replay_from_text, replay_text
from polyak.parts.schedules import StepSize, step_size_from_text


class TextForm(typing.NamedTuple):
    """How a part is written on one line."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    shape: str  # for `--help`


PARTS: dict[Any, TextForm] = {
    Network: TextForm(network_from_text, network_text, "NAME:WIDTHS:ACTIVATION:OPTIONS"),
    Recurrent: TextForm(recurrent_from_text, recurrent_text, f"NETWORK+{'|'.join(Recurrent.CORES)}:UNITS"),
    Network | Recurrent: TextForm(
        any_network_from_text, any_network_text, f"NAME:WIDTHS:ACTIVATION:OPTIONS[+{'|'.join(Recurrent.CORES)}:UNITS]"
    ),
    Exploration: TextForm(exploration_from_text, exploration_text, "NAME:NUMBERS"),
    Exploration | None: TextForm(exploration_or_none, exploration_text, "NAME:NUMBERS"),
    Optimizer: TextForm(optimizer_from_text, optimizer_text, "NAME:NUMBERS"),
    Features: TextForm(features_from_text, features_text, "NAME:NUMBERS"),
    Setting: TextForm(replay_from_text, replay_text, "uniform|prioritised:ALPHA:BETA:FINAL_BETA"),
    TabularPolicy: TextForm(policy_from_text, str, "uniform|ACTION,ACTION,...|ROW:ROW:..."),
    float | StepSize: TextForm(step_size_from_text, str, "NUMBER|FROM:TO|NUMBER/n"),
}

POSITIVE, NOT_NEGATIVE, SHARE = (1e-300, math.inf), (0.0, math.inf), (0.0, 1.0)
STEP_SIZE = (1e-300, 1e6)  # beyond it products leave float32 before any error does

RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": STEP_SIZE,
    "gamma": SHARE,
    "buffer_size": (1, 2**31 - 1),
    "learning_starts": NOT_NEGATIVE,
    "batch_size": (1, math.inf),
    "train_freq": (1, math.inf),
    "gradient_steps": (-1, math.inf),
    "target_update_interval": (1, math.inf),
    "tau": SHARE,
    "exploration_fraction": SHARE,
    "exploration_initial_eps": SHARE,
    "exploration_final_eps": SHARE,
    "huber_delta": POSITIVE,
    "max_grad_norm": POSITIVE,
    "n_steps": (1, 2**24),
    "frame_stack": (1, math.inf),
    "sequence_length": (1, math.inf),
    "burn_in": NOT_NEGATIVE,
    "n_atoms": (2, math.inf),
    "n_quantiles": (1, math.inf),
    "planning_steps": (1, math.inf),
    "session_length": (1, math.inf),
    "elite_share": SHARE,
    "smoothing": NOT_NEGATIVE,
    "trace_lambda": SHARE,
    "n_epochs": (1, math.inf),
    "gae_lambda": SHARE,
    "clip_range": POSITIVE,
    "clip_range_vf": POSITIVE,
    "ent_coef": NOT_NEGATIVE,
    "vf_coef": NOT_NEGATIVE,
    "target_kl": POSITIVE,
    "kl_coef": STEP_SIZE,
}


def algorithm_named(name: str) -> type[Algorithm]:
    """The class of an algorithm; raises `UnknownName`."""
    if name not in ALGORITHMS:
        raise UnknownName("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]


def describe(algorithm: Any) -> dict[str, Any]:
    """Every hyperparameter by name, as numbers, booleans, None, and text for parts."""
    hints = typing.get_type_hints(type(algorithm))

    def plain(name: str, value: Any) -> Any:
        is_part = hints[name] in PARTS and not isinstance(value, int | float)
        return PARTS[hints[name]].write(value) if is_part else value

    return {field.name: plain(field.name, getattr(algorithm, field.name)) for field in dataclasses.fields(algorithm)}


def build(name: str, settings: Mapping[str, Any]) -> Algorithm:
    """The algorithm with these hyperparameters; what is not given keeps its default.

    Raises:
        UnknownName: no such algorithm, or it has no such hyperparameter.
        BadSetting: a value of the wrong type or out of range.
    """
    kind: Any = algorithm_named(name)
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in fields:
            raise UnknownName(f"{name} setting", key, fields)
        part = PARTS.get(hints[key])
        values[key] = part.read(value) if part and isinstance(value, str) else _typed(name, key, value, hints[key])
    algorithm = kind(**values)
    check(algorithm)
    return algorithm


def check(algorithm: Any) -> None:
    """Raises `BadSetting` for a hyperparameter that is out of its range."""
    hints = typing.get_type_hints(type(algorithm))
    for field in dataclasses.fields(algorithm):
        value = getattr(algorithm, field.name)
        if isinstance(value, Recurrent) and hints[field.name] is Network:
            raise BadSetting(f"{algorithm.name} takes networks without a memory, not {recurrent_text(value)}.")
        if field.name not in RANGES or not isinstance(value, int | float):
            continue
        low, high = RANGES[field.name]
        if not low <= value <= high or (field.name == "gradient_steps" and value == 0):
            wanted = {
                POSITIVE: "more than 0",
                STEP_SIZE: "more than 0 and at most 1e6",
                NOT_NEGATIVE: "0 or more",
                SHARE: "between 0 and 1",
            }
            expected = wanted.get((low, high), f"at least {low:g}" + (f" and at most {high:,}" if value > high else ""))
            raise BadSetting(f"{algorithm.name}'s {field.name} is {value}; it must be {expected}.")


def _typed(name: str, key: str, value: Any, hint: Any) -> Any:
    """`value` if it is of the type that the field declares; whole numbers serve as floats."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if hint in PARTS:
        allowed = tuple(kind for kind in (*allowed, str) if kind is not hint)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if any(type(value) is kind for kind in allowed):
        return value
    names = " or ".join("None" if kind is types.NoneType else kind.__name__ for kind in allowed)
    raise BadSetting(f"{name}'s {key} is {value!r}; it must be of type {names}.")
