"""Training itself: a job's seeds, one after the other on a CPU, all at once under `vmap` on an accelerator.

Tables run under `vmap` on a CPU too: so little happens in a step that most of its time goes into starting what happens.

`train_seeds` runs wherever it is called. `python -m polyak.worker` runs it in a process of its own, which is how
`train` uses more than one core: the threads of one process would share Python's lock and XLA's thread pool, and two
seeds of DQN on Gymnasium made no more steps a second in two threads than one seed alone.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyak.envs import calls
from polyak.errors import Error
from polyak.runs import store
from polyak.watch import Watch

if TYPE_CHECKING:
    from polyak.agent import Agent, Algorithm, Spec
    from polyak.engines.common import Engine, Loop
    from polyak.policy import Policy
    from polyak.runs.keeper import Keeper

CHUNKS = 50  # looks at a run, at least
CHUNK_STEPS = 10_000  # environment steps between two looks, at most
CHECKPOINT_SECONDS = 60.0  # between two checkpoints, where nothing else is asked for
SMALL = 2**26  # bytes of checkpoints that are worth waiting for

Event = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """What one worker is asked to do; everything in it is decided before it starts."""

    algorithm: "Algorithm"
    env: Any  # an id, a CompiledEnv, an MDP, or a function that returns a gymnasium.Env
    name: str  # of the environment, for files and messages
    steps: int  # of each seed
    seeds: tuple[int, ...]
    num_envs: int
    eval_every: int | None
    eval_episodes: int
    final_episodes: int
    folder: str
    checkpoint_every: int | None = None  # environment steps; None for once a minute
    keep_checkpoints: int = 2
    policy_every: int | None = None  # environment steps between two policies that are written while training goes on
    waits: bool = False  # after each event, until the parent has answered it
    workers: int = 0  # processes that step the environments; 0 steps them where training runs
    step_timeout: float = 60.0  # seconds that a call of an environment may take
    on_fault: str = "stop"  # or "restart"


def train_seeds(
    job: Job,
    emit: Callable[[Event], None],
    stopping: Callable[[], bool],
    finishing: Callable[[int], bool] = lambda seed: False,
) -> None:
    """Trains every seed of the job, writes its files into the run folder, and tells of it in events.

    Args:
        job: what to do.
        emit: called with each event; `kind` is hello, chunk, evaluation, policy, checkpoint, notice, finished, skipped,
            stopped or closing.
        stopping: asked between chunks; once it is true the state is saved and training ends.
        finishing: asked of every seed between chunks; once it is true of all that train together, these have finished.
    """
    import jax

    from polyak import envs
    from polyak.agent import Spec
    from polyak.engines import allocator
    from polyak.engines.compiled import CompiledEngine
    from polyak.engines.host import HostEngine
    from polyak.envs.from_gymnasium import GymnasiumVector
    from polyak.parts.capacity import check_fits
    from polyak.runs.keeper import Keeper
    from polyak.runs.spaces import check_can_be_kept

    allocator.keep_freed()
    how: Any = {"workers": job.workers, "step_timeout": job.step_timeout, "on_fault": job.on_fault}
    env = envs.make(job.env, job.num_envs, **how)
    # Better now than after an hour that the final score cannot be had.
    GymnasiumVector(lambda: envs.make_original(job.env), 1, job.name).close()
    for space in (env.observation_space, env.action_space):
        check_can_be_kept(space)
    spec = Spec(env.observation_space, env.action_space, job.num_envs, env.max_episode_steps, job.steps)
    agent = job.algorithm.agent(spec)
    block = job.algorithm.block_length * job.num_envs
    chunk = max(1, min(job.steps // CHUNKS, CHUNK_STEPS) // block)
    batched = False
    engine: Engine
    if isinstance(env, envs.CompiledEnv):
        batched = len(job.seeds) > 1 and (job.algorithm.vmap_seeds or jax.default_backend() != "cpu")
        engine = CompiledEngine(job.algorithm, agent, env, spec, chunk, batched)
    else:
        engine = HostEngine(job.algorithm, agent, env, spec, chunk)
    check_fits(job.algorithm, agent, copies=len(job.seeds) if batched else 1)
    emit(
        {
            "kind": "hello",
            "device": jax.devices()[0].device_kind,
            "engine": "compiled" if isinstance(env, envs.CompiledEnv) else "host",
            "environment": type(env).__name__,
        }
    )
    faults = [] if isinstance(env, envs.CompiledEnv) else env.faults

    def tell(event: Event) -> None:
        while faults:
            emit({"kind": "notice", "text": faults.pop(0), "fault": True})
        emit(event)

    keeper = Keeper(Path(job.folder), job.seeds, job.keep_checkpoints, emit, together=batched)
    metrics = store.MetricWriter(Path(job.folder))
    try:
        for seeds in _together(job.seeds, keeper) if batched else [(seed,) for seed in job.seeds]:
            _Training(job, spec, agent, engine, seeds, batched, keeper, metrics, tell, stopping, finishing).run()
        emit({"kind": "closing"})  # what goes wrong from here on can harm nothing
    finally:
        keeper.close()
        metrics.close()
        engine.close()
        while faults:
            emit({"kind": "notice", "text": faults.pop(0), "fault": True})


def _together(seeds: tuple[int, ...], keeper: "Keeper") -> list[tuple[int, ...]]:
    """Seeds that are equally far, which one program can advance: all of them, unless checkpoints of some are lost."""
    shares: dict[int, list[int]] = {}
    for seed in seeds:
        last = keeper.last[seed]
        shares.setdefault(last.step if last else 0, []).append(seed)
    return [tuple(share) for share in shares.values()]


@dataclasses.dataclass
class _Training:
    """One seed's way through its steps, or several seeds' under `vmap`; positions are counted in iterations."""

    job: Job
    spec: "Spec"
    agent: "Agent"
    engine: "Engine"
    seeds: tuple[int, ...]
    batched: bool
    keeper: "Keeper"
    metrics: "store.MetricWriter"
    emit: Callable[[Event], None]
    stopping: Callable[[], bool]
    finishing: Callable[[int], bool]

    def __post_init__(self) -> None:
        from polyak.runs.state import Ahead

        self.total = -(-self.job.steps // self.engine.block_size)
        self.warmup = min(self.total, -(-self.job.algorithm.learning_starts // self.engine.block_size))
        self._evaluations = self._every(self.job.eval_every, self.total)
        self._checkpoints = self._every(self.job.checkpoint_every, self.total)
        self._snapshots = self._every(self.job.policy_every, self.total + 1)
        self._saved, self._saved_at = 0, time.monotonic()  # the position of the last checkpoint, and when it was begun
        self._watch = Watch(self.seeds, self.emit)
        self._ahead = None if self.batched else Ahead()

    def run(self) -> None:
        """Trains to the end, or until told to stop."""
        if self._all_finishing() and not self.keeper.last[self.seeds[0]]:
            for seed in self.seeds:
                self.emit({"kind": "skipped", "seed": seed, "step": 0})
            return
        loop, position = self._begin()
        for end in self._stops(position):
            while position < end and not self._all_finishing():
                if self.stopping():
                    self._stop(loop, position)
                    return
                if self._checkpoint_is_due(position):
                    self._save(loop, position)
                count = min(self.engine.chunk, end - position)
                learn = position >= self.warmup
                began = time.perf_counter()
                loop, metrics = self.engine.advance(loop, count, learn)
                seconds = time.perf_counter() - began
                self._watch.look(metrics, self._steps(position), self._steps(1), loop.iteration, self._last_good)
                position += count
                timed = learn in self.engine.warm  # the first call of each program is mostly compilation
                self.engine.warm.add(learn)
                self._tell(position, metrics, seconds if timed else 0.0, count if timed else 0)
                if self._ahead:
                    self._ahead.look(loop)
            if position < end:
                break
            scores = self._evaluate(loop, position) if position in self._evaluations else {}
            if position in self._snapshots:
                self._save_snapshots(loop, position)
            if any(self.keeper.is_best(seed, score) for seed, score in scores.items()):
                self._save(loop, position, scores)
        for seed, policy in self._policies(loop):
            policy.save(Path(self.job.folder) / f"policy-{seed}.safetensors")
            returns = self._play(policy, self.job.final_episodes)
            self.metrics.write([(seed, self._steps(position), "final_return", sum(returns) / len(returns))])
            self.emit({"kind": "finished", "seed": seed, "step": self._steps(position), "returns": returns})

    def _begin(self) -> tuple["Loop", int]:
        """The state to go on from: the newest checkpoint's, or that of a run that has not begun."""
        import jax.numpy as jnp

        from polyak.runs import keeper, state

        loop = self.engine.init(jnp.array(self.seeds) if self.batched else self.seeds[0])
        found = [last for seed in self.seeds if (last := self.keeper.last[seed])]  # of all of them, or of none
        for seed, checkpoint in zip(self.seeds, found, strict=False):
            keeper.refuse_other(checkpoint, self._about(seed), self.engine.block_size)
            if checkpoint.about["versions"] != store.versions():
                self._notice(seed, "Packages have changed since it was interrupted, so numbers may differ in rounding.")
        step, position = (found[0].step, found[0].about["position"]) if found else (0, 0)
        for seed in self.seeds:
            if self.metrics.forget(seed, step) and not found:
                self._notice(seed, "It was interrupted before its first checkpoint, so it begins again.")
        if not found:
            return loop, 0
        loop = state.restore(loop, found, self.batched)
        loop, cut = self.engine.resume(loop, keeper.environments_of(found[0], self.job.num_envs))
        self._saved = position
        if cut:
            self._notice(
                self.seeds[0],
                f"{cut} of {self.job.num_envs} environments could not be put where they were: their episodes at step "
                f"{step:,} are cut as truncated, and new ones begin.",
            )
        return loop, position

    def _stops(self, position: int) -> Iterator[int]:
        """The iterations at which something other than training happens."""
        marks = {self.warmup, self.total, *self._evaluations, *self._checkpoints, *self._snapshots}
        return iter(sorted(mark for mark in marks if mark > position))

    def _every(self, steps: int | None, end: int) -> range:
        """The iterations before `end` at which so many steps have gone by."""
        every = max(1, (steps or 0) // self.engine.block_size)
        return range(every, end, every) if steps else range(0)

    def _all_finishing(self) -> bool:
        return all(self.finishing(seed) for seed in self.seeds)

    def _steps(self, position: int) -> int:
        return position * self.engine.block_size

    def _tell(self, position: int, metrics: dict[str, Any], seconds: float, count: int) -> None:
        import numpy as np

        step = self._steps(position)
        timing = {"timed_steps": count * self.engine.block_size, "timed_seconds": seconds / len(self.seeds)}
        measured = {}
        for k, seed in enumerate(self.seeds):
            values = {name: float(np.asarray(value).reshape(-1)[k]) for name, value in metrics.items()}
            measured[seed] = {name: value for name, value in values.items() if np.isfinite(value)}
        self.metrics.write((seed, step, *item) for seed, values in measured.items() for item in values.items())
        for seed, values in measured.items():
            self.emit({"kind": "chunk", "seed": seed, "step": step, "metrics": values, **timing})
        self.keeper.tell()

    def _last_good(self, seed: int) -> Path | None:
        self.keeper.wait()
        last = self.keeper.last[seed]
        return last.path if last else None

    def _notice(self, seed: int, text: str) -> None:
        self.emit({"kind": "notice", "seed": seed, "text": text})

    def _evaluate(self, loop: "Loop", position: int) -> dict[int, float]:
        """Plays with the present policies; returns the mean return of each seed."""
        scores = {}
        for seed, policy in self._policies(loop):
            returns = self._play(policy, self.job.eval_episodes)
            scores[seed] = sum(returns) / len(returns)
            self.metrics.write([(seed, self._steps(position), "evaluation_return", scores[seed])])
            self.emit({"kind": "evaluation", "seed": seed, "step": self._steps(position), "returns": returns})
        return scores

    def _policies(self, loop: "Loop") -> Iterator[tuple[int, "Policy"]]:
        from polyak.policy import Policy

        for k, seed in enumerate(self.seeds):
            state = self.agent.policy(self._of_seed(loop.agent, k))
            yield seed, Policy(self.job.algorithm, self.spec, state, self.job.name)

    def _save_snapshots(self, loop: "Loop", position: int) -> None:
        folder = store.inner_folder(Path(self.job.folder), "snapshots")
        for seed, policy in self._policies(loop):
            step = self._steps(position)
            path = folder / f"policy-{seed}-{step}.safetensors"
            policy.save(path)
            self.emit({"kind": "policy", "seed": seed, "step": step, "path": str(path)})

    def _of_seed(self, tree: Any, k: int) -> Any:
        import jax

        return jax.tree.map(lambda leaf: leaf[k], tree) if self.batched else tree

    def _play(self, policy: "Policy", episodes: int) -> list[float]:
        from polyak.evaluation import evaluate

        return evaluate(policy, self.job.env, episodes=episodes).returns[0].tolist()

    def _checkpoint_is_due(self, position: int) -> bool:
        if self.job.checkpoint_every is not None:
            return position in self._checkpoints and position > self._saved
        return not self.keeper.busy and time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS

    def _save(self, loop: "Loop", position: int, scores: dict[int, float] | None = None) -> None:
        """Copies the state, which a thread writes while training goes on."""
        from polyak.runs.keeper import Content
        from polyak.runs.state import capture

        self.keeper.wait()
        self._saved, self._saved_at = position, time.monotonic()
        self.metrics.sync()
        environments, contents = self.engine.environments(), {}
        for k, seed in enumerate(self.seeds):  # each alone: those that go on later may be others
            captured = capture(loop, self.keeper.last[seed], k if self.batched else None, self._ahead)
            about = {"position": position, "score": (scores or {}).get(seed), "memories": captured.memories}
            contents[seed] = Content(captured, environments, self._about(seed) | about)
        self.keeper.save(self._steps(position), contents)
        if self.job.checkpoint_every is not None and sum(content.state.bytes for content in contents.values()) < SMALL:
            self.keeper.wait()  # training on meanwhile would gain less than a kill could lose

    def _about(self, seed: int) -> dict[str, Any]:
        """What a checkpoint is of."""
        from polyak import settings

        job = self.job
        return {
            "algorithm": job.algorithm.name,
            "settings": settings.describe(job.algorithm),
            "env": job.name,
            "num_envs": job.num_envs,
            "steps": job.steps,
            "seed": seed,
            "versions": store.versions(),
        }

    def _stop(self, loop: "Loop", position: int) -> None:
        """Saves everything; `resume` goes on from there."""
        if position != self._saved:
            self._save(loop, position)
        self.keeper.wait()
        for seed, policy in self._policies(loop):
            if position:  # else nothing was learnt
                policy.save(Path(self.job.folder) / f"policy-{seed}.safetensors")
            self.emit({"kind": "stopped", "seed": seed, "step": self._steps(position)})


def main() -> None:
    """Reads a job from standard input, writes events to standard output as lines of JSON.

    Standard input stays open while the parent lives; when it closes, training stops. Its lines are `go`, the answer to
    an event of a job that waits, and `finish SEED`. What environments print goes to standard error, where it cannot be
    taken for an event.
    """
    import cloudpickle  # from our own parent process, never from a file

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if len(sys.argv) > 1:
        calls.attach(int(sys.argv[1]))  # where the parent sees what the environments are asked for
    source = sys.stdin.buffer
    job: Job = cloudpickle.loads(source.read(int.from_bytes(source.read(8), "big")))
    stop, answers, finishing = threading.Event(), threading.Semaphore(0), set[int]()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())  # a cluster's, sent to every process

    def listen() -> None:
        for line in source:
            word, *seed = line.split()
            if word == b"finish":
                finishing.add(int(seed[0]))
            else:
                answers.release()
        stop.set()
        answers.release()  # whoever waits now; nobody does later

    threading.Thread(target=listen, daemon=True).start()

    def emit(event: Event) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:  # the parent is gone; what was learned is saved all the same
            stop.set()
        if job.waits and not stop.is_set():
            answers.acquire()

    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # one thread works; handing over to another costs time
    try:
        train_seeds(job, emit, stop.is_set, finishing.__contains__)
    except Error as error:
        emit({"kind": "error", "type": type(error).__name__, "message": str(error)})
    except OSError as error:  # a full disk, a folder that is gone
        text = f"{error.filename or job.folder} cannot be written: {error.strerror or error}."
        emit({"kind": "error", "type": "BadFile", "message": text})
    except Exception:
        emit({"kind": "error", "type": "", "message": traceback.format_exc()})
    os._exit(0)  # a simulator that hangs while it is taken down must not keep the run waiting


if __name__ == "__main__":
    main()
