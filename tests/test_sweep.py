"""Sweeps: every combination is the run that `train` gives; a stopped one goes on; what cannot work is one sentence."""

import hashlib
import json
import os
import shlex
import signal
import sys

import numpy as np
import pytest

import polyak
from polyak import cli, sweeps, training
from polyak.errors import BadFile, BadSetting, Diverged, UnknownName
from polyak.runs import store
from polyak.runs.events import CheckpointSaved, Chunk, Closing, Finished, Hello
from polyak.runs.progress import Part, Together
from tests.cluster.in_process_ray import Ray
from tests.scripted import Learner, Threads

LAKE = {"steps": 2_000, "seeds": 2, "num_envs": 1, "processes": 0, "final_episodes": 3, "progress": False}
VARIED = {"learning_rate": [0.5, "0.5:0.1"], "gamma": [0.9, 0.99]}


def digests(run):
    files = (run.path / f"policy-{seed}.safetensors" for seed in run.seeds)
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A finished sweep of four small runs."""
    return polyak.sweep("q-learning", "FrozenLake-v1", VARIED, out=tmp_path_factory.mktemp("lake"), **LAKE)


# ---- what it gives


def test_every_value_is_combined_with_every_other_the_last_setting_varying_fastest():
    settings = {"a": [1, 2], "b": ["x:1", "y"], "c": [None]}
    assert [tuple(one.values()) for one in sweeps.combinations(settings)] == [
        (1, "x:1", None),
        (1, "y", None),
        (2, "x:1", None),
        (2, "y", None),
    ]
    assert sweeps.folder_names(settings)[1:3] == ["2-a-1-b-y-c-None", "3-a-2-b-x-1-c-None"]
    many = sweeps.folder_names({"network": ["../" * 100] * 12})
    assert many[0].startswith("01-network") and all("/" not in name and len(name) < 90 for name in many)


def test_every_combination_is_the_run_that_train_gives_with_these_settings(lake, tmp_path):
    assert [lake.label(run) for run in lake.runs] == [
        "learning_rate=0.5, gamma=0.9",
        "learning_rate=0.5, gamma=0.99",
        "learning_rate=0.5:0.1, gamma=0.9",
        "learning_rate=0.5:0.1, gamma=0.99",
    ]
    assert lake.status == "finished" and len({one for run in lake.runs for one in digests(run)}) == 8
    preset = polyak.presets.preset("q-learning", "FrozenLake-v1").settings
    for run, rate, gamma in zip(
        lake.runs, [0.5, 0.5, polyak.StepSize(0.5, 0.1), polyak.StepSize(0.5, 0.1)], [0.9, 0.99] * 2, strict=True
    ):
        base = polyak.settings.build("q-learning", preset)
        algorithm = polyak.QLearning(**{**vars(base), "learning_rate": rate, "gamma": gamma})
        alone = polyak.train(algorithm, "FrozenLake-v1", out=tmp_path, **LAKE)
        assert digests(run) == digests(alone)
        np.testing.assert_array_equal(run.scores.returns, alone.scores.returns)
        assert run.about["preset"] and polyak.resume(run.path).about["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_runs_that_share_worker_processes_are_those_of_train(processes, tmp_path):
    base = polyak.DQN(network=polyak.MLP((8,)), learning_starts=32, buffer_size=64, batch_size=8)
    how = {"steps": 300, "seeds": 3, "final_episodes": 2, "progress": False}
    found = polyak.sweep(
        base,
        "gymnasium:CartPole-v1",
        {"batch_size": np.array([8, 16]), "num_envs": [1, 2]},
        out=tmp_path,
        processes=processes,
        **how,
    )
    assert [(run.about["settings"]["batch_size"], run.about["num_envs"]) for run in found.runs] == [
        (8, 1),
        (8, 2),
        (16, 1),
        (16, 2),
    ]
    for run in found.runs:
        algorithm = polyak.settings.build("dqn", run.about["settings"])
        envs = run.about["num_envs"]
        alone = polyak.train(algorithm, "gymnasium:CartPole-v1", num_envs=envs, out=tmp_path, processes=0, **how)
        assert digests(run) == digests(alone)


def test_the_best_is_good_for_certain(lake, monkeypatch):
    """By the lower end of the interval; then the IQM; then the fewer steps; what has no score comes last."""
    scores = {
        0: {"low": 1.0, "iqm": 9.0, "steps": 5},
        1: {"low": 2.0, "iqm": 3.0, "steps": 5},
        2: {"low": 2.0, "iqm": 3.0, "steps": 4},
        3: {"low": None, "iqm": None, "steps": 0},
    }
    found = polyak.Sweep(lake.path)
    monkeypatch.setattr(found, "_row", lambda run: scores[found.runs.index(run)])
    assert [found.runs.index(run) for run in found.ranked] == [2, 1, 0, 3] and found.best is found.runs[2]


def test_the_table_has_what_varies_and_what_came_of_it(lake):
    rows = lake.table
    assert [row["path"] for row in rows] == [str(run.path) for run in lake.ranked]
    best, run = rows[0], lake.best
    assert {best["learning_rate"], best["gamma"]} == {run.about["settings"][name] for name in VARIED}
    assert (best["mean"], best["iqm"]) == (run.scores.mean, run.scores.iqm)
    assert (best["low"], best["high"]) == run.scores.interval and best["over"] == "seeds"
    assert best["seeds"] == 2 and best["steps"] == 2_000 and best["status"] == "finished"
    lines = str(lake.summary()).splitlines()
    assert lines[0].startswith("q-learning on FrozenLake-v1, 4 combinations of learning_rate (2), gamma (2), seeds 0-1")
    assert lines[1].split() == ["learning_rate", "gamma", "mean", "IQM", "95", "%", "interval", "seeds", "steps"]
    assert len(lines) == 6 and repr(lake).startswith(f"Sweep({str(lake.path)!r}): ")
    shown = lake._repr_html_()
    assert shown.count("<tr>") == 5 and "data:image/png" in shown and "<script" not in shown


def test_the_best_curves_are_drawn_and_called_by_what_varies(lake, tmp_path, monkeypatch, capsys):
    picture = lake.plot(count=3)
    assert picture.path == lake.path / "curves.png"
    texts = [text.get_text() for text in picture.figure.axes[0].get_legend().get_texts()]
    assert texts == [lake.label(run) for run in lake.ranked[:3]]
    assert cli.main(["plot", str(lake.path), "--out", str(tmp_path / "all.png")]) == 0
    assert (tmp_path / "all.png").stat().st_size > 10_000


def test_a_folder_that_is_read_again_is_the_same_sweep(lake):
    again = polyak.Sweep(lake.path)
    assert again.table == lake.table and again.about == lake.about
    assert json.loads((lake.path / "sweep.json").read_text())["settings"]["learning_rate"] == [0.5, "0.5:0.1"]
    assert polyak.resume(lake.path).table == lake.table  # all have finished, so nothing is trained


# ---- scripted runs


class Lessons:
    """`train_seeds` that makes steps until a lesson says otherwise; lessons are by number of environments."""

    def __init__(self, lessons=None, at=1):
        self.lessons, self.at = lessons or {}, at
        self.trained = []  # (num_envs, seed), as they begin

    def __call__(self, job, emit, stopping, finishing=lambda seed: False):
        emit(Hello("cpu", "scripted", "None"))
        for seed in job.seeds:
            self.trained.append((job.about.num_envs, seed))
            for step in range(1, 5):
                if stopping():
                    break
                lesson = self.lessons.get(job.about.num_envs)
                if lesson and step > self.at:
                    raise lesson()
                emit(Chunk(seed, step, {"loss": 1.0}, 1, 0.1))
                emit(CheckpointSaved(seed, step, "nowhere"))
            else:
                emit(Finished(seed, 4, [float(job.about.num_envs), float(seed)]))
        emit(Closing())


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """A sweep over three scripted runs, of 1, 2 and 3 environments."""

    def run(lessons=None, **how):
        monkeypatch.setattr("polyak.sitting.train_seeds", lessons or Lessons())
        given = {"steps": 4, "seeds": 2, "processes": 0, "progress": False, "out": tmp_path} | how
        return polyak.sweep(Learner(), "lake", {"num_envs": [1, 2, 3]}, **given)

    return run


def nan():
    return Diverged(["loss"], 0, 1, 2, None)


def unfit():
    return BadSetting("It does not fit.")


def test_numbers_that_are_not_finite_end_their_own_combination_and_no_other(scripted):
    found = scripted(Lessons({2: nan}, at=0))
    assert [run.about["status"] for run in found.runs] == ["finished", "failed", "finished"]
    assert found.status == "finished" and found.ranked[0] is found.runs[2] and found.table[-1]["status"] == "failed"
    assert "became infinite or NaN" in found.runs[1].notices[-1] and "failed" in found.summary()


def test_a_sweep_in_which_all_fail_is_an_error_and_is_kept(scripted, tmp_path):
    with pytest.raises(Diverged, match="became infinite or NaN"):
        scripted(Lessons(dict.fromkeys((1, 2, 3), nan)))
    (folder,) = tmp_path.iterdir()
    assert polyak.Sweep(folder).status == "failed"
    with pytest.raises(BadFile, match="no combination is the best"):
        polyak.Sweep(folder).best  # noqa: B018


def test_an_error_before_anything_is_learnt_ends_the_sweep_and_leaves_nothing(scripted, tmp_path):
    lessons = Lessons({1: unfit}, at=0)
    with pytest.raises(BadSetting, match=r"^num_envs=1: It does not fit"):
        scripted(lessons)
    assert not list(tmp_path.iterdir()) and lessons.trained == [(1, 0)]


def test_an_error_after_something_is_learnt_ends_one_combination(scripted):
    found = scripted(Lessons({2: unfit}, at=0))
    assert [run.about["status"] for run in found.runs] == ["finished", "failed", "finished"]
    assert found.runs[1].notices == ["It does not fit."]


def test_a_combination_that_cannot_work_does_not_keep_a_resumed_sweep_from_the_others(scripted, monkeypatch):
    found = scripted(callbacks=[Interrupts()])
    lessons = Lessons({2: unfit}, at=0)
    monkeypatch.setattr("polyak.sitting.train_seeds", lessons)
    monkeypatch.setattr("polyak.training.hyperparameters.build", lambda name, settings: Learner())
    again = polyak.resume(found.path, progress=False, processes=0)
    assert [run.about["status"] for run in again.runs] == ["finished", "failed", "finished"]


class Interrupts:
    """Has Ctrl-C come once in the second run, when its first seed has finished."""

    def on_chunk(self, run, seed, step, metrics):
        if (run.about["num_envs"], seed, step) == (2, 1, 1):
            signal.raise_signal(signal.SIGINT)


def test_a_stopped_sweep_goes_on_with_what_has_not_finished(scripted, monkeypatch):
    found = scripted(callbacks=[Interrupts()])
    assert found.status == "stopped"
    assert [run.about["status"] for run in found.runs] == ["finished", "stopped", "stopped"]
    assert [sorted(run.about["returns"]) for run in found.runs] == [["0", "1"], ["0"], []]
    about = store.read_about(found.runs[1].path)
    about.status = "running"  # as a kill leaves it
    store.write_about(found.runs[1].path, about)
    lessons = Lessons()
    monkeypatch.setattr("polyak.sitting.train_seeds", lessons)
    monkeypatch.setattr("polyak.training.hyperparameters.build", lambda name, settings: Learner())
    again = polyak.resume(found.path, progress=False, processes=0)
    assert again.status == "finished" and lessons.trained == [(2, 1), (3, 0), (3, 1)]
    assert [run.about["returns"] for run in again.runs] == [{"0": [n, 0.0], "1": [n, 1.0]} for n in (1.0, 2.0, 3.0)]


@pytest.mark.slow
def test_a_sweep_that_was_stopped_in_the_middle_gives_the_same_bytes(lake, tmp_path):
    stops = []

    class Stops:
        def on_chunk(self, run, seed, step, metrics):
            if run.path.name.startswith("3-") and step >= 1_000 and not stops:
                stops.append(step)
                signal.raise_signal(signal.SIGINT)

    stopped = polyak.sweep(
        "q-learning", "FrozenLake-v1", VARIED, out=tmp_path, callbacks=[Stops()], checkpoint_every=500, **LAKE
    )
    first = (stopped.runs[0].path / "run.json").read_bytes()
    assert [run.about["status"] for run in stopped.runs] == ["finished", "finished", "stopped", "stopped"]
    again = polyak.resume(stopped.path, progress=False, processes=0)
    assert again.status == "finished" and (again.runs[0].path / "run.json").read_bytes() == first
    assert list(map(digests, again.runs)) == list(map(digests, lake.runs))


def test_callbacks_hear_of_every_run_and_polyaks_own_are_copied_for_each(scripted):
    heard = []

    class Hears:
        def on_start(self, run):
            heard.append(("start", run.about["num_envs"]))

        def on_end(self, run):
            heard.append((run.about["status"], run.about["num_envs"]))

    stop = polyak.TimeLimit(1e9)
    scripted(callbacks=[Hears(), stop])
    assert heard == [(word, number) for number in (1, 2, 3) for word in ("start", "finished")]
    assert not hasattr(stop, "_end")


def test_a_stop_of_one_run_is_none_of_the_others(scripted):
    class Enough:
        def on_chunk(self, run, seed, step, metrics):
            return polyak.Stop("enough", whole_run=True) if run.about["num_envs"] == 2 else None

    class Obeys(Lessons):
        def __call__(self, job, emit, stopping, finishing=lambda seed: False):
            super().__call__(job, emit, stopping)
            assert finishing(job.seeds[0]) == (job.about.num_envs == 2)

    assert scripted(Obeys(), callbacks=[Enough()]).status == "finished"


def test_progress_adds_up_the_steps_and_shows_the_best_return():
    shown = []

    class Shows:
        def update(self, steps, episode_return):
            shown.append((steps, episode_return))

        def say(self, line):
            shown.append(line)

    together = Together(Shows())
    first, second = Part(together, "a=1"), Part(together, "a=2")
    first.update(10, 5.0)
    second.update(20, None)
    second.update(30, 2.0)
    second.say("It is slow.")
    assert shown == [(10, 5.0), (30, 5.0), (40, 5.0), "a=2: It is slow."]


def test_each_combination_that_ends_is_told_with_its_score(scripted, capfd):
    scripted(progress=True)
    said = capfd.readouterr().err
    assert "1 of 3, num_envs=1: mean 0.75" in said and "3 of 3, num_envs=3: mean 1.75" in said
    assert said.index("best: num_envs=3") < said.index("no curves")


# ---- over a cluster


@pytest.fixture
def ray(monkeypatch):
    """A Ray in this process with room for two seats."""
    made = Ray(room=2)
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr("polyak.cluster.ray_port.start", lambda cluster, actors: None)
    monkeypatch.setattr("polyak.cluster.ray_port.stop", lambda: None)
    monkeypatch.setattr("polyak.cluster.seats.Workers", Threads)
    monkeypatch.setattr("polyak.cluster.seats.PAUSE", 0.0)
    return made


def test_every_seed_of_every_combination_is_a_seat_and_all_are_asked_for_at_once(scripted, ray):
    found = scripted(cluster="10.0.0.1:6379")
    assert found.status == "finished" and len(ray.asked) == 6 and ray.most_alive == 2 and not ray.alive
    assert [run.about["returns"] for run in found.runs] == [{"0": [n, 0.0], "1": [n, 1.0]} for n in (1.0, 2.0, 3.0)]
    assert not list(found.path.glob(".shared-*"))


def test_a_seat_whose_machine_is_lost_goes_on_elsewhere(scripted, ray):
    class Loses:
        def on_chunk(self, run, seed, step, metrics):
            if (run.about["num_envs"], seed, step, len(ray.asked)) == (1, 0, 2, 6):
                ray.lose(ray.alive[0])

    found = scripted(cluster="10.0.0.1:6379", callbacks=[Loses()])
    assert found.status == "finished" and len(ray.asked) == 7
    assert ["goes on elsewhere" in " ".join(run.notices) for run in found.runs] == [True, False, False]
    assert [run.about["returns"] for run in found.runs] == [{"0": [n, 0.0], "1": [n, 1.0]} for n in (1.0, 2.0, 3.0)]


def test_seats_that_wait_for_room_are_not_waited_for_when_all_stop(scripted, ray):
    found = scripted(cluster="10.0.0.1:6379", callbacks=[Interrupts()])
    assert found.status == "stopped" and not ray.alive
    assert found.runs[0].about["status"] == "finished" and found.runs[2].about["returns"] == {}


def test_a_combination_that_fails_on_the_cluster_leaves_the_others_alone(scripted, ray):
    found = scripted(Lessons({2: nan}), cluster="10.0.0.1:6379")
    assert [run.about["status"] for run in found.runs] == ["finished", "failed", "finished"]


def test_a_cluster_that_cannot_be_reached_ends_the_sweep(scripted, ray, monkeypatch, tmp_path):
    def start(cluster, actors):
        raise polyak.Error("Nobody answers.")

    monkeypatch.setattr("polyak.cluster.ray_port.start", start)
    with pytest.raises(polyak.Error, match="Nobody answers"):
        scripted(cluster="10.0.0.1:6379")
    assert not list(tmp_path.iterdir())


def test_a_sweep_on_a_cluster_does_not_decide_whom_resume_talks_to(scripted, ray):
    found = scripted(cluster="10.0.0.1:6379", callbacks=[Interrupts()])
    with pytest.raises(BadSetting, match=f"{found.path} was trained on the cluster '10.0.0.1:6379'; name it again"):
        polyak.resume(found.path)


# ---- what is refused


@pytest.mark.parametrize(
    ("settings", "how", "kind", "words"),
    [
        (
            {"learning_rat": [0.1]},
            {},
            UnknownName,
            "no q-learning setting named 'learning_rat'; did you mean learning_r",
        ),
        ({"learning_rate": []}, {}, BadSetting, "learning_rate has an empty list"),
        ({"learning_rate": 0.1}, {}, BadSetting, "learning_rate is 0.1; in a sweep it takes a list"),
        ({"exploration": "epsilon"}, {}, BadSetting, "exploration is 'epsilon'; in a sweep it takes a list"),
        ({"gamma": [0.9, 1.5]}, {}, BadSetting, "q-learning's gamma is 1.5; it must be"),
        ({"gamma": [0.9, "x"]}, {}, BadSetting, "q-learning's gamma is 'x'; it must be of type float"),
        ({"exploration": ["epsilom"]}, {}, UnknownName, "did you mean epsilon"),
        ({"gamma": [1, 0.9, 1.0]}, {}, BadSetting, "gamma has a value twice: 1, 0.9, 1.0; give each once"),
        ({"exploration": ["epsilon:0.1", "epsilon:0.10"]}, {}, BadSetting, "exploration has a value twice"),
        ({"num_envs": [1, 0]}, {}, BadSetting, "num_envs=0 is not a whole number from 1"),
        ({"gamma": list(np.linspace(0, 1, 257))}, {}, BadSetting, "These are 257 combinations, and 256 are the most"),
        ({"gamma": list(np.linspace(0, 1, 200))}, {"seeds": 100}, BadSetting, "20,000 seeds of all combinations, and"),
        ({}, {}, BadSetting, "sweep takes settings by name, each with a list"),
        ([("gamma", [1])], {}, BadSetting, "sweep takes settings by name, each with a list"),
        ({"gamma": [1]}, {"seed5": 3}, UnknownName, "no argument of sweep named 'seed5'; did you mean seed or seeds"),
        ({"gamma": [1]}, {"steps": 0}, BadSetting, "steps=0 is not a whole number"),
        ({"gamma": [1]}, {"callbacks": [polyak.JsonLines()]}, BadSetting, "JsonLines tells of one run"),
        ({"gamma": [1]}, {"max_staleness": 2.0}, BadSetting, "max_staleness is about actors"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_nothing_is_written(settings, how, kind, words, tmp_path):
    with pytest.raises(kind) as caught:
        polyak.sweep("q-learning", "FrozenLake-v1", settings, out=tmp_path, **{"steps": 100, **how})
    assert words in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "format is missing"),
        ('{"format": 1, "algorithm": "a", "env": "b", "settings": {}}', "no 1 to 256 combinations"),
        ('{"format": 1, "algorithm": "a", "env": "b", "settings": {"c": [[1]]}}', "is not a text"),
        ('{"format": 1, "algorithm": "a", "env": "b", "settings": {"../..": ["../../x"]}}', "There is no run folder"),
    ],
)
def test_a_description_that_was_tampered_with_is_one_sentence(text, words, tmp_path):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(BadFile) as caught:
        polyak.Sweep(tmp_path)
    assert words in str(caught.value) and ".." not in str(caught.value).replace(str(tmp_path), "")


def test_a_run_that_is_no_part_of_the_sweep_is_not_gone_on_with(scripted, tmp_path):
    found = scripted(callbacks=[Interrupts()])
    os.rename(found.runs[1].path, tmp_path / "elsewhere")
    found.runs[1].path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadFile, match="is no run of this sweep"):
        polyak.resume(found.path)


def test_two_processes_do_not_train_the_same_sweep(scripted, monkeypatch):
    found = scripted(callbacks=[Interrupts()])
    monkeypatch.setattr("polyak.training.hyperparameters.build", lambda name, settings: Learner())
    with training._alone(found.runs[2].path), pytest.raises(BadFile, match="Another process trains"):
        polyak.resume(found.path, processes=0)


# ---- the command line

OPTIONS = "--learning-rate 0.5 0.5:0.1 --exploration epsilon:0.1 --steps 300 --final-episodes 2 --processes 0"


def test_the_command_line_sweeps_and_names_the_next_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sweep", "q-learning", "FrozenLake-v1", *OPTIONS.split(), "--seeds", "2"]) == 0
    said = capsys.readouterr().err
    found = polyak.Sweep(next((tmp_path / "runs").iterdir()))
    assert "q-learning on FrozenLake-v1, 2 combinations of learning_rate (2), seeds 0-1" in said
    next_command = said.strip().splitlines()[-1].removeprefix("Next: polyak ")
    trained = {}
    monkeypatch.setattr(
        training, "train", lambda algorithm, env, **how: trained.update(vars(algorithm), **how) or found.best
    )
    assert cli.main(shlex.split(next_command)) == 0
    best = polyak.settings.build("q-learning", found.best.about["settings"])
    assert {name: trained[name] for name in vars(best)} == vars(best)
    assert (trained["seed"], trained["seeds"], trained["steps"]) == (2, 10, 300)


SETTINGS = [
    polyak.DQN(double=True, network=polyak.Dueling((8,)), replay=polyak.Prioritised(), max_grad_norm=3.0),
    polyak.PPO(anneal_learning_rate=False, gamma=0.5, network=polyak.Recurrent(polyak.MLP((4,)), "gru", 8)),
    polyak.SAC(action_noise=None, learning_rate=1e-05),
]


@pytest.mark.parametrize("algorithm", SETTINGS, ids=lambda one: one.name)
def test_the_next_command_means_the_settings_of_the_best(algorithm, monkeypatch):
    run = polyak.Run.__new__(polyak.Run)
    env = "Pendulum-v1" if algorithm.name == "sac" else "CartPole-v1"
    run.env = env
    described = polyak.settings.describe(algorithm)
    run.about = {"algorithm": algorithm.name, "env": env, "settings": described, "num_envs": 3, "steps": 77}
    trained = {}

    def train(algorithm, env, **how):
        trained.update(algorithm=algorithm, **how)
        run.about["status"] = "finished"
        return run

    monkeypatch.setattr(training, "train", train)
    assert cli.main(shlex.split(sweeps.train_command(run, 5, 10))[1:]) == 0
    assert trained["algorithm"] == algorithm
    assert (trained["num_envs"], trained["steps"], trained["seed"], trained["seeds"]) == (3, 77, 5, 10)


def test_values_are_read_as_train_reads_them(monkeypatch):
    given = {}

    def sweep(algorithm, env, lists, **how):
        given.update(algorithm=algorithm, env=env, lists=lists, how=how)
        return type("Swept", (), {"status": "finished"})

    monkeypatch.setattr(training, "sweep", sweep)
    words = "sweep dqn CartPole-v1 --learning-rate 1e-3 3e-4 --network mlp:64,64:tanh dueling:128 --double true false"
    words += " --replay uniform prioritised:0.6:0.4:1.0 --num-envs 4 8 --gamma=0.9 --anneal-learning-rate --seeds 3"
    assert cli.main([*words.split(), "--no-progress"]) == 0
    assert given["lists"] == {
        "learning_rate": [1e-3, 3e-4],
        "network": [polyak.MLP((64, 64), "tanh"), polyak.Dueling((128,))],
        "double": [True, False],
        "replay": [polyak.Uniform(), polyak.Prioritised(0.6, 0.4, 1.0)],
        "num_envs": [4, 8],
    }
    assert given["algorithm"].gamma == 0.9 and given["algorithm"].anneal_learning_rate
    assert given["how"]["seeds"] == 3 and given["how"]["progress"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Which algorithm, on which environment? For instance: polyak sweep ppo CartPole-v1 --learning-rate"),
        ("dqn", "On which environment? For instance: polyak sweep dqn"),
        ("dqn CartPole-v1 --seeds 3", "Nothing varies; give a setting several values"),
        ("dqn CartPole-v1 --seeds 3 4", "--seeds takes one value; settings of dqn take several"),
        ("dqn CartPole-v1 --gama 0.9 0.8", "did you mean --gamma"),
        ("dqn CartPole-v1 --gamma 0.9 x", "--gamma: could not convert string to float: 'x'"),
        ("dqn CartPole-v1 --gamma 0.9 1.5", "dqn's gamma is 1.5"),
        ("dqn CartPole-v1 --network mlp:8 mpl:8", "no network named 'mpl'; did you mean mlp"),
        ("dqn CartPole-v1 3 --gamma 0.9 0.8", "'3' stands before all options"),
        ("dqn CartPole-v1 --gamma 0.9 0.8 --json", "--json tells of one run"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sweep", *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_help_says_how_several_values_are_given(capsys):
    assert cli.main(["sweep", "dqn", "CartPole-v1", "--help"]) == 0
    said = capsys.readouterr().out
    assert "with spaces between" in said and "--target-update-interval" in said
    assert cli.main(["sweep", "--help"]) == 0 and "--SETTING VALUE VALUE" in capsys.readouterr().out
