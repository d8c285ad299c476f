"""The command line. Every option of `polyak train` is a field of a dataclass, read by tyro; nothing is listed twice."""

import contextlib
import dataclasses
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from polyak.errors import BadSetting, Error, UnknownName, printable

HELP = """\
polyak: reinforcement learning on JAX

usage: polyak COMMAND ...

  check ENV              look for what is wrong with an environment, an id or package.module:MyEnv
  train ALGORITHM ENV    train an agent, e.g. polyak train ppo CartPole-v1 --seeds 4
  sweep ALGORITHM ENV    train every combination of settings, e.g. ... --learning-rate 1e-3 3e-4 --gamma 0.98 0.99
  evaluate RUN           play its final policies in Gymnasium: mean, IQM, 95 % interval
  watch RUN              film its best policy
  arena PLAYERS...       let players of a game meet and rate them, e.g. polyak arena RUN mcts-1000 random
  play GAME              play against a learner or a search, e.g. polyak play connect-four
  plot RUN...            draw return against steps, of several algorithms together if you like
  draw RUN               draw what a table learnt: values and arrows, action values, or a path
  regret NAMES BANDIT    measure and draw regret, e.g. polyak regret exp3,thompson-sampling bandit/bernoulli
  resume RUN             go on with a run, or a sweep, that was stopped or killed
  export RUN             write what was measured as CSV
  list WHAT              algorithms, envs, presets or checks
  course [CHAPTER]       list the chapters of the course, or put the notebook of one here

polyak COMMAND --help tells more; polyak train ALGORITHM --help lists that algorithm's settings.
polyak --version prints the version.
"""


@dataclasses.dataclass(frozen=True)
class Instruments:
    """Options that stop, film and report; in Python these are callbacks."""

    stop_at_return: float | None = None
    """End a seed once the mean return of an evaluation reaches this; needs --eval-every."""
    stop_without_improvement: int | None = None
    """End a seed after so many evaluations in a row without a better one; needs --eval-every."""
    time_limit: float | None = None
    """End the run after so many seconds of wall time, those before a `resume` included."""
    film_every: int | None = None
    """Environment steps between two films of each seed's agent in RUN/films; None for no films."""
    tensorboard: bool = False
    """Write TensorBoard event files into RUN/tensorboard."""
    json: bool = False
    """Print every event as one line of JSON on standard output, the result on the last."""

    def callbacks(self) -> list[Any]:
        """The callbacks that these stand for."""
        from polyak import callbacks

        makers: dict[str, Callable[[Any], Any]] = {
            "stop_at_return": callbacks.StopAtReturn,
            "stop_without_improvement": callbacks.StopWithoutImprovement,
            "time_limit": callbacks.TimeLimit,
            "film_every": callbacks.Film,
            "tensorboard": lambda wanted: callbacks.TensorBoard(),
            "json": lambda wanted: callbacks.JsonLines(_standard_output_for_json()),
        }
        return [make(value) for name, make in makers.items() if (value := getattr(self, name)) not in (None, False)]


@functools.cache
def _train_options() -> Any:
    """A dataclass of the options of `polyak.train`, whose docstring is their help."""
    import inspect

    from polyak import training

    given = inspect.signature(training.train).parameters.values()
    fields = [
        (one.name, str if one.name == "out" else one.annotation, dataclasses.field(default=one.default))
        for one in given
        if one.kind is one.KEYWORD_ONLY and one.name != "callbacks"
    ]
    arguments = inspect.cleandoc(training.train.__doc__ or "").partition("Args:")[2].partition("Returns:")[0]
    head = "How long, how often and where to.\n\nArgs:"
    return dataclasses.make_dataclass("TrainOptions", fields, namespace={"__doc__": head + arguments}, frozen=True)


def _standard_output_for_json() -> TextIO:
    """Standard output for nothing else: what environments print in this process goes to standard error from now on."""
    lines = os.fdopen(os.dup(1), "w", closefd=False)  # open as long as the process lives, as standard output is
    os.dup2(2, 1)
    return lines


