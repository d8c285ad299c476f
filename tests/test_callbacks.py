"""Callbacks: who is called when, what they can stop, and what happens when they fail."""

import dataclasses
import io
import json
import os

import gymnasium
import numpy as np
import pytest

import polyak
from polyak.callbacks import from_notes, to_notes
from polyak.runs.events import CheckpointSaved
from tests.jobs import job
from tests.speeds import slow

LEARNER = polyak.QLearning(learning_rate=0.5, initial_value=1.0)
CHUNK = 20  # environment steps of one, in 1000 steps of one environment


def train(tmp_path, **how):
    how = {"steps": 1000, "num_envs": 1, "out": tmp_path, "progress": False, "processes": 0} | how
    return polyak.train(LEARNER, "FrozenLake-v1", **how)


class Log:
    """Keeps what it is told, and answers as it is told to: `at` is the kind of call and the step."""

    def __init__(self, at=(), answer=None):
        self.calls, self.at, self.answer = [], at, answer

    def on_start(self, run):
        return self._note("start", None, -1)

    def on_chunk(self, run, seed, step, metrics):
        assert run.metrics("episodes")[0][-1] >= step, "what a callback is told can be read from the run folder"
        return self._note("chunk", seed, step)

    def on_evaluation(self, run, seed, step, returns):
        assert len(returns) == run.about["eval_episodes"]
        return self._note("evaluation", seed, step)

    def on_end(self, run):
        self.calls.append(("end", None, run.about["status"]))

    def _note(self, kind, seed, step):
        self.calls.append((kind, seed, step))
        if (kind, step) == self.at:
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer
        return None

    def of(self, kind):
        return [step for called, _, step in self.calls if called == kind]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without callbacks."""
    return train(tmp_path_factory.mktemp("whole"))


def test_callbacks_are_called_in_order_and_training_is_the_same_with_them(tmp_path, whole):
    log = Log()
    run = train(tmp_path, callbacks=[log], eval_every=500, eval_episodes=2)
    assert log.calls[0] == ("start", None, -1) and log.calls[-1] == ("end", None, "finished")
    assert log.of("chunk") == list(range(CHUNK, 1001, CHUNK))
    place = log.calls.index(("evaluation", 0, 500))
    assert log.calls[place - 1 : place + 2 : 2] == [("chunk", 0, 500), ("chunk", 0, 500 + CHUNK)]
    assert policy_bytes(run) == policy_bytes(whole)
    assert run.stopped_early == {} and run.about["callbacks"] == []


def policy_bytes(run, seed=0):
    return (run.path / f"policy-{seed}.safetensors").read_bytes()


class Cracks(gymnasium.Wrapper):
    """Raises at its hundredth step, once."""

    steps = 0

    def step(self, action):
        Cracks.steps += 1
        if Cracks.steps == 100:
            raise RuntimeError("a crack")
        return super().step(action)


@pytest.mark.parametrize("answer", [None, polyak.Stop("cracked")])
def test_a_notice_reaches_callbacks_stays_in_the_run_and_may_stop_it(tmp_path, answer, monkeypatch):
    monkeypatch.setattr(Cracks, "steps", 0)
    told = []

    class Listens:
        def on_notice(self, run, seed, text):
            told.append(text)
            assert seed is None  # an environment's fault is the whole run's
            return answer

    lines = io.StringIO()
    run = polyak.train(
        *(LEARNER, lambda: Cracks(gymnasium.make("FrozenLake-v1"))),
        **{"steps": 1000, "num_envs": 1, "out": tmp_path, "progress": False, "processes": 0},
        on_fault="restart",
        callbacks=[Listens(), polyak.JsonLines(lines)],
    )
    (text,) = told
    assert "a crack" in text
    assert run.notices == polyak.Run(run.path).notices == [text]
    assert run.about["notices"] == [{"seed": None, "text": text}]
    assert {"event": "notice", "seed": None, "text": text} in map(json.loads, lines.getvalue().splitlines())
    assert bool(run.stopped_early) == bool(answer)


@pytest.mark.slow
def test_a_seed_that_is_stopped_has_finished_at_the_step_of_the_stop_in_any_process(tmp_path):
    stop = ("chunk", 300), polyak.Stop("enough")
    here = train(tmp_path, callbacks=[Log(*stop)])
    assert here.about["status"] == "finished" and here.stopped_early == {0: {"step": 300, "reason": "enough"}}
    assert here.metrics("episodes")[0][-1] == 300 and here.scores.returns.shape == (1, 100)
    assert "stopped early: seed 0 after 300 steps" in here.summary()
    assert policy_bytes(polyak.resume(here.path, progress=False, processes=0)) == policy_bytes(here)
    there = train(tmp_path, callbacks=[Log(*stop)], seeds=2, processes=2)
    assert {seed: fact["step"] for seed, fact in there.stopped_early.items()} == {0: 300, 1: 300}
    assert policy_bytes(there) == policy_bytes(here)


class StopSeed:
    """Stops each seed at a step of its own."""

    def __init__(self, **steps):
        self.steps = {int(seed.removeprefix("seed_")): step for seed, step in steps.items()}

    def on_chunk(self, run, seed, step, metrics):
        return polyak.Stop("enough") if step >= self.steps.get(seed, 10**9) else None


def test_seeds_in_one_program_end_together(tmp_path, whole):
    """Tables train under `vmap`: one seed cannot leave before the others."""
    one = train(tmp_path, seeds=2, callbacks=[StopSeed(seed_0=100)])
    assert one.stopped_early == {} and policy_bytes(one) == policy_bytes(whole)
    both = train(tmp_path, seeds=2, callbacks=[StopSeed(seed_0=100, seed_1=200)])
    assert {seed: fact["step"] for seed, fact in both.stopped_early.items()} == {0: 200, 1: 200}


def train_one_after_the_other(tmp_path, *callbacks):
    network = polyak.PPO(n_steps=16, batch_size=64, n_epochs=2, network=polyak.MLP((16,)))
    how = {"steps": 512, "num_envs": 4, "seeds": 2, "progress": False, "processes": 0}
    return polyak.train(network, "CartPole-v1", **how, out=tmp_path, callbacks=callbacks)


def test_a_stop_of_the_whole_run_leaves_out_seeds_that_had_not_begun(tmp_path):
    run = train_one_after_the_other(tmp_path, Log(("chunk", 128), polyak.Stop("enough", whole_run=True)))
    assert {seed: fact["step"] for seed, fact in run.stopped_early.items()} == {0: 128, 1: 0}
    assert run.about["status"] == "finished" and run.scores.returns.shape == (1, 100)
    assert not (run.path / "policy-1.safetensors").exists()
    assert polyak.resume(run.path, progress=False, processes=0).about == run.about


@pytest.mark.slow
def test_a_resumed_run_leaves_alone_the_seed_that_was_stopped_early(tmp_path):
    class FailsInSeed1(StopSeed):
        def on_chunk(self, run, seed, step, metrics):
            if seed == 1 and step == 256:
                raise ValueError("as Ctrl-C does")
            return super().on_chunk(run, seed, step, metrics)

    with pytest.raises(polyak.Error, match="as Ctrl-C does"):
        train_one_after_the_other(tmp_path, FailsInSeed1(seed_0=128))
    (path,) = tmp_path.iterdir()
    before, first = polyak.Run(path).stopped_early, (path / "policy-0.safetensors").read_bytes()
    run = polyak.resume(path, progress=False, processes=0)
    assert run.stopped_early == before == {0: {"step": 128, "reason": "enough"}}
    assert policy_bytes(run) == first and run.metrics("loss")[0][-1] == 512
    assert run.scores.returns.shape == (2, 100)


@pytest.mark.parametrize("processes", [0, slow(1)])
def test_a_callback_that_raises_stops_the_run_which_can_go_on(processes, tmp_path, whole):
    log = Log(("chunk", 300), ValueError("the disk of the\nwatcher is full"))
    with pytest.raises(
        polyak.Error, match=r"Log\.on_chunk raised ValueError: the disk of the watcher is full\.$"
    ) as it:
        train(tmp_path, callbacks=[log], processes=processes)
    assert isinstance(it.value.__cause__, ValueError)
    assert log.calls[-2:] == [("chunk", 0, 300), ("end", None, "stopped")]
    (path,) = tmp_path.iterdir()
    assert polyak.Run(path).about["status"] == "stopped"
    assert policy_bytes(polyak.resume(path, progress=False, processes=0)) == policy_bytes(whole)


def test_what_a_callback_raises_at_the_start_leaves_no_run_and_ends_those_that_had_started(tmp_path):
    first, last = Log(), Log(("start", -1), RuntimeError("no"))
    with pytest.raises(polyak.Error, match=r"Log\.on_start raised RuntimeError: no"):
        train(tmp_path, callbacks=[first, last])
    assert first.calls[-1] == ("end", None, "failed") and last.calls == [("start", None, -1)]
    assert os.listdir(tmp_path) == []


def test_a_failure_at_the_end_is_told_and_the_run_is_whole(tmp_path):
    class Breaks(Log):
        def on_end(self, run):
            raise OSError("gone")

    log = Log()
    with pytest.raises(polyak.Error, match=r"Breaks\.on_end raised OSError: gone"):
        train(tmp_path, callbacks=[Breaks(), log])
    assert log.calls[-1] == ("end", None, "finished")
    (path,) = tmp_path.iterdir()
    assert polyak.Run(path).about["status"] == "finished"


class Misspelt:
    def on_evaluate(self, run):
        pass


class Wants(Log):
    def __init__(self, policy_every):
        self.policy_every = policy_every


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([object()], "is no callback"),
        ([Log], "the class Log is no callback"),
        ([Misspelt()], "did you mean on_evaluation"),
        ([Wants(0)], "Wants's policy_every=0 is not a whole number from 1"),
        ([Wants("100")], "Wants's policy_every='100' is not a whole number"),
        ([polyak.StopAtReturn(1.0)], "StopAtReturn judges evaluations and this run makes none"),
        ([polyak.StopWithoutImprovement(3)], "StopWithoutImprovement judges evaluations"),
        ([Log(("chunk", CHUNK), True)], r"Log\.on_chunk returned True; it must return None, or polyak\.Stop"),
        ([Log(("start", -1), polyak.Stop("early"))], r"Log\.on_start returned Stop.*; it must return None"),
    ],
    ids=range(9),
)
def test_a_wrong_callback_is_one_sentence(callbacks, words, tmp_path):
    with pytest.raises(polyak.Error, match=words) as caught:
        train(tmp_path, callbacks=callbacks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: polyak.StopAtReturn("high"), "StopAtReturn's value='high' is not a finite number"),
        (lambda: polyak.StopAtReturn(1.0, consecutive=0), "consecutive=0 is not a whole number"),
        (
            lambda: polyak.StopAtReturn(1.0, metric="episode_retrun"),
            "metric='episode_retrun' is not 'evaluation_return' or 'episode_return'",
        ),
        (lambda: polyak.StopWithoutImprovement(0), "patience=0"),
        (lambda: polyak.StopWithoutImprovement(3, min_delta=-1.0), "min_delta=-1.0 is not a number from 0"),
        (lambda: polyak.TimeLimit(float("nan")), "seconds=nan"),
        (lambda: polyak.Film(0), "Film's every=0"),
        (lambda: polyak.Film(10, episodes=1.5), "episodes=1.5"),
    ],
    ids=range(8),
)
def test_a_wrong_argument_is_named(make, words):
    with pytest.raises(polyak.Error, match=words):
        make()


def stops(callback, tmp_path, values):
    """The look, counted from 1, at which a callback stops a seed whose evaluations have these mean returns."""
    from polyak.runs import store

    folder = store.new_folder(tmp_path, "q-learning", "by-hand")
    store.write_about(folder, job(LEARNER, "by-hand", folder, (0, 7), steps=99, eval_every=1).about)
    run, writer = polyak.Run(folder), store.MetricWriter(folder)
    callback.on_start(run)
    writer.write([(0, step, callback.metric, 1e9) for step in range(50)])  # another seed's
    for look, value in enumerate(values, 1):
        writer.write([(7, 10 * look, callback.metric, value)])
        evaluated = callback.on_evaluation(run, 7, 10 * look, [value - 1, value + 1])
        trained = callback.on_chunk(run, 7, 10 * look, {"episode_return": value})
        assert (evaluated is None) or (trained is None)
        if evaluated or trained:
            return look
    return None


@pytest.mark.parametrize("metric", ["evaluation_return", "episode_return"])
@pytest.mark.parametrize(
    ("callback", "values", "look"),
    [
        (polyak.StopAtReturn(10.0), [1, 9.9, 10, 11], 3),
        (polyak.StopAtReturn(10.0, consecutive=2), [10, 9, 10, 12, 3], 4),
        (polyak.StopAtReturn(-5.0, consecutive=3), [0, 0], None),
        (polyak.StopWithoutImprovement(2), [1, 2, 2, 3, 3, 3], 6),
        (polyak.StopWithoutImprovement(2), [5, 4, 4.5, 9], 3),
        (polyak.StopWithoutImprovement(1, min_delta=1.0), [1, 3, 4, 9], 3),
        (polyak.StopWithoutImprovement(3), [-3, -2, -1], None),
    ],
    ids=range(7),
)
def test_stops_by_return_as_worked_out_by_hand(callback, values, look, metric, tmp_path):
    assert stops(dataclasses.replace(callback, metric=metric), tmp_path, values) == look


def test_a_stop_remembers_the_looks_before_a_resume(tmp_path):
    """Two evaluations in a row are enough; one of them was before the run was stopped."""
    stop = polyak.StopAtReturn(-1.0, consecutive=3)  # every return of FrozenLake reaches it
    how = {"eval_every": 100, "eval_episodes": 1}
    with pytest.raises(polyak.Error):
        train(tmp_path, callbacks=[stop, Log(("chunk", 240), ValueError())], **how)
    (path,) = tmp_path.iterdir()
    assert polyak.resume(path, progress=False, processes=0).stopped_early[0]["step"] == 300


def test_a_time_limit_counts_earlier_sittings(tmp_path):
    with pytest.raises(polyak.Error):
        train(tmp_path, callbacks=[polyak.TimeLimit(1e6), Log(("chunk", 240), ValueError())])
    (path,) = tmp_path.iterdir()
    about = json.loads((path / "run.json").read_text())
    assert 0 < about["wall_seconds"] < 1e6
    (path / "run.json").write_text(json.dumps(about | {"wall_seconds": 1e6 + 1}))
    run = polyak.resume(path, progress=False, processes=0)
    assert run.stopped_early == {0: {"step": 260, "reason": "the time limit of 1e+06 seconds is over"}}


def test_built_in_callbacks_are_noted_as_plain_data_and_come_back(tmp_path):
    given = [polyak.StopAtReturn(3.0, consecutive=2), polyak.StopWithoutImprovement(4), polyak.TimeLimit(60.0)]
    given += [polyak.Film(500, episodes=2), polyak.TensorBoard()]
    kept = json.loads(json.dumps(to_notes([*given, Log(), polyak.TensorBoard(tmp_path), polyak.JsonLines()])))
    back = from_notes(kept)
    assert back[:4] == given[:4] and type(back[4]) is polyak.TensorBoard and len(back) == 5


@pytest.mark.parametrize(
    "found",
    [
        {"name": "time-limit", "seconds": 3},
        [3],
        [{"name": "os.system", "command": "true"}],
        [{"name": "time-limit"}],
        [{"name": "time-limit", "seconds": "3"}],
        [{"name": "tensorboard", "folder": "/somewhere/else"}],
        [{"name": "film", "every": -1, "episodes": 1}],
    ],
    ids=range(7),
)
def test_notes_that_polyak_did_not_write_are_refused(found):
    with pytest.raises(polyak.Error, match=r"What run\.json says of callbacks cannot be used") as caught:
        from_notes(found)
    assert "\n" not in str(caught.value)


def test_policies_are_written_while_training_goes_on_and_checkpoints_are_told_of(tmp_path):
    class Keeps(polyak.Callback):
        policy_every = 400

        def __init__(self):
            self.policies, self.checkpoints = {}, []

        def on_policy(self, run, seed, step, path):
            self.policies[step] = polyak.load(path)(np.arange(16))
            assert path.is_relative_to(run.path)

        def on_checkpoint(self, run, seed, step, path):
            self.checkpoints.append((seed, step, path))

    keeps = Keeps()
    run = train(tmp_path, steps=800, callbacks=[keeps])
    assert list(keeps.policies) == [400, 800]
    assert (keeps.policies[800] == run.policy()(np.arange(16))).all()
    assert (keeps.policies[400] != keeps.policies[800]).any()
    half = train(tmp_path, steps=800, callbacks=[Log(("chunk", 400), polyak.Stop("half"))])
    assert (keeps.policies[400] == half.policy()(np.arange(16))).all()
    calls = polyak.callbacks.Calls([keeps], run, print)
    calls.take(CheckpointSaved(0, 400, str(tmp_path)))
    assert keeps.checkpoints == [(0, 400, tmp_path)]


class Asks(polyak.Callback):
    """Keeps the seed and the step of each policy that it is handed."""

    def __init__(self, policy_every):
        self.policy_every, self.told = policy_every, []

    def on_policy(self, run, seed, step, path):
        assert path.name == f"policy-{seed}-{step}.safetensors" and path.exists()
        self.told.append((seed, step))


@pytest.mark.parametrize("processes", [0, slow(2)])
def test_each_callback_gets_policies_at_its_own_interval(processes, tmp_path):
    often, seldom, never, listens = Asks(200), Asks(300), Asks(5000), Asks(None)
    run = train(tmp_path, seeds=2, processes=processes, callbacks=[seldom, often, never, listens])
    for seed in run.seeds:
        told = [[step for one, step in callback.told if one == seed] for callback in (often, seldom, never, listens)]
        assert told == [[200, 400, 600, 800, 1000], [300, 600, 900], [], [200, 300, 400, 600, 800, 900, 1000]]
    assert len(list((run.path / "snapshots").iterdir())) == 2 * 7


def test_intervals_are_counted_in_whole_blocks(tmp_path):
    """A block of four environments is four steps: 10 steps are two blocks, 11 as well, 3 are one."""
    tens, elevens, threes = Asks(10), Asks(11), Asks(3)
    train(tmp_path, steps=20, num_envs=4, callbacks=[tens, elevens, threes])
    assert tens.told == elevens.told == [(0, 8), (0, 16)]
    assert threes.told == [(0, 4), (0, 8), (0, 12), (0, 16), (0, 20)]


@pytest.mark.parametrize("stopped", [600, 640])
def test_a_resumed_run_hands_out_the_policies_that_were_still_to_come(stopped, tmp_path):
    sittings = [Asks(200), Asks(300)], [Asks(200), Asks(300)]
    with pytest.raises(polyak.Error):
        train(tmp_path, callbacks=[*sittings[0], Log(("chunk", stopped), ValueError())])
    (path,) = tmp_path.iterdir()
    polyak.resume(path, progress=False, processes=0, callbacks=sittings[1])
    assert [[step for _, step in callback.told] for callback in sittings[0]] == [[200, 400, 600], [300, 600]]
    assert [[step for _, step in callback.told] for callback in sittings[1]] == [[800, 1000], [900]]


def test_two_films_of_different_intervals_are_noted_and_come_back():
    given = [polyak.Film(200), polyak.Film(300, episodes=2)]
    assert from_notes(json.loads(json.dumps(to_notes(given)))) == given
