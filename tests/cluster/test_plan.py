"""Who holds which environments, and the arithmetic of staleness."""

import pytest

import polyak
from polyak.cluster.plan import plan
from polyak.errors import BadSetting


def test_fresh_blocks_are_shared_out_so_that_all_environments_are_held_once():
    found = plan(polyak.PPO(), 3, 8, None)
    assert found.flow == "fresh" and found.shares == ((0, 2), (2, 3), (5, 3)) and (found.of, found.ahead) == (8, 1)


@pytest.mark.parametrize(
    ("actors", "num_envs", "max_staleness", "together", "each"),
    [
        (8, 32, None, 8, 4),  # 8 actors x 2 blocks ahead / 8 blocks an update - 1: 1 update
        (8, 32, 3.0, 4, 8),
        (8, 32, 15.0, 1, 32),
        (3, 32, None, 4, 8),  # 3 does not divide 32: half an update
        (16, 8, None, 8, 1),  # 3 updates is the least there is, and no less was asked for
    ],
)
def test_as_many_blocks_make_an_update_as_keep_them_young_enough(actors, num_envs, max_staleness, together, each):
    found = plan(polyak.IMPALA(), actors, num_envs, max_staleness)
    assert found.together == together and found.of == actors * each
    assert found.shares == tuple((each * i, each) for i in range(actors))
    assert together * each == num_envs


@pytest.mark.parametrize("algorithm", [polyak.IMPALA(normalize_reward=True), polyak.RecurrentDQN()])
def test_what_remembers_an_environment_from_block_to_block_gets_blocks_that_follow_each_other(algorithm):
    found = plan(algorithm, 2, 8, None)
    assert found.flow == "fresh" and not found.streamed


def test_stacks_of_frames_may_begin_in_mid_episode():
    found = plan(polyak.DQN(frame_stack=4), 2, 8, None)
    assert found.flow == "replay" and found.streamed


@pytest.mark.parametrize(
    ("algorithm", "actors", "num_envs", "max_staleness", "says"),
    [
        (polyak.PPO(), 9, 8, None, "9 actors cannot share 8 environments; make num_envs at least 9"),
        (polyak.A3C(), 4, 1, None, "4 actors cannot share 1 environment;"),
        (polyak.PPO(), 2, 8, 2.0, "max_staleness is about blocks that stream, and those of this ppo do not"),
        (polyak.IMPALA(), 16, 8, 2.0, "are 3 updates behind even if 8 blocks make an update"),
        (polyak.CEM(), 2, 64, None, "cem is a population"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(algorithm, actors, num_envs, max_staleness, says):
    with pytest.raises(BadSetting, match=says):
        plan(algorithm, actors, num_envs, max_staleness)
