"""Training from the outside: `train` starts it, `resume` goes on with it; a `Run` is what comes of it."""

import contextlib
import datetime
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polyak import callbacks as instruments, errors, presets, settings
from polyak.agent import Algorithm
from polyak.callbacks import protocol
from polyak.cluster.plan import plan
from polyak.envs import calls as env_calls
from polyak.envs.calls import STEP_TIMEOUT
from polyak.errors import BadFile, BadSetting
from polyak.processes import SIGNALS, Transport, Workers, accelerator_expected, cores
from polyak.recorder import Recorder
from polyak.run import Run, span
from polyak.runs import checkpoint, store
from polyak.runs.about import CHECKS, MOST_PROCESSES, MOST_SEEDS, SEED, About, anything
from polyak.runs.documents import Check, boolean, check_arguments, maybe, whole
from polyak.runs.files import FolderLock
from polyak.runs.notebook import in_notebook
from polyak.runs.progress import display
from polyak.worker import Job, train_seeds

if TYPE_CHECKING:
    from polyak.envs import EnvLike

MOST_STEPS = 2**31 - 1  # of one seed: XLA counts them in 32 bits


def _algorithm(value: Any, place: str) -> None:
    if isinstance(value, type) or not (isinstance(value, str) or hasattr(value, "agent")):
        raise ValueError(f"{place} is not an algorithm: its name, or one with settings, as polyak.PPO()")


def _path(value: Any, place: str) -> None:
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"{place} is not a path")


ARGUMENTS: dict[str, Check] = CHECKS | {  # what `run.json` keeps by the same name is checked alike
    "algorithm": _algorithm,
    "env": anything,  # `envs.make` looks at it
    "steps": maybe(whole(1, MOST_STEPS)),
    "seed": SEED,
    "seeds": whole(1, MOST_SEEDS),
    "num_envs": maybe(CHECKS["num_envs"]),
    "out": _path,
    "path": _path,
    "progress": boolean,
    "processes": maybe(whole(0, MOST_PROCESSES)),
}