def train(args: list[str]) -> None:
    """usage: polyak train ALGORITHM ENV [OPTIONS]"""
    names = list(_take_names(args, 2))
    from polyak import training

    if (groups := _training_groups(names, args, train, "")) is None:
        return
    chosen, instruments, algorithm = _parse_training(args, groups, f"polyak train {' '.join(names)}")
    env = _named_environment(names, "train")
    run = training.train(algorithm, env, callbacks=instruments.callbacks(), **vars(chosen))
    if run.about["status"] == "stopped":
        raise KeyboardInterrupt


def _training_groups(names: list[str], args: list[str], command: Callable, example: str) -> tuple[Any, ...] | None:
    """The options, instruments and algorithm of a training, with their defaults; None after help that needs no name."""
    import inspect

    from polyak import presets, settings

    if not names:
        what = command.__name__
        text = f"{inspect.cleandoc(command.__doc__ or '')}\n\nalgorithms: {', '.join(settings.ALGORITHMS)}\n\n"
        text += f"polyak {what} ALGORITHM --help lists its settings; `polyak list envs` names environments."
        if not {"-h", "--help"} & set(args):
            hint = f"For instance: polyak {what} ppo CartPole-v1{example}"
            raise BadSetting(f"Which algorithm, on which environment? {hint}")
        print(text)
        return None
    kind = settings.algorithm_named(names[0])
    preset = presets.preset(kind.name, names[1]) if len(names) > 1 else None
    default = settings.build(kind.name, preset.settings) if preset else kind()
    options = {"steps": preset.steps, "num_envs": preset.num_envs} if preset else {}
    return _train_options()(**options), Instruments(), default


def _named_environment(names: list[str], command: str) -> Any:
    if len(names) < 2:
        raise BadSetting(f"On which environment? For instance: polyak {command} {names[0]} CartPole-v1")
    return _environment(names[1])


def sweep(args: list[str]) -> None:
    """usage: polyak sweep ALGORITHM ENV --SETTING VALUE VALUE ... [OPTIONS]

    Trains every combination of the values, on the same seeds. A setting of the algorithm takes several values with
    spaces between them, and so does --num-envs: --learning-rate 1e-3 3e-4 --network mlp:64,64 dueling:128
    --double true false. All other options are those of `polyak train`.
    """
    names = list(_take_names(args, 2))
    import inspect

    from polyak import settings, training
    from polyak.sweeps import MOST_COMBINATIONS

    example = " --learning-rate 1e-3 3e-4"
    if (groups := _training_groups(names, args, sweep, example)) is None:
        return
    prog = f"polyak sweep {' '.join(names)}"
    kind: Any = type(groups[-1])
    hints = settings.field_types(kind)
    varied: dict[str, list[list[str]]] = {}  # by name the words for each value
    fixed: list[str] = []
    _refuse_unknown(args, [field.name for group in groups for field in dataclasses.fields(group)], prog)
    for flag, values in _flags(args).items():
        name = flag.lstrip("-").replace("-", "_")
        words = [_words(flag, value, hints.get(name)) for value in values]
        if len(values) < 2:
            fixed += words[0] if words else [flag]
        elif name in hints or name == "num_envs":
            varied[name] = words
        else:
            raise BadSetting(f"{flag} takes one value; settings of {names[0]} take several, and --num-envs.")
    about = f"{inspect.cleandoc(sweep.__doc__ or '').partition('[OPTIONS]')[2].strip()}\n\n"
    if {"-h", "--help"} & set(args):
        _parse_training(["--help"], groups, prog, about)
    env = _named_environment(names, "sweep")
    if not varied:
        raise BadSetting(f"Nothing varies; give a setting several values: {prog}{example}")
    if sum(map(len, varied.values())) > MOST_COMBINATIONS:
        raise BadSetting(f"These are more than {MOST_COMBINATIONS} combinations; leave out some values.")
    chosen, instruments, algorithm = _parse_training(fixed, groups, prog, about)
    if instruments.json:
        raise BadSetting("--json tells of one run, and a sweep has several; leave it out.")
    lists: dict[str, list[Any]] = {}
    for name, words in varied.items():
        read = [_parse_training([*fixed, *value], groups, prog, about) for value in words]
        lists[name] = [getattr(options if name == "num_envs" else made, name) for options, _, made in read]
    found = training.sweep(algorithm, env, lists, callbacks=instruments.callbacks(), **vars(chosen))
    if found.status == "stopped":
        raise KeyboardInterrupt


