"""Training from the outside: `train`, `sweep` and `resume`; a `Run` is what comes of it, of a sweep a `Sweep`."""

import contextlib
import copy
import dataclasses
import datetime
import inspect
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from polyak import callbacks as instruments, errors, presets, settings as hyperparameters, sweeps
from polyak.agent import Algorithm
from polyak.callbacks import protocol
from polyak.cluster.plan import plan
from polyak.envs.calls import STEP_TIMEOUT
from polyak.errors import BadFile, BadSetting, UnknownName
from polyak.processes import cores
from polyak.run import Run, span
from polyak.runs import store
from polyak.runs.about import CHECKS, MOST_PROCESSES, MOST_SEEDS, SEED, About, anything
from polyak.runs.documents import Check, boolean, check_arguments, maybe, whole
from polyak.runs.files import FolderLock
from polyak.runs.notebook import in_notebook
from polyak.runs.progress import Part, Together, display
from polyak.sitting import Growing, Sitting
from polyak.sweeps import MOST_COMBINATIONS, MOST_ROWS, AboutSweep, Sweep

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
    order = _asked(locals())
    _check(order)
    if callable(env):
        _look_at(env)
    folder = store.new_folder(out, order.algorithm.name, order.about.env)
    return _train_run(folder, order, env, progress, processes, callbacks, new=True)


def sweep(algorithm: str | Algorithm, env: "EnvLike", settings: Mapping[str, Sequence[Any]], **arguments: Any) -> Sweep:
    """Trains every combination of some settings on the same seeds and returns the sweep.

    Every combination is an ordinary run, in a folder of its own inside the sweep's, with the policies that `train` with
    these settings gives, bit by bit. Combinations and seeds share the worker processes; with `cluster`, and without
    actors, each seed of each combination is placed where there is room. One that fails, because its numbers became
    infinite, leaves the others alone.

    Args:
        algorithm: as in `train`; the settings that do not vary are those of the preset, or of the algorithm given.
        env: as in `train`.
        settings: by name a list of values: `{"learning_rate": [1e-3, 3e-4], "network": ["mlp:64,64", "dueling:128"]}`;
            settings of the algorithm, and `num_envs`. At most 256 combinations.
        arguments: all others of `train`: `steps`, `seeds`, `eval_every`, `out`, `processes`, `cluster`, ... Callbacks
            are called for every run, and `run` says for which; those of polyak are copied for each, so that `TimeLimit`
            counts the seconds of a run from its own beginning.

    Returns:
        The sweep; after Ctrl-C one that `polyak.resume` can go on with.

    Raises:
        polyak.Error: as in `train`; before anything is trained for a setting that there is not, a value that cannot
            work, a list that is empty or has a value twice, and too many combinations.
    """
    defaults = {
        name: one.default for name, one in inspect.signature(train).parameters.items() if one.kind is one.KEYWORD_ONLY
    }
    for name in arguments:
        if name not in defaults:
            raise UnknownName("argument of sweep", name, defaults)
    given = defaults | arguments
    base = _asked({"algorithm": algorithm, "env": env, **given})
    varied, orders = _combined(base, settings)
    for order in orders:
        _check(order)
    callbacks = [_copies(given["callbacks"]) for _ in orders]
    if callable(env):
        _look_at(env)
    folder = store.new_folder(given["out"], f"sweep-{base.algorithm.name}", base.about.env)
    runs = []
    for name, order, own in zip(sweeps.folder_names(varied), orders, callbacks, strict=True):
        path = store.inner_folder(folder, name)
        store.write_about(path, order.about)
        runs.append((path, order, own))
    sweeps.write(folder, AboutSweep(algorithm=base.algorithm.name, env=base.about.env, settings=varied))
    return _train_sweep(folder, runs, env, given["progress"], given["processes"], new=True)


class _Order(NamedTuple):
    """A run that is to be."""

    algorithm: Algorithm
    about: About


