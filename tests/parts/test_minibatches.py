"""Blocks of steps cut into minibatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.errors import BadSetting
from polyak.parts.minibatches import check_batch_size, minibatch, minibatches_of, shuffled, shuffled_first


@pytest.mark.parametrize(
    ("batch_size", "n_steps", "num_envs", "nearest"),
    [
        (48, 64, 1, 32),  # as near as 64
        (10**6, 16, 4, 64),
        (7, 2_048, 2**31 - 1, 8),  # all divisors of which would take an hour
        (3 * 2**29, 2**24, 2**31 - 1, 2**24),  # none is near
    ],
)
def test_a_batch_size_that_does_not_divide_the_block_is_refused_with_one_that_does(
    batch_size, n_steps, num_envs, nearest
):
    with pytest.raises(BadSetting, match=f"= {n_steps * num_envs}; {nearest} does"):
        check_batch_size("PPO", batch_size, n_steps, num_envs)


def test_each_epoch_takes_every_step_once():
    rows = shuffled(jax.random.key(0), 12, 4, 3)
    assert rows.shape == (9, 4)
    epochs = np.asarray(rows).reshape(3, 12)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(12), (3, 1)))
    assert (epochs[0] != epochs[1]).any()


def test_each_epoch_begins_with_the_steps_that_count_in_another_order():
    which = jnp.arange(12) % 3 > 0
    orders = np.asarray(shuffled_first(jax.random.key(0), which, 3))
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(12), (3, 1)))
    np.testing.assert_array_equal(np.sort(orders[:, :8]), np.tile(np.flatnonzero(which), (3, 1)))
    assert (orders[0, :8] != orders[1, :8]).any()


@pytest.mark.parametrize("batch_size", [1, 4, 5, 12, 100])
@pytest.mark.parametrize("count", [0, 1, 5, 8, 12])
def test_minibatches_take_each_of_the_first_steps_once_and_are_as_equal_as_can_be(count, batch_size):
    order, taken = jnp.arange(12)[::-1], []
    minibatches = int(minibatches_of(jnp.int32(count), batch_size))
    assert minibatches == max(1, -(-count // batch_size))
    for i in range(minibatches):
        indices, belongs = minibatch(order, jnp.int32(count), batch_size, jnp.int32(i))
        assert indices.shape == (batch_size,)
        taken.append(np.asarray(indices)[np.asarray(belongs)])
    np.testing.assert_array_equal(np.concatenate(taken), order[:count])
    sizes = list(map(len, taken))
    assert max(sizes) - min(sizes) <= 1