def _flags(args: list[str]) -> dict[str, list[str]]:
    """Every option with the values behind it, `--learning-rate 1e-3 3e-4`."""
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for arg in args:
        if arg.startswith("--"):
            flag, equals, value = arg.partition("=")
            values = found.setdefault(flag, [])
            values += [value] if equals else []
        elif values is not None:
            values.append(arg)
        elif arg != "-h":
            raise BadSetting(f"{arg!r} stands before all options; an option comes first, as --learning-rate 1e-3 3e-4.")
    return found


def _words(flag: str, value: str, hint: Any) -> list[str]:
    """An option with one of its values; a switch is written with its value too: `--double true false`."""
    if hint is bool and value in ("true", "false"):
        return [flag if value == "true" else f"--no-{flag.lstrip('-')}"]
    return [flag, value]


def resume(
    run: str,
    /,
    env: str | None = None,
    progress: bool = True,
    processes: int | None = None,
    cluster: str | None = None,
    json: bool = False,
) -> None:
    """Go on with a run that was stopped, killed or cut off, exactly where its newest checkpoint is.

    The stops, films and TensorBoard files that it began with go on too. Of a sweep, all runs go on that have not
    finished.

    Args:
        run: the run folder, or that of a sweep.
        env: the environment, an id or package.module:MyEnv, where the run folder cannot name it, or must not.
        progress: show how it goes.
        processes: worker processes on a CPU; by default one a core, and 0 trains in this process.
        cluster: of a run that had one or actors, HOST:PORT of a Ray head, auto, or local for a Ray of its own.
        json: print every event as one line of JSON on standard output, the result on the last.
    """
    from polyak import callbacks, training
    from polyak.run import Run
    from polyak.sweeps import is_sweep

    chosen = None
    if json and is_sweep(Path(run)):
        raise BadSetting(f"--json tells of one run, and {run} is a sweep of several; leave it out.")
    if json:
        noted = callbacks.from_notes(Run(run).about["callbacks"])
        chosen = [*noted, callbacks.JsonLines(_standard_output_for_json())]
    resumed = training.resume(
        run, _environment(env), progress=progress, processes=processes, cluster=cluster, callbacks=chosen
    )
    if (resumed.about["status"] if isinstance(resumed, Run) else resumed.status) == "stopped":
        raise KeyboardInterrupt


def check(env: str, /, episodes: int = 5, seed: int = 0, patience: float = 60.0) -> int:
    """Play an environment with random actions and tell what is wrong with it; the exit status is 1 if there are errors.

    Args:
        env: an id, or package.module:name of what makes one; it is looked for in this folder too.
        episodes: how many are played.
        seed: of the first episode and of the random actions.
        patience: seconds that a single call may take before it counts as hanging.
    """
    from polyak.envs.check import check as look

    findings = look(_environment(env), episodes=episodes, seed=seed, patience=patience)
    print(findings)
    return 1 if findings.errors else 0


