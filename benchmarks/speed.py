"""Speed of training: polyak against Stable-Baselines3, SBX and rejax, at the same settings.

    python -m benchmarks.speed [--rounds 5] [--only a2c,ppo-] [--quick]

Each measurement is a process of its own, which trains once, from nothing, for the same number of environment steps, and
tells its steps per second of training, compilation left out. The contestants take turns: one measurement each makes a
round, so that a slow minute of the machine slows all of them. What is reported is the median over the rounds, and the
median of the ratios within each round. They go to `speed.json`, and from there into the documentation. The environment
`.venv-bench` is made when it is missing or out of date.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import venv
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tables import ROOT, Place, put, table

ENVIRONMENT = ROOT / ".venv-bench"
REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")
RESULTS = Path(__file__).resolve().with_suffix(".json")
PACKAGES = ("polyak", "stable-baselines3", "sbx-rl", "rejax", "torch", "jax", "gymnasium", "gymnax", "numpy")
# polyak gives each of its workers one thread; so that this is not what is measured, its peers get the same. On a busy
# machine that made them faster; on a quiet one it has not been compared: `--threads own` leaves them as they come.
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1"}  # read by XLA, by PyTorch
TIME_LIMIT = 1800  # seconds that one measurement may take: a hang must not look like patience


class Task(NamedTuple):
    """One algorithm at one setting, for every library."""

    title: str
    algorithm: str  # the class's name, which is the same in polyak, Stable-Baselines3 and SBX
    steps: int  # environment steps of a measurement
    quick_steps: int  # the same with --quick
    num_envs: int
    hidden: tuple[int, ...]
    activation: str
    settings: dict[str, Any]  # names as in Stable-Baselines3, and so as in polyak and SBX
    rejax: dict[str, Any] | None = None  # what rejax calls the same, or the nearest that it offers
    env: str = "CartPole-v1"
    sbx: bool = True  # whether SBX has it


PPO_SETTINGS = {
    "n_steps": 32,
    "batch_size": 256,
    "n_epochs": 20,
    "gamma": 0.98,
    "gae_lambda": 0.8,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}
DQN_SETTINGS = {
    "learning_rate": 2.3e-3,
    "gamma": 0.99,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
}
PPO_REJAX = {"num_envs": 8, "num_steps": 32, "num_minibatches": 1, "num_epochs": 20}
PPO_REJAX |= {name: PPO_SETTINGS[name] for name in ("gamma", "gae_lambda", "learning_rate", "ent_coef", "vf_coef")}
PPO_REJAX |= {"clip_eps": 0.2, "max_grad_norm": 0.5}
DQN_REJAX = {"buffer_size": 100_000, "fill_buffer": 1_000, "eps_end": 0.04, "polyak": 0.0, "ddqn": False}
DQN_REJAX |= {name: DQN_SETTINGS[name] for name in ("learning_rate", "gamma", "batch_size", "exploration_fraction")}
DQN_REJAX |= {"max_grad_norm": 10.0}
A2C_SETTINGS = {"n_steps": 5, "gamma": 0.99, "gae_lambda": 1.0, "learning_rate": 7e-4, "ent_coef": 0.0, "vf_coef": 0.5}
A2C_SETTINGS |= {"max_grad_norm": 0.5}  # and RMSProp, the default of both
CONTROL = PPO_SETTINGS | {"n_steps": 256, "batch_size": 64, "n_epochs": 10, "gamma": 0.99, "gae_lambda": 0.95}
EVERY_4 = {"learning_rate": 1e-4, "batch_size": 32, "train_freq": 4, "gradient_steps": 1}
EVERY_4 |= {"target_update_interval": 10_000}
EVERY_256 = {"train_freq": 256, "gradient_steps": 128, "target_update_interval": 10}
EVERY_STEP = {"train_freq": 1, "gradient_steps": 1, "target_update_interval": 500}

TASKS = {
    "ppo": Task(
        "PPO, 8 environments x 32 steps, 20 epochs",
        *("PPO", 102_400, 12_800, 8, (64, 64), "tanh"),
        settings=PPO_SETTINGS,
        rejax=PPO_REJAX,
    ),
    "dqn-defaults": Task(
        "DQN at Stable-Baselines3's defaults, one update every 4 steps",
        *("DQN", 40_960, 5_120, 1, (64, 64), "relu"),
        settings=DQN_SETTINGS | EVERY_4,
        rejax=DQN_REJAX
        | {"learning_rate": 1e-4, "batch_size": 32, "num_envs": 4, "num_epochs": 1, "target_update_freq": 10_000},
    ),
    "dqn-zoo": Task(
        "DQN at the zoo's settings, 256 x 256, 128 updates every 256 steps",
        *("DQN", 20_480, 5_120, 1, (256, 256), "relu"),
        settings=DQN_SETTINGS | EVERY_256,
        rejax=DQN_REJAX | {"num_envs": 2, "num_epochs": 1, "target_update_freq": 10},
    ),
    "dqn-every-step": Task(
        "DQN, 256 x 256, one update a step",
        *("DQN", 10_000, 2_000, 1, (256, 256), "relu"),
        settings=DQN_SETTINGS | EVERY_STEP,
        rejax=DQN_REJAX | {"num_envs": 1, "num_epochs": 1, "target_update_freq": 500},
    ),
}
TASKS |= {
    "a2c": Task(
        "A2C, 16 environments x 5 steps",
        *("A2C", 102_400, 25_600, 16, (64, 64), "tanh"),
        settings=A2C_SETTINGS,
        sbx=False,
    ),
    "ppo-pendulum": Task(
        "PPO, 8 environments x 256 steps, 10 epochs",
        *("PPO", 61_440, 20_480, 8, (64, 64), "tanh"),
        settings=CONTROL,
        env="Pendulum-v1",
    ),
    "a2c-pendulum": Task(
        "A2C, 16 environments x 5 steps",
        *("A2C", 61_440, 20_480, 16, (64, 64), "tanh"),
        settings=A2C_SETTINGS,
        env="Pendulum-v1",
        sbx=False,
    ),
    "ppo-cheetah": Task(
        "PPO, 8 environments x 256 steps, 10 epochs",
        *("PPO", 61_440, 20_480, 8, (64, 64), "tanh"),
        settings=CONTROL,
        env="HalfCheetah-v5",
    ),
    "a2c-cheetah": Task(
        "A2C, 16 environments x 5 steps",
        *("A2C", 61_440, 20_480, 16, (64, 64), "tanh"),
        settings=A2C_SETTINGS,
        env="HalfCheetah-v5",
        sbx=False,
    ),
}
EVERY_STEP_256 = {"learning_rate": 3e-4, "gamma": 0.99, "batch_size": 256, "buffer_size": 100_000, "tau": 0.005}
EVERY_STEP_256 |= {"learning_starts": 500, "train_freq": 1, "gradient_steps": 1}
TASKS |= {
    "sac-pendulum": Task(
        "SAC, 256 x 256, one update of 256 a step",
        *("SAC", 3_000, 1_000, 1, (256, 256), "relu"),
        settings=EVERY_STEP_256,
        env="Pendulum-v1",
    ),
    "td3-pendulum": Task(
        "TD3, 256 x 256, one update of 256 a step",
        *("TD3", 3_000, 1_000, 1, (256, 256), "relu"),
        settings=EVERY_STEP_256,
        env="Pendulum-v1",
    ),
    "sac-cheetah": Task(
        "SAC, 256 x 256, one update of 256 a step",
        *("SAC", 3_000, 1_000, 1, (256, 256), "relu"),
        settings=EVERY_STEP_256,
        env="HalfCheetah-v5",
    ),
}
POOLED = "polyak on EnvPool"
CONTESTANTS = ("polyak", "polyak on Gymnasium", POOLED, "Stable-Baselines3", "SBX", "rejax", "polyak, 2 seeds")
PEERS = ("Stable-Baselines3", "SBX", "rejax")
DIFFERENCES = (
    "Timed: of Stable-Baselines3 and SBX a whole `learn`, of rejax one compiled call, of polyak all that its "
    "engine does but the first call of each compiled program (a fiftieth of the steps, while filling and learning).",
    "Stable-Baselines3 and SBX step Gymnasium's environments, rejax and compiled polyak gymnax's; EnvPool steps in as "
    "many threads as it finds cores, the others one environment after the other.",
    "SBX PPO: two optimisers, each clipping its own gradient's norm. SBX DQN: no clipping, which it does not offer.",
    "rejax: clips each element of the gradient, not its norm; treats the time limit as an end of the task.",
    "rejax PPO: always clips the value's change too; two optimisers.",
    "rejax DQN: squared error for Huber loss; draws without replacement, by sorting the whole buffer.",
    "rejax DQN at an update every 4 steps, or 128 every 256: it has no train_freq, so 4 or 2 environments and an "
    "update after each step of all.",
    "polyak DQN and PPO: a target network renewed at most once a block; the true successor's value at the time limit.",
    "gymnax 1 returns six values from a step and rejax 0.1.3 reads five: an adapter of four lines joins them.",
)


def polyak_speed(task: Task, steps: int, prefix: str = "", seeds: int = 1) -> float:
    import polyak

    network = polyak.MLP(hidden=task.hidden, activation=task.activation)
    kind = getattr(polyak, task.algorithm)
    networks = {
        field.name: network for field in dataclasses.fields(kind) if field.name in ("network", "critic_network")
    }
    algorithm = kind(**task.settings, **networks)
    with tempfile.TemporaryDirectory() as out:
        run = polyak.train(
            algorithm,
            f"{prefix}{task.env}",
            steps=steps,
            seed=0,
            seeds=seeds,
            num_envs=task.num_envs,
            out=out,
            progress=False,
        )
        return run.steps_per_second


def stable_baselines3_speed(task: Task, steps: int) -> float:
    import stable_baselines3

    return _learn_speed(stable_baselines3, task, steps, warm_up=False)


def sbx_speed(task: Task, steps: int) -> float:
    import sbx

    return _learn_speed(sbx, task, steps, warm_up=True)


def _learn_speed(library, task: Task, steps: int, warm_up: bool) -> float:
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env(task.env, task.num_envs, seed=0)
    network = {"net_arch": list(task.hidden)}  # the activations are these libraries' own defaults
    model = getattr(library, task.algorithm)(
        "MlpPolicy", env, seed=0, device="cpu", policy_kwargs=network, **task.settings
    )
    if warm_up:  # compiles: the shapes are the same in the next call, which starts again from step 0
        model.learn(task.settings.get("learning_starts", 0) + 512)
    began = time.perf_counter()
    model.learn(steps)
    return model.num_timesteps / (time.perf_counter() - began)


def rejax_learner(task: Task, steps: int):
    """rejax's learner of a task, which does nothing but train."""
    from functools import partial

    import flax.linen
    import jax
    import rejax
    from gymnax.environments.classic_control.cartpole import CartPole

    class FiveValues(CartPole):
        """gymnax 1 tells `terminated` and `truncated` apart; rejax 0.1.3 wants them merged."""

        @partial(jax.jit, static_argnums=0)
        def step(self, key, state, action, params):
            obs, state, reward, terminated, truncated, info = super().step(key, state, action, params)
            return obs, state, reward, terminated | truncated, info

    env = FiveValues()
    # One evaluation for the whole run, and one that does nothing: what is timed is training alone.
    schedule = {"total_timesteps": steps, "eval_freq": steps, "skip_initial_evaluation": True}
    learner = rejax.get_algo(task.algorithm.lower()).create(
        env=env, env_params=env.default_params, **task.rejax, **schedule
    )
    parts = ("actor", "critic") if task.algorithm == "PPO" else ("agent",)
    network = {"hidden_layer_sizes": task.hidden, "activation": getattr(flax.linen, task.activation)}
    learner = learner.replace(**{part: getattr(learner, part).clone(**network) for part in parts})
    return learner.replace(eval_callback=lambda learner, state, key: ())


