"""A cluster of three nodes on this machine, whose actors, nodes and learner are killed again and again.

POLYAK_TORTURE_MINUTES says how long, 3 by default; nodes come and go four times in it.
"""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import psutil
import pytest

import polyak
from polyak.runs import checkpoint

MINUTES = float(os.environ.get("POLYAK_TORTURE_MINUTES", "3"))
EVERY = 20_000  # steps between two checkpoints
SHARE = 0.3  # of the actors that are killed each minute
KILLS = max(3, round(MINUTES * 5 / 3))  # of the learner


def processes(word, sessions=None):
    """Those whose command line has it, of these sessions alone where they are given: others may run beside the test."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            is_meant = word in " ".join(process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE
            if is_meant and (sessions is None or os.getsid(process.pid) in sessions):
                found.append(process)
    return found


@contextlib.contextmanager
def polyak_process(log, *arguments):
    """`polyak ...` as a group of processes of its own, which writes into the file `log`."""
    command = [sys.executable, "-m", "polyak.cli", *map(str, arguments)]
    with (
        log.open("a") as file,
        subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True) as process,
    ):
        try:
            yield process
        finally:
            kill(process)


def kill(process):
    """Ends a command, and the worker process that is the learner, at once."""
    if process.poll() is None:
        for one in (*psutil.Process(process.pid).children(), psutil.Process(process.pid)):
            one.kill()
        process.wait()


def last_step(folder):
    """The newest that was measured; 0 where nothing was, or where a process that was killed just now made the table."""
    for _ in range(20):
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"file:{folder / 'metrics.sqlite'}?mode=ro", uri=True)) as database,
        ):
            return database.execute("SELECT max(step) FROM metrics").fetchone()[0] or 0
        time.sleep(0.1)
    return 0


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    made.shutdown()


def test_a_run_survives_the_deaths_of_actors_and_nodes_and_tells_of_each(cluster, tmp_path):
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    seconds, chance = MINUTES * 60, random.Random(0)
    limits = ["--steps", 2_000_000_000, "--time-limit", seconds, "--num-envs", 16, "--final-episodes", 20]
    where = ["--cluster", cluster.address, "--actors", 4, "--step-timeout", 10, "--out", tmp_path / "runs"]
    log = tmp_path / "log"
    with polyak_process(log, "train", "appo", "CartPole-v1", "--batch-size", 128, *limits, *where) as training:
        began, killed, next_node = time.monotonic(), 0, seconds / 4
        while training.poll() is None and time.monotonic() - began < seconds + 300:
            time.sleep(5)
            for actor in processes("ray::_Process", {os.getsid(0)}):
                if chance.random() < SHARE * 5 / 60:
                    actor.send_signal(signal.SIGKILL)
                    killed += 1
            if time.monotonic() - began > next_node and time.monotonic() - began < seconds:
                next_node += seconds / 4
                cluster.remove_node(nodes.pop(0))
                nodes.append(cluster.add_node(num_cpus=2))
        assert training.poll() == 0, f"it hangs, or failed: {log.read_text()[-2_000:]}"
    (folder,) = (tmp_path / "runs").iterdir()
    run = polyak.Run(folder)
    losses = [notice for notice in run.notices if "was lost" in notice]
    print(f"{killed} actors killed, {len(losses)} losses told of, {last_step(folder):,} steps; {run.scores}")
    assert len(losses) >= killed * 0.8  # two kills of one that had not begun are one loss
    assert run.scores.mean > 450


def test_a_learner_that_is_killed_again_and_again_goes_on_and_leaves_nobody_behind(tmp_path):
    limits = ["--steps", 100_000_000, "--checkpoint-every", EVERY, "--num-envs", 8, "--final-episodes", 5]
    command = ["train", "impala", "CartPole-v1", "--actors", 2, *limits, "--out", tmp_path / "runs"]
    log, chance, lost, sessions = tmp_path / "log", random.Random(1), [], set()
    for _ in range(KILLS):
        with polyak_process(log, *command) as training:
            sessions.add(training.pid)
            goes_on(training, tmp_path / "runs", log)
            time.sleep(chance.uniform(0.0, 2.0))
            (folder,) = (tmp_path / "runs").iterdir()
            kill(training)
        lost.append(last_step(folder) - checkpoint.newest_step(checkpoint.folder_of(folder, 0)))
        command = ["resume", folder]
    with polyak_process(log, *command) as training:
        sessions.add(training.pid)
        goes_on(training, tmp_path / "runs", log)
        training.send_signal(signal.SIGINT)
        training.wait(120)
    assert polyak.Run(folder).about["status"] == "stopped"
    print(f"{KILLS} kills of the learner; steps lost: {lost}")
    assert max(lost) <= 2 * EVERY  # a checkpoint that was being written is none yet
    deadline = time.monotonic() + 120
    while left := processes(str(tmp_path)) + processes("ray::", sessions):
        assert time.monotonic() < deadline, left
        time.sleep(1)


def goes_on(training, runs, log):
    """Waits until a run has made some more steps than when this was called."""
    began, before, folder = time.monotonic(), None, None
    while folder is None or before is None or last_step(folder) < before + 2 * EVERY:
        assert training.poll() is None and time.monotonic() - began < 240, log.read_text()[-2_000:]
        time.sleep(0.2)
        folder = next(runs.iterdir(), None) if runs.exists() else None
        if folder and (folder / "metrics.sqlite").exists() and before is None:
            before = last_step(folder)
