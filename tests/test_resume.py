"""Runs that are cut off go on as if nothing had happened, and say so where that cannot be."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import pytest

import polyak
from polyak.runs import checkpoint
from polyak.runs.events import CheckpointSaved, Chunk, Evaluation, Event, Notice
from polyak.worker import train_seeds
from tests.jobs import job
from tests.torture import killed

TABLE = polyak.QLearning(learning_rate=0.5, initial_value=1.0)


@pytest.fixture(scope="module")
def mould(tmp_path_factory):
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(tmp_path_factory.mktemp("xla"))
    mould = killed.Mould(Path(cache))
    yield mould
    mould.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seeds", "kills"),
    [
        ("dqn lake", [0], 3),
        ("dqn, hindsight host", [0], 3),
        ("ppo, normalised host", [0], 3),
        ("q-learning", [0, 1], 14),
    ],
)
def test_kills_lose_at_most_one_interval_and_change_nothing(name, seeds, kills, mould, tmp_path):
    report = killed.check(mould, name, tmp_path, seeds, kills, random.Random(0))
    assert report.kills == kills


class Killed(Exception):
    """In the middle of training."""


def train(folder: Path, chunks: int = 10**9, stop: bool = False, seeds: tuple[int, ...] = (0,), **asked) -> list[Event]:
    """Trains a table until so many chunks are over, then stops as after Ctrl-C, or as if it was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"steps": 4_000, "eval_episodes": 2, "final_episodes": 2, "checkpoint_every": 400} | asked
    events: list[Event] = []

    def past() -> bool:
        return sum(isinstance(event, Chunk) for event in events) >= chunks

    def emit(event: Event) -> None:
        events.append(event)
        if past() and not stop:
            raise Killed

    with contextlib.suppress(Killed):
        train_seeds(job(TABLE, "FrozenLake-v1", folder, seeds, **asked), emit, lambda: stop and past())
    return events


def policy(folder: Path, seed: int = 0) -> str:
    return hashlib.sha256((folder / f"policy-{seed}.safetensors").read_bytes()).hexdigest()


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_a_damaged_checkpoint_costs_a_line_and_the_way_from_the_one_before(tmp_path):
    train(tmp_path / "whole")
    train(tmp_path / "cut", chunks=30)
    newest, older = checkpoint.all_of(checkpoint.folder_of(tmp_path / "cut", 0))
    (newest / "state.safetensors").write_bytes(b"\0" * 2_000)
    events = train(tmp_path / "cut")
    (said,) = notices(events)
    assert "is damaged" in said and f"step {int(older.name[5:]):,}" in said
    assert policy(tmp_path / "cut") == policy(tmp_path / "whole")


def test_a_run_whose_checkpoints_are_all_damaged_is_left_alone(tmp_path):
    run = polyak.train(TABLE, "FrozenLake-v1", steps=2_000, out=tmp_path, progress=False, processes=0)
    about = json.loads((run.path / "run.json").read_text()) | {"status": "running", "returns": {}}
    (run.path / "run.json").write_text(json.dumps(about))
    place = checkpoint.folder_of(run.path, 0) / "step-000000001000"
    place.mkdir(parents=True)
    with pytest.raises(polyak.Error, match="training cannot go on"):
        polyak.resume(run.path, progress=False, processes=0)
    assert place.exists() and (run.path / "metrics.sqlite").exists()


def test_a_run_that_was_cut_off_before_its_first_checkpoint_says_that_it_begins_again(tmp_path):
    train(tmp_path / "cut", chunks=3)
    (said,) = notices(train(tmp_path / "cut"))
    assert "begins again" in said
    train(tmp_path / "whole")
    assert policy(tmp_path / "cut") == policy(tmp_path / "whole")


def newest_steps(folder: Path, seeds: tuple[int, ...]) -> list[Path]:
    return [checkpoint.all_of(checkpoint.folder_of(folder, seed))[0] for seed in seeds]


def first_steps(events: list[Event]) -> dict[int, int]:
    """Where each seed's first chunk ended."""
    found: dict[int, int] = {}
    for event in events:
        if isinstance(event, Chunk):
            found.setdefault(event.seed, event.step)
    return found


def test_seeds_that_were_parted_by_a_kill_go_on_together(tmp_path):
    seeds = (0, 1, 2)
    train(tmp_path / "whole", seeds=seeds)
    train(tmp_path / "cut", chunks=100, seeds=seeds)
    checkpoint._remove(newest_steps(tmp_path / "cut", seeds)[1])  # as if the kill had come between two saves
    begun = first_steps(train(tmp_path / "cut", seeds=seeds))
    assert begun[0] == begun[1] == begun[2]
    for seed in seeds:
        assert policy(tmp_path / "cut", seed) == policy(tmp_path / "whole", seed)


def test_a_seed_that_lost_its_checkpoints_does_not_take_the_others_back(tmp_path):
    seeds = (0, 1, 2)
    train(tmp_path, chunks=100, seeds=seeds)
    for path in checkpoint.all_of(checkpoint.folder_of(tmp_path, 1)):
        checkpoint._remove(path)
    events = train(tmp_path, seeds=seeds)
    begun = first_steps(events)
    assert begun[0] == begun[2] > begun[1]
    assert len(notices(events)) == 1 and "begins again" in notices(events)[0]