def rejax_speed(task: Task, steps: int) -> float:
    import jax

    learner = rejax_learner(task, steps)
    state = learner.init_state(jax.random.PRNGKey(0))
    train = jax.jit(lambda state: learner.train(train_state=state)[0]).lower(state).compile()
    began = time.perf_counter()
    state = jax.block_until_ready(train(state))
    return int(state.global_step) / (time.perf_counter() - began)


def measure(contestant: str, task: Task, steps: int) -> float:
    """Steps per second of one contestant, in this process."""
    match contestant:
        case "polyak":
            return polyak_speed(task, steps)
        case "polyak on Gymnasium":
            return polyak_speed(task, steps, "gymnasium:")
        case "polyak on EnvPool":
            return polyak_speed(task, steps, "envpool:")
        case "polyak, 2 seeds":
            return polyak_speed(task, steps, seeds=2)
        case "polyak on Gymnasium, 2 seeds":
            return polyak_speed(task, steps, "gymnasium:", seeds=2)
        case "Stable-Baselines3":
            return stable_baselines3_speed(task, steps)
        case "SBX":
            return sbx_speed(task, steps)
        case "rejax":
            return rejax_speed(task, steps)
    raise ValueError(f"There is no contestant {contestant!r}.")


def measure_apart(contestant: str, name: str, options: argparse.Namespace) -> float:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--measure", contestant, "--only", name]
    command += ["--quick"] * options.quick
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    if options.threads == "one" and contestant in PEERS:
        environment |= ONE_THREAD
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT, cwd=tempfile.gettempdir(), env=environment
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"{contestant} on {name} was not done after {TIME_LIMIT} seconds.")
    if done.returncode:
        sys.exit(f"{contestant} on {name} failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.splitlines()[-1])


def contestants(name: str) -> list[str]:
    """Who is measured at a task, in the order of their turns."""
    task = TASKS[name]
    missing = {"polyak", "polyak, 2 seeds"} if task.env == "HalfCheetah-v5" else {POOLED}  # which is not compiled
    missing |= {who for who, there in (("SBX", task.sbx), ("rejax", task.rejax)) if not there}
    return [*(who for who in CONTESTANTS if who not in missing), *["polyak on Gymnasium, 2 seeds"] * (name == "ppo")]


def ratios(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the rounds of the ratios within each: polyak against each peer, two seeds against one."""
    pairs = [(own, peer) for own in ("polyak", "polyak on Gymnasium", POOLED) for peer in PEERS]
    pairs += [(f"{own}, 2 seeds", own) for own in ("polyak", "polyak on Gymnasium")]
    return {
        f"{one} / {other}": statistics.median(done[one] / done[other] for done in rounds)
        for one, other in pairs
        if all(one in done and other in done for done in rounds)
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "cpu": models[0] if models else platform.processor(), "system": platform.system()}


def report(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is written of the tasks that were measured; a benchmark may measure some of them and keep others,
    so each says where it was."""
    here = {
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "threads": options.threads,
    }
    return {
        name: {
            **TASKS[name]._asdict(),
            **here,
            "steps_per_second": rounds,
            "median": {who: statistics.median(done[who] for done in rounds) for who in rounds[0]},
            "ratios": ratios(rounds),
        }
        for name, rounds in results.items()
    }


def keep(path: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Writes what was measured beside what the file holds of other tasks; returns all, in the order of `TASKS`."""
    known = json.loads(path.read_text())["tasks"] if path.exists() else {}
    tasks = {name: (known | measured)[name] for name in TASKS if name in known | measured}
    path.write_text(json.dumps({"differences": DIFFERENCES, "tasks": tasks}, indent=2) + "\n")
    return tasks


def show(tasks: dict[str, Any]) -> None:
    """Prints the tables of tasks measured together."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    for task in tasks.values():
        rounds, median = task["steps_per_second"], task["median"]
        title = f"{task['env']}, {task['title']}: steps per second, median of {len(rounds)}"
        table = Table("", "median", "least", "most", *(f"/ {peer}" for peer in PEERS), "/ 1 seed", title=title)
        for who in median:
            values = [done[who] for done in rounds]
            numbers = [f"{value:,.0f}" for value in (median[who], min(values), max(values))]
            others = [*PEERS, who.removesuffix(", 2 seeds")]
            over = [task["ratios"].get(f"{who} / {other}") for other in others]
            table.add_row(who, *numbers, *("" if ratio is None else f"{ratio:.2f}" for ratio in over))
        console.print(table)
    versions = ", ".join(f"{name} {version}" for name, version in task["versions"].items())
    console.print(f"{where(task)}; {versions}")
    console.print("Where the settings differ:", *(f"- {line}" for line in DIFFERENCES), sep="\n")


def where(task: dict[str, Any]) -> str:
    """On what machine a task was measured, and how often."""
    facts, peers = task["machine"], {"one": "one thread", "own": "own threads"}
    return f"{facts['cpu']}, {facts['cores']} cores, {len(task['steps_per_second'])} rounds, {peers[task['threads']]}"


SHOWN = ("ppo", "dqn-defaults", "a2c", "ppo-pendulum", "ppo-cheetah", "sac-pendulum")  # in the README
TO_PEER = " / Stable-Baselines3"


def tables(tasks: dict[str, Any] | None = None) -> dict[Place, str]:
    """The medians and the ratios to Stable-Baselines3, of the file of results by default; and the README's summary."""
    tasks = json.loads(RESULTS.read_text())["tasks"] if tasks is None else tasks
    about = (
        "`make bench`: steps per second at the same settings, a process a measurement, compilation left out, medians "
        "of interleaved rounds; in brackets the median of the ratios to Stable-Baselines3 within each round. `polyak` "
        "alone is its compiled engine. With one thread the peers run as polyak's workers do; where settings differ, "
        "the benchmark prints how. Rows of different machines compare by their ratios only."
    )
    rows, few = [], []
    for name, task in tasks.items():
        median, ratio = task["median"], task["ratios"]
        cells = {who: f"{steps:,.0f}" for who, steps in median.items()}
        cells |= {who: f"{cells[who]} ({ratio[who + TO_PEER]:.1f} x)" for who in cells if who + TO_PEER in ratio}
        title = f"{task['env']}: {task['title']}"
        rows.append((title, *(cells.get(who, "") for who in CONTESTANTS), where(task)))
        if name in SHOWN:
            best = max((who for who in cells if who + TO_PEER in ratio and "seeds" not in who), key=median.__getitem__)
            few.append(
                (title, best, f"{median[best]:,.0f}", cells["Stable-Baselines3"], f"{ratio[best + TO_PEER]:.1f}")
            )
    return {
        Place("docs/benchmarks/speed.md", "speed"): (
            f"{textwrap.fill(about, 120)}\n\n{table(('task', *CONTESTANTS, 'measured on'), rows)}"
        ),
        Place("README.md", "speed"): table(("task", "engine", "steps/s", "Stable-Baselines3", "ratio"), few),
    }


def enter_environment() -> None:
    """Makes `.venv-bench` if it is missing or out of date, and goes on inside it."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = ENVIRONMENT / "installed.txt"
    wanted = REQUIREMENTS.read_text() + (ROOT / "pyproject.toml").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Installing polyak and its peers into {ENVIRONMENT.name} ...", flush=True)
        if not python.exists():
            venv.create(ENVIRONMENT, with_pip=True, symlinks=os.name != "nt")
        torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
        for packages in ([torch], ["-r", str(REQUIREMENTS), "-e", str(ROOT)]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        again = [python, "-m", "benchmarks.speed", *sys.argv[1:]]
        sys.exit(subprocess.run(again, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of training: polyak against Stable-Baselines3, SBX and rejax.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", default="ppo,dqn,a2c,sac,td3", help=f"tasks, or how their names begin: {', '.join(TASKS)}"
    )
    parser.add_argument("--quick", action="store_true", help="few steps: to see that it works; nothing is kept")
    parser.add_argument("--threads", choices=("one", "own"), default="one", help="for the peers: one, or their default")
    parser.add_argument("--measure", metavar="CONTESTANT", help="measure one in this process (used by the benchmark)")
    options = parser.parse_args()
    names = [name for name in TASKS if name.startswith(tuple(options.only.split(",")))]
    if not names or options.rounds < 1:
        parser.error(f"--only takes {', '.join(TASKS)} or how these begin, --rounds a number from 1 up.")
    if options.measure:
        task = TASKS[options.only]
        steps = task.quick_steps if options.quick else task.steps
        print(measure(options.measure, task, steps))
        return
    enter_environment()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            done: dict[str, float] = {}
            for who in contestants(name):
                done[who] = measure_apart(who, name, options)
                print(f"round {number + 1} of {options.rounds}, {name}: {who} {done[who]:,.0f} steps/s", flush=True)
            results[name].append(done)
        if not options.quick:  # after each round, so that an interrupted run keeps those that it finished
            put(tables(keep(RESULTS, report(results, options))))
    show(report(results, options))


if __name__ == "__main__":
    main()
