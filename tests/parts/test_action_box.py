"""Actions as networks have them, and as tasks do: numbers between bounds, and choices that are counted."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium.spaces import Box, Discrete
from hypothesis import Phase, given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from polyak.errors import BadSetting
from polyak.parts.action_box import WIDEST, ActionBox
from polyak.parts.action_choice import ActionChoice
from polyak.spaces import in_own_type

LOW, HIGH = np.float32([[-1, 0, 5], [-3, -2, 100]]), np.float32([[1, 4, 6], [-1, 8, 104]])
ASYMMETRIC = ActionBox.of("SAC", Box(LOW, HIGH))


def box(low, high, dtype=np.float32) -> ActionBox:
    return ActionBox.of("SAC", Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype))


def test_bounds_and_middles_are_those_of_each_coordinate():
    assert (ASYMMETRIC.size, ASYMMETRIC.unit) == (6, Box(-1.0, 1.0, (6,), np.float32))
    scaled = jnp.array([jnp.full(6, -1.0), jnp.zeros(6), jnp.ones(6), jnp.array([0.5, -0.5, 0.5, -0.5, 0.2, -0.25])])
    actions = ASYMMETRIC.action(scaled)
    np.testing.assert_array_equal(actions[:3], [LOW, [[0, 2, 5.5], [-2, 3, 102]], HIGH])
    np.testing.assert_allclose(actions[3], [[0.5, 1, 5.75], [-2.5, 4, 101.5]], rtol=1e-6)
    np.testing.assert_allclose(ASYMMETRIC.scaled(actions), scaled, atol=1e-5)


def test_leading_axes_are_kept():
    assert ASYMMETRIC.action(jnp.zeros((4, 5, 6))).shape == (4, 5, 2, 3)
    assert ASYMMETRIC.action(jnp.zeros(6)).shape == (2, 3)
    assert ASYMMETRIC.scaled(jnp.zeros((4, 5, 2, 3))).shape == (4, 5, 6)
    assert ASYMMETRIC.noise(jax.random.key(0), (4, 5), 2).shape == (4, 5, 12)


def test_what_lies_beyond_the_bounds_is_brought_back_to_them():
    wide = box([-2.0], [4.0])
    assert wide.action(jnp.array([[-1.5], [7.0]])).tolist() == [[-2.0], [4.0]]
    assert wide.scaled(jnp.array([[-9.0], [9.0]])).tolist() == [[-1.0], [1.0]]


NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
QUICK = settings(deadline=None, max_examples=40, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@st.composite
def boxes(draw):
    shape = draw(st.sampled_from([(1,), (3,), (2, 2)]))
    ends = [draw(arrays.arrays(np.float32, shape, elements=NUMBERS)) for _ in range(2)]
    return box(np.minimum(*ends), np.maximum(*ends))


@QUICK
@given(boxes(), st.data())
def test_scaled_actions_come_back_from_the_actions_that_they_stand_for(actions, data):
    scaled = data.draw(
        arrays.arrays(np.float32, (actions.size,), elements=st.floats(-1, 1, width=32, allow_subnormal=False))
    )
    action = np.asarray(actions.action(jnp.asarray(scaled)))
    assert actions.space.contains(action)
    low, high = np.float64(actions.space.low).ravel(), np.float64(actions.space.high).ravel()
    wide = high - low >= 2 * np.finfo(np.float32).tiny
    expected = np.where(wide, scaled, 0.0)
    # an action is rounded to the next float32 of its size, which may be large beside its range
    rounding = np.divide(np.maximum(abs(low), abs(high)), high - low, out=np.zeros_like(low), where=wide)
    error = np.abs(np.asarray(actions.scaled(jnp.asarray(action)), np.float64) - expected)
    assert (error <= 2.0**-21 * (1 + rounding)).all()


@QUICK
@given(boxes(), st.data())
def test_actions_come_back_from_what_networks_have_of_them(actions, data):
    share = data.draw(arrays.arrays(np.float64, actions.space.shape, elements=st.floats(0, 1)))
    low, high = np.float64(actions.space.low), np.float64(actions.space.high)
    action = np.float32(np.clip(low + share * (high - low), low, high))
    again = np.asarray(actions.action(actions.scaled(jnp.asarray(action))))
    np.testing.assert_array_less(abs(np.float64(again) - action), 2.0**-21 * np.maximum(abs(low), abs(high)) + 1e-30)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (-0.7, 0.7), (-1 / 3, 1 / 3), (1e-9, 1.1), (100.1, 100.7)])
def test_the_environment_is_given_members_of_a_space_whose_bounds_float32_would_overstep(low, high):
    actions = box([low, -high], [high, -low], np.float64)
    cast = in_own_type(actions.space)
    for scaled in (jnp.full(2, -1.0), jnp.ones(2), jnp.zeros(2), jnp.array([0.999999, -0.999999])):
        member = cast(np.asarray(actions.action(scaled)))
        assert actions.space.contains(member), member
        np.testing.assert_allclose(actions.scaled(jnp.asarray(np.float32(member))), scaled, atol=1e-4)


def test_a_coordinate_of_no_width_is_always_there_and_shown_as_zero():
    actions = box([-1.0, 3.0], [1.0, 3.0])
    given_ = jnp.array([[-1.0, -1.0], [0.5, 0.7], [1.0, 1.0]])
    assert actions.action(given_).tolist() == [[-1.0, 3.0], [0.5, 3.0], [1.0, 3.0]]
    assert actions.scaled(actions.action(given_)).tolist() == [[-1.0, 0.0], [0.5, 0.0], [1.0, 0.0]]
    slope = jax.grad(lambda action: actions.scaled(action).sum())(jnp.array([0.5, 3.0]))
    assert slope.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("width", [6e-45, 1e-38])
def test_a_width_that_xla_takes_for_zero_makes_no_nan(width):
    actions = box([0.0], [width])
    assert actions.scaled(jnp.zeros((1, 1))).tolist() == [[0.0]]
    assert jax.jit(actions.scaled)(jnp.zeros((1, 1))).tolist() == [[0.0]]


def test_the_largest_bounds_that_are_taken_stay_finite():
    actions = box([-WIDEST], [WIDEST])
    ends = jnp.array([[-1.0], [0.0], [1.0]])
    np.testing.assert_allclose(actions.action(ends)[:, 0], [-WIDEST, 0, WIDEST], rtol=1e-6)
    np.testing.assert_array_equal(actions.scaled(actions.action(ends)), ends)


REFUSED = {
    "half unbounded": (Box(np.float32([0.0, -1.0]), np.float32([1.0, np.inf])), "have none"),
    "unbounded": (Box(-np.inf, np.inf, (2,), np.float32), "have none"),
    "beyond float32": (Box(-1e40, 1e40, (1,), np.float64), "have none"),
    "beyond what products stand": (Box(-3e38, 3e38, (1,), np.float32), "have none"),
    "whole numbers": (Box(-2, 2, (1,), np.int32), "real numbers"),
    "bytes": (Box(0, 255, (1,), np.uint8), "real numbers"),
    "choices": (Discrete(3), "real numbers"),
    "several choices": (gymnasium.spaces.MultiDiscrete([2, 3]), "real numbers"),
    "parts": (gymnasium.spaces.Dict({"push": Box(-1.0, 1.0, (1,))}), "real numbers"),
    "no coordinate": (Box(-1.0, 1.0, (0,)), "at least one coordinate"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scaled_is_refused_in_one_sentence(case):
    space, why = REFUSED[case]
    with pytest.raises(BadSetting, match=why) as refusal:
        ActionBox.of("TD3", space)
    said = str(refusal.value)
    assert said.startswith("TD3 ") and said.endswith(".") and "\n" not in said


@pytest.mark.parametrize("draws", [1, 2])
def test_uniform_actions_are_uniform_and_independent(draws):
    scaled = ASYMMETRIC.uniform(ASYMMETRIC.noise(jax.random.key(0), (20_000,), draws))
    assert scaled.shape == (20_000, 6)
    for coordinate in np.asarray(scaled).T:
        assert scipy.stats.kstest(coordinate, "uniform", args=(-1, 2)).pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(np.asarray(scaled).T), np.eye(6), atol=4 / 20_000**0.5)
    actions = np.asarray(ASYMMETRIC.action(scaled)).reshape(-1, 6)
    for coordinate, low, high in zip(actions.T, LOW.ravel(), HIGH.ravel(), strict=True):
        assert scipy.stats.kstest(coordinate, "uniform", args=(low, high - low)).pvalue > 1e-3


def test_choices_are_counted_from_zero_within():
    choice = ActionChoice(3, start=5)
    inside = jnp.array([0, 2, 1])
    assert choice.action(inside).tolist() == [5, 7, 6]
    assert choice.scaled(choice.action(inside)).tolist() == [0, 2, 1]


def test_uniform_choices_are_uniform():
    choice = ActionChoice(5, start=0)
    drawn = choice.uniform(choice.noise(jax.random.key(0), (20_000,), 1))
    assert drawn.dtype == jnp.int32
    assert scipy.stats.chisquare(np.bincount(np.asarray(drawn), minlength=5)).pvalue > 1e-3
