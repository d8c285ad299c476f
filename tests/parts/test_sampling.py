"""Which rows are drawn, and with what weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak import settings
from polyak.errors import Error
from polyak.parts.ring import Ring
from polyak.parts.sampling import LEAST, Drawable, Prioritised, Uniform, replay_from_text
from polyak.parts.text import part_text
from tests.speeds import slow

RING = Ring(12, 4)


def filled(setting, blocks: int, newest: int = 0, oldest: int = 0):
    """A sampler of a ring of 12 rows, its state after `blocks` blocks of 4, and the ring."""
    sampler = setting.sampler(Drawable(RING, newest, oldest))
    replay, state = RING.init({"number": jnp.int32(0)}), sampler.init()
    for i in range(blocks):
        replay = RING.add(replay, {"number": jnp.arange(4 * i, 4 * i + 4).reshape(2, 2)})
        state = sampler.added(state, replay)
    return sampler, state, replay


@pytest.mark.parametrize("setting", [Uniform(), Prioritised()])
@pytest.mark.parametrize(
    ("blocks", "newest", "oldest", "expected"),
    [
        slow(1, 0, 0, range(4)),
        slow(2, 0, 0, range(8)),
        (7, 0, 0, range(16, 28)),
        slow(2, 0, 3, range(8)),  # nothing is overwritten yet
        slow(3, 0, 3, range(3, 12)),
        slow(4, 0, 3, range(7, 16)),
        slow(2, 2, 0, range(6)),
        (1, 6, 0, range(0)),
        (2, 6, 0, range(2)),
        (5, 6, 2, range(10, 14)),
    ],
)
def test_all_rows_that_may_be_drawn_are_and_no_others(setting, blocks, newest, oldest, expected):
    sampler, state, replay = filled(setting, blocks, newest, oldest)
    assert int(sampler.drawable.count(replay)) == len(expected)
    if not expected:
        return
    indices, weights = sampler.draw(state, replay, jax.random.key(0), 2000, 0.0)
    counts = np.bincount(np.asarray(replay.storage["number"][indices]), minlength=28)
    np.testing.assert_array_equal(np.flatnonzero(counts), expected)
    # each is expected 2000 / n times; five standard deviations of a binomial either side
    mean = 2000 / len(expected)
    assert (np.abs(counts[expected] - mean) < 5 * np.sqrt(mean)).all()
    np.testing.assert_array_equal(weights, np.ones(2000))


@pytest.mark.parametrize("setting", [Uniform(), Prioritised()])
def test_the_same_key_draws_the_same_rows(setting):
    sampler, state, replay = filled(setting, 3)
    first, again, other = (sampler.draw(state, replay, jax.random.key(k), 50, 0.0)[0] for k in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def leaves_of(state) -> np.ndarray:
    return np.asarray(state.tree[-1]).ravel()[: RING.capacity]


def test_priorities_are_raised_to_alpha_and_new_rows_have_the_highest_so_far():
    sampler, state, replay = filled(Prioritised(alpha=0.5), 2)
    np.testing.assert_array_equal(leaves_of(state), [1] * 8 + [0] * 4)
    state = sampler.update(state, jnp.array([1, 6]), jnp.ones(2), jnp.array([9.0, 4.0]))
    np.testing.assert_allclose(leaves_of(state), [1, 3, 1, 1, 1, 1, 2, 1] + [0] * 4, rtol=1e-6)
    state = sampler.update(state, jnp.array([1]), jnp.ones(1), jnp.array([0.0]))
    replay = RING.add(replay, {"number": jnp.zeros((2, 2), jnp.int32)})
    state = sampler.added(state, replay)
    np.testing.assert_allclose(leaves_of(state), [1, LEAST**0.5, 1, 1, 1, 1, 2, 1, 3, 3, 3, 3], rtol=1e-6)
    metrics = sampler.metrics(state, replay.size)
    assert float(metrics["priority_mean"]) == pytest.approx((20 + LEAST**0.5) / 12)
    assert float(metrics["priority_max"]) == pytest.approx(3)


def test_a_priority_that_is_no_number_becomes_the_highest_and_a_weight_of_zero_ends_all_draws():
    sampler, state, _ = filled(Prioritised(alpha=1.0), 1)
    priorities = jnp.array([5.0, jnp.nan, jnp.inf, 7.0])
    state = sampler.update(state, jnp.array([0, 1, 2, 3]), jnp.array([1.0, 1, 1, 0]), priorities)
    np.testing.assert_allclose(leaves_of(state)[:4], [5, 1, 1, 0], rtol=1e-6)
    assert float(state.highest) == pytest.approx(5)


def test_of_a_row_that_was_drawn_twice_the_larger_priority_counts():
    sampler, state, _ = filled(Prioritised(alpha=1.0), 1)
    for priorities in ([2.0, 3.0, 1.0], [3.0, 2.0, 1.0]):
        changed = sampler.update(state, jnp.array([2, 2, 0]), jnp.ones(3), jnp.array(priorities))
        np.testing.assert_allclose(leaves_of(changed)[:4], [1, 1, 3, 1], rtol=1e-5)
        assert float(sampler.tree.total(changed.tree)) == pytest.approx(6, rel=1e-5)


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_weights_are_those_worked_out_by_hand(progress, beta):
    """Priorities 1, 4 and 16, alpha 1/2: rows are drawn as 1 : 2 : 4, weights are as 1 : 2^-beta : 4^-beta."""
    sampler, state, replay = filled(Prioritised(alpha=0.5, beta=0.5, final_beta=1.0), 1)
    gone = jnp.array([1.0, 1.0, 1.0, 0.0])
    state = sampler.update(state, jnp.arange(4), gone, jnp.array([1.0, 4.0, 16.0, 1.0]))
    indices, weights = sampler.draw(state, replay, jax.random.key(0), 7000, progress)
    np.testing.assert_allclose(weights, np.array([1, 2**-beta, 4**-beta])[indices], rtol=1e-5)
    np.testing.assert_allclose(np.bincount(indices) / 7000, [1 / 7, 2 / 7, 4 / 7], atol=0.03)  # five deviations


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("uniform", Uniform()),
        ("prioritised", Prioritised()),
        ("prioritised:0.5", Prioritised(0.5)),
        ("prioritised:0.7:0.5:0.9", Prioritised(0.7, 0.5, 0.9)),
    ],
)
def test_a_setting_has_a_text_form(text, setting):
    assert replay_from_text(text) == setting
    assert replay_from_text(part_text(setting)) == setting


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prioritized", "did you mean prioritised"),
        ("uniform:1", "must be of the form uniform"),
        ("prioritised:high", "must be of the form prioritised:alpha:beta:final_beta"),
        ("prioritised:0.6:0.4:1:1", "must be of the form"),
        ("prioritised:0.6:1.4", "dqn's replay's beta is 1.4; it must be between 0 and 1"),
        ("prioritised:nan", "dqn's replay's alpha is nan; it must be between 0 and 1"),
    ],
)
def test_what_is_no_setting_is_refused_in_a_sentence(text, problem):
    with pytest.raises(Error, match=problem):
        settings.build("dqn", {"replay": text})
