"""Blocks of steps cut into minibatches."""

import jax
import numpy as np
import pytest

from polyak.errors import BadSetting
from polyak.parts.minibatches import check_batch_size, shuffled


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
