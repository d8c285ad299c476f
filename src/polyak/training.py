"""Training from the outside: `train` starts it, `resume` goes on with it, `Run` is what comes of it."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyak import errors, presets, settings
from polyak.agent import Algorithm
from polyak.envs import calls
from polyak.envs.calls import STEP_TIMEOUT
from polyak.errors import BadFile, BadSetting
from polyak.evaluation import Scores
from polyak.processes import Workers, accelerator_expected, cores
from polyak.runs import store
from polyak.runs.progress import Display, display
from polyak.worker import Event, Job, train_seeds

if TYPE_CHECKING:
    from polyak.envs import EnvLike
    from polyak.pictures.picture import Picture
    from polyak.policy import Policy

FINAL_EPISODES = 100


class Run:
    """A finished, stopped or growing run, as its folder tells it.

    Attributes:
        path: the run folder.
        about: what `run.json` says: algorithm, settings, environment, versions, device, seeds, scores.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.about = store.read_about(self.path)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return list(self.about["seeds"])

    @property
    def scores(self) -> Scores:
        """Returns [seeds, episodes] of the final greedy policies in the Gymnasium environment."""
        returns = [self.about["returns"][str(seed)] for seed in self.seeds if str(seed) in self.about["returns"]]
        if not returns:
            raise BadFile(f"No seed of {self.path} has finished yet, so there are no scores.")
        return Scores(np.array(returns))

    @property
    def steps_per_second(self) -> float:
        """Environment steps of all seeds together per second of training; compilation and evaluation left out."""
        return self.about["steps_per_second"]

    def metrics(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps [points] and values [seeds, points] of what was measured under `name`."""
        names = store.metric_names(self.path)
        if name not in names:
            raise errors.UnknownName("metric", name, names)
        return store.read_metric(self.path, name, self.seeds)

    def policy(self, seed: int | None = None) -> "Policy":
        """The final policy of a seed, by default of the best one in the final evaluation."""
        from polyak import policy

        if seed is None:
            returns = self.about["returns"]
            kept = [s for s in self.seeds if (self.path / f"policy-{s}.safetensors").exists()]
            if not kept:
                raise BadFile(f"{self.path} holds no policy yet.")
            seed = max(kept, key=lambda s: np.mean(returns.get(str(s), -np.inf)))
        elif seed not in self.seeds:
            raise BadSetting(f"{self.path} has the seeds {', '.join(map(str, self.seeds))}, not {seed}.")
        return policy.load(self.path / f"policy-{seed}.safetensors")

    def summary(self) -> str:
        """Algorithm, environment, scores and speed in two lines."""
        about = self.about
        head = f"{about['algorithm']} on {about['env']}, {about['steps']:,} steps, seeds {_span(self.seeds)}"
        if about["status"] != "finished":
            return f"{head}: {about['status']}"
        speed = f"{self.steps_per_second:,.0f} steps/s" if self.steps_per_second else "speed not measured"
        return f"{head}, {speed}\nfinal policy: {self.scores}"

    def plot(self) -> "Picture":
        """Draws `curve.png`, return against steps; what is returned shows itself in a notebook."""
        from polyak.pictures.curves import draw_curves

        return draw_curves(self, path=self.path / "curve.png")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {self.summary()}"


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
    workers: int = 0,
    step_timeout: float = STEP_TIMEOUT,
    on_fault: str = "stop",
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
        workers: processes of each seed that step its Gymnasium environments in parallel; 0 steps them where the seed is
            trained. An environment that hangs or dies with its process is made anew only in a worker of its own.
        step_timeout: seconds that a call of an environment may take before it counts as hanging; making one, and its
            first reset, may take ten minutes. With processes=0 and no workers, only what runs in Python in the main
            thread is interrupted, and an environment that ends its process ends yours.
        on_fault: "stop" ends the run with an error that names the environment, its episode's seed, the step and the
            action; "restart" makes it anew, cuts its episode as truncated, tells of it in a line, and stops only
            after more than ten faults within 1,000 steps. A fault during evaluation always ends the run.

    Returns:
        The run; after Ctrl-C one that `polyak.resume` can go on with.

    Raises:
        polyak.Error: anything about the algorithm, the environment or the settings that cannot work.
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
    for label, value in (("steps", steps), ("seeds", seeds), ("num_envs", num_envs), ("eval_episodes", eval_episodes)):
        if value < 1:
            raise BadSetting(f"{label} is {value}; it must be at least 1.")
    if not 0 <= seed < 2**32 - seeds:
        raise BadSetting(f"seed is {seed}; seeds are whole numbers from 0 to 2^32.")
    if workers < 0:
        raise BadSetting(f"workers is {workers}; it takes 0, or a number of processes.")
    calls.check_timeout(step_timeout)
    calls.Restarts(on_fault)  # raises where it is not one of the words it knows
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
        "workers": workers,
        "step_timeout": step_timeout,
        "on_fault": on_fault,
        "faults": 0,
        "settings": settings.describe(algorithm),
        "preset": found is not None,
        "versions": _versions(),
        "cores": cores(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_seconds": 0.0,
        "steps_per_second": 0.0,
        "returns": {},
    }
    return _train(folder, about, algorithm, env, progress, processes)


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


def resume(path: str | os.PathLike, env: "EnvLike | None" = None, *, progress: bool = True) -> Run:
    """Goes on with a run that was stopped by Ctrl-C; a finished one is returned as it is.

    A compiled run continues as if it had never stopped; elsewhere the agent does, and fresh episodes begin.

    Args:
        path: the run folder.
        env: the function that makes the environment, for a run that was trained on one.
        progress: whether to show how it goes.
    """
    run = Run(path)
    about = run.about
    if about["status"] == "finished":
        return run
    if env is None and about["custom_env"]:
        raise BadSetting(f"{run.path} was trained on a function; pass it: polyak.resume({str(run.path)!r}, env).")
    algorithm = settings.build(about["algorithm"], about["settings"])
    return _train(run.path, about | {"status": "running"}, algorithm, env or about["env"], progress, None)


class _Recorder:
    """Turns events into rows, progress and the facts of `run.json`."""

    def __init__(self, folder: Path, about: dict[str, Any], show: Display):
        self.about, self.show = about, show
        self.writer = store.MetricWriter(folder)
        self.steps = dict.fromkeys(about["seeds"], 0) | {int(seed): about["steps"] for seed in about["returns"]}
        self.latest: dict[int, float] = {}
        self.timed: dict[str, list[float]] = {}  # worker -> steps, seconds
        self.stopped = False

    def take(self, event: Event) -> None:
        kind, seed, step = event["kind"], event.get("seed", -1), event.get("step", -1)
        if kind == "hello":
            self.about |= {key: event[key] for key in ("device", "engine", "environment")}
        elif kind == "chunk":
            self.writer.write((seed, step, name, value) for name, value in event["metrics"].items())
            self.latest[seed] = event["metrics"].get("episode_return", self.latest.get(seed, np.nan))
            self.steps[seed] = step
            timed = self.timed.setdefault(event.get("worker", ""), [0.0, 0.0])
            timed[0] += event["timed_steps"]
            timed[1] += event["timed_seconds"]
            values = [value for value in self.latest.values() if np.isfinite(value)]
            self.show.update(sum(self.steps.values()), float(np.mean(values)) if values else None)
        elif kind == "evaluation":
            self.writer.write([(seed, step, "evaluation_return", float(np.mean(event["returns"])))])
        elif kind == "finished":
            self.writer.write([(seed, step, "final_return", float(np.mean(event["returns"])))])
            self.about["returns"][str(seed)] = event["returns"]
        elif kind == "stopped":
            self.stopped = True
        elif kind == "notice":
            self.about["faults"] = self.about.get("faults", 0) + 1
            self.show.say(event["text"])
        elif kind == "error":
            if not event["type"]:
                raise RuntimeError(f"training failed in a worker:\n{event['message']}")
            raise errors.restored(event["type"], event["message"])

    @property
    def steps_per_second(self) -> float:
        """All timed steps over the longest time that any worker took for its share."""
        longest = max((seconds for _, seconds in self.timed.values()), default=0.0)
        return sum(steps for steps, _ in self.timed.values()) / longest if longest else 0.0


def _train(
    folder: Path, about: dict[str, Any], algorithm: Algorithm, env: Any, progress: bool, processes: int | None
) -> Run:
    """Trains the seeds of a run that have not finished."""
    seeds = [seed for seed in about["seeds"] if str(seed) not in about["returns"]]
    count = min(len(seeds), cores() if processes is None else processes)
    if accelerator_expected():
        count = min(count, 1)  # one process, which trains all seeds under one vmap
    shares = [tuple(seeds[k::count]) for k in range(count)] or [tuple(seeds)]
    name, plan = about["env"], (about["steps"], about["num_envs"], about["eval_every"], about["eval_episodes"])
    steps, num_envs, eval_every, eval_episodes = plan
    faults = {key: about[key] for key in ("workers", "step_timeout", "on_fault") if key in about}
    jobs = [
        Job(
            algorithm,
            env,
            name,
            steps,
            share,
            num_envs,
            eval_every,
            eval_episodes,
            FINAL_EPISODES,
            str(folder),
            **faults,
        )
        for share in shares
    ]
    show = display(progress)
    recorder = _Recorder(folder, about, show)
    store.write_about(folder, about)
    began = time.perf_counter()
    title = f"{about['algorithm']} on {name}, {steps:,} steps, seeds {_span(about['seeds'])} -> {folder}"
    show.start(title, steps * len(about["seeds"]))
    try:
        if count:
            _in_workers(jobs, recorder)
        else:
            _in_process(jobs[0], recorder)
        about["status"] = "stopped" if recorder.stopped else "finished"
    except BaseException:
        about["status"] = "failed"
        raise
    finally:
        show.stop()
        recorder.writer.close()
        about["wall_seconds"] = round(about["wall_seconds"] + time.perf_counter() - began, 3)
        about["steps_per_second"] = round(recorder.steps_per_second, 1)
        if about["status"] == "failed" and not any(recorder.steps.values()):
            shutil.rmtree(folder)  # nothing was learnt, and an empty run would only be in the way
        else:
            store.write_about(folder, about)
    run = Run(folder)
    if progress:
        if about["status"] == "finished":
            run.plot()
        show.say(_farewell(run, recorder))
    return run


def _in_workers(jobs: list[Job], recorder: _Recorder) -> None:
    workers = Workers(jobs)
    try:
        while True:
            try:
                for event in workers:
                    recorder.take(event)
                return
            except KeyboardInterrupt:
                recorder.stopped = True
                recorder.show.say("Stopping after the present chunk; what was learned is being saved. Again: at once.")
                workers.stop()
                for event in workers:
                    recorder.take(event)
                return
    finally:
        workers.kill()


def _in_process(job: Job, recorder: _Recorder) -> None:
    """Trains here; Ctrl-C is kept waiting until the chunk is finished."""
    interrupted = threading.Event()
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, lambda number, frame: interrupted.set())
    else:
        before = None
    try:
        with calls.alarm(job.name, job.step_timeout):
            train_seeds(job, recorder.take, interrupted.is_set)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _farewell(run: Run, recorder: _Recorder) -> str:
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


def _span(seeds: Iterable[int]) -> str:
    seeds = list(seeds)
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}"


def _versions() -> dict[str, str]:
    """What a result depends on."""
    packages = ("polyak", "jax", "jaxlib", "equinox", "optax", "gymnasium", "gymnax", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
