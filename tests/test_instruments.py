"""Films, TensorBoard, Weights & Biases, JSON lines and CSV, each read back by what is made to read it."""

import csv
import io
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text import FrozenLakeEnv

import polyak
from polyak import cli
from polyak.runs import video

LEARNER = polyak.QLearning(learning_rate=0.5, initial_value=1.0)


def train(out, env="FrozenLake-v1", **how):
    how = {"steps": 1000, "num_envs": 1, "progress": False, "processes": 0} | how
    return polyak.train(LEARNER, env, out=out, **how)


class Fails:
    """Stops the run as Ctrl-C does, so that it can be resumed."""

    def __init__(self, step):
        self.step = step

    def on_chunk(self, run, seed, step, metrics):
        if step >= self.step:
            raise ValueError("enough")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was stopped half-way and resumed, under every instrument at once; and the lines of JSON."""
    folder, lines = tmp_path_factory.mktemp("runs"), io.StringIO()
    given = [polyak.TensorBoard(), polyak.Film(500), polyak.JsonLines(lines)]
    how = {"seed": 3, "seeds": 2, "eval_every": 250, "eval_episodes": 2}
    with pytest.raises(polyak.Error, match="enough"):
        train(folder, **how, callbacks=[*given, Fails(600)])
    (path,) = folder.iterdir()
    return polyak.resume(path, progress=False, processes=0), lines.getvalue()


def test_tensorboard_reads_one_run_a_seed_with_every_metric_at_its_environment_step(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = run[0]
    for row, seed in enumerate(run.seeds):
        folder = run.path / "tensorboard" / f"seed-{seed}"
        assert len(list(folder.iterdir())) == 2, "one file a sitting"
        events = accumulator.EventAccumulator(str(folder))
        events.Reload()
        tags = events.Tags()["scalars"]
        assert {"episode_return", "evaluation_return", "final_return"} <= set(tags)
        for tag in tags:
            steps, values = run.metrics(tag)
            seen = np.isfinite(values[row])
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            assert np.allclose(found, np.stack([steps[seen], values[row][seen]], 1), rtol=1e-6)


def test_tensorboard_forgets_what_was_trained_again(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(tmp_path)
    for sitting in [(100, 1.0), (200, 2.0), (300, 3.0)], [(200, 5.0), (300, 6.0)]:  # killed, resumed at a checkpoint
        board = polyak.TensorBoard(tmp_path / "board")
        board.on_start(run)
        for step, loss in sitting:
            board.on_chunk(run, 0, step, {"loss": loss})
        board.on_end(run)
    events = accumulator.EventAccumulator(str(tmp_path / "board" / run.path.name / "seed-0"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(100, 1.0), (200, 5.0), (300, 6.0)]


def test_tensorboard_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(polyak.Error, match=r'TensorBoard files need `pip install "polyak\[tensorboard\]"`') as caught:
        train(tmp_path, callbacks=[polyak.TensorBoard()])
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []


def test_films_show_the_agent_at_every_so_many_steps_also_after_a_resume(run):
    films = sorted((run[0].path / "films").iterdir())
    names = [f"seed-{seed}-step-{step}" for seed in (3, 4) for step in (1000, 500)]
    assert [film.stem for film in films] == names
    for film in films:
        start = film.read_bytes()[:12]
        assert start[4:8] == b"ftyp" if film.suffix == ".mp4" else start[:4] == b"GIF8"


class Blind(gymnasium.Env):
    """Has nothing to look at."""

    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return int(self.np_random.integers(2)), {}

    def step(self, action):
        return int(self.np_random.integers(2)), 1.0, bool(self.np_random.random() < 0.5), False, {}


@pytest.mark.parametrize("env", ["probe/two-steps", Blind])
def test_an_environment_that_cannot_be_drawn_is_named_before_training(env, tmp_path):
    with pytest.raises(polyak.Error, match="cannot be drawn"):
        train(tmp_path, env, callbacks=[polyak.Film(100)])
    assert os.listdir(tmp_path) == []


class Fades(FrozenLakeEnv):
    """Can be drawn once."""

    pictures = 0

    def render(self):
        Fades.pictures += 1
        if Fades.pictures > 1:
            raise RuntimeError("the lamp is broken")
        return super().render()


def test_what_render_raises_is_told_in_a_sentence(tmp_path):
    policy = train(tmp_path, "FrozenLake-v1", steps=200).policy()
    Fades.pictures = 1
    with pytest.raises(polyak.Error, match=r"cannot be drawn: render\(\) raised RuntimeError: the lamp is broken\.$"):
        video.film(policy, tmp_path / "film.gif", env=Fades)


def test_a_film_that_fails_is_told_and_the_run_is_whole(tmp_path):
    Fades.pictures = 0
    limited = lambda render_mode=None: gymnasium.wrappers.TimeLimit(Fades(render_mode=render_mode), 20)  # noqa: E731
    with pytest.raises(polyak.Error, match=r"Film\.on_\w+ raised .*the lamp is broken"):
        train(tmp_path, limited, steps=200, callbacks=[polyak.Film(100)])
    (path,) = tmp_path.iterdir()
    assert polyak.Run(path).about["status"] in ("finished", "stopped")


def test_weights_and_biases_gets_a_run_a_seed(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_SILENT", "true")
    run = train(tmp_path, seeds=2, callbacks=[polyak.WeightsAndBiases("tests", mode="offline")])
    for seed in run.seeds:
        (file,) = run.path.glob(f"wandb/offline-run-*/run-{run.path.name}-seed-{seed}.wandb")
        logged = []
        for record in records(file.read_bytes()):
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            if message.HasField("history"):
                items = {item.key or ".".join(item.nested_key): item.value_json for item in message.history.item}
                logged.append({name: json.loads(value) for name, value in items.items()})
        steps, values = run.metrics("td_error")
        assert [row["environment_step"] for row in logged] == steps.tolist()
        assert np.allclose([row["td_error"] for row in logged], values[seed])


def records(data: bytes):
    """The records of LevelDB's log format: blocks of 32 KiB; crc, length, type, data; a record may be in several."""
    place, parts = 7, []
    while place + 7 <= len(data):
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def test_lines_of_json_tell_all_that_happened(run):
    run, text = run
    events = [json.loads(line) for line in text.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
    assert events[0]["algorithm"] == "q-learning" and events[0]["seeds"] == [3, 4]
    assert events[-1]["status"] == "stopped" and events[-1]["run"] == str(run.path) and events[-1]["mean"] is None
    chunks = [event for event in events if event["event"] == "chunk" and event["seed"] == 4]
    for event in chunks:
        steps, values = run.metrics("episodes")
        assert values[1][steps == event["step"]] == event["metrics"]["episodes"]
    assert [event["step"] for event in events if event["event"] == "policy"] == [500, 500]
    assert {event["step"] for event in events if event["event"] == "evaluation"} == {250, 500}


def test_numbers_that_json_cannot_write_are_null(tmp_path):
    lines = io.StringIO()
    polyak.JsonLines(lines).on_chunk(None, 0, 1, {"loss": math.nan, "return": -math.inf, "kl": 0.5})
    assert json.loads(lines.getvalue())["metrics"] == {"loss": None, "return": None, "kl": 0.5}


def test_the_long_table_holds_every_value_exactly(run):
    run = run[0]
    assert run.to_csv() == run.path / "metrics.csv"
    header, *rows = read(run.path / "metrics.csv")
    assert header == ["seed", "step", "name", "value"] and rows == sorted(
        rows, key=lambda r: (int(r[0]), int(r[1]), r[2])
    )
    found = {(int(seed), int(step), name): float(value) for seed, step, name, value in rows}
    expected = {}
    for name in {row[2] for row in rows}:
        steps, values = run.metrics(name)
        for seed, line in zip(run.seeds, values, strict=True):
            expected |= {
                (seed, int(step), name): value for step, value in zip(steps, line, strict=True) if value == value
            }
    assert found == expected and len(found) == len(rows)


def test_the_wide_table_has_a_column_a_metric(run, tmp_path):
    run = run[0]
    header, *rows = read(run.to_csv(tmp_path / "wide.csv", wide=True))
    assert header[:2] == ["seed", "step"] and header[2:] == sorted(header[2:])
    assert len(rows) == 2 * len(run.metrics("episodes")[0])
    column = header.index("evaluation_return")
    steps, values = run.metrics("evaluation_return")
    for seed, line in zip(run.seeds, values, strict=True):
        mine = {int(row[1]): float(row[column]) for row in rows if row[0] == str(seed) and row[column]}
        assert mine == dict(zip(steps.tolist(), line.tolist(), strict=True))


def read(file):
    with open(file, newline="") as table:
        return list(csv.reader(table))


def test_an_export_replaces_an_export_and_nothing_else(run, tmp_path):
    run, file = run[0], tmp_path / "table.csv"
    run.to_csv(file, wide=True)
    run.to_csv(file)
    assert read(file)[0] == ["seed", "step", "name", "value"]
    file.write_text("the only copy of my thesis")
    with pytest.raises(polyak.Error, match="is no export of polyak"):
        run.to_csv(file)
    assert file.read_text() == "the only copy of my thesis" and os.listdir(tmp_path) == ["table.csv"]
    with pytest.raises(polyak.Error, match="cannot be written: No such file or directory"):
        run.to_csv(tmp_path / "nowhere" / "table.csv")


def test_a_link_in_a_run_folder_leads_nothing_out_of_it(tmp_path):
    run = train(tmp_path / "runs")
    (tmp_path / "outside").mkdir()
    (run.path / "tensorboard").symlink_to(tmp_path / "outside")
    with pytest.raises(polyak.Error, match="is a link"):
        polyak.TensorBoard().on_start(run)
    (tmp_path / "mine.csv").write_text("seed,step,name,value\n")
    (run.path / "metrics.csv").symlink_to(tmp_path / "mine.csv")
    run.to_csv()
    assert (tmp_path / "mine.csv").read_text() == "seed,step,name,value\n" and not (
        run.path / "metrics.csv"
    ).is_symlink()


def command(capfd, *args):
    """The exit status and what went to standard output and standard error."""
    status = cli.main(list(map(str, args)))
    return status, *capfd.readouterr()


def test_the_command_line_trains_resumes_and_exports(tmp_path, capfd):
    options = "--steps 1000 --num-envs 1 --eval-every 250 --eval-episodes 1 --processes 0 --json".split()
    options += [
        "--stop-at-return",
        "-1",
        "--stop-without-improvement",
        "9",
        "--film-every",
        "250",
        "--time-limit",
        "999",
    ]
    status, out, err = command(
        capfd, "train", "q-learning", "FrozenLake-v1", *options, "--tensorboard", "--out", tmp_path
    )
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and "Next: polyak watch" in err
    assert [events[0]["event"], events[-1]["event"], events[-1]["status"]] == ["start", "end", "finished"]
    assert events[-1]["stopped_early"]["0"]["step"] == 250 and len(events[-1]["returns"]["0"]) == 100
    path = Path(events[-1]["run"])
    assert {"films", "snapshots", "tensorboard"} <= set(os.listdir(path))
    noted = {note["name"] for note in polyak.Run(path).about["callbacks"]}
    assert noted == {"stop-at-return", "stop-without-improvement", "time-limit", "film", "tensorboard"}
    status, out, _ = command(capfd, "export", path, "--wide")
    assert status == 0 and out.strip() == str(path / "metrics.csv")
    assert read(path / "metrics.csv")[0][:3] == ["seed", "step", "episode_length"]


def test_a_run_that_was_stopped_goes_on_with_the_stop_it_began_with(tmp_path, capfd):
    with pytest.raises(polyak.Error, match="enough"):
        train(tmp_path, callbacks=[polyak.StopAtReturn(-1), Fails(100)], eval_every=250)
    (path,) = tmp_path.iterdir()
    status, out, err = command(capfd, "resume", path, "--json", "--no-progress", "--processes", "0")
    assert status == 0 and err == ""
    last = json.loads(out.splitlines()[-1])
    assert last["stopped_early"] == {"0": {"step": 250, "reason": polyak.Run(path).stopped_early[0]["reason"]}}


def test_nothing_but_json_reaches_standard_output(tmp_path):
    code = "import os; from polyak import cli; lines = cli._standard_output_for_json()\n"
    code += "print('x', flush=True); os.system('echo y'); lines.write('{}')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "{}" and sorted(result.stderr.split()) == ["x", "y"]