def evaluate(run: str, /, env: str | None = None, episodes: int = 100, num_envs: int | None = None) -> None:
    """Play the final policy of every seed in the Gymnasium environment.

    Args:
        run: a run folder, or one policy file.
        env: another environment than the one it was trained on, an id or package.module:MyEnv.
        episodes: of each policy.
        num_envs: environments that are open at once; by default 50 where they are light, else at most 8.
    """
    import numpy as np

    from polyak.evaluation import Scores, evaluate as play
    from polyak.runs.progress import episodes_bar

    path, world = Path(run), _environment(env)
    policies = _policies(path)
    with _of_your_own(path), episodes_bar() as progress:
        scores = [play(policy, world, episodes=episodes, num_envs=num_envs, progress=progress) for policy in policies]
    print(Scores(np.concatenate([score.returns for score in scores])))


def watch(
    run: str,
    /,
    env: str | None = None,
    episodes: int = 1,
    seed: int = 0,
    policy_seed: int | None = None,
    out: str | None = None,
) -> None:
    """Film a policy in its Gymnasium environment.

    Args:
        run: a run folder, or one policy file.
        env: another environment than the one it was trained on, an id or package.module:MyEnv.
        episodes: how many, one after the other.
        seed: of the first episode.
        policy_seed: which seed's policy; by default the best one's.
        out: the file, .mp4 or .gif; by default episode.mp4 in the run folder.
    """
    from polyak.policy import load
    from polyak.run import Run
    from polyak.runs.progress import episodes_bar
    from polyak.runs.video import ending, film

    path = Path(run)
    policy = load(path) if path.is_file() else Run(path).policy(policy_seed)
    file = Path(out) if out else (path.parent if path.is_file() else path) / f"episode{ending()}"
    with _of_your_own(path), episodes_bar() as progress:
        video = film(policy, file, env=_environment(env), episodes=episodes, seed=seed, progress=progress)
    print(f"return {', '.join(f'{value:g}' for value in video.returns)}; film: {video}")
    print(f"Next: polyak evaluate {run}")


def arena(
    players: tuple[str, ...],
    /,
    game: str | None = None,
    games: int = 200,
    opening: int = 2,
    seed: int = 0,
    anchor: str | None = None,
    out: str | None = None,
) -> None:
    """Let every player of a game meet every other one, and rate them: Elo points with 95 % intervals.

    Args:
        players: run folders and policy files, with @128 behind them to search with 128 simulations a move, with @0 to
            ask the network alone; and names: random, mcts-N for any N, in tic-tac-toe greedy and perfect.
        game: an id; by default the game of the runs.
        games: of each pair, an even number: each opening is played with both colours.
        opening: random moves that each game begins with.
        seed: of openings, and of all that is random in players and games.
        anchor: whose rating is 0; by default the first player that is no run, else the mean.
        out: the picture, .png, .svg or .pdf; by default arena-GAME.png in this folder.
    """
    from polyak.matches import arena as meet
    from polyak.pictures.picture import default_name
    from polyak.runs.progress import episodes_bar

    if not players:
        raise BadSetting("Which players? For instance: polyak arena RUN mcts-1000 random")
    with episodes_bar() as progress:
        found = meet(players, game, games, opening=opening, seed=seed, anchor=anchor, progress=progress)
    print(found)
    print(f"picture: {found.draw(out or default_name('arena', found.game))}")


def play(
    game: str,
    /,
    run: str | None = None,
    level: int | None = None,
    seed: int | None = None,
    first: bool = False,
    second: bool = False,
    show_values: bool = False,
    out: str = "runs",
) -> None:
    """Play against a search or a policy, here in the terminal.

    Args:
        game: tic-tac-toe, connect-four, othello, hex, go-9x9, gardner-chess or chess.
        run: a run folder, or one policy file; by default polyak searches with random rollouts, and in tic-tac-toe a
            policy learns first, by self-play, in some seconds.
        level: simulations of each search, the more the stronger; 0 asks a run's network alone.
        seed: whose policy of the run, by default the best one's; with which seed to learn; or of the search.
        first: begin every game; by default you and polyak take turns.
        second: begin none.
        show_values: show what polyak thinks that each move is worth, from -1, a loss, to 1, a win, and of a search the
            line of best play.
        out: the folder for the run of a policy that learns first.
    """
    from polyak.play import opponent, play as play_games, turns

    who_begins = turns(first, second)
    against = opponent(game, sys.stdout, run, seed, out, level)
    play_games(against, sys.stdin, sys.stdout, who_begins, show_values)


