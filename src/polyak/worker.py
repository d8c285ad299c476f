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

if TYPE_CHECKING:
    from polyak.agent import Agent, Algorithm, Spec
    from polyak.engines.common import Engine, Loop
    from polyak.policy import Policy

CHUNKS = 50  # looks at a run, at least
CHUNK_STEPS = 10_000  # environment steps between two looks, at most

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
    workers: int = 0  # processes that step the environments; 0 steps them where training runs
    step_timeout: float = 60.0  # seconds that a call of an environment may take
    on_fault: str = "stop"  # or "restart"


def train_seeds(job: Job, emit: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
    """Trains every seed of the job, writes its files into the run folder, and tells of it in events.

    Args:
        job: what to do.
        emit: called with each event; `kind` is hello, chunk, evaluation, finished, stopped, notice or closing.
        stopping: asked between chunks; once it is true the state is saved and training ends.
    """
    import jax

    from polyak import envs
    from polyak.agent import Spec
    from polyak.engines.compiled import CompiledEngine
    from polyak.engines.host import HostEngine
    from polyak.envs.from_gymnasium import GymnasiumVector

    how: Any = {"workers": job.workers, "step_timeout": job.step_timeout, "on_fault": job.on_fault}
    env = envs.make(job.env, job.num_envs, **how)
    # Better now than after an hour that the final score cannot be had.
    GymnasiumVector(lambda: envs.make_original(job.env), 1, job.name).close()
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
            emit({"kind": "notice", "text": faults.pop(0)})
        emit(event)

    try:
        for seeds in [job.seeds] if batched else [(seed,) for seed in job.seeds]:
            _Training(job, spec, agent, engine, seeds, batched, tell, stopping).run()
        emit({"kind": "closing"})  # what goes wrong from here on can harm nothing
    finally:
        engine.close()
        while faults:
            emit({"kind": "notice", "text": faults.pop(0)})


@dataclasses.dataclass
class _Training:
    """One seed's way through its steps, or several seeds' under `vmap`; positions are counted in iterations."""

    job: Job
    spec: "Spec"
    agent: "Agent"
    engine: "Engine"
    seeds: tuple[int, ...]
    batched: bool
    emit: Callable[[Event], None]
    stopping: Callable[[], bool]

    def __post_init__(self) -> None:
        self.total = -(-self.job.steps // self.engine.block_size)
        self.warmup = min(self.total, -(-self.job.algorithm.learning_starts // self.engine.block_size))
        every = max(1, (self.job.eval_every or self.job.steps) // self.engine.block_size)
        self._evaluations = range(every, self.total, every) if self.job.eval_every else range(0)

    def run(self) -> None:
        """Trains to the end, or until told to stop."""
        import jax.numpy as jnp

        loop = self.engine.init(jnp.array(self.seeds) if self.batched else self.seeds[0])
        position = 0
        if self._state_file(self.seeds[0]).exists():
            loop, position = self._restore(loop)
        for end in self._stops(position):
            while position < end:
                if self.stopping():
                    self._save_state(loop, position)
                    return
                count = min(self.engine.chunk, end - position)
                learn = position >= self.warmup
                began = time.perf_counter()
                loop, metrics = self.engine.advance(loop, count, learn)
                seconds = time.perf_counter() - began
                position += count
                timed = learn in self.engine.warm  # the first call of each program is mostly compilation
                self.engine.warm.add(learn)
                self._tell(position, metrics, seconds if timed else 0.0, count if timed else 0)
            if position in self._evaluations:
                for seed, policy in self._policies(loop):
                    returns = self._play(policy, self.job.eval_episodes)
                    self.emit({"kind": "evaluation", "seed": seed, "step": self._steps(position), "returns": returns})
        for seed, policy in self._policies(loop):
            policy.save(Path(self.job.folder) / f"policy-{seed}.safetensors")
            returns = self._play(policy, self.job.final_episodes)
            self.emit({"kind": "finished", "seed": seed, "step": self._steps(position), "returns": returns})
        for seed in self.seeds:
            self._state_file(seed).unlink(missing_ok=True)

    def _stops(self, position: int) -> Iterator[int]:
        """The iterations at which something other than training happens."""
        return iter(sorted(mark for mark in {self.warmup, self.total, *self._evaluations} if mark > position))

    def _steps(self, position: int) -> int:
        return position * self.engine.block_size

    def _tell(self, position: int, metrics: dict[str, Any], seconds: float, count: int) -> None:
        import numpy as np

        for k, seed in enumerate(self.seeds):
            values = {name: float(np.asarray(value).reshape(-1)[k]) for name, value in metrics.items()}
            values = {name: value for name, value in values.items() if np.isfinite(value)}
            timing = {"timed_steps": count * self.engine.block_size, "timed_seconds": seconds / len(self.seeds)}
            self.emit({"kind": "chunk", "seed": seed, "step": self._steps(position), "metrics": values, **timing})

    def _policies(self, loop: "Loop") -> Iterator[tuple[int, "Policy"]]:

        from polyak.policy import Policy

        for k, seed in enumerate(self.seeds):
            state = self.agent.policy(self._of_seed(loop.agent, k))
            yield seed, Policy(self.job.algorithm, self.spec, state, self.job.name)

    def _of_seed(self, tree: Any, k: int) -> Any:
        import jax

        return jax.tree.map(lambda leaf: leaf[k], tree) if self.batched else tree

    def _play(self, policy: "Policy", episodes: int) -> list[float]:
        from polyak.evaluation import evaluate

        return evaluate(policy, self.job.env, episodes=episodes).returns[0].tolist()

    def _state_file(self, seed: int) -> Path:
        return Path(self.job.folder) / f"state-{seed}.safetensors"

    def _save_state(self, loop: "Loop", position: int) -> None:
        from polyak.runs import tensors

        if not position:  # nothing was learnt, and `resume` begins with this seed
            for seed in self.seeds:
                self.emit({"kind": "stopped", "seed": seed, "step": 0})
            return
        kept = self.engine.portable(loop)
        for k, seed in enumerate(self.seeds):  # each alone: those that go on later may be others
            tensors.save(self._state_file(seed), self._of_seed(kept, k), {"position": position})
        for seed, policy in self._policies(loop):
            policy.save(Path(self.job.folder) / f"policy-{seed}.safetensors")
            self.emit({"kind": "stopped", "seed": seed, "step": self._steps(position)})

    def _restore(self, loop: "Loop") -> tuple["Loop", int]:
        import jax
        import jax.numpy as jnp

        from polyak.runs import tensors

        files = [self._state_file(seed) for seed in self.seeds]
        position = int(tensors.about(files[0])["position"])
        like = self._of_seed(self.engine.portable(loop), 0)
        found = [tensors.load(file, like) for file in files]
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found) if self.batched else found[0]
        return self.engine.resume(loop, together), position


def main() -> None:
    """Reads a job from standard input, writes events to standard output as lines of JSON.

    Standard input stays open while the parent lives: when it closes, or says a word, training stops. What environments
    print goes to standard error, where it cannot be taken for an event.
    """
    import cloudpickle  # from our own parent process, never from a file

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if len(sys.argv) > 1:
        calls.attach(int(sys.argv[1]))  # where the parent sees what the environments are asked for
    source = sys.stdin.buffer
    job: Job = cloudpickle.loads(source.read(int.from_bytes(source.read(8), "big")))
    stop = threading.Event()

    def wait_for_the_end() -> None:
        source.read(1)
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()

    def emit(event: Event) -> None:
        print(json.dumps(event), file=events, flush=True)

    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # one thread works; handing over to another costs time
    try:
        train_seeds(job, emit, stop.is_set)
    except Error as error:
        emit({"kind": "error", "type": type(error).__name__, "message": str(error)})
    except Exception:
        emit({"kind": "error", "type": "", "message": traceback.format_exc()})
    os._exit(0)  # a simulator that hangs while it is taken down must not keep the run waiting


if __name__ == "__main__":
    main()
