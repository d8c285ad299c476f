"""Training from the outside: `train` starts it, `resume` goes on with it; a `Run` is what comes of it."""

import contextlib
import datetime
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyak import callbacks as instruments, errors, presets, settings
from polyak.agent import Algorithm
from polyak.callbacks import protocol
from polyak.envs import calls as env_calls
from polyak.envs.calls import STEP_TIMEOUT
from polyak.errors import BadFile, BadSetting
from polyak.processes import Workers, accelerator_expected, cores
from polyak.recorder import Recorder
from polyak.run import Run, span
from polyak.runs import checkpoint, store
from polyak.runs.files import FolderLock
from polyak.runs.progress import display
from polyak.worker import Job, train_seeds

if TYPE_CHECKING:
    from polyak.envs import EnvLike

FINAL_EPISODES = 100


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
    out: str | os.PathLike = "runs",
    progress: bool = True,
    processes: int | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int = 2,
    workers: int = 0,
    step_timeout: float = STEP_TIMEOUT,
    on_fault: str = "stop",
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
        out: the folder in which the run's own folder is made.
        progress: whether to show how it goes.
        processes: worker processes on a CPU, at most one a seed; by default one a core, and 0 trains in this process.
        checkpoint_every: environment steps between two checkpoints of a seed; by default one is made every minute.
        keep_checkpoints: how many are kept, the newest; besides them the one with the best evaluation.
        workers: processes of each seed that step its Gymnasium environments in parallel; 0 steps them where the seed is
            trained. An environment that hangs or dies with its process is made anew only in a worker of its own.
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
    from polyak.envs import name_of

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
    whole = {"steps": steps, "seeds": seeds, "num_envs": num_envs, "eval_every": eval_every}
    whole |= {
        "eval_episodes": eval_episodes,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
    }
    for label, value in whole.items():
        if value is not None and value < 1:
            raise BadSetting(f"{label} is {value}; it must be at least 1.")
    if not 0 <= seed < 2**32 - seeds:
        raise BadSetting(f"seed is {seed}; seeds are whole numbers from 0 to 2^32.")
    protocol.check(callbacks)
    if workers < 0:
        raise BadSetting(f"workers is {workers}; it takes 0, or a number of processes.")
    env_calls.check_timeout(step_timeout)
    env_calls.Restarts(on_fault)  # raises where it is not one of the words it knows
    if callable(env):
        _look_at(env)
    folder = store.new_folder(out, algorithm.name, name)
    about = {
        "format": 1,
        "status": "running",
        "algorithm": algorithm.name,
        "env": name,
        "custom_env": not isinstance(env, str),
        "steps": steps,
        "seeds": [seed + k for k in range(seeds)],
        "num_envs": num_envs,
        "eval_every": eval_every,
        "eval_episodes": eval_episodes,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
        "workers": workers,
        "step_timeout": step_timeout,
        "on_fault": on_fault,
        "faults": 0,
        "settings": settings.describe(algorithm),
        "callbacks": instruments.to_notes(callbacks),
        "preset": found is not None,
        "versions": store.versions(),
        "cores": cores(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_seconds": 0.0,
        "steps_per_second": 0.0,
        "returns": {},
        "stopped_early": {},
    }
    with _alone(folder):
        return _train(folder, about, algorithm, env, progress, processes, callbacks, new=True)


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
        callbacks: instead of those of `train`; by default the built-in ones among these, as `run.json` notes them.

    Raises:
        BadFile: it is no run of polyak, another process trains it, or all its checkpoints are damaged.
    """
    from polyak.envs import without_import

    run = Run(path)
    about = run.about
    if about["status"] == "finished":
        return run
    if env is None and about["custom_env"]:
        raise BadSetting(f"{run.path} was trained on a function; pass it: polyak.resume({str(run.path)!r}, env).")
    env = env if env is not None else without_import(about["env"])
    algorithm = settings.build(about["algorithm"], about["settings"])
    store.check_writable(run.path)
    about = {"stopped_early": {}} | about | {"status": "running"}
    if callbacks is None:
        callbacks = instruments.from_notes(about.get("callbacks", []))
    protocol.check(callbacks)
    about["callbacks"] = instruments.to_notes(callbacks)
    with _alone(run.path):
        return _train(run.path, about, algorithm, env, progress, processes, callbacks, new=False)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from training the same run."""
    if (lock := FolderLock.of(folder)) is None:
        raise BadFile(f"Another process trains {folder}; wait for it, or stop it first.")
    with contextlib.closing(lock):
        yield


def _train(
    folder: Path,
    about: dict[str, Any],
    algorithm: Algorithm,
    env: Any,
    progress: bool,
    processes: int | None,
    callbacks: Sequence[Any],
    new: bool,
) -> Run:
    """Trains the seeds of a run that have not finished."""
    seeds = [seed for seed in about["seeds"] if str(seed) not in {*about["returns"], *about["stopped_early"]}]
    count = min(len(seeds), cores() if processes is None else processes)
    if accelerator_expected():
        count = min(count, 1)  # one process, which trains all seeds under one vmap
    shares = [tuple(seeds[k::count]) for k in range(count)] or [tuple(seeds)]
    jobs = [_job(about, algorithm, env, share, folder, callbacks) for share in shares]
    show = display(progress)
    store.write_about(folder, about)
    store.MetricWriter(folder).close()  # workers find the table there
    run = Run(folder)
    run.about, run.env = about, env  # callbacks see both as they are now
    calls = instruments.Calls(callbacks, run, show.say)
    recorder = Recorder(folder, about, show, calls)
    title = (
        f"{about['algorithm']} on {about['env']}, {about['steps']:,} steps, seeds {span(about['seeds'])} -> {folder}"
    )
    show.start(title, about["steps"] * len(about["seeds"]))
    if not new and seeds:
        recorder.steps |= {seed: checkpoint.newest_step(checkpoint.folder_of(folder, seed)) for seed in seeds}
        first, last = (which(recorder.steps[seed] for seed in seeds) for which in (min, max))
        show.say(f"Going on from step {first:,}{'' if first == last else f' to {last:,}'}.")
    try:
        calls.start()
        if count:
            _in_workers(jobs, recorder)
        elif seeds:
            _in_process(jobs[0], recorder)
        ended = {*about["returns"], *about["stopped_early"]}
        about["status"] = "finished" if len(ended) == len(about["seeds"]) else "stopped"
    except BaseException:
        about["status"] = "failed"
        raise
    finally:
        show.stop()
        store.compact(folder)
        recorder.write_about()
        calls.end()
        if about["status"] == "failed" and new and not any(recorder.steps.values()):
            shutil.rmtree(folder)  # nothing was learnt, and an empty run would only be in the way
        elif about["status"] == "failed":
            show.say(f"What was learned up to the last checkpoints is in {folder}. Go on: polyak resume {folder}")
        with contextlib.suppress(OSError):
            (folder / "checkpoints").rmdir()  # unless there are some
    if calls.failure:
        raise calls.failure
    run = Run(folder)
    run.env = env
    if progress:
        if about["status"] == "finished":
            run.plot()
        show.say(_farewell(run, recorder))
    return run


def _job(
    about: dict[str, Any],
    algorithm: Algorithm,
    env: Any,
    seeds: tuple[int, ...],
    folder: Path,
    callbacks: Sequence[Any],
) -> Job:
    return Job(
        algorithm,
        env,
        about["env"],
        about["steps"],
        seeds,
        about["num_envs"],
        about["eval_every"],
        about["eval_episodes"],
        FINAL_EPISODES,
        str(folder),
        about.get("checkpoint_every"),
        about.get("keep_checkpoints", 2),
        protocol.policy_every(callbacks),
        bool(callbacks),
        **{name: about[name] for name in ("workers", "step_timeout", "on_fault") if name in about},
    )


def _in_workers(jobs: list[Job], recorder: Recorder) -> None:
    workers = Workers(jobs)
    try:
        with _signals(signal.default_int_handler, signal.SIGTERM):  # what a cluster sends before it kills
            try:
                for event in workers:
                    recorder.take(event)
                    if recorder.calls.failure:
                        workers.stop()
                    elif jobs[0].waits:
                        workers.answer(event, recorder.calls.asked)
            except KeyboardInterrupt:
                recorder.show.say("Stopping after the present chunk; what was learned is being saved. Again: at once.")
                workers.stop()
                for event in workers:
                    recorder.take(event)
            except errors.Error:  # of one worker; the others save what they have learned
                workers.stop()
                for event in workers:
                    if event["kind"] != "error":
                        recorder.take(event)
                raise
    finally:
        workers.kill()


def _in_process(job: Job, recorder: Recorder) -> None:
    """Trains here; Ctrl-C is kept waiting until the chunk is finished."""
    interrupted = threading.Event()
    with (
        _signals(lambda number, frame: interrupted.set(), signal.SIGINT, signal.SIGTERM),
        env_calls.alarm(job.name, job.step_timeout),
    ):
        train_seeds(
            job,
            recorder.take,
            lambda: interrupted.is_set() or recorder.calls.failure is not None,
            recorder.calls.asked.__contains__,
        )


@contextlib.contextmanager
def _signals(handler: Callable[[int, Any], Any], *numbers: int) -> Iterator[None]:
    """Handles signals, where that is allowed: in the main thread."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if here}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _farewell(run: Run, recorder: Recorder) -> str:
    """What happened, where it is, and what to type next."""
    from polyak.envs.tictactoe import GAMES

    if run.about["status"] != "finished":
        made, total = sum(recorder.steps.values()), run.about["steps"] * len(run.seeds)
        return (
            f"Stopped at {made:,} of {total:,} steps; what was learned is in {run.path}.\n"
            f"Go on: polyak resume {run.path}"
        )
    next_command = "play tic-tac-toe --run" if run.about["env"] in GAMES else "watch"
    return f"{run.summary()}\ncurve: {run.path / 'curve.png'}\nNext: polyak {next_command} {run.path}"
