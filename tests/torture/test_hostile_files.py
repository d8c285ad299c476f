"""Twenty times as many malformed and damaged files as in `make test`, and databases with changed bytes."""

import random

import pytest

import polyak
from polyak.runs import store
from tests import hostile
from tests.test_hostile_files import assert_one_sentence, malformed_commands, watch

COUNT = 20_000


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return hostile.sealed_samples(tmp_path_factory.mktemp("samples"))


def test_malformed_files_are_named_in_one_sentence(samples, tmp_path):
    commands = malformed_commands(COUNT, samples, tmp_path / "malformed", random.Random(5))
    answers, used = watch(list(commands.values()), tmp_path.resolve())
    for answer in answers:
        assert not answer["seen"], answer
        assert_one_sentence(answer)
    assert used["kilobytes"] < 300_000


def test_flipped_bytes_and_cuts_are_detected(samples, tmp_path):
    dice = random.Random(6)
    for number in range(COUNT):
        damaged = tmp_path / "p.safetensors"
        damaged.write_bytes(hostile.flipped(samples[number % 2].read_bytes(), dice))
        with pytest.raises(polyak.Error, match=r"p\.safetensors"):
            polyak.load(damaged)


def test_a_database_with_changed_bytes_is_read_or_named(tmp_path):
    dice = random.Random(7)
    refused = 0
    for _ in range(COUNT):
        (tmp_path / "metrics.sqlite").write_bytes(hostile.mutated_database(dice))
        try:
            store.check_writable(tmp_path)
            for name in store.metric_names(tmp_path):
                store.read_metric(tmp_path, name, [0, 1])
        except polyak.Error as error:
            refused += 1
            assert "\n" not in str(error)
    assert 0 < refused < COUNT
