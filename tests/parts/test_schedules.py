"""Schedules."""

import jax
import jax.numpy as jnp
import pytest

from polyak import settings
from polyak.errors import BadSetting
from polyak.parts.exploration import AnnealedEpsilon
from polyak.parts.schedules import StepSize, linear_schedule, step_size, step_size_from_text


@pytest.mark.parametrize(("step", "value"), [(0, 1.0), (25, 0.775), (50, 0.55), (100, 0.1), (101, 0.1), (10**9, 0.1)])
def test_it_is_linear_and_then_constant(step, value):
    assert linear_schedule(step, 1.0, 0.1, 100) == pytest.approx(value)  # 1 - 0.9 * step / 100
    assert jax.jit(linear_schedule)(step, 1.0, 0.1, 100) == pytest.approx(value)


def test_it_may_rise():
    assert linear_schedule(5, 0.0, 2.0, 10) == pytest.approx(1.0)


def test_a_duration_of_zero_is_over_at_the_first_step():
    assert linear_schedule(1, 1.0, 0.1, 0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "progress", "visits", "alpha"),
    [
        ("0.5", 0.9, 7.0, 0.5),
        ("0.5:0.1", 0.25, 7.0, 0.4),
        ("1/n", 0.9, 4.0, 0.25),
        ("0.5/n^0.5", 0.9, 4.0, 0.25),
        ("1:0/n", 0.5, 5.0, 0.1),
    ],
)
def test_step_sizes_have_a_text_form(text, progress, visits, alpha):
    size = step_size_from_text(text)
    assert size.at(progress, visits) == pytest.approx(alpha)
    assert str(size) == text
    assert step_size_from_text(str(size)) == size


def test_a_plain_number_is_a_step_size():
    assert step_size(0.3) == StepSize(0.3)
    assert step_size(StepSize(0.3, 0.1)) == StepSize(0.3, 0.1)


@pytest.mark.parametrize("text", ["", "n", "0.1/m", "0.1:x", "1/n^x"])
def test_what_is_no_step_size_is_refused(text):
    with pytest.raises(BadSetting, match="The step size"):
        step_size_from_text(text)


@pytest.mark.parametrize("text", ["-1", "0.5/n^2", "0", "0.1:nan", "1e7"])
def test_a_step_size_that_cannot_work_is_refused(text):
    with pytest.raises(BadSetting, match=r"q-learning's learning_rate's .* it must be"):
        settings.build("q-learning", {"learning_rate": text})


def test_schedules_whose_numbers_are_traced_are_one_program():
    shares = jnp.array([0.0, 0.5, 1.0])
    epsilon = jax.jit(jax.vmap(lambda share: AnnealedEpsilon(1.0, 0.1, share).epsilon(jnp.float32(0.25))))(shares)
    assert epsilon == pytest.approx([0.1, 0.55, 0.775])  # 1 - 0.9 * 0.25 / share
