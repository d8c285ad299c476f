"""Checks of exercises: a function is compared with the right one on arguments drawn at random."""

import copy
import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from polyak.errors import UnknownName, printable

CHAPTERS = {  # chapter -> the module of its exercises
    "1": "worlds",
    "2": "planning",
    "3": "sampling",
    "4": "q_tables",
    "5": "cliff",
    "6": "tic_tac_toe",
    "7": "cross_entropy",
    "8": "linear_sarsa",
    "9": "dqn",
    "10": "beyond_dqn",
    "11": "pixels",
    "12": "policy_gradients",
    "13": "policy_search",
    "14": "actor_critics",
    "15": "trust_regions",
    "16": "continuous",
    "17": "memory_and_models",
    "18": "instruments",
    "19": "search",
}
LONGEST = 160  # characters of the arguments that a sentence shows


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A wrong answer that is often given, and the sentence for it."""

    answer: Callable
    sentence: str


@dataclasses.dataclass(frozen=True)
class Exercise:
    """The right function, the arguments on which others are compared with it, and mistakes that are recognised."""

    right: Callable
    cases: Callable[[np.random.Generator], Iterator[tuple]]
    mistakes: tuple[Mistake, ...] = ()


def exercises(chapter: str) -> dict[str, Exercise]:
    """The exercises of a chapter, by their number, as "4.1"."""
    return importlib.import_module(f"polyak.course.exercises.{CHAPTERS[chapter]}").EXERCISES


def check(number: str, answer: Callable) -> Callable:
    """Says in one sentence whether your function is right, and returns a function that is.

    Args:
        number: of the exercise, as "4.1".
        answer: your function.

    Returns:
        Your function if it is right, else the right one, so that the cells that follow work.

    Raises:
        UnknownName: there is no such exercise.
    """
    chapter = str(number).partition(".")[0]
    found = exercises(chapter) if chapter in CHAPTERS else {}
    if number not in found:
        raise UnknownName("exercise", str(number), found or [f"{known}.1" for known in CHAPTERS])
    exercise = found[number]
    fault = fault_of(exercise, answer)
    print(f"{number}: right." if fault is None else f"{number}: not yet: {fault}")
    return answer if fault is None else exercise.right


def fault_of(exercise: Exercise, answer: Callable) -> str | None:
    """What is wrong with an answer, as the rest of a sentence; None of one that is right."""
    cases = list(exercise.cases(np.random.default_rng(0)))
    right = [called(exercise.right, case) for case in cases]
    fault = None
    for case, wanted in zip(cases, right, strict=True):
        try:
            given = called(answer, case)
        except Exception as error:  # whatever the reader's code raises is theirs to see
            return f"it raised {type(error).__name__}: {printable(str(error)) or 'without a word'}."
        if given is None:
            return "it returns nothing yet; replace the three dots by your code."
        fault = fault or difference(given, wanted, functools.partial(arguments, exercise.right, case))
    if fault is None:
        return None
    for mistake in exercise.mistakes:
        if all(difference(called(answer, case), called(mistake.answer, case), str) is None for case in cases):
            return mistake.sentence
    return fault


def called(function: Callable, case: tuple) -> Any:
    """What a function returns for arguments of its own, which it may change."""
    with np.errstate(all="ignore"):
        return function(*copy.deepcopy(case))


def difference(given: Any, wanted: Any, of: Callable[[], str]) -> str | None:
    """How a result differs from what is right, as the rest of a sentence; None where it does not."""
    if isinstance(wanted, tuple | list):
        if not isinstance(given, tuple | list) or len(given) != len(wanted):
            return f"it should return {len(wanted)} values, and returns {shown(given)}."
        pairs = zip(given, wanted, strict=True)
        return next((found for pair in pairs if (found := difference(*pair, of))), None)
    wanted = np.asarray(wanted)
    try:
        given = np.asarray(given, float)
    except (TypeError, ValueError):
        return f"it should return numbers, and returns {shown(given)}."
    if given.shape != wanted.shape:
        return f"it should return {shape(wanted)}, and returns {shape(given)}."
    if np.allclose(given, wanted, rtol=1e-4, atol=1e-5, equal_nan=True):
        return None
    if wanted.size > 8:
        place = int(np.argmax(~np.isclose(given, wanted, rtol=1e-4, atol=1e-5)))
        index = tuple(int(i) for i in np.unravel_index(place, wanted.shape))
        where = index[0] if len(index) == 1 else index
        return f"{of()}entry {where} is {shown(given[index])}, and should be {shown(wanted[index])}."
    return f"{of()}it returns {shown(given)}, and {shown(wanted)} is right."


def arguments(function: Callable, case: tuple) -> str:
    """`for rewards = [1, 2], gamma = 0.5 `, or nothing where that would be long."""
    names = inspect.signature(function).parameters
    text = ", ".join(f"{name} = {shown(value)}" for name, value in zip(names, case, strict=False))
    return f"for {text} " if len(text) <= LONGEST else ""


def shape(array: np.ndarray) -> str:
    """How large an array is, in words."""
    return f"an array of shape {array.shape}" if array.shape else "one number"


def shown(value: Any) -> str:
    """A value with four digits, on one line."""
    if isinstance(value, np.ndarray | np.generic | list | float) or hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
            value = np.round(array.astype(float), 4).tolist() if array.dtype.kind in "fiu" else array.tolist()
        except (TypeError, ValueError):  # a list of arrays of several sizes
            pass
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return printable(repr(value))
