"""Worker processes: whatever one does, its end is told once, all are ended, and nothing else is taken for an event."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import polyak
from polyak import processes
from polyak.errors import BadSetting
from polyak.processes import Workers
from polyak.runs.events import Chunk, Closing, Event, Failed, Finished, Hello, Notice, from_json, to_json
from tests.scripted import ENDS, PRINTED, Learner, Script, Threads

DEADLINE = 120


@pytest.fixture(autouse=True)
def deadline():
    """Interrupts what hangs."""

    def hangs(number, frame):
        raise AssertionError(f"this has taken {DEADLINE} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def children() -> set[int]:
    """The processes that this one has started."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def told(*scripts: list[str], waits: bool = False, step_timeout: float = 0.4) -> list[list[Event]]:
    """What workers tell that follow these scripts, one list each."""
    events: list[list[Event]] = [[] for _ in scripts]
    works = [partial(Script({seed: words}).run, (seed,)) for seed, words in enumerate(scripts)]
    before, workers = children(), Workers(works, "lake", step_timeout, waits)
    try:
        while workers.running:
            for number, event in workers.receive():
                events[number].append(event)
                workers.answer(number, [])
        assert children() == before
    finally:
        workers.kill()
    return events


def test_workers_that_end_well_tell_all_and_close():
    first, second = told(["chunk"] * 3, ["chunk", "print"], waits=True)
    assert [type(event) for event in first] == [Hello, Chunk, Chunk, Chunk, Finished, Closing]
    assert second[-2:] == [Finished(1, 2, [1.0]), Closing()]


def test_every_other_end_is_told_once_and_last():
    workers = told(*([*["chunk"] * 3, word] for word in ENDS))
    for events, (word, words) in zip(workers, ENDS.items(), strict=True):
        assert [type(event) for event in events] == [Hello, Chunk, Chunk, Chunk, Failed], word
        assert words in events[-1].message, word


def test_a_worker_that_dies_when_all_is_saved_costs_a_line():
    def work(emit, stopping, finishing):
        emit(Closing())
        os._exit(3)

    workers = Workers([work], "lake", 1.0, waits=False)
    events = []
    while workers.running:
        events += [event for _, event in workers.receive()]
    assert events[0] == Closing() and isinstance(events[1], Notice) and events[1].fault and len(events) == 2


def test_what_is_printed_is_no_event_and_goes_to_standard_error(tmp_path, monkeypatch, capfd):
    (tmp_path / "sitecustomize.py").write_text("print('welcome')")
    monkeypatch.syspath_prepend(tmp_path)
    (events,) = told(["print", "chunk"])
    assert [type(event) for event in events] == [Hello, Chunk, Chunk, Finished, Closing]
    out, err = capfd.readouterr()
    assert out == "" and err.count(PRINTED) == 4 and err.count("welcome") == 1


def test_workers_begin_as_others_end_where_not_all_may_run_at_once():
    works = [partial(Script({seed: ["chunk"]}).run, (seed,)) for seed in range(3)]
    before, workers, order = children(), Workers(works, "lake", 1.0, waits=False, at_once=1), []
    try:
        while workers.running:
            order += [number for number, _ in workers.receive()]
            assert len(children() - before) <= 1
    finally:
        workers.kill()
    assert order == [0] * 4 + [1] * 4 + [2] * 4


def test_workers_that_are_stopped_begin_no_other():
    works = [partial(Script({seed: ["wait"] * 100}).run, (seed,)) for seed in range(2)]
    workers, told = Workers(works, "lake", 1.0, waits=False, at_once=1), []
    try:
        while workers.running:
            told += workers.receive()
            workers.stop()
    finally:
        workers.kill()
    assert {number for number, _ in told} <= {0}


def test_a_process_that_a_worker_left_behind_does_not_hide_its_end():
    began = time.monotonic()
    (events,) = told(["fork", "kill"])
    assert isinstance(events[-1], Failed) and time.monotonic() - began < 1.5


