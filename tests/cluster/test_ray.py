"""Training on a real Ray of its own: once in `make test`, with the loss of an actor in the middle."""

import contextlib
import importlib.util
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import polyak
from polyak.cluster import ray_port
from polyak.errors import BadSetting, Error

LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
LISTENS = "0A"


RAYS = ("raylet", "gcs_server", "ray::", "ray/dashboard", "ray/_private")


def ours(before):
    """The processes that came since: those of Ray, and those that this test has started."""
    found = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter(["pid", "cmdline"]):
        if any(word in " ".join(process.info["cmdline"] or []) for word in RAYS):
            found[process.pid] = process
    return [process for pid, process in found.items() if pid not in before]


def named(before, word):
    """Those of them whose command line has a word."""
    found = []
    for process in ours(before):
        with contextlib.suppress(psutil.Error):  # it has ended
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def listeners(pids):
    """(pid, address) of every TCP socket that these processes listen on, as the kernel tells."""
    found = []
    for pid in pids:
        try:
            inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == LISTENS and f"socket:[{fields[9]}]" in inodes:
                        found.append((pid, fields[1].split(":")[0]))
        except OSError:
            continue  # it has ended
    return found


def test_a_run_with_a_killed_actor_ends_well_listens_on_loopback_only_and_leaves_nobody_behind(tmp_path):
    before = {process.pid for process in psutil.process_iter()}
    seen = {"listening": [], "killed": []}

    class Watch:
        def on_chunk(self, run, seed, step, metrics):
            if not seen["killed"] and step > 2_000:
                seen["listening"] = listeners([process.pid for process in ours(before)])
                victim = named(before, "ray::_Process")[0]
                seen["killed"].append(victim.pid)
                os.kill(victim.pid, signal.SIGKILL)

    run = polyak.train(
        polyak.IMPALA(n_steps=10),
        "CartPole-v1",
        steps=60_000,
        num_envs=8,
        actors=2,
        final_episodes=2,
        out=tmp_path,
        progress=False,
        callbacks=[Watch()],
    )
    assert run.about["status"] == "finished" and run.about["engine"] == "cluster"
    assert seen["killed"] and any("was lost (ActorDiedError)" in notice for notice in run.notices)
    assert len(seen["listening"]) > 3 and {address for _, address in seen["listening"]} <= LOOPBACK
    assert run.metrics("staleness")[1].size and run.metrics("actors")[1].max() == 2
    deadline = time.monotonic() + 30.0
    while left := named(before, "ray"):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_a_head_that_nobody_answers_at_is_one_sentence_within_ten_seconds():
    began = time.monotonic()
    with pytest.raises(Error, match=r"Nobody answers at 127.0.0.1:9 .*; start a head there with `ray start"):
        ray_port.start("127.0.0.1:9", 1)
    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("cluster", ["somewhere", ":1", "host:port", "host:"])
def test_what_is_no_address_is_one_sentence(cluster):
    with pytest.raises(BadSetting, match="it takes the HOST:PORT of a Ray head, or auto"):
        ray_port.start(cluster, 1)


def test_a_missing_ray_is_one_sentence_with_the_extra_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(BadSetting, match=r"needs Ray; `pip install polyak\[cluster\]` brings it"):
        ray_port.start(None, 1)


def test_settings_that_are_about_actors_are_refused_without_any(tmp_path):
    with pytest.raises(BadSetting, match="max_staleness is about actors; say how many: actors=8"):
        polyak.train("impala", "CartPole-v1", steps=100, max_staleness=1.0, out=tmp_path)
    with pytest.raises(BadSetting, match="stepped by actors or by workers, not by both"):
        polyak.train("impala", "CartPole-v1", steps=100, actors=2, workers=2, out=tmp_path)


@pytest.mark.slow
def test_seeds_are_placed_on_a_cluster_and_one_whose_machine_dies_goes_on_from_its_checkpoint(tmp_path):
    before = {process.pid for process in psutil.process_iter()}
    killed = []

    class Kill:
        def on_checkpoint(self, run, seed, step, path):
            seats = named(before, "ray::_Seat")
            if not killed and seats:
                killed.append(seed)
                seats[0].kill()

    run = polyak.train(
        "q-learning",
        "FrozenLake-v1",
        steps=200_000,
        seeds=2,
        cluster="local",
        checkpoint_every=20_000,
        final_episodes=2,
        out=tmp_path,
        progress=False,
        callbacks=[Kill()],
    )
    alone = polyak.train(
        "q-learning", "FrozenLake-v1", steps=200_000, seeds=2, final_episodes=2, out=tmp_path / "alone", progress=False
    )
    assert killed and any("goes on elsewhere, from its newest checkpoint" in notice for notice in run.notices)
    np.testing.assert_array_equal(run.policy(0).tables["q"], alone.policy(0).tables["q"])
    np.testing.assert_array_equal(run.scores.returns, alone.scores.returns)


@pytest.mark.slow
def test_a_sweep_with_more_seats_than_room_is_that_of_one_machine(tmp_path):
    how = {"steps": 2_000, "seeds": 2, "final_episodes": 2, "progress": False}
    varied = {"gamma": [0.8, 0.9, 0.99]}
    placed = polyak.sweep("q-learning", "FrozenLake-v1", varied, cluster="local", out=tmp_path / "ray", **how)
    here = polyak.sweep("q-learning", "FrozenLake-v1", varied, processes=0, out=tmp_path / "here", **how)
    for run, alone in zip(placed.runs, here.runs, strict=True):
        for seed in run.seeds:
            name = f"policy-{seed}.safetensors"
            assert (run.path / name).read_bytes() == (alone.path / name).read_bytes()
