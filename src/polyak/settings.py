"""Hyperparameters as plain data, for presets, run folders and policy files; and whether their values can work."""

import contextlib
import dataclasses
import functools
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax

from polyak.agent import Algorithm
from polyak.algorithms import ALGORITHMS
from polyak.errors import BadSetting, UnknownName
from polyak.parts.action_noise import ActionNoise, action_noise_from_text, action_noise_or_none, action_noise_text
from polyak.parts.exploration import Exploration, exploration_from_text, exploration_or_none
from polyak.parts.features import Features, features_from_text
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
from polyak.parts.optimise import Optimizer, optimizer_from_text
from polyak.parts.policies import TabularPolicy, policy_from_text
from polyak.parts.priors import Prior, prior_from_text
from polyak.parts.ranges import LARGEST, Range
from polyak.parts.replay import Sampling, replay_from_text
from polyak.parts.schedules import StepSize, step_size_from_text
from polyak.parts.text import part_text, quoted


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
    Exploration: TextForm(exploration_from_text, part_text, "NAME:NUMBERS"),
    Exploration | None: TextForm(exploration_or_none, part_text, "NAME:NUMBERS"),
    ActionNoise: TextForm(action_noise_from_text, part_text, "normal:SIGMA|ou:SIGMA:THETA:DT"),
    ActionNoise | None: TextForm(action_noise_or_none, action_noise_text, "none|normal:SIGMA|ou:SIGMA:THETA:DT"),
    Optimizer: TextForm(optimizer_from_text, part_text, "NAME:NUMBERS"),
    Features: TextForm(features_from_text, part_text, "NAME:NUMBERS"),
    Sampling: TextForm(replay_from_text, part_text, "uniform|prioritised:ALPHA:BETA:FINAL_BETA|hindsight:RELABELLED"),
    Prior: TextForm(prior_from_text, part_text, "beta:SUCCESSES:FAILURES|normal:MEAN:DEVIATION:REWARD_DEVIATION"),
    TabularPolicy: TextForm(policy_from_text, str, "uniform|ACTION,ACTION,...|ROW:ROW:..."),
    float | StepSize: TextForm(step_size_from_text, str, "NUMBER|FROM:TO|NUMBER/n"),
}


def algorithm_named(name: str) -> type[Algorithm]:
    """The class of an algorithm; raises `UnknownName`."""
    if name not in ALGORITHMS:
        raise UnknownName("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]


def describe(algorithm: Any) -> dict[str, Any]:
    """Every hyperparameter by name, as numbers, booleans, None, and text for parts."""

    def plain(value: Any, form: TextForm | None) -> Any:
        return form.write(value) if form and not isinstance(value, int | float) else value

    return {
        name: plain(getattr(algorithm, name), PARTS.get(kind))
        for name, kind in field_types(algorithm.__class__).items()
    }


def build(name: str, settings: Mapping[str, Any]) -> Algorithm:
    """The algorithm with these hyperparameters; what is not given keeps its default.

    Raises:
        UnknownName: no such algorithm, or it has no such hyperparameter.
        BadSetting: a value of the wrong type or out of range.
    """
    kind: Any = algorithm_named(name)
    algorithm = kind(**_values(kind, settings))
    check(algorithm)
    return algorithm


def changed(algorithm: Any, settings: Mapping[str, Any]) -> Algorithm:
    """The same algorithm with other values of some hyperparameters; raises as `build` does."""
    made = dataclasses.replace(algorithm, **_values(type(algorithm), settings))
    check(made)
    return made


def _values(kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values of fields, with parts read from text, and whole numbers as floats where a float is meant."""
    types = field_types(kind)
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in types:
            raise UnknownName(f"{kind.name} setting", key, types)
        if isinstance(value, str) and types[key] in PARTS:
            value = PARTS[types[key]].read(value)
        elif type(value) is int and float in _members(types[key]) and abs(value) <= LARGEST:
            value = float(value)
        values[key] = value
    return values


def algorithm_from_text(text: str) -> Algorithm:
    """Reads an algorithm on one line, `exp3` or `action-value-bandit:exploration=ucb:2:initial_value=1`.

    Raises:
        UnknownName: no such algorithm, or it has no such hyperparameter.
        BadSetting: a value of the wrong type or out of range.
    """
    name, _, given = text.partition(":")
    types = field_types(algorithm_named(name))
    pairs = re.split(f":(?=(?:{'|'.join(types)})=)", given) if given and types else [given] * bool(given)
    values: dict[str, Any] = {}
    for key, equals, value in (pair.partition("=") for pair in pairs):
        if not equals:
            raise BadSetting(f"A setting is of the form {name}:NAME=VALUE, not {quoted(text)}.")
        values[key] = _plain(value)
    return build(name, values)


def _plain(text: str) -> Any:
    """The number, the truth value or the None that a text stands for; else the text."""
    for read in (int, float, {"true": True, "false": False, "none": None}.__getitem__):
        with contextlib.suppress(ValueError, KeyError):
            return read(text)
    return text


def check(algorithm: Any) -> None:
    """Raises `BadSetting` for a hyperparameter, or a number of one of its parts, of the wrong type or out of range."""
    _check(algorithm, f"{algorithm.name}'s ")


def _check(part: Any, owner: str) -> None:
    for name, hint in _hints(part.__class__).items():
        value = getattr(part, name)
        if isinstance(value, jax.core.Tracer):  # one program for a sweep: the number is not known while it is traced
            continue
        if isinstance(value, Recurrent) and Recurrent not in _members(hint):
            raise BadSetting(f"{owner}{name} takes networks without a memory, not {recurrent_text(value)}.")
        first, *others = _members(hint)
        if typing.get_origin(first) is Literal and not others and value not in typing.get_args(first):
            raise UnknownName(name, str(value), typing.get_args(first))
        if not any(_is(value, kind) for kind in _members(hint)):
            wanted = " or ".join("None" if kind is types.NoneType else kind.__name__ for kind in _members(hint))
            raise BadSetting(f"{owner}{name} is {reprlib.repr(value)}; it must be of type {wanted}.")
        numbers = [one for one in (value if isinstance(value, tuple) else [value]) if isinstance(one, int | float)]
        if (limits := _range(hint)) and not all(number in limits for number in numbers):
            raise BadSetting(f"{owner}{name} is {reprlib.repr(value)}; it must be {limits}.")
        if dataclasses.is_dataclass(value):
            _check(value, f"{owner}{name}'s ")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The annotated type of every field of a dataclass."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def field_types(kind: Any) -> dict[str, Any]:
    """The bare type of every field of a dataclass: the keys of `PARTS`, float, int, ..."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _members(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows."""
    if typing.get_origin(hint) is typing.Annotated:
        return _members(hint.__origin__)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return tuple(member for one in typing.get_args(hint) for member in _members(one))
    return (hint,)


def _range(hint: Any) -> Range | None:
    """The range of the numbers that a hint allows."""
    if typing.get_origin(hint) is typing.Annotated:
        return next((one for one in hint.__metadata__ if isinstance(one, Range)), None)
    return next((found for one in typing.get_args(hint) if (found := _range(one))), None)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; whole numbers serve as floats, and parts are known by not being plain."""
    if typing.get_origin(kind) is tuple:
        inner = _members(typing.get_args(kind)[0])
        return isinstance(value, tuple) and all(any(_is(one, member) for member in inner) for one in value)
    if getattr(kind, "_is_protocol", False):
        return dataclasses.is_dataclass(value)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return kind is Any or typing.get_origin(kind) is Literal or isinstance(value, kind)
