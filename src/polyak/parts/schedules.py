"""Hyperparameters that change while training goes on."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp

from polyak.agent import Array, PyTree
from polyak.errors import BadSetting
from polyak.parts.ranges import Range, Rate, Share
from polyak.parts.text import number_text, quoted


def linear_schedule(step: Array, start: float, end: float, duration: float) -> Array:
    """The value at a step: `start` at step 0, moving linearly to `end` at step `duration`, where it stays."""
    fraction = jnp.clip(step / jnp.maximum(jnp.float32(duration), 1e-9), 0.0, 1.0)
    return start + fraction * (end - start)


@dataclasses.dataclass(frozen=True)
class StepSize:
    """alpha: from `initial` linearly to `final` over the run, divided by n^power at the n-th visit.

    With initial = power = 1 a table entry is the average of all its targets. Values settle for good where the sum of
    alpha diverges and that of alpha^2 does not: powers above 1/2 and up to 1 see to that.

    Source: Robbins and Monro (1951), "A stochastic approximation method"; Even-Dar and Mansour (2003), "Learning rates
    for Q-learning", on the power.
    """

    initial: Rate = 0.1
    final: Annotated[float, Range(0, 1e6)] | None = None  # None: it stays
    power: Share = 0.0

    @property
    def counts(self) -> bool:
        """Whether it depends on visits."""
        return self.power > 0

    def at(self, progress: Array, visits: PyTree) -> Array | float:
        """alpha [] at a share of the run, [] in [0, 1], and at the n-th visit, from 1 up; () where none are counted."""
        alpha = self.initial if self.final is None else linear_schedule(progress, self.initial, self.final, 1.0)
        return alpha / jnp.maximum(visits, 1.0) ** self.power if self.power else alpha

    def __str__(self) -> str:
        """`0.1`, `0.5:0.01`, `1/n`, `1/n^0.8`."""
        text = number_text(self.initial) + (f":{number_text(self.final)}" if self.final is not None else "")
        return text + ("" if not self.power else "/n" if self.power == 1 else f"/n^{number_text(self.power)}")


def step_size(value: float | StepSize) -> StepSize:
    """The step size that is given; a plain number stands for one that stays."""
    return value if isinstance(value, StepSize) else StepSize(value)


def step_size_from_text(text: str) -> StepSize:
    """Reads `0.1`, `0.5:0.01` (from, to), `1/n` or `1/n^0.8`; anything else is a `polyak.Error`."""
    numbers, over_visits, power = text.partition("/n")
    initial, _, final = numbers.partition(":")
    try:
        exponent = float(power.removeprefix("^")) if power else float(bool(over_visits))
        return StepSize(float(initial), float(final) if final else None, exponent)
    except ValueError:
        raise BadSetting(f"The step size {quoted(text)} is not of the form 0.1, 0.5:0.01, 1/n or 1/n^0.8.") from None