def _asked(given: Mapping[str, Any]) -> _Order:
    """The run that the arguments of `train` ask for."""
    check_arguments(ARGUMENTS, given)
    from polyak.envs import name_of

    algorithm, env, seed, seeds = given["algorithm"], given["env"], given["seed"], given["seeds"]
    protocol.check(given["callbacks"])
    name = name_of(env)
    found = presets.preset(algorithm, name) if isinstance(algorithm, str) else None
    if isinstance(algorithm, str):
        algorithm = hyperparameters.build(algorithm, found.settings if found else {})
    else:
        hyperparameters.check(algorithm)
    steps = given["steps"] if given["steps"] is not None else found.steps if found else None
    if steps is None:
        raise BadSetting(f"There is no preset for {algorithm.name} on {name}, so say how many steps: steps=100_000.")
    num_envs = found.num_envs if found else algorithm.default_num_envs
    if seed + seeds > 2**32:
        raise BadSetting(f"seed={seed} and seeds={seeds} go beyond 2^32 - 1, the last seed there is.")
    same = {
        name: value for name, value in given.items() if name in CHECKS and name not in ("algorithm", "env", "seeds")
    }
    about = About(
        **same
        | {
            "format": 1,
            "status": "running",
            "algorithm": algorithm.name,
            "settings": hyperparameters.describe(algorithm),
            "env": name,
            "custom_env": not isinstance(env, str),
            "steps": steps,
            "seeds": list(range(seed, seed + seeds)),
            "num_envs": num_envs if given["num_envs"] is None else given["num_envs"],
            "callbacks": instruments.to_notes(given["callbacks"]),
            "preset": found is not None,
            "versions": store.versions(),
            "cores": cores(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "wall_seconds": 0.0,
            "steps_per_second": 0.0,
            "returns": {},
        }
    )
    return _Order(algorithm, about)


def _check(order: _Order) -> None:
    """Raises `BadSetting` where what was asked for does not fit together."""
    algorithm, about = order
    _check_countable(about.steps, algorithm, about.num_envs)
    if about.actors:
        plan(algorithm, about.actors, about.num_envs, about.max_staleness)  # raises where they do not fit together
        if about.workers:
            raise BadSetting("Environments are stepped by actors or by workers, not by both; leave workers out.")
    elif about.max_staleness is not None:
        raise BadSetting("max_staleness is about actors; say how many: actors=8.")


def _combined(base: _Order, settings: Mapping[str, Any]) -> tuple[dict[str, list[Any]], list[_Order]]:
    """What varies, with values as `run.json` has them; and a run for each combination of them."""
    if not isinstance(settings, Mapping) or not settings:
        raise BadSetting('sweep takes settings by name, each with a list: {"learning_rate": [1e-3, 3e-4]}.')
    lists = {str(name): _listed(str(name), values) for name, values in settings.items()}
    count = math.prod(map(len, lists.values()))
    for number, what in ((count, "combinations"), (count * len(base.about.seeds), "seeds of all combinations")):
        if number > (most := MOST_COMBINATIONS if what == "combinations" else MOST_SEEDS):
            raise BadSetting(
                f"These are {number:,} {what}, and {most:,} are the most; leave out some values, or sweep over one "
                "setting after the other."
            )
    orders = []
    varied: dict[str, list[Any]] = {name: [] for name in lists}
    for combination in sweeps.combinations(lists):
        num_envs = combination.pop("num_envs", base.about.num_envs)
        check_arguments(ARGUMENTS, {"num_envs": num_envs})
        algorithm = hyperparameters.changed(base.algorithm, combination)
        about = dataclasses.replace(
            copy.deepcopy(base.about),
            settings=hyperparameters.describe(algorithm),
            num_envs=num_envs,
            status="stopped",  # until it is its turn
        )
        orders.append(_Order(algorithm, about))
        for name, values in varied.items():
            if (value := about.settings.get(name, about.num_envs)) not in values:
                values.append(value)
    for name, values in varied.items():
        if len(values) < len(lists[name]):
            raise BadSetting(f"{name} has a value twice: {', '.join(map(str, lists[name]))[:200]}; give each once.")
    return varied, orders


def _listed(name: str, values: Any) -> list[Any]:
    """The values of a setting that varies, as Python's own numbers."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise BadSetting(f"{name} is {values!r:.80}; in a sweep it takes a list of values.")
    if not values:
        raise BadSetting(f"{name} has an empty list; give it at least one value.")
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _copies(callbacks: Sequence[Any]) -> list[Any]:
    """The callbacks of one run of a sweep: polyak's as copies, because they remember whose they are."""
    if any(isinstance(callback, instruments.JsonLines) for callback in callbacks):
        raise BadSetting("JsonLines tells of one run, and a sweep has several; give it to train, or read sweep.table.")
    ours = {getattr(instruments, name) for name in instruments.__all__}
    return [copy.copy(callback) if type(callback) in ours else callback for callback in callbacks]


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
) -> Run | Sweep:
    """Goes on with a run that was interrupted, by Ctrl-C, a kill or a power cut; a finished one is returned as it is.

    It goes on from the newest checkpoint that is whole, as if it had never stopped: the same run writes the same bytes.
    Only where an environment can neither be copied nor replayed, its episode is cut as truncated, and a line says so.

    Args:
        path: the folder of a run; or of a sweep, of which all runs go on that have not finished, those that failed too.
        env: the environment, for a run that was trained on a function; by default the one that `run.json` names.
        progress: whether to show how it goes.
        processes: as in `train`.
        cluster: as in `train`, for a run with actors; "local" for a Ray of its own where the run had a cluster.
        callbacks: instead of those of `train`; by default the built-in ones among these, as `run.json` notes them.

    Raises:
        BadFile: it is no run of polyak, another process trains it, or all its checkpoints are damaged.
    """
    check_arguments(ARGUMENTS, locals())
    folder = Path(path)
    if sweeps.is_sweep(folder):
        return _resume_sweep(folder, env, progress, processes, cluster, callbacks)
    about = store.read_about(folder)
    if about.status == "finished":
        return Run(folder)
    order, env, callbacks = _again(folder, folder, about, env, cluster, callbacks)
    return _train_run(folder, order, env, progress, processes, callbacks, new=False)