def plot(runs: tuple[str, ...], /, metric: str = "episode_return", out: str | None = None) -> None:
    """Draw a metric of one run or several against steps.

    Args:
        runs: run folders; of a sweep the best runs are drawn.
        metric: what to draw.
        out: the picture, .png, .svg or .pdf; by default curve.png in the first run's folder.
    """
    from polyak.pictures.curves import draw_curves
    from polyak.run import Run
    from polyak.sweeps import MOST_CURVES, Sweep, is_sweep

    if not runs:
        raise BadSetting("Which runs? For instance: polyak plot runs/*")
    found = [one for run in runs for one in (Sweep(run).ranked[:MOST_CURVES] if is_sweep(Path(run)) else [Run(run)])]
    print(draw_curves(found, metric, path=Path(out) if out else Path(runs[0]) / "curve.png"))


def regret(
    algorithms: str, bandit: str, /, pulls: int = 1_000, problems: int = 1_000, seed: int = 0, out: str | None = None
) -> None:
    """Measure the regret of algorithms on many problems of a bandit, and draw it.

    Args:
        algorithms: names, with commas between them, each with settings if you like; a bare name takes the preset:
            exp3,action-value-bandit:exploration=ucb:2
        bandit: its id; polyak list envs has them.
        pulls: of each problem.
        problems: how many.
        seed: of all that is random; the problems are the same for all algorithms.
        out: the picture, .png, .svg or .pdf; by default regret-BANDIT.png in this folder.
    """
    import re

    from polyak.bandit_regret import regret as measure
    from polyak.pictures.picture import default_name
    from polyak.pictures.regret import draw_regret
    from polyak.settings import algorithm_from_text

    texts = re.split(",(?=[a-z])", algorithms)
    chosen = {text: algorithm_from_text(text) for text in texts}  # all are read before the first is measured
    results = []
    for text, algorithm in chosen.items():
        results.append(measure(algorithm if ":" in text else text, bandit, pulls, problems, seed=seed))
        print(results[-1], flush=True)
    print(f"picture: {draw_regret(results, path=out or default_name('regret', bandit))}")


def export(run: str, /, out: str | None = None, wide: bool = False) -> None:
    """Write everything that was measured as CSV.

    Args:
        run: the run folder.
        out: the file; by default metrics.csv in the run folder.
        wide: one column a metric; by default the columns are seed, step, name, value.
    """
    from polyak.run import Run

    print(Run(run).to_csv(out, wide=wide))


PICTURES = ("values", "q", "path")


