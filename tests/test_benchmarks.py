"""Benchmarks of accelerators, on the CPU and small."""

import importlib.util
import json

import pytest

from benchmarks import device


def test_the_benchmark_of_devices_measures_itself_small_and_prints_a_table(tmp_path, capsys):
    path = tmp_path / "device.json"
    device.main(["--small", str(path)])
    found = json.loads(path.read_text())
    for row in device.SMALL:
        figures = found["rows"][row.name]
        if isinstance(row, device.Training) and not importlib.util.find_spec(row.library):
            assert figures["skipped"] == "rejax is not installed"
            continue
        speed = figures["steps_per_second" if isinstance(row, device.Training) else "updates_per_second"]
        assert speed > 0 and figures["same_bits"] and figures["platform"] == "cpu"
    capsys.readouterr()
    device.main(["--table", str(path)])
    printed = capsys.readouterr().out
    assert "| ppo on CartPole-v1 | 8 | 2 |" in printed and "| nips on a batch of 2 |" in printed
    assert "README" in printed.partition("Published elsewhere")[2]


def test_rows_that_the_time_does_not_allow_are_skipped_and_none_may_take_more_than_is_left():
    now, limits = [0.0], []

    def take(row, limit):
        limits.append(limit)
        now[0] += min(40.0, limit)
        return {"same_bits": True}

    rows = [row for row in device.ROWS if getattr(row, "library", "polyak") == "polyak"]
    found = dict(device.measured(rows, 150.0, take, lambda: now[0]))
    assert limits == [75.0, 75.0, 70.0, 30.0]
    assert now[0] == 150.0
    assert list(found) == [row.name for row in rows]
    assert [figures.get("skipped") for figures in found.values()] == [None] * 4 + ["no time was left"] * (len(rows) - 4)


def test_names_of_rows_are_theirs_alone():
    names = [row.name for row in (*device.ROWS, *device.SMALL)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("row", "limit", "reason"),
    [
        (device.SMALL[-1], 300.0, None),
        (device.SMALL[-1], 0.1, "it took more than 0.1 s"),
        (device.SMALL[-1]._replace(network="mlp"), 300.0, "StopIteration"),
    ],
)
def test_a_row_is_measured_in_a_process_of_its_own_and_costs_only_itself(row, limit, reason):
    figures = device.measure_apart(row, limit)
    assert figures.get("failed") == reason
    assert reason or figures["updates_per_second"] > 0
