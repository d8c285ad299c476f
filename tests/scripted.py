"""Work that follows a script in the place of training, for tests of the processes around it; it loads little."""

import ctypes
import dataclasses
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, ClassVar

from polyak.envs import calls
from polyak.errors import BadSetting
from polyak.runs.events import Chunk, Closing, Emit, Failed, Finished, Hello, Skipped

PRINTED = "what an environment prints"
CALL = "lake, environment 1 of 4, step 3 of the episode with seed 7, action 2: "
ENDS = {  # the words after which a worker ends, and what is then told of it
    "error": "a sentence",
    "raise": "ValueError: a surprise",
    "leave": "SystemExit: 4",
    "exit": "ended with status 0 in the middle of its work",
    "exit 3": "ended with status 3 in the middle of its work",
    "kill": "was killed by SIGKILL in the middle of its work",
    "abort": "was killed by SIGABRT in the middle of its work",
    "close all": "ended with status 0 in the middle of its work",
    "become another": "was killed by SIGKILL in the middle of its work",
    "babble": "told what cannot be understood",
    "die in a call": f"{CALL}its process ended with status 5",
    "hang": f"{CALL}step did not return within 0.4 seconds",
}
HARMLESS = ("chunk", "wait", "print", "fork")


@dataclasses.dataclass(frozen=True)
class Script:
    """`polyak.worker.train_seeds`, but of each seed it does what the words for it say."""

    words: dict[int, list[str]]

    def __call__(self, job: Any, emit: Emit, stopping: Any, finishing: Any) -> None:
        self.run(job.seeds, emit, stopping, finishing, job.about.steps)

    def run(self, seeds: tuple[int, ...], emit: Emit, stopping: Any, finishing: Any, steps: int = 0) -> None:
        emit(Hello("cpu", "scripted", "None"))
        for seed in seeds:
            if finishing(seed):
                emit(Skipped(seed))
                continue
            step = 0
            for word in self.words[seed]:
                if stopping():
                    emit(Closing())
                    return
                if finishing(seed):
                    break
                do(word)
                step += 1
                emit(Chunk(seed, step, {"loss": 1.0}, timed_steps=1, timed_seconds=0.001))
            emit(Finished(seed, step if finishing(seed) else max(step, steps), [1.0]))
        emit(Closing())


def do(word: str) -> None:
    """What a word of a script stands for."""
    match word:
        case "wait":
            time.sleep(0.3)
        case "print":
            print(PRINTED)
            os.write(1, f"{PRINTED}\n".encode())
            ctypes.CDLL(None).puts(PRINTED.encode())
            os.system(f"echo {PRINTED}")
        case "fork":  # a process that holds open all that the worker has open
            if os.fork() == 0:
                time.sleep(1.5)
                os._exit(0)
        case "error":
            raise BadSetting("a sentence")
        case "raise":
            raise ValueError("a surprise")
        case "leave":
            sys.exit(4)
        case "exit":
            os._exit(0)
        case "exit 3":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "close all":
            os.closerange(3, 1000)
        case "become another":
            os.execlp("sleep", "sleep", "60")
        case "babble":
            os.write(int(sys.argv[1]), b"[7]\n")
            time.sleep(60)
        case "die in a call" | "hang":
            calls.HERE.begin(1, 4)
            calls.HERE.enter(calls.STEP, 1, 7, 3, 2)
            if word == "die in a call":
                os._exit(5)
            time.sleep(60)


@dataclasses.dataclass(frozen=True)
class Learner:
    """An algorithm that nobody needs to import."""

    name: ClassVar[str] = "scripted"
    default_num_envs: ClassVar[int] = 1
    block_length: ClassVar[int] = 1
    learning_starts: ClassVar[int] = 0

    def agent(self, spec: Any) -> Any:
        raise NotImplementedError


class Threads:
    """Another `Transport`: its workers are threads, all of them at once."""

    def __init__(self, works, env, step_timeout, waits, at_once=None):
        self.news, self.answers = queue.Queue(), [queue.Queue() for _ in works]
        self.waits, self.stopping, self.finishing, self.ended = waits, threading.Event(), set(), 0
        self.threads = [threading.Thread(target=self._work, args=item) for item in enumerate(works)]
        for thread in self.threads:
            thread.start()

    def _work(self, number, work):
        def emit(event):
            self.news.put((number, event))
            if self.waits and not self.stopping.is_set():
                self.answers[number].get()

        try:
            work(emit, self.stopping.is_set, self.finishing.__contains__)
        except Exception as error:
            self.news.put((number, Failed(type(error).__name__, str(error))))
        self.news.put((number, None))

    @property
    def running(self):
        return self.ended < len(self.threads)

    def receive(self):
        try:
            number, event = self.news.get(timeout=0.2)
        except queue.Empty:
            return []
        self.ended += event is None
        return [(number, event)] if event is not None else []

    def answer(self, worker, finishing):
        self.finishing.update(finishing)
        self.answers[worker].put(None)

    def stop(self):
        self.stopping.set()
        for answers in self.answers:
            answers.put(None)

    def kill(self):
        self.stop()
        for thread in self.threads:
            thread.join()
