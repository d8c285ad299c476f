"""Sessions: the first episodes of a block."""

import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Step
from polyak.parts.sessions import first_episodes, session_returns

# Three environments: the first episode is cut after two steps, ends after one, and is longer than the block.
ENDED, CUT = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0]]) == 1, np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]]) == 1
REWARD = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]], np.float32)
BLOCK = Step((), (), *map(jnp.asarray, (REWARD, ENDED, CUT)), (), ())


def test_the_steps_up_to_the_first_end_or_cut_are_those_of_the_first_episode():
    np.testing.assert_array_equal(first_episodes(BLOCK), [[1, 1, 1], [1, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize(("gamma", "returns"), [(1.0, [9, 2, 292]), (0.5, [5, 2, 84]), (0.0, [1, 2, 4])])
def test_rewards_of_the_first_episode_are_summed_and_discounted_from_its_first_step(gamma, returns):
    np.testing.assert_array_equal(session_returns(BLOCK, gamma), returns)
