"""Training itself: a job's seeds, one after the other on a CPU, all at once under `vmap` on an accelerator.

Tables run under `vmap` on a CPU too: so little happens in a step that most of its time goes into starting what happens.

`train_seeds` runs wherever it is called. `polyak.processes` runs it in processes of their own, which is how `train`
uses more than one core: the threads of one process would share Python's lock and XLA's thread pool, and two seeds of
DQN on Gymnasium made no more steps a second in two threads than one seed alone.
"""

import dataclasses
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyak.divergence import Divergence
from polyak.errors import BadFile, BadSetting
from polyak.runs import events, store
from polyak.runs.about import About
from polyak.runs.events import Emit, Event

if TYPE_CHECKING:
    from polyak.agent import Agent, Algorithm, Spec
    from polyak.cluster.plan import Plan
    from polyak.engines.cluster import ClusterEngine
    from polyak.engines.common import Engine, Loop
    from polyak.envs.goal_functions import GoalFunctions
    from polyak.policy import Policy
    from polyak.runs.keeper import Keeper

CHUNKS = 50  # looks at a run, at least
CHUNK_STEPS = 10_000  # environment steps between two looks, at most
CHECKPOINT_SECONDS = 60.0  # between two checkpoints, where nothing else is asked for
SMALL = 2**26  # bytes of checkpoints that are worth waiting for
# Evaluations while training goes on have episodes of their own: the final score of a policy that was chosen for a good
# evaluation would else be as good. Q-learning on FrozenLake, stopped at 0.76, scored 0.767 and was worth 0.748.
EVALUATION_SEED, SCORE_SEED = 2_000_000, 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """An order to train some seeds of a run."""

    about: About  # the run: how long, how often and how it is trained
    algorithm: "Algorithm"
    env: Any  # an id, a CompiledEnv, an MDP, or a function that returns a gymnasium.Env
    seeds: tuple[int, ...]  # those of the run that this worker trains
    folder: Path  # of the run
    policy_every: tuple[int, ...] = ()  # each an interval in environment steps at which policies are written
    side_by_side: int = 1  # jobs of the run that share this machine's memory


def train_seeds(
    job: Job,
    emit: Emit,
    stopping: Callable[[], bool],
    finishing: Callable[[int], bool] = lambda seed: False,
) -> None:
    """Trains every seed of the job, writes its files into the run folder, and tells of it in events.

    Args:
        job: what to do.
        emit: called with each event.
        stopping: asked between chunks; once it is true the state is saved and training ends.
        finishing: asked of every seed between chunks; once it is true of all that train together, these have finished.

    Raises:
        polyak.Error: whatever cannot work or went wrong, in one sentence.
    """
    try:
        _train_seeds(job, emit, stopping, finishing)
    except OSError as error:  # a full disk, a folder that is gone
        raise BadFile(f"{error.filename or job.folder} cannot be written: {error.strerror or error}.") from error