ORPHANS = """
import sys
from functools import partial
from multiprocessing import connection
from polyak.processes import Workers
from tests.scripted import Script

words = sys.argv[1].split(",")
workers = Workers([partial(Script({0: words}).run, (0,))], "lake", 0.4, waits=words == ["chunk"])
(worker,) = workers._workers
connection.wait([worker.connection])  # it is not read, so that the worker hears of a reset and not of an end
print(worker.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("words", ["chunk", "hang"])
def test_a_worker_ends_soon_after_its_parent_also_one_that_waits_or_hangs(words):
    with subprocess.Popen([sys.executable, "-c", ORPHANS, words], stdin=-1, stdout=-1, text=True) as parent:
        worker = int(parent.stdout.readline())
        time.sleep(0.2)  # until it waits or hangs
        os.kill(worker, 0)
        parent.kill()
    with contextlib.suppress(OSError):
        while "Z" not in Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split():
            time.sleep(0.05)


def test_work_that_cannot_be_sent_starts_nothing():
    before = children()
    with pytest.raises(BadSetting, match="cannot be sent to a worker process"):
        Workers([print, threading.Lock()], "lake", 1.0, waits=False)
    assert children() == before


def test_when_a_process_cannot_be_started_those_before_it_are_ended(monkeypatch):
    before, started, start = children(), [], subprocess.Popen

    def popen(*args, **options):
        if len(started) == 2:
            raise OSError("no more processes")
        started.append(start(*args, **options))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    with pytest.raises(OSError, match="no more processes"):
        told(["wait"], ["wait"], ["wait"])
    assert len(started) == 2 and children() == before


@pytest.mark.parametrize(
    "event", [Chunk(3, 20, {"loss": float("inf")}, 5, 0.25), Notice("x\ny"), Closing(), Failed("", "z")], ids=str
)
def test_an_event_is_the_same_after_its_way(event):
    line = to_json(event)
    assert line.count(b"\n") == 1 and from_json(line) == event and type(from_json(line)) is type(event)


@pytest.mark.parametrize(
    "line", [b"welcome", b"{}", b"[]", b"7", b'["Closing", 3]', b'["Chunk"]', b'["os.system", "x"]']
)
def test_what_is_no_event_is_refused(line):
    with pytest.raises(ValueError):
        from_json(line)


# Whole runs


@pytest.fixture
def train(tmp_path, monkeypatch):
    """`polyak.train` whose workers, one a script, follow scripts; it leaves no process behind."""

    def run(*scripts: list[str], **how) -> polyak.Run:
        monkeypatch.setattr("polyak.sitting.train_seeds", Script(dict(enumerate(scripts))))
        how = {"steps": 4, "step_timeout": 0.4, "out": tmp_path, "progress": False} | how
        return polyak.train(Learner(), "lake", seeds=len(scripts), processes=len(scripts), **how)

    before = children()
    yield run
    assert children() == before


class Interrupts:
    """Has signals come when a seed has made a step."""

    def __init__(self, step: int, *signals: int):
        self.step, self.signals = step, signals

    def on_chunk(self, run, seed, step, metrics):
        if step == self.step:
            for number in self.signals:
                signal.raise_signal(number)


@pytest.mark.parametrize(("word", "kind"), [("error", BadSetting), ("raise", RuntimeError), ("exit 3", polyak.Error)])
def test_an_error_ends_the_run_also_where_another_worker_has_ended_before(word, kind, train):
    with pytest.raises(kind, match=ENDS[word]):
        train(["chunk"], ["wait", "wait", word])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_also_where_another_worker_has_ended_before(number, train):
    run = train(["chunk"], [*["wait"] * 3, *["chunk"] * 1000], callbacks=[Interrupts(3, number)])
    assert run.about["status"] == "stopped" and run.about["returns"] == {"0": [1.0]}


def test_when_one_worker_fails_the_others_stop(train):
    with pytest.raises(polyak.Error, match="status 3"):
        train(["exit 3"], ["wait"] * 1000)


def test_a_second_signal_ends_the_run_at_once(train):
    with pytest.raises(KeyboardInterrupt):
        train(["chunk", "wait"], ["wait"] * 1000, callbacks=[Interrupts(1, signal.SIGINT, signal.SIGTERM)])


def test_seeds_that_are_to_finish_are_known_to_their_workers(train):
    class Enough:
        def on_chunk(self, run, seed, step, metrics):
            return polyak.Stop("enough", whole_run=True) if step == 2 else None

    run = train(["chunk"] * 9, ["wait"] * 9, callbacks=[Enough()])
    assert run.about["status"] == "finished" and set(run.stopped_early) == {0, 1}


def test_whatever_carries_events_can_take_the_place_of_processes(train, monkeypatch):
    class Enough:
        def on_chunk(self, run, seed, step, metrics):
            return polyak.Stop("enough") if seed == 1 and step == 2 else None

    transport: type[processes.Transport] = Threads
    monkeypatch.setattr("polyak.sitting.Workers", transport)
    run = train(["chunk"] * 3, ["chunk"] * 9, callbacks=[Enough()])
    assert run.about["returns"] == {"0": [1.0], "1": [1.0]} and run.stopped_early[1]["step"] == 2
    assert train(["chunk"] * 3, callbacks=[Interrupts(1, signal.SIGINT)]).about["status"] == "stopped"