def draw(
    run: str,
    /,
    what: str | None = None,
    seed: int = 0,
    policy_seed: int | None = None,
    out: str | None = None,
) -> None:
    """Draw what a table learnt, on the grid of its world.

    Args:
        run: a run folder, or one policy file.
        what: values, q or path; by default values, or q where the world has no grid.
        seed: of the episode whose path is drawn.
        policy_seed: which seed's policy; by default the best one's.
        out: the picture, .png, .svg or .pdf; by default values.png, q.png or path.png in the run folder.
    """
    from polyak.pictures.action_values import draw_q
    from polyak.pictures.given import world_of
    from polyak.pictures.path import draw_path
    from polyak.pictures.values import draw_values
    from polyak.policy import load
    from polyak.run import Run

    if what not in (*PICTURES, None):
        raise UnknownName("picture", str(what), PICTURES)
    path = Path(run)
    policy = load(path) if path.is_file() else Run(path).policy(policy_seed)
    if not policy.tables and what != "path":
        raise BadSetting(f"{policy.algorithm.name} keeps no table to draw; polyak watch {run} films what it does.")
    mdp = world_of(policy)
    if not mdp.grid and "q" not in policy.tables:
        raise BadSetting(
            f"{mdp.id} has no grid to draw on, and {policy.algorithm.name} keeps no action values to draw as a table; "
            f"polyak watch {run} films what it does."
        )
    what = what or ("values" if mdp.grid else "q")
    file = Path(out) if out else (path.parent if path.is_file() else path) / f"{what}.png"
    if what == "values":
        picture = draw_values(mdp, policy, path=file)
    elif what == "q":
        picture = draw_q(mdp, policy, path=file)
    else:
        picture = draw_path(mdp, policy, seed=seed, behind=policy if policy.tables else None, path=file)
    print(f"{what}: {picture.title}; picture: {picture}")
    print(f"Next: polyak watch {run}" if what == "path" or not mdp.grid else f"Next: polyak draw {run} --what path")


def list_names(what: str, /) -> None:
    """List what there is.

    Args:
        what: algorithms, envs, presets or checks.
    """
    listings: dict[str, Callable[[], list[str]]] = {
        "algorithms": _algorithms,
        "envs": _envs,
        "presets": _presets,
        "checks": _checks,
    }
    if what not in listings:
        raise UnknownName("list", what, listings)
    print("\n".join(listings[what]()))


def _algorithms() -> list[str]:
    from polyak.algorithms import ALGORITHMS

    return [f"{name:22} {(kind.__doc__ or '').splitlines()[0]}" for name, kind in ALGORITHMS.items()]


def _envs() -> list[str]:
    import gymnasium

    from polyak.envs import BANDITS, GAMES, PROBES, TWINS
    from polyak.envs.atari import GAMES as ATARI, PROTOCOLS
    from polyak.envs.bit_flipping import BIT_FLIPPING
    from polyak.envs.from_envpool import TWINS as POOLED
    from polyak.envs.hidden import HIDDEN
    from polyak.envs.walks import WALKS

    compiled = [f"{id:28} compiled, proved equal to Gymnasium's" for id in TWINS]
    probes = [f"{id:28} probe with a known answer" for id in PROBES]
    hidden = [f"{id:28} {of}, velocities hidden" for id, (of, _) in HIDDEN.items()]
    games = [f"{id:28} game, {_opponent_in(id)}" for id in GAMES]
    goals = [f"{id:28} bits to flip until they are those of a goal" for id in BIT_FLIPPING]
    walks = [f"{id:28} random walk, whose values are known" for id in WALKS]
    bandits = [f"{id:28} bandit, one problem of many" for id in BANDITS]
    atari = [f"{game}-v5, ALE/{game}-v5".ljust(28) + " Atari" for game in ATARI]
    pooled = [f"{id:28} Gymnasium, stepped by EnvPool where it is installed" for id in POOLED]
    others = [f"{id:28} Gymnasium" for id in gymnasium.registry if id not in {*TWINS, *HIDDEN, *POOLED}]
    protocols = (
        f"Atari's ids choose a protocol ({', '.join(PROTOCOLS)}) and settings: Pong-v5/dopamine, Pong-v5/sticky=0.25. "
        "Pong-v5 is deepmind's, stepped by EnvPool where it is installed; ALE/Pong-v5 is dopamine's, stepped by ale-py."
    )
    prefixes = (
        "Any id may carry a prefix: gymnax:, gymnasium:, envpool:. gymnax: also reaches gymnax's own ids, and envpool: "
        "EnvPool's, such as DeepMind's control suite (envpool:CheetahRun-v1); masked: rules out actions by the "
        "environment's own mask, as in masked:Taxi-v4."
    )
    return [
        *compiled,
        *pooled,
        *hidden,
        *games,
        *goals,
        *walks,
        *bandits,
        *probes,
        *others,
        *atari,
        protocols,
        prefixes,
    ]