def _again(
    folder: Path,
    asked: Path,
    about: About,
    env: "EnvLike | None",
    cluster: str | None,
    callbacks: Sequence[Any] | None,
) -> tuple[_Order, "EnvLike", Sequence[Any]]:
    """What it takes to go on with a run; `asked` is the folder that the user named, of the run or of its sweep."""
    from polyak.envs import without_import

    if env is None and about.custom_env:
        raise BadSetting(
            f"{asked} was trained on an environment of your own; give it: polyak.resume({str(asked)!r}, env), or "
            f"`polyak resume {asked} --env package.module:{about.env}`."
        )
    if about.cluster not in (None, "local") and cluster is None:  # no file decides whom this process talks to
        raise BadSetting(
            f"{asked} was trained on the cluster {about.cluster!r}; name it again, or another: "
            f"`polyak resume {asked} --cluster HOST:PORT`, or `--cluster local` for this machine."
        )
    if cluster is not None:
        about.cluster = cluster
    env = env if env is not None else without_import(about.env)
    algorithm = hyperparameters.build(about.algorithm, about.settings)
    _check_countable(about.steps, algorithm, about.num_envs)
    store.check_writable(folder)
    if callbacks is None:
        callbacks = instruments.from_notes(about.callbacks)
    protocol.check(callbacks)
    about.callbacks = instruments.to_notes(callbacks)
    return _Order(algorithm, about), env, callbacks