def test_the_checkpoint_with_the_best_evaluation_is_kept(tmp_path):
    events = train(tmp_path, eval_every=800, checkpoint_every=200, chunks=10**6)
    returns = {e.step: sum(e.returns) / len(e.returns) for e in events if isinstance(e, Evaluation)}
    best = min(step for step, score in returns.items() if score == max(returns.values()))
    kept = [int(path.name[5:]) for path in checkpoint.all_of(checkpoint.folder_of(tmp_path, 0))]
    assert best in kept and len(kept) <= 3
    assert kept[0] == max(e.step for e in events if isinstance(e, CheckpointSaved))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    train(tmp_path, chunks=30)
    with pytest.raises(polyak.Error, match="is of steps 4000"):
        train(tmp_path, steps=5_000)


def rewritten(folder: Path, **about) -> None:
    """Changes what the newest checkpoint says of itself, with a good checksum, as a hostile one would have."""
    last = checkpoint.newest(checkpoint.folder_of(folder, 0), print)
    body = {"format": 1, "step": last.step, "about": last.about | about, "files": last.files}
    (last.path / checkpoint.MANIFEST).write_bytes(checkpoint._sealed(body))


@pytest.mark.parametrize(
    "about",
    [{"position": -1}, {"position": 7}, {"position": "1"}, {"score": "best"}, {"memories": 3}, {"versions": [1]}],
    ids=str,
)
def test_a_checkpoint_that_lies_is_refused_in_one_sentence(about, tmp_path):
    train(tmp_path, chunks=30)
    rewritten(tmp_path, **about)
    with pytest.raises(polyak.Error) as told:
        train(tmp_path)
    assert "\n" not in str(told.value)


def test_checkpoints_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(polyak.Error, match="is a link"):
        train(tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_other_versions_are_told_of(tmp_path, monkeypatch):
    train(tmp_path, chunks=30)
    monkeypatch.setattr("polyak.runs.store.versions", lambda: {"jax": "another"})
    (said,) = notices(train(tmp_path))
    assert "Packages have changed" in said


def test_two_processes_cannot_train_one_run(tmp_path):
    run = polyak.train(TABLE, "FrozenLake-v1", steps=2_000, out=tmp_path, progress=False, processes=0)
    about = json.loads((run.path / "run.json").read_text()) | {"status": "running", "returns": {}}
    (run.path / "run.json").write_text(json.dumps(about))
    code = (
        f"import time; from polyak.runs.files import FolderLock; FolderLock.of({str(run.path)!r}); print(1, flush=True)"
    )
    code += "; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(polyak.Error, match="Another process trains"):
            polyak.resume(run.path, progress=False)
        other.kill()
    assert polyak.resume(run.path, progress=False, processes=0).about["status"] == "finished"


@pytest.mark.slow
def test_workers_whose_parent_was_killed_save_and_end_and_resume_goes_on_from_there(tmp_path):
    options = "--steps 1000000 --seeds 2 --processes 2".split()
    command = [sys.executable, "-m", "polyak.cli", "train", "q-learning", "FrozenLake-v1", *options]
    parent = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.05)
            runs = list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else []
            if runs and len(grown := _steps(runs[0])) == 2 and min(grown.values()) > 50_000:
                break
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    (run,) = runs
    found = {}
    while time.monotonic() < deadline and len(found) < 2:
        time.sleep(0.05)
        found = {seed: paths[0] for seed in (0, 1) if (paths := checkpoint.all_of(checkpoint.folder_of(run, seed)))}
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    resumed = polyak.resume(run, progress=False)
    assert resumed.about["status"] == "finished" and not (run / "checkpoints").exists()
    steps = resumed.metrics("td_error")[0]
    assert all(int(path.name[5:]) in steps for path in found.values())


def _steps(run: Path) -> dict[int, int]:
    """The last step of each seed that the metrics of a growing run tell of, to a process that only reads."""
    try:
        steps, values = polyak.Run(run).metrics("td_error")
    except polyak.Error:
        return {}
    return {
        seed: int(steps[values[seed] == values[seed]].max()) for seed in (0, 1) if (values[seed] == values[seed]).any()
    }


class Terminate:
    """Sends what a cluster sends before it kills."""

    def on_chunk(self, run, seed, step, metrics):
        if step == 1_000:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_run_that_is_told_to_terminate_is_saved_as_after_ctrl_c(processes, tmp_path):
    how = {"steps": 100_000, "out": tmp_path, "progress": False, "processes": processes, "checkpoint_every": 1_000}
    run = polyak.train(TABLE, "FrozenLake-v1", callbacks=[Terminate()], **how)
    assert run.about["status"] == "stopped"
    assert checkpoint.all_of(checkpoint.folder_of(run.path, 0))


class OneBreaks(gymnasium.Env):
    """In the process that is first to make a file it breaks; in the other it goes on, slowly."""

    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, claim: Path):
        self.claim, self.clock = claim, 0

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        self.clock += 1
        time.sleep(0.0005)
        if self.clock == 600:  # after more than one chunk
            try:
                os.close(os.open(self.claim, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return 0, 0.0, False, False, {}
            raise ValueError("the motor is too hot")
        return 0, 0.0, False, False, {}


@pytest.mark.slow
def test_what_the_fault_of_one_worker_ends_the_others_have_saved(tmp_path):
    how = {"steps": 10_000, "seeds": 2, "processes": 2, "out": tmp_path / "runs", "progress": False}
    with pytest.raises(polyak.Error, match="too hot"):
        polyak.train(polyak.QLearning(learning_rate=0.5), lambda: OneBreaks(tmp_path / "claim"), **how)
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    assert sum(bool(checkpoint.all_of(checkpoint.folder_of(run, seed))) for seed in (0, 1)) == 1