def _opponent_in(game: str) -> str:
    """The opponent in a game, for a list."""
    from polyak.envs.making import JUDGES

    judge = JUDGES.get(game, game).partition("/")[2]
    return (
        f"learnt by self-play, scored against a {judge} opponent" if game in JUDGES else f"against a {judge} opponent"
    )


def _presets() -> list[str]:
    from polyak.presets import presets

    lines = []
    for entry in presets():
        proof, words = entry.evidence, {"iqm": "IQM", "rms_error": "RMS error", "regret": "regret"}[entry.score]
        known = "not measured"
        if entry.score in proof:
            known = f"{words} {proof[entry.score]:g}, 95 % interval {proof['interval']}"
        lines.append(f"{entry.algorithm:22} {entry.env:24} {entry.steps:>12,} steps  {known}")
    return lines


def _checks() -> list[str]:
    from polyak.envs.check import CHECKS, name_of_check

    return [f"{name_of_check(look):28} {severity:8} {look.__doc__}" for look, severity in CHECKS]


def _environment(name: str | None) -> Any:
    """An id as it is; `package.module:name` as what it names, which is imported because the user asked for it."""
    import importlib

    from polyak.envs import BACKENDS

    module_name, colon, attribute = (name or "").partition(":")
    if not colon or module_name in BACKENDS:
        return name
    sys.path.insert(0, "")  # this folder, as `python -m` does it
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise BadSetting(f"{module_name} needs {error.name}, which is not installed; install it.") from error
        raise BadSetting(
            f"There is no module named {error.name!r} here; before a colon comes one of your modules, or one of "
            f"{', '.join(BACKENDS)}."
        ) from error
    except Exception as error:
        raise BadSetting(f"{module_name} could not be imported: {type(error).__name__}: {error}; repair it.") from error
    finally:
        sys.path.remove("")
    if not hasattr(module, attribute):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise UnknownName(f"name in {module_name}", attribute, public)
    return getattr(module, attribute)


@contextlib.contextmanager
def _of_your_own(run: Path) -> Iterator[None]:
    """Says how to give the environment of a run, where it was an object and its name is not enough to make it."""
    from polyak.run import Run

    try:
        yield
    except UnknownName as error:
        if run.is_dir() and Run(run).about["custom_env"]:
            hint = "give it with --env package.module:MyEnv."
            raise BadSetting(f"{run} was trained on an environment of your own; {hint}") from error
        raise


def _policies(path: Path) -> list:
    from polyak.policy import load
    from polyak.run import Run

    if path.is_file():
        return [load(path)]
    run = Run(path)
    never_begun = [seed for seed, stop in run.stopped_early.items() if stop["step"] == 0]
    policies = [run.policy(seed) for seed in run.seeds if seed not in never_begun]
    return [policies[0].with_state(policy.state) for policy in policies]  # so that they share what is compiled


def _take_names(args: list[str], most: int):
    """Removes and yields the leading arguments that are no options."""
    while args and most and not args[0].startswith("-"):
        yield args.pop(0)
        most -= 1


def _parse_training(args: list[str], groups: Sequence[Any], prog: str, about: str = "") -> list[Any]:
    """Reads dataclasses, the last of them an algorithm, whose fields share one flat list of flags.

    `about` is what the command's help begins with.
    """
    import tyro

    from polyak.settings import PARTS

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def part(info: tyro.constructors.PrimitiveTypeInfo):
        if info.type not in PARTS:
            return None
        form = PARTS[info.type]
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=form.shape,
            instance_from_str=lambda texts: form.read(texts[0]),
            is_instance=lambda value: True,
            str_from_instance=lambda value: [form.write(value)],
        )

    flat: Any = tyro.conf.OmitArgPrefixes
    headings = ("options", "instruments", groups[-1].name.replace("-", "_"))  # in `--help`
    fields = [
        (heading, flat[type(group)], dataclasses.field(default=group))
        for heading, group in zip(headings, groups, strict=True)
    ]
    command = dataclasses.make_dataclass("Train", fields)
    command.__doc__ = f"{about}{type(groups[-1]).__doc__}\n\nThe defaults shown are those that this command will use."
    _refuse_unknown(args, [field.name for group in groups for field in dataclasses.fields(group)], prog)
    parsed = _tyro(command, args, prog, registry=registry)
    return [getattr(parsed, heading) for heading in headings]


