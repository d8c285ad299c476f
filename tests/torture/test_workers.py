"""Five hundred runs whose workers end, raise, print, hang and are killed, in any order, with signals in between.

None may hang or leave a process behind, and each must end as what happened in it says. Of most runs the processes,
the socket between them and all of `polyak.train` are real, and only what the workers train is a script; of some that
too is real.
"""

import collections
import os
import random
import signal
import threading
import time
from pathlib import Path

import gymnasium

import polyak
from tests.scripted import ENDS, HARMLESS, Learner, Script
from tests.test_processes import children

SCRIPTED, REAL = 480, 20
DEADLINE = 300  # seconds of one run: the longest script takes two, but others may use the machine too


class Hangs(Exception):
    """A run took longer than its deadline."""


def ended(train, signals: list[tuple[float, int]]) -> str:
    """How a run ends that is sent signals, after so many seconds each: its status, or the name of what it raised."""
    over, main = threading.Event(), threading.main_thread().ident

    def ring(number, frame):
        states = [Path(f"/proc/{child}/stat").read_text() for child in children() - before]
        raise Hangs(f"{signals}, workers: {states}")

    def send() -> None:
        for seconds, number in [*signals, (DEADLINE, signal.SIGUSR1)]:
            if over.wait(seconds):
                return
            signal.pthread_kill(main, number)

    handlers = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN, signal.SIGUSR1: ring}
    handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    before, sending = children(), threading.Thread(target=send)
    sending.start()
    try:
        how = train().about["status"]
    except (polyak.Error, RuntimeError, KeyboardInterrupt) as error:
        how = type(error).__name__
    finally:
        over.set()
        sending.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    left = children() - before
    assert not left, f"{how}, and left {left}"
    return how


def script(dice: random.Random) -> list[str]:
    words = dice.choices(HARMLESS, (8, 1, 2, 1), k=dice.randrange(1, 6))
    return [*words, dice.choice(list(ENDS))] if dice.random() < 0.4 else words


class Takes(polyak.Callback):
    """A callback, so that workers wait for answers; it may stop the run, or raise."""

    def __init__(self, dice: random.Random):
        self.left, self.answer = dice.randrange(1, 12), dice.choice([None, polyak.Stop("enough", True), ValueError()])

    def on_chunk(self, run, seed, step, metrics):
        self.left -= 1
        if self.left == 0 and isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if self.left == 0 else None


def test_no_run_of_scripted_workers_hangs_or_leaves_a_process(tmp_path, monkeypatch):
    ends: collections.Counter = collections.Counter()
    began, longest = time.monotonic(), 0.0
    for number in range(SCRIPTED):
        dice = random.Random(number)
        words = {seed: script(dice) for seed in range(dice.randrange(1, 5))}
        callbacks = [Takes(dice)] if dice.random() < 0.4 else []
        times = dice.choice([0, 0, 1, 1, 2])
        signals = [(dice.random() * 1.5, dice.choice([signal.SIGINT, signal.SIGTERM])) for _ in range(times)]
        processes = dice.randrange(1, len(words) + 1)
        monkeypatch.setattr("polyak.sitting.train_seeds", Script(words))

        def train(number=number, words=words, processes=processes, callbacks=callbacks):
            how = {"steps": 10, "seeds": len(words), "processes": processes, "step_timeout": 0.4, "progress": False}
            return polyak.train(Learner(), "lake", out=tmp_path / str(number), callbacks=callbacks, **how)

        start = time.monotonic()
        print(f"run {number}: {words}, {processes} processes, {[vars(one) for one in callbacks]}, {signals}")
        how = ended(train, signals)
        longest = max(longest, time.monotonic() - start)
        ends[how] += 1
        fails = any(word in ENDS for line in words.values() for word in line)
        if not signals and not callbacks:
            assert (how not in ("finished", "stopped")) == fails, (number, words, how)
        if not fails and len(signals) < 2 and not callbacks:
            assert how in ("finished", "stopped"), (number, words, how)
    print(f"{SCRIPTED} runs in {time.monotonic() - began:.0f} s, the longest in {longest:.1f} s: {dict(ends)}")


class Lake(gymnasium.Env):
    """Ends short episodes, until it does what one of two workers is to do, which is the first to make a file."""

    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

    def __init__(self, claim: Path, how: str):
        self.claim, self.how, self.clock = claim, how, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        self.clock += 1
        if self.clock == 300:
            try:
                os.close(os.open(self.claim, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return 0, 0.0, True, False, {}
            time.sleep(1.0)  # the other has ended
            print("a line that is no event", flush=True)
            if self.how == "raise":
                raise ValueError("the motor is too hot")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "hang":
                time.sleep(600)
        return 0, 0.0, self.clock % 4 == 0, False, {}


def test_no_run_that_really_trains_hangs_or_leaves_a_process(tmp_path):
    ends: collections.Counter = collections.Counter()
    for number in range(REAL):
        dice = random.Random(number)
        how = ("raise", "kill", "hang", "print")[number % 4]
        signals = [(2 + 3 * dice.random(), dice.choice([signal.SIGINT, signal.SIGTERM]))] * (number // 4 % 2)

        def env(claim=tmp_path / f"claim-{number}", how=how):
            return Lake(claim, how)

        def train(number=number, env=env):
            how = {"steps": 600, "seeds": 2, "processes": 2, "step_timeout": 3.0, "progress": False}
            return polyak.train(polyak.QLearning(), env, out=tmp_path / str(number), final_episodes=5, **how)

        end = ended(train, signals)
        ends[end] += 1
        if not signals:
            assert end == ("finished" if how == "print" else "EnvironmentFault"), (number, how, end)
    print(f"{REAL} runs: {dict(ends)}")
