"""Two hundred kills of DQN with its replay, PPO and a table, half of them aimed inside a save; five of every other
and of every variant."""

import random

import pytest

from polyak.algorithms import ALGORITHMS
from tests import small
from tests.torture import killed

THREE = {"dqn": ([0], 70), "ppo": ([0], 60), "q-learning": ([0, 1], 70)}
HOSTS = ("dqn host", "ppo, normalised host", "sarsa-lambda host")


@pytest.fixture(scope="module")
def mould(tmp_path_factory):
    mould = killed.Mould(tmp_path_factory.mktemp("xla"))
    yield mould
    mould.close()


@pytest.mark.parametrize("name", THREE)
def test_two_hundred_kills_lose_at_most_one_interval_and_change_nothing(name, mould, tmp_path):
    seeds, kills = THREE[name]
    inside = 0
    for series in range(kills // 10):
        report = killed.check(mould, name, tmp_path / str(series), seeds, 10, random.Random(series))
        inside += report.inside
    print(f"{name}: {kills} kills, {inside} of them inside a save")
    assert inside > kills // 6


@pytest.mark.parametrize("name", [*(name for name in ALGORITHMS if name not in THREE), *small.VARIANTS, *HOSTS])
def test_every_algorithm_ends_the_same_after_five_kills(name, mould, tmp_path):
    killed.check(mould, name, tmp_path / "run", [0], 5, random.Random(0))
