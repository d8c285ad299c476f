"""A cluster of three nodes on this machine, whose actors, nodes and learner are killed again and again.

POLYAK_TORTURE_MINUTES says how long, 3 by default; nodes come and go four times in it.
"""

import json
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

MINUTES = float(os.environ.get("POLYAK_TORTURE_MINUTES", "3"))
EVERY = 20_000  # steps between two checkpoints
SHARE = 0.3  # of the actors that are killed each minute
KILLS = max(3, round(MINUTES * 5 / 3))  # of the learner


def processes(word):
    """Those whose command line has it."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if word in " ".join(process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def polyak_process(*arguments):
    """`polyak ...` as a group of processes of its own."""
    command = [sys.executable, "-m", "polyak.cli", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def last_step(folder):
    with sqlite3.connect(f"file:{folder / 'metrics.sqlite'}?mode=ro", uri=True) as database:
        (step,) = database.execute("SELECT max(step) FROM metrics").fetchone()
    database.close()
    return step or 0


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
    where = ["--cluster", cluster.address, "--actors", 4, "--step-timeout", 10, "--out", tmp_path]
    training = polyak_process("train", "appo", "CartPole-v1", "--batch-size", 128, *limits, *where)
    began, killed, next_node = time.monotonic(), 0, seconds / 4
    while training.poll() is None and time.monotonic() - began < seconds + 300:
        time.sleep(5)
        for actor in processes("ray::_Process"):
            if chance.random() < SHARE * 5 / 60:
                actor.send_signal(signal.SIGKILL)
                killed += 1
        if time.monotonic() - began > next_node and time.monotonic() - began < seconds:
            next_node += seconds / 4
            cluster.remove_node(nodes.pop(0))
            nodes.append(cluster.add_node(num_cpus=2))
    assert training.poll() is not None, "it hangs"
    said = training.stderr.read()
    assert training.returncode == 0, said[-2_000:]
    (folder,) = tmp_path.iterdir()
    run = polyak.Run(folder)
    losses = [notice for notice in run.notices if "was lost" in notice]
    print(f"{killed} actors killed, {len(losses)} losses told of, {last_step(folder):,} steps; {run.scores}")
    assert len(losses) >= killed * 0.8  # two kills of one that had not begun are one loss
    assert run.scores.mean > 450


def test_a_learner_that_is_killed_again_and_again_goes_on_and_leaves_nobody_behind(tmp_path):
    limits = ["--steps", 1_500_000, "--checkpoint-every", EVERY, "--num-envs", 8, "--final-episodes", 5]
    training = polyak_process("train", "impala", "CartPole-v1", "--actors", 2, *limits, "--out", tmp_path)
    chance, lost = random.Random(1), []
    for _ in range(KILLS):
        folder = None
        began = time.monotonic()
        before = 0
        while time.monotonic() - began < 240 and training.poll() is None:
            time.sleep(0.5)
            folder = next(iter(tmp_path.iterdir()), None)
            if folder and list((folder / "checkpoints").glob("*/*")) and last_step(folder) > before + 2 * EVERY:
                break
            before = before or (last_step(folder) if folder and (folder / "metrics.sqlite").exists() else 0)
        assert training.poll() is None, training.stderr.read()[-2_000:]
        time.sleep(chance.uniform(0.0, 2.0))
        reached = last_step(folder)
        for process in (*psutil.Process(training.pid).children(), psutil.Process(training.pid)):
            process.kill()  # the worker process that is the learner, and its parent
        training.wait()
        saved = max(json.loads(path.read_text())["step"] for path in folder.glob("checkpoints/*/*/about.json"))
        lost.append(reached - saved)
        training = polyak_process("resume", folder)
    training.send_signal(signal.SIGINT)
    training.wait(120)
    print(f"{KILLS} kills of the learner; steps lost: {lost}")
    assert max(lost) <= EVERY + 50 * 8 * 20 * 5
    deadline = time.monotonic() + 120
    while left := processes(str(tmp_path)) + processes("ray::_Process"):
        assert time.monotonic() < deadline, left
        time.sleep(1)