def _resume_sweep(
    folder: Path,
    env: "EnvLike | None",
    progress: bool,
    processes: int | None,
    cluster: str | None,
    callbacks: Sequence[Any] | None,
) -> Sweep:
    """Goes on with the runs of a sweep that have not finished."""
    found = Sweep(folder, env)
    runs = []
    for run in found.runs:
        about = store.read_about(run.path)
        if run.path.is_symlink() or (about.algorithm, about.env) != (found.about["algorithm"], found.about["env"]):
            raise BadFile(f"{run.path} is no run of this sweep; remove it, and put the run there that was.")
        if about.status != "finished":
            copies = None if callbacks is None else _copies(callbacks)
            order, env, own = _again(run.path, folder, about, env, cluster, copies)
            runs.append((run.path, order, own))
    how = {(about.cluster, about.actors, about.step_timeout, about.custom_env) for _, (_, about), _ in runs}
    if len(how) > 1:
        raise BadFile(f"The runs of {folder} were not asked for together; resume each of them alone.")
    return _train_sweep(folder, runs, env, progress, processes, new=False) if runs else found


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from training the same run."""
    if (lock := FolderLock.of(folder)) is None:
        raise BadFile(f"Another process trains {folder}; wait for it, or stop it first.")
    with contextlib.closing(lock):
        yield


def _train_run(
    folder: Path,
    order: _Order,
    env: Any,
    progress: bool,
    processes: int | None,
    callbacks: Sequence[Any],
    new: bool,
) -> Run:
    """Trains the seeds of a run that have not finished."""
    algorithm, about = order
    with _alone(folder):
        show = display(progress)
        about.status = "running"
        store.write_about(folder, about)
        growing = Growing(folder, about, algorithm, env, callbacks, show)
        title = f"{about.algorithm} on {about.env}, {about.steps:,} steps, seeds {span(about.seeds)} -> {folder}"
        going_on = ""
        if not new and growing.seeds:
            first, last = (which(growing.recorder.steps[seed] for seed in growing.seeds) for which in (min, max))
            going_on = f"Going on from step {first:,}{'' if first == last else f' to {last:,}'}."
        _sit(folder, Sitting([growing], env, show), (title, going_on), processes, new)
        run = Run(folder)
        run.env = env
        if progress:
            show.say(_farewell(run, growing))
        return run


def _train_sweep(
    folder: Path,
    runs: Sequence[tuple[Path, _Order, Sequence[Any]]],
    env: Any,
    progress: bool,
    processes: int | None,
    new: bool,
) -> Sweep:
    """Trains the runs of a sweep that have not finished: each with its folder and its callbacks."""
    before = Sweep(folder, env)
    with contextlib.ExitStack() as stack:
        for inner in (folder, *(path for path, _, _ in runs)):
            stack.enter_context(_alone(inner))
        show = display(progress)
        together = Together(show)
        labels = {run.path: before.label(run) for run in before.runs}
        growing = [
            Growing(path, about, algorithm, env, callbacks, Part(together, labels[path]), labels[path])
            for path, (algorithm, about), callbacks in runs
        ]
        together.steps |= {one.name: sum(one.recorder.steps.values()) for one in growing}
        over = len(before.runs) - len(runs)
        going_on = "" if new else f"Going on; {over} of {len(before.runs)} combinations have finished."
        _sit(folder, Sitting(growing, env, show, over), (f"{before.title} -> {folder}", going_on), processes, new)
        after = Sweep(folder, env)
        failures = [one.recorder.failure for one in growing if one.recorder.failure]
        if after.status == "failed":
            raise failures[0]
        if progress:
            show.say(_farewell_of_sweep(after))
        return after


def _sit(folder: Path, sitting: Sitting, lines: tuple[str, str], processes: int | None, new: bool) -> None:
    """Trains runs to their end or a stop, with the progress on the screen; raises what went wrong."""
    show, (title, going_on) = sitting.show, lines
    show.start(title, sum(run.about.steps * len(run.about.seeds) for run in sitting.runs))
    if going_on:
        show.say(going_on)
    try:
        sitting.train(folder, processes)
    except BaseException:
        show.stop()
        if new and not sitting.learnt:
            shutil.rmtree(folder)  # nothing was learnt, and an empty run would only be in the way
        else:
            show.say(f"What was learned up to the last checkpoints is in {folder}. Go on: polyak resume {folder}")
        raise
    finally:
        show.stop()
    for run in sitting.runs:
        if run.calls.failure:
            raise run.calls.failure


def _farewell_of_sweep(sweep: Sweep) -> str:
    """Draws the curves of a finished sweep; returns the last lines: its table, its folder, the command to type next."""
    custom = next((run.env for run in sweep.runs if callable(run.env)), None)
    if sweep.status != "finished":
        env = sweep.about["env"] if custom else ""
        command = f"polyak resume {sweep.path}{env and f' --env package.module:{env}'}"
        if in_notebook():
            command = f"polyak.resume({str(sweep.path)!r}{env and f', {env}'})"
        ended = sum(run.about["status"] == "finished" for run in sweep.runs)
        return (
            f"Stopped when {ended} of {len(sweep.runs)} combinations had finished; what was learned is in "
            f"{sweep.path}.\nGo on: {command}"
        )
    failed = [f"{sweep.label(run)}: {run.notices[-1]}" for run in sweep.runs if run.about["status"] == "failed"]
    best = f"best: {sweep.label(sweep.best)}, {sweep.best.scores} -> {sweep.best.path}"
    if in_notebook():
        return best
    try:
        curves = f"curves: {sweep.plot()}"
    except BadFile:
        curves = "no curves: no episode ended while they were trained"
    following = [f"Next: {command}" for command in [sweep.next_command()] if command]
    return "\n".join([sweep.summary(MOST_ROWS), *failed, best, curves, *following])


def _farewell(run: Run, growing: Growing) -> str:
    """Draws the curve of a finished run; returns the last lines: its result, its folder, the command to type next.

    A notebook shows the curve itself, in the table of the run, so there it is one line.
    """
    about = growing.about
    folder = f"{run.path} --env package.module:{about.env}" if callable(run.env) else f"{run.path}"
    if about.status != "finished":
        made, total = sum(growing.recorder.steps.values()), about.steps * len(about.seeds)
        own = f", {about.env}" if callable(run.env) else ""
        command = f"polyak.resume({str(run.path)!r}{own})" if in_notebook() else f"polyak resume {folder}"
        return f"Stopped at {made:,} of {total:,} steps; what was learned is in {run.path}.\nGo on: {command}"
    ended = "episode_return" in store.metric_names(run.path)
    curve = f"curve: {run.plot()}" if ended else "no curve: no episode ended while it was trained"
    if in_notebook():
        return f"{', '.join(run.summary().splitlines())} -> {run.path}"
    return f"{run.summary()}\n{curve}\nNext: polyak {_next_step(growing)} {folder}"


def _next_step(growing: Growing) -> str:
    """What to do with a policy: games are played, what can be drawn is watched, and the rest is scored once more."""
    from polyak.envs.games.notation import NOTATIONS
    from polyak.envs.making import OWN

    env = growing.about.env
    game = env.partition("/")[0]
    if game in NOTATIONS:
        return f"play {game} --run"
    return "evaluate" if env in OWN or getattr(growing.algorithm, "plans", False) else "watch"