def _refuse_unknown(args: list[str], known: list[str], prog: str) -> None:
    flags = {f"--{name.replace('_', '-')}" for name in known}
    for arg in args:
        flag = arg.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag.replace("--no-", "--") not in flags | {"--help"}:
            raise UnknownName("option", flag, flags, hint=f"`{prog} --help` lists them.")


def _tyro(target: Any, args: list[str], prog: str, **how: Any) -> Any:
    """`tyro.cli`, with what it would say of a mistake made into one sentence."""
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(target, args=args, prog=prog, **how)
    except SystemExit as end:
        if end.code == 0:
            raise
        # in a frame, and where standard output is not UTF-8 indented; a rule parts it from what tyro says of the option
        lines = [line.strip("│ ") for line in complaint.getvalue().splitlines() if line.startswith(("│", "  "))]
        said = " ".join(lines[: next((i for i, line in enumerate(lines) if line and not line.strip("─-")), 1)])
        raise BadSetting(f"{said.rstrip('.')}; see `{prog} --help`.") from None


def _simple(function: Callable[..., int | None], name: str) -> Callable[[list[str]], int | None]:
    """A command whose options are the arguments of a function."""

    @functools.wraps(function)
    def with_options(*given: Any, **options: Any) -> Callable[[], int | None]:
        return functools.partial(function, *given, **options)  # run when tyro no longer holds standard error

    def command(args: list[str]) -> int | None:
        import inspect

        _refuse_unknown(args, list(inspect.signature(function).parameters), f"polyak {name}")
        return _tyro(with_options, args, f"polyak {name}")()

    return command


def course(chapter: str | None = None, /, out: str = ".") -> None:
    """List the chapters of the course, or put the notebook of one into this folder.

    Args:
        chapter: its number.
        out: the folder that the notebook goes into.
    """
    import textwrap

    from polyak import course as chapters

    if chapter is None:
        for one in chapters.chapters():
            print(textwrap.fill(f"{one.number:2}  {one.title}: {one.about}", 100, subsequent_indent="    "))
        print("\nNext: polyak course 1")
        return
    path = chapters.copy(chapter, out)
    print(f"{path}: open it in VS Code or on Colab; or, after `pip install jupyterlab`:")
    print(f"Next: jupyter lab {path}")


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "check": _simple(check, "check"),
    "train": train,
    "sweep": sweep,
    "evaluate": _simple(evaluate, "evaluate"),
    "watch": _simple(watch, "watch"),
    "arena": _simple(arena, "arena"),
    "play": _simple(play, "play"),
    "plot": _simple(plot, "plot"),
    "draw": _simple(draw, "draw"),
    "regret": _simple(regret, "regret"),
    "resume": _simple(resume, "resume"),
    "export": _simple(export, "export"),
    "list": _simple(list_names, "list"),
    "course": _simple(course, "course"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit status.

    It is 0, or 1 if `check` found errors, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if args[0] == "--version":
        from polyak import __version__

        print(__version__)
        return 0
    try:
        if args[0] not in COMMANDS:
            raise UnknownName("command", args[0], COMMANDS)
        return COMMANDS[args[0]](args[1:]) or 0
    except Error as error:
        print(f"polyak: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `polyak list envs | head`
        sys.stderr.close()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"polyak: {printable(f'{where}{error.strerror or error}.')}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
