"""{raise, kill, stop, exit, hang} x {reset, step, close} x {in process, workers}, through `polyak.train` itself."""

import os
from pathlib import Path

import pytest

import polyak
from polyak.envs.base import EpisodeSeeds
from tests.envs.broken import HOWS, Broken

SEED, TIMEOUT = 5, 2.0
OF = EpisodeSeeds(SEED, 4)
QUICK = polyak.PPO(n_steps=16, batch_size=64, n_epochs=1, network=polyak.MLP((8,)))
WHAT = {
    "raise": "{} raised ValueError: the motor is too hot",
    "kill": "its process was killed by SIGKILL during {}",
    "stop": "{} did not return within 2 seconds because its process was stopped",
    "exit": "its process ended with status 3 during {}",
    "hang": "{} did not return within 2 seconds; repair it",
}


def children() -> set[str]:
    """The processes whose parent is this one, and environment workers that were started from this folder."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        mine = int(parent) == os.getpid()
        if mine or ("polyak.envs.env_worker" in command and os.readlink(folder / "cwd") == os.getcwd()):
            found.add(folder.name)
    return found


def train(tmp_path, how, where, workers, **options):
    def broken():
        return Broken(how, where, OF(1, 0))

    options = {"processes": 1, "step_timeout": TIMEOUT, "workers": workers} | options
    return polyak.train(QUICK, broken, steps=256, num_envs=4, seed=SEED, out=tmp_path, progress=False, **options)


def which(where):
    return {
        "reset": f"environment 1 of 4, step 0 of the episode with seed {OF(1, 1)}: ",
        "step": f"environment 1 of 4, step 2 of the episode with seed {OF(1, 1)}, action ",
        "close": "environment 1 of 4: ",
    }[where]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["reset", "step"])
@pytest.mark.parametrize("how", HOWS)
def test_a_run_stops_with_the_name_of_the_fault(how, where, workers, tmp_path):
    before = children(), sorted(os.listdir("/dev/shm"))
    with pytest.raises(polyak.Error) as caught:
        train(tmp_path, how, where, workers)
    assert which(where) in str(caught.value) and WHAT[how].format(where) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (children(), sorted(os.listdir("/dev/shm"))) == before


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", HOWS)
def test_what_breaks_while_it_is_closed_costs_nothing(how, workers, tmp_path):
    before = children(), sorted(os.listdir("/dev/shm"))
    run = train(tmp_path, how, "close", workers)
    assert run.about["status"] == "finished" and run.about["faults"] == 1
    run.policy()
    assert (children(), sorted(os.listdir("/dev/shm"))) == before


@pytest.mark.parametrize(("how", "workers"), [("raise", 0), *((how, 2) for how in HOWS)])
def test_a_run_gets_over_a_fault(how, workers, tmp_path):
    run = train(tmp_path, how, "step", workers, on_fault="restart")
    assert run.about["status"] == "finished" and run.about["faults"] == 1
    assert run.about["on_fault"] == "restart" and run.about["workers"] == workers


def test_a_hang_in_the_users_own_process_is_ended_by_an_alarm(tmp_path):
    with pytest.raises(polyak.Error, match="step did not return within 2 seconds"):
        train(tmp_path, "hang", "step", 0, processes=0)


@pytest.mark.parametrize("processes", [0, 1])
def test_workers_train_the_same_policy_bit_by_bit(processes, tmp_path):
    def policy(workers):
        how = {"workers": workers, "processes": processes, "num_envs": 4, "progress": False, "out": tmp_path}
        run = polyak.train(QUICK, "gymnasium:CartPole-v1", steps=256, **how)
        return (run.path / "policy-0.safetensors").read_bytes()

    assert policy(0) == policy(2) == policy(3)
