"""Schedules."""

import jax
import pytest

from polyak.parts.schedules import linear


@pytest.mark.parametrize(("step", "value"), [(0, 1.0), (25, 0.775), (50, 0.55), (100, 0.1), (101, 0.1), (10**9, 0.1)])
def test_it_is_linear_and_then_constant(step, value):
    assert linear(step, 1.0, 0.1, 100) == pytest.approx(value)  # 1 - 0.9 * step / 100
    assert jax.jit(linear, static_argnums=(1, 2, 3))(step, 1.0, 0.1, 100) == pytest.approx(value)


def test_it_may_rise():
    assert linear(5, 0.0, 2.0, 10) == pytest.approx(1.0)


def test_a_duration_of_zero_is_over_at_the_first_step():
    assert linear(1, 1.0, 0.1, 0) == pytest.approx(0.1)