def _train_seeds(job: Job, emit: Emit, stopping: Callable[[], bool], finishing: Callable[[int], bool]) -> None:
    if job.about.actors:
        from polyak.cluster import ray_port

        ray_port.start(job.about.cluster, job.about.actors)  # before JAX starts threads

    import jax

    from polyak import envs
    from polyak.agent import Spec
    from polyak.engines import allocator
    from polyak.engines.compiled import CompiledEngine
    from polyak.engines.host import HostEngine
    from polyak.envs.advice import Caution, caution
    from polyak.envs.from_gymnasium import GymnasiumVector
    from polyak.envs.goal_functions import GoalFunctions
    from polyak.parts.capacity import check_fits
    from polyak.policy import Policy
    from polyak.runs.keeper import Keeper
    from polyak.runs.spaces import check_can_be_kept

    allocator.keep_freed()
    about = job.about
    how: Any = {"workers": about.workers, "step_timeout": about.step_timeout, "on_fault": about.on_fault}
    here = 1 if about.actors else about.num_envs  # of environments that actors hold one is looked at
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Caution)  # `train` has looked at functions, and of ids it is told here, once
        env = envs.make(job.env, here, **how)
    price = caution(env.observation_space)
    if price and isinstance(job.env, str) and job.seeds[0] == about.seeds[0]:
        emit(events.Notice(f"{about.env}: {price}"))
    # Better now than after an hour that the final score cannot be had.
    GymnasiumVector(lambda: envs.make_original(job.env), 1, about.env).close()
    for space in (env.observation_space, env.action_space):
        check_can_be_kept(space)
    takes_turns = getattr(job.algorithm, "plans", False) or getattr(job.algorithm, "self_play", False)
    if isinstance(env, envs.CompiledEnv) and env.turns and not takes_turns:
        raise BadSetting(
            f"In {env.id} each step is another player's, and {about.algorithm} takes all rewards for its own; train it "
            f"against an opponent, as {env.id}/random."
        )
    goals = GoalFunctions(job.env, env)
    spec = Spec(
        observation_space=env.observation_space,
        action_space=env.action_space,
        num_envs=about.num_envs,
        max_episode_steps=env.max_episode_steps,
        total_steps=about.steps,
        goal=goals.goal,
        simulator=env if isinstance(env, envs.CompiledEnv) else None,
    )
    if about.actors:
        from polyak.cluster.plan import plan

        shared_out = plan(job.algorithm, about.actors, about.num_envs, about.max_staleness)
        spec = spec._replace(streamed=shared_out.streamed)
    agent, policy = job.algorithm.agent(spec), Policy(job.algorithm, spec, (), about.env)
    block = job.algorithm.block_length * about.num_envs
    chunk = max(1, min(about.steps // CHUNKS, CHUNK_STEPS) // block)
    batched = False
    faults: list[str] = []

    def tell(event: Event | None = None) -> None:
        while faults:
            emit(events.Notice(faults.pop(0), fault=True))
        if event is not None:
            emit(event)

    engine: Engine
    if about.actors:
        if on_machine := not isinstance(env, envs.CompiledEnv):
            env.close()
        engine = _cluster_engine(job, agent, spec, chunk, shared_out, on_machine, tell)
        faults = engine.faults
    elif isinstance(env, envs.CompiledEnv):
        batched = len(job.seeds) > 1 and (job.algorithm.vmap_seeds or jax.default_backend() != "cpu")
        engine = CompiledEngine(job.algorithm, agent, env, spec, chunk, batched)
    else:
        faults = env.faults
        engine = HostEngine(job.algorithm, agent, env, spec, chunk)
    check_fits(job.algorithm, agent, copies=job.side_by_side * (len(job.seeds) if batched else 1))
    kind = "cluster" if about.actors else "compiled" if isinstance(env, envs.CompiledEnv) else "host"
    emit(events.Hello(jax.devices()[0].device_kind, kind, type(env).__name__))
    keeper = Keeper(job.folder, job.seeds, about.keep_checkpoints, emit, together=batched)
    metrics = store.MetricWriter(job.folder)
    try:
        for seeds in _together(job.seeds, keeper) if batched else [(seed,) for seed in job.seeds]:
            _Training(
                job, policy, agent, engine, goals, seeds, batched, keeper, metrics, tell, stopping, finishing
            ).run()
        emit(events.Closing())
    finally:
        keeper.close()
        metrics.close()
        engine.close()
        goals.close()
        tell()
        if about.actors:
            ray_port.stop()


def _cluster_engine(
    job: Job,
    agent: "Agent",
    spec: "Spec",
    chunk: int,
    shared_out: "Plan",
    on_machine: bool,
    tell: Callable[[], None],
) -> "ClusterEngine":
    """The engine whose actors hold the environments."""
    from polyak.cluster.messages import Task
    from polyak.cluster.ray_port import RayPort
    from polyak.engines.cluster import ClusterEngine

    about, algorithm = job.about, job.algorithm
    gradients = shared_out.flow == "gradients"
    tasks = [
        Task(
            algorithm, job.env, about.env, about.steps, about.num_envs, *share, shared_out.of, about.on_fault, gradients
        )
        for share in shared_out.shares
    ]
    port, timeout = RayPort(tasks), about.step_timeout
    return ClusterEngine(algorithm, agent, spec, chunk, port, shared_out, on_machine, timeout, tell)


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
    policy: "Policy"  # without a state
    agent: "Agent"
    engine: "Engine"
    goals: "GoalFunctions"
    seeds: tuple[int, ...]
    batched: bool
    keeper: "Keeper"
    metrics: "store.MetricWriter"
    emit: Emit
    stopping: Callable[[], bool]
    finishing: Callable[[int], bool]

    def __post_init__(self) -> None:
        from polyak.runs.state import Ahead

        self.about = self.job.about
        self.total = -(-self.about.steps // self.engine.block_size)
        self.warmup = min(self.total, -(-self.job.algorithm.learning_starts // self.engine.block_size))
        self._evaluations = self._every(self.about.eval_every, self.total)
        self._checkpoints = self._every(self.about.checkpoint_every, self.total)
        self._snapshots = {every: self._every(every, self.total + 1) for every in self.job.policy_every}
        self._saved, self._saved_at = 0, time.monotonic()  # the position of the last checkpoint, and when it was begun
        self._divergence = Divergence(self.seeds, self.emit, self.policy.spec.action_space)
        self._ahead = None if self.batched else Ahead()

    def run(self) -> None:
        """Trains to the end, or until told to stop."""
        if self._all_finishing() and not self.keeper.last[self.seeds[0]]:
            for seed in self.seeds:
                self.emit(events.Skipped(seed))
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
                self.goals.check()
                self._divergence.look(metrics, self._steps(position), self._steps(1), loop.iteration, self._last_good)
                position += count
                timed = learn in self.engine.warm  # the first call of each program is mostly compilation
                self.engine.warm.add(learn)
                self._tell(position, metrics, seconds if timed else 0.0, count if timed else 0)
                if self._ahead:
                    self._ahead.look(loop)
            if position < end:
                break
            scores = self._evaluate(loop, position) if position in self._evaluations else {}
            if due := [every for every, positions in self._snapshots.items() if position in positions]:
                self._save_snapshots(loop, position, due)
            if any(self.keeper.is_best(seed, score) for seed, score in scores.items()):
                self._save(loop, position, scores)
        self.keeper.wait()  # a seed that has finished loses its checkpoints
        for seed, policy in self._policies(loop):
            policy.save(self.job.folder / f"policy-{seed}.safetensors")
            returns = self._play(seed, policy, self.about.final_episodes, SCORE_SEED)
            self.metrics.write([(seed, self._steps(position), "final_return", sum(returns) / len(returns))])
            self.emit(events.Finished(seed, self._steps(position), returns))

    def _begin(self) -> tuple["Loop", int]:
        """The state to go on from: the newest checkpoint's, or that of a run that has not begun."""
        import numpy as np

        from polyak.runs import keeper, state

        loop = self.engine.init(np.array(self.seeds, np.uint32) if self.batched else self.seeds[0])
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
        loop, cut = self.engine.resume(loop, keeper.environments_of(found[0], self.about.num_envs))
        self._saved = position
        if cut:
            self._notice(
                self.seeds[0],
                f"{cut} of {self.about.num_envs} environments could not be put where they were: their episodes at step "
                f"{step:,} are cut as truncated, and new ones begin.",
            )
        return loop, position

    def _stops(self, position: int) -> Iterator[int]:
        """The iterations at which something other than training happens."""
        snapshots = itertools.chain(*self._snapshots.values())
        marks = {self.warmup, self.total, *self._evaluations, *self._checkpoints, *snapshots}
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
        timed = count * self.engine.block_size, seconds / len(self.seeds)
        measured = {}
        for k, seed in enumerate(self.seeds):
            values = {name: float(np.asarray(value).reshape(-1)[k]) for name, value in metrics.items()}
            measured[seed] = {name: value for name, value in values.items() if np.isfinite(value)}
        self.metrics.write((seed, step, *item) for seed, values in measured.items() for item in values.items())
        for seed, values in measured.items():
            self.emit(events.Chunk(seed, step, values, *timed))
        self.keeper.tell()

    def _last_good(self, seed: int) -> Path | None:
        self.keeper.wait()
        last = self.keeper.last[seed]
        return last.path if last else None

    def _notice(self, seed: int, text: str) -> None:
        self.emit(events.Notice(text, seed))

    def _evaluate(self, loop: "Loop", position: int) -> dict[int, float]:
        """Plays with the present policies; returns the mean return of each seed."""
        scores = {}
        for seed, policy in self._policies(loop):
            returns = self._play(seed, policy, self.about.eval_episodes, EVALUATION_SEED)
            scores[seed] = sum(returns) / len(returns)
            self.metrics.write([(seed, self._steps(position), "evaluation_return", scores[seed])])
            self.emit(events.Evaluation(seed, self._steps(position), returns))
        return scores

    def _policies(self, loop: "Loop") -> Iterator[tuple[int, "Policy"]]:
        for k, seed in enumerate(self.seeds):
            yield seed, self.policy.with_state(self.agent.policy(self._of_seed(loop.agent, k)))

    def _save_snapshots(self, loop: "Loop", position: int, due: list[int]) -> None:
        folder = store.inner_folder(self.job.folder, "snapshots")
        for seed, policy in self._policies(loop):
            step = self._steps(position)
            path = folder / f"policy-{seed}-{step}.safetensors"
            policy.save(path)
            self.emit(events.PolicySaved(seed, step, str(path), due))

    def _of_seed(self, tree: Any, k: int) -> Any:
        import jax

        return jax.tree.map(lambda leaf: leaf[k], tree) if self.batched else tree

    def _play(self, seed: int, policy: "Policy", episodes: int, first: int) -> list[float]:
        """The returns of some episodes, whose seeds start from `first`; tells once a second how far they are."""
        from polyak.evaluation import evaluate

        told = time.monotonic()

        def tell(finished: int, episodes: int) -> None:
            nonlocal told
            if time.monotonic() >= told + 1.0:
                told = time.monotonic()
                self.emit(events.Playing(seed, finished, episodes))

        return evaluate(policy, self.job.env, episodes=episodes, seed=first, progress=tell).returns[0].tolist()

    def _checkpoint_is_due(self, position: int) -> bool:
        if self.about.checkpoint_every is not None:
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
        if (
            self.about.checkpoint_every is not None
            and sum(content.state.bytes for content in contents.values()) < SMALL
        ):
            self.keeper.wait()  # training on meanwhile would gain less than a kill could lose

    def _about(self, seed: int) -> dict[str, Any]:
        """The facts by which a checkpoint is known to be of this run and seed."""
        from polyak import settings

        return {
            "algorithm": self.about.algorithm,
            "settings": settings.describe(self.job.algorithm),
            "env": self.about.env,
            "num_envs": self.about.num_envs,
            "steps": self.about.steps,
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
                policy.save(self.job.folder / f"policy-{seed}.safetensors")