def train(
    algorithm: str | Algorithm,
    env: "EnvLike",
    *,
    steps: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    num_envs: int | None = None,
    eval_every: int | None = None,
    eval_episodes: int = 20,
    final_episodes: int = 100,
    out: str | os.PathLike = "runs",
    progress: bool = True,
    processes: int | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int = 2,
    workers: int = 0,
    actors: int = 0,
    cluster: str | None = None,
    max_staleness: float | None = None,
    step_timeout: float = STEP_TIMEOUT,
    on_fault: Literal["stop", "restart"] = "stop",
    callbacks: Sequence[Any] = (),
) -> Run:
    """Trains an agent and returns the run.

    An environment of your own is looked at first, for twenty steps (`polyak.check` looks longer): an error is raised
    before anything is written, and warnings go to standard error.

    Args:
        algorithm: a name, which takes the preset of that pair where there is one; or an algorithm with your settings.
        env: a Gymnasium id, a function that returns a `gymnasium.Env`, or whatever else `polyak.make` takes.
        steps: environment steps of each seed, exact to one block; by default the preset's.
        seed: the first seed.
        seeds: how many: seed, seed + 1, ... Each gives what it would have given alone.
        num_envs: environments stepped side by side; by default the preset's or the algorithm's.
        eval_every: environment steps between two evaluations of the greedy policy; None for none but the last.
        eval_episodes: episodes of each of those.
        final_episodes: episodes of the evaluation after training, whose returns are the scores.
        out: the folder in which the run's own folder is made.
        progress: whether to show how it goes.
        processes: worker processes on a CPU, at most one a seed; by default one a core, and 0 trains in this process.
        checkpoint_every: environment steps between two checkpoints of a seed; by default one is made every minute.
        keep_checkpoints: how many are kept, the newest; besides them the one with the best evaluation.
        workers: processes of each seed that step its Gymnasium environments in parallel; 0 steps them where the seed is
            trained. An environment that hangs or dies with its process is made anew only in a worker of its own.
        actors: processes on Ray that hold the environments and act, on this machine or others; the seed is trained
            where `train` is called, or in a worker process of it. 0 does all in one process.
        cluster: HOST:PORT of the head of a Ray cluster, or "auto"; there actors are placed, or, without actors, a
            worker process for each seed. By default, or with "local", it is a Ray of its own on this machine.
        max_staleness: updates that may have been made, on average, since the parameters that collected a block were
            the newest, where blocks stream; by default 1, or as few as num_envs can be divided for.
        step_timeout: seconds that a call of an environment may take before it counts as hanging; making one, and its
            first reset, may take ten minutes. With processes=0 and no workers, only what runs in Python in the main
            thread is interrupted, and an environment that ends its process ends yours.
        on_fault: "stop" ends the run with an error that names the environment, its episode's seed, the step and the
            action; "restart" makes it anew, cuts its episode as truncated, tells of it in a line, and stops only
            after more than ten faults within 1,000 steps. A fault during evaluation always ends the run.
        callbacks: what is called as training goes on, see `polyak.Callback`.

    Returns:
        The run; after Ctrl-C one that `polyak.resume` can go on with.

    Raises:
        polyak.Error: anything about the algorithm, the environment or the settings that cannot work; or a callback
            that raised, after the state was saved.
    """
    check_arguments(ARGUMENTS, locals())
    from polyak.envs import name_of

    protocol.check(callbacks)
    name = name_of(env)
    found = presets.preset(algorithm, name) if isinstance(algorithm, str) else None
    if isinstance(algorithm, str):
        algorithm = settings.build(algorithm, found.settings if found else {})
    else:
        settings.check(algorithm)
    steps = steps if steps is not None else found.steps if found else None
    if steps is None:
        raise BadSetting(f"There is no preset for {algorithm.name} on {name}, so say how many steps: steps=100_000.")
    defaults = found.num_envs if found else algorithm.default_num_envs
    num_envs = defaults if num_envs is None else num_envs
    _check_countable(steps, algorithm, num_envs)
    if seed + seeds > 2**32:
        raise BadSetting(f"seed={seed} and seeds={seeds} go beyond 2^32 - 1, the last seed there is.")
    if callable(env):
        _look_at(env)
    if actors:
        plan(algorithm, actors, num_envs, max_staleness)  # raises where they do not fit together
        if workers:
            raise BadSetting("Environments are stepped by actors or by workers, not by both; leave workers out.")
    elif max_staleness is not None:
        raise BadSetting("max_staleness is about actors; say how many: actors=8.")
    folder = store.new_folder(out, algorithm.name, name)
    about = About(
        format=1,
        status="running",
        algorithm=algorithm.name,
        settings=settings.describe(algorithm),
        env=name,
        custom_env=not isinstance(env, str),
        steps=steps,
        seeds=list(range(seed, seed + seeds)),
        num_envs=num_envs,
        eval_every=eval_every,
        eval_episodes=eval_episodes,
        final_episodes=final_episodes,
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep_checkpoints,
        workers=workers,
        actors=actors,
        cluster=cluster,
        max_staleness=max_staleness,
        step_timeout=step_timeout,
        on_fault=on_fault,
        callbacks=instruments.to_notes(callbacks),
        preset=found is not None,
        versions=store.versions(),
        cores=cores(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        wall_seconds=0.0,
        steps_per_second=0.0,
        returns={},
    )
    with _alone(folder):
        return _train(folder, about, algorithm, env, progress, processes, callbacks, new=True)


def _check_countable(steps: int, algorithm: Algorithm, num_envs: int) -> None:
    """Raises `BadSetting` where the steps of a seed, rounded up to whole blocks, do not fit into 32 bits."""
    block = algorithm.block_length * num_envs
    if -(-steps // block) * block > MOST_STEPS:
        raise BadSetting(
            f"{steps:,} steps, in whole blocks of {block:,}, are more than the {MOST_STEPS:,} that a seed can count; "
            "make them fewer."
        )


def _look_at(env: "EnvLike") -> None:
    """The short form of `polyak.check`, for environments that nobody else has looked at."""
    from polyak.envs.check import check_in_short

    findings = check_in_short(env)
    if findings.errors:
        first, count = findings.errors[0], len(findings.errors)
        more = f" This is one of {count} errors; polyak.check(env) lists them." if count > 1 else ""
        raise errors.EnvironmentFault(f"{findings.id}: {first.sentence}{more}")
    for warning in findings.warnings:
        print(f"polyak: {findings.id}: {warning.sentence} ({warning.name})", file=sys.stderr)


def resume(
    path: str | os.PathLike,
    env: "EnvLike | None" = None,
    *,
    progress: bool = True,
    processes: int | None = None,
    cluster: str | None = None,
    callbacks: Sequence[Any] | None = None,
) -> Run:
    """Goes on with a run that was interrupted, by Ctrl-C, a kill or a power cut; a finished one is returned as it is.

    It goes on from the newest checkpoint that is whole, as if it had never stopped: the same run writes the same bytes.
    Only where an environment can neither be copied nor replayed, its episode is cut as truncated, and a line says so.

    Args:
        path: the run folder.
        env: the environment, for a run that was trained on a function; by default the one that `run.json` names.
        progress: whether to show how it goes.
        processes: as in `train`.
        cluster: as in `train`, for a run with actors; "local" for a Ray of its own where the run had a cluster.
        callbacks: instead of those of `train`; by default the built-in ones among these, as `run.json` notes them.

    Raises:
        BadFile: it is no run of polyak, another process trains it, or all its checkpoints are damaged.
    """
    check_arguments(ARGUMENTS, locals())
    from polyak.envs import without_import

    folder = Path(path)
    about = store.read_about(folder)
    if about.status == "finished":
        return Run(folder)
    if env is None and about.custom_env:
        raise BadSetting(
            f"{folder} was trained on an environment of your own; give it: polyak.resume({str(folder)!r}, env), or "
            f"`polyak resume {folder} --env package.module:{about.env}`."
        )
    if about.cluster not in (None, "local") and cluster is None:  # no file decides whom this process talks to
        raise BadSetting(
            f"{folder} was trained on the cluster {about.cluster!r}; name it again, or another: "
            f"`polyak resume {folder} --cluster HOST:PORT`, or `--cluster local` for this machine."
        )
    if cluster is not None:
        about.cluster = cluster
    env = env if env is not None else without_import(about.env)
    algorithm = settings.build(about.algorithm, about.settings)
    _check_countable(about.steps, algorithm, about.num_envs)
    store.check_writable(folder)
    if callbacks is None:
        callbacks = instruments.from_notes(about.callbacks)
    protocol.check(callbacks)
    about.status, about.callbacks = "running", instruments.to_notes(callbacks)
    with _alone(folder):
        return _train(folder, about, algorithm, env, progress, processes, callbacks, new=False)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from training the same run."""
    if (lock := FolderLock.of(folder)) is None:
        raise BadFile(f"Another process trains {folder}; wait for it, or stop it first.")
    with contextlib.closing(lock):
        yield


def _train(
    folder: Path,
    about: About,
    algorithm: Algorithm,
    env: Any,
    progress: bool,
    processes: int | None,
    callbacks: Sequence[Any],
    new: bool,
) -> Run:
    """Trains the seeds of a run that have not finished."""
    seeds = [seed for seed in about.seeds if str(seed) not in {*about.returns, *about.stopped_early}]
    count = min(len(seeds), cores() if processes is None else processes)
    if accelerator_expected() or about.actors:
        count = min(count, 1)  # one process, which trains all seeds under one vmap
    if os.name != "posix":
        count = 0
    is_placed = about.cluster is not None and not about.actors  # each seed is trained where the cluster has room
    if is_placed:
        count = len(seeds)
    intervals = tuple(sorted({every for callback in callbacks if (every := protocol.policy_every(callback))}))
    shares = [tuple(seeds[k::count]) for k in range(count)] or [tuple(seeds)]
    jobs = [
        Job(
            about=about,
            algorithm=algorithm,
            env=env,
            seeds=share,
            folder=folder,
            policy_every=intervals,
            side_by_side=len(shares),
        )
        for share in shares
    ]
    show = display(progress)
    store.write_about(folder, about)
    store.MetricWriter(folder).close()  # workers find the table there
    run = Run(folder)
    run.about, run.env = vars(about), env  # callbacks see both as they are now
    calls = instruments.Calls(callbacks, run, show.say)
    recorder = Recorder(folder, about, show, calls)
    title = f"{about.algorithm} on {about.env}, {about.steps:,} steps, seeds {span(about.seeds)} -> {folder}"
    show.start(title, about.steps * len(about.seeds))
    if not new and seeds:
        recorder.steps |= {seed: checkpoint.newest_step(checkpoint.folder_of(folder, seed)) for seed in seeds}
        first, last = (which(recorder.steps[seed] for seed in seeds) for which in (min, max))
        show.say(f"Going on from step {first:,}{'' if first == last else f' to {last:,}'}.")
    try:
        calls.start()
        with _interrupting(recorder.interrupted):
            if count:
                works = [partial(train_seeds, job) for job in jobs]
                how = (about.env, about.step_timeout, bool(callbacks))
                if is_placed:
                    from polyak.cluster.seats import place

                    works = [partial(place, works, seeds, *how, str(about.cluster), folder)]
                _follow(Workers(works, *how), recorder, by_seed=is_placed)
            elif seeds:
                with env_calls.alarm(about.env, about.step_timeout):
                    train_seeds(jobs[0], recorder.take, recorder.stopping, calls.asked.__contains__)
        if recorder.failure:
            raise recorder.failure
        ended = {*about.returns, *about.stopped_early}
        about.status = "finished" if len(ended) == len(about.seeds) else "stopped"
    except BaseException:
        about.status = "failed"
        raise
    finally:
        show.stop()
        store.compact(folder)
        recorder.write_about()
        calls.end()
        if about.status == "failed" and new and not any(recorder.steps.values()):
            shutil.rmtree(folder)  # nothing was learnt, and an empty run would only be in the way
        elif about.status == "failed":
            show.say(f"What was learned up to the last checkpoints is in {folder}. Go on: polyak resume {folder}")
        with contextlib.suppress(OSError):
            (folder / "checkpoints").rmdir()  # unless there are some
    if calls.failure:
        raise calls.failure
    run = Run(folder)
    run.env = env
    if progress:
        show.say(_farewell(run, recorder))
    return run


def _follow(workers: Transport, recorder: Recorder, by_seed: bool) -> None:
    """Records what workers tell until all have ended; once one has failed, the others save what they have learned.

    With `by_seed` each seed is trained by a worker of its own, behind the one that tells of it.
    """
    try:
        while workers.running:
            if recorder.stopping():
                workers.stop()
            for worker, event in workers.receive():
                recorder.take(event, getattr(event, "seed", worker) if by_seed else worker)
                if not recorder.stopping():
                    workers.answer(worker, recorder.calls.asked)
    finally:
        workers.kill()


@contextlib.contextmanager
def _interrupting(interrupted: threading.Event) -> Iterator[None]:
    """Has Ctrl-C, and what a cluster sends before it kills, set `interrupted`; a second one raises at once.

    Nothing is raised for the first, wherever it comes, so that nothing is cut off in the middle: of a save, or of what
    a worker tells. Only the main thread may handle signals; elsewhere nothing is changed.
    """

    def handle(number: int, frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in SIGNALS if here}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _farewell(run: Run, recorder: Recorder) -> str:
    """Draws the curve of a finished run; returns the last lines: its result, its folder, the command to type next.

    A notebook shows the curve itself, in the table of the run, so there it is one line.
    """
    from polyak.envs.tictactoe import GAMES

    about = recorder.about
    folder = f"{run.path} --env package.module:{about.env}" if callable(run.env) else f"{run.path}"
    if about.status != "finished":
        made, total = sum(recorder.steps.values()), about.steps * len(about.seeds)
        own = f", {about.env}" if callable(run.env) else ""
        command = f"polyak.resume({str(run.path)!r}{own})" if in_notebook() else f"polyak resume {folder}"
        return f"Stopped at {made:,} of {total:,} steps; what was learned is in {run.path}.\nGo on: {command}"
    ended = "episode_return" in store.metric_names(run.path)
    curve = f"curve: {run.plot()}" if ended else "no curve: no episode ended while it was trained"
    if in_notebook():
        return f"{', '.join(run.summary().splitlines())} -> {run.path}"
    next_command = "play tic-tac-toe --run" if about.env in GAMES else "watch"
    return f"{run.summary()}\n{curve}\nNext: polyak {next_command} {folder}"
