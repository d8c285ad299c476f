"""Training on an accelerator: steps per second, time to compile, memory, and whether the same run gives the same bits.

    python -m benchmarks.device                # measures for at most nine minutes, writes device.json
    python -m benchmarks.device --table        # prints what the file holds as Markdown
    python -m benchmarks.device --small x.json # measures a few small rows in this process, on a CPU too

It needs polyak's own requirements and `jax[cuda13]` and nothing else, also from a copied tree (`PYTHONPATH=src`); rejax
is measured too where it is installed (see requirements.txt). Each row is a process of its own with a deadline, so that
memory is that of the row alone and a hang costs one row. Rows stand in the order of their worth; those for which no
time is left are listed as skipped. The file is written after each row.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import tables
from benchmarks.tables import ROOT

RESULTS = Path(__file__).with_suffix(".json")
BUDGET = 520.0  # seconds for all rows
ROW_LIMIT = 75.0  # seconds for one
LEAST = 20.0  # seconds that must be left for another to begin
TIMED = 4.0  # seconds of training, at least, once it is compiled
PACKAGES = ("polyak", "jax", "jaxlib", "gymnax", "rejax")
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

Figures = dict[str, Any]


class Training(NamedTuple):
    """Steps of an algorithm in a compiled environment."""

    algorithm: str
    env: str
    num_envs: int
    settings: dict[str, Any]
    seeds: int = 1  # under vmap
    library: str = "polyak"
    flags: str = ""  # for XLA
    call_steps: int = 10_000  # environment steps in a call of the engine, where a block has not more: as in `train`

    @property
    def name(self) -> str:
        words = [self.library, self.algorithm, self.env, f"{self.num_envs} environments"]
        words += [f"{self.seeds} seeds"] * (self.seeds > 1) + ["deterministic operations"] * bool(self.flags)
        return ", ".join(words)

    def measure(self, seconds: float) -> Figures:
        return _polyak(self, seconds) if self.library == "polyak" else _rejax(self)


class Update(NamedTuple):
    """Gradient steps of a network that reads stacks of frames, from bytes to moved parameters."""

    network: str
    batch_size: int
    shape: tuple[int, ...] = (4, 84, 84)
    flags: str = ""

    @property
    def name(self) -> str:
        return f"update, {self.network}, batch of {self.batch_size}"

    def measure(self, seconds: float) -> Figures:
        return _update(self, seconds)


Row = Training | Update


def ppo(env: str, num_envs: int, seeds: int = 1, **others: Any) -> Training:
    """PPO with four minibatches and four epochs for each block of 32 steps."""
    network = "mlp:64,64:tanh" if env == "CartPole-v1" else "mlp:128,128:relu"
    settings = {"n_steps": 32, "batch_size": 8 * num_envs, "n_epochs": 4, "learning_rate": 1e-3, "network": network}
    return Training("ppo", env, num_envs, settings, seeds, **others)


def dqn(env: str, seeds: int = 1, num_envs: int = 128) -> Training:
    """DQN with four updates for each step of all environments."""
    settings = {"train_freq": 1, "gradient_steps": 4, "batch_size": 512, "buffer_size": 100_000}
    settings |= {"learning_starts": 10_000, "target_update_interval": 1_000, "network": _network(env)}
    return Training("dqn", env, num_envs, settings, seeds)


def pqn(env: str, seeds: int = 1, num_envs: int = 1024) -> Training:
    """PQN with eight minibatches and two epochs for each block of 32 steps."""
    settings = {"n_steps": 32, "batch_size": 4 * num_envs, "n_epochs": 2, "network": _network(env)}
    return Training("pqn", env, num_envs, settings, seeds)


def actor_critic(algorithm: str, seeds: int = 1, num_envs: int = 128) -> Training:
    """SAC or TD3 with 256 x 256 units and a batch of 256, an update for every eight steps."""
    settings = {"train_freq": 1, "gradient_steps": num_envs // 8, "buffer_size": 100_000, "learning_starts": 10_000}
    return Training(algorithm, "Pendulum-v1", num_envs, settings, seeds)


def _network(env: str) -> str:
    return "minatar:128:relu:layer_norm" if env.startswith("MinAtar") else "mlp:128,128:relu:layer_norm"


CARTPOLE, BREAKOUT = "CartPole-v1", "MinAtar/Breakout-v1"
ROWS: tuple[Row, ...] = (
    ppo(CARTPOLE, 2048),
    ppo(BREAKOUT, 2048),
    ppo(CARTPOLE, 2048, library="rejax"),
    ppo(CARTPOLE, 2048, 64),
    dqn(BREAKOUT),
    pqn(BREAKOUT),
    actor_critic("sac"),
    actor_critic("td3"),
    Update("nature", 256),
    ppo(CARTPOLE, 8192),
    ppo(BREAKOUT, 8192),
    ppo(CARTPOLE, 2048, 64, library="rejax"),
    ppo(CARTPOLE, 2048, 8),
    dqn(CARTPOLE),
    pqn(CARTPOLE),
    dqn(CARTPOLE, 64),
    pqn(CARTPOLE, 64),
    Update("nature", 32),
    ppo(CARTPOLE, 2048, flags=DETERMINISTIC),
    ppo(BREAKOUT, 2048, 8),
    dqn(CARTPOLE, 8),
    pqn(CARTPOLE, 8),
    actor_critic("sac", 8),
    actor_critic("td3", 8),
    dqn(BREAKOUT, 8),
    pqn(BREAKOUT, 8),
    ppo(CARTPOLE, 2048, 8, library="rejax"),
    ppo(BREAKOUT, 2048, 64),
    pqn(BREAKOUT, 64),
    dqn(BREAKOUT, 64),
    Update("impala", 32),
)
SMALL: tuple[Row, ...] = (
    ppo(CARTPOLE, 8, 2, call_steps=512),
    dqn(CARTPOLE, num_envs=8)._replace(settings={"network": "mlp:8", "learning_starts": 500}, call_steps=500),
    actor_critic("sac", num_envs=8)._replace(settings={"network": "mlp:8", "critic_network": "mlp:8"}, call_steps=500),
    ppo(CARTPOLE, 8, library="rejax"),
    Update("nips", 2, (1, 40, 40)),
)

# What others published, where their code is not measured beside ours.
ELSEWHERE = (
    {
        "who": "PureJaxRL",
        "says": "PPO on CartPole and MinAtar Breakout 10 times as fast as CleanRL's; 2,048 agents at once in half the "
        "time of one of CleanRL's",
        "source": "https://github.com/luchris429/purejaxrl, README",
    },
    {
        "who": "PureJaxQL",
        "says": "PQN on one NVIDIA A40: MinAtar in less than a minute, ten seeds at once in less than five",
        "source": "https://github.com/mttga/purejaxql, README",
    },
)


def _polyak(row: Training, seconds: float) -> Figures:
    """What training takes once it is compiled, in calls like those of `train`; the beginning is run twice."""
    import jax
    import jax.numpy as jnp

    import polyak
    from polyak import settings
    from polyak.agent import Spec
    from polyak.engines.compiled import CompiledEngine

    env: Any = polyak.make(row.env)  # of these there is a compiled version
    spec = Spec(env.observation_space, env.action_space, row.num_envs, env.max_episode_steps, 10_000_000)
    algorithm = settings.build(row.algorithm, row.settings)
    chunk = max(1, row.call_steps // (algorithm.block_length * row.num_envs))
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, chunk, batched=row.seeds > 1)

    def begin() -> tuple[Any, float, str]:
        """The loop after its first call that learns, what all of that took, and a hash of what was learnt."""
        began = time.perf_counter()
        loop = engine.init(jnp.arange(row.seeds) if row.seeds > 1 else 0)
        for _ in range(-(-algorithm.learning_starts // (engine.block_size * engine.chunk))):
            loop, _ = engine.advance(loop, engine.chunk, False)
        loop, _ = engine.advance(loop, engine.chunk, True)
        took = time.perf_counter() - began
        learnt = jax.device_get((engine.agent.policy(loop.agent), loop.episodes))
        return loop, took, _hash(jax.tree.leaves(learnt))

    _, with_compiling, first = begin()
    loop, without, second = begin()
    calls, began = 0, time.perf_counter()
    while calls < 3 or time.perf_counter() - began < seconds:
        loop, metrics = engine.advance(loop, engine.chunk, True)
        calls += 1
    took = time.perf_counter() - began
    returns = [float(value) for value in jnp.ravel(metrics["episode_return"]) if jnp.isfinite(value)]
    return {
        "steps_per_second": calls * engine.chunk * engine.block_size * row.seeds / took,
        "steps_per_call": engine.chunk * engine.block_size,
        "compile_seconds": with_compiling - without,
        "same_bits": first == second,
        "steps_of_a_seed": calls * engine.chunk * engine.block_size,
        "episode_return": sum(returns) / len(returns) if returns else None,
    }


def _rejax(row: Training) -> Figures:
    """The same of rejax: one call that trains for twenty blocks."""
    import jax

    from benchmarks.speed import Task, rejax_learner

    steps = 20 * row.settings["n_steps"] * row.num_envs
    settings = {"num_envs": row.num_envs, "num_steps": row.settings["n_steps"], "num_epochs": row.settings["n_epochs"]}
    settings |= {"num_minibatches": row.settings["n_steps"] * row.num_envs // row.settings["batch_size"]}
    settings |= {"learning_rate": row.settings["learning_rate"], "gae_lambda": 0.95, "gamma": 0.99, "clip_eps": 0.2}
    task = Task("", "PPO", steps, steps, row.num_envs, (64, 64), "tanh", {}, settings)
    learner = rejax_learner(task, steps)
    keys = jax.random.split(jax.random.PRNGKey(0), row.seeds)
    states = jax.jit(jax.vmap(learner.init_state))(keys)
    began = time.perf_counter()
    train = jax.jit(jax.vmap(lambda state: learner.train(train_state=state)[0])).lower(states).compile()
    compiled = time.perf_counter()
    trained = [jax.block_until_ready(train(states)) for _ in range(2)]  # the first call moves what is still to be moved
    ended = time.perf_counter()
    again = jax.block_until_ready(train(states))
    took = time.perf_counter() - ended
    hashes = [_hash(jax.tree.leaves(jax.device_get(one.actor_ts.params))) for one in (trained[0], again)]
    return {
        "steps_per_second": int(again.global_step.sum()) / took,
        "compile_seconds": compiled - began,
        "same_bits": hashes[0] == hashes[1],
        "steps_of_a_seed": steps,
    }


def _update(row: Update, seconds: float) -> Figures:
    """What gradient steps take in one compiled loop, a hundred a call."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from gymnasium.spaces import Box

    from polyak.parts import networks
    from polyak.parts.optimise import adam

    actions, calls = 6, 100
    space = Box(0, 255, row.shape, np.uint8)
    encode, rule = networks.encode(space), adam(10.0)
    module = networks.network_from_text(row.network).init(jax.random.key(0), space, actions)
    obs = jax.random.randint(jax.random.key(1), (4, row.batch_size, *row.shape), 0, 256).astype(jnp.uint8)

    @jax.jit
    def train(module: Any, state: Any, calls: jax.Array) -> Any:
        def step(i: jax.Array, carry: Any) -> Any:
            module, state = carry
            x = encode(obs[i % len(obs)])

            def loss(module: Any) -> jax.Array:
                return jnp.square(module(x)[:, 0] - 1.0).mean()

            value, gradient = jax.value_and_grad(loss)(module)
            return rule.update(module, gradient, state, 1e-4, value)[:2]

        return jax.lax.fori_loop(0, calls, step, (module, state))

    def run() -> tuple[Any, float]:
        began = time.perf_counter()
        trained = jax.block_until_ready(train(module, rule.init(module), jnp.int32(calls)))
        return trained, time.perf_counter() - began

    (first, with_compiling), (second, without) = run(), run()
    rounds, spent = 0, 0.0
    while rounds < 3 or spent < seconds:
        rounds, spent = rounds + 1, spent + run()[1]
    return {
        "updates_per_second": rounds * calls / spent,
        "compile_seconds": with_compiling - without,
        "same_bits": len({_hash(jax.tree.leaves(jax.device_get(one))) for one in (first, second)}) == 1,
    }


def _hash(leaves: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def measure(row: Row, seconds: float = TIMED) -> Figures:
    """One row, in this process."""
    figures = row.measure(seconds)
    import jax

    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use")  # a CPU does not say
    return figures | {"peak_bytes": memory, "device": device.device_kind, "platform": device.platform}


def measure_apart(row: Row, limit: float) -> Figures:
    """`measure` in a process of its own, which must end within so many seconds."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # or nothing is compiled
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {row.flags}".strip(),
    }
    command = [sys.executable, "-m", "benchmarks.device", "--row", row.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=ROOT, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"it took more than {limit:.3g} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def measured(
    rows: Sequence[Row],
    budget: float,
    take: Callable[[Row, float], Figures],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[str, Figures]]:
    """The name and the figures of each row that the time allows; of the others, why they were skipped."""
    end = clock() + budget
    for row in rows:
        left = end - clock()
        if isinstance(row, Training) and not importlib.util.find_spec(row.library):
            yield row.name, {"skipped": f"{row.library} is not installed"}
        else:
            yield row.name, take(row, min(left, ROW_LIMIT)) if left >= LEAST else {"skipped": "no time was left"}


def report(found: dict[str, Figures], rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """All that goes into the file."""
    known = {row.name: row for row in rows}
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "seconds": seconds,
        "rows": {name: {**known[name]._asdict(), **figures} for name, figures in found.items()},
        "elsewhere": ELSEWHERE,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # or it runs from a copied tree
        return None


HEAD = ("measured", "environments", "seeds", "a second", "to compile", "peak memory", "the same bits twice")


def table(results: dict[str, Any]) -> str:
    """What the file holds, in Markdown."""
    rows, rest = [], []
    for name, row in results["rows"].items():
        if reason := row.get("failed") or row.get("skipped"):
            rest.append(f"- {name}: {reason}.")
            continue
        memory = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**30:.2f} GiB"
        last = (f"{row['compile_seconds']:.1f} s", memory, "yes" if row["same_bits"] else "no")
        if "network" in row:
            what, speed = (
                f"{row['network']} on a batch of {row['batch_size']}",
                f"{row['updates_per_second']:,.0f} updates",
            )
            rows.append((what, "", "", speed, *last))
        else:
            what = f"{row['algorithm']} on {row['env']}" + f", {row['library']}" * (row["library"] != "polyak")
            what += ", deterministic operations" * bool(row["flags"])
            speed = f"{row['steps_per_second']:,.0f} steps"
            rows.append((what, f"{row['num_envs']:,}", str(row["seeds"]), speed, *last))
    devices = {row["device"] for row in results["rows"].values() if "device" in row}
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    about = f"On {' and '.join(sorted(devices)) or 'no device'}, {versions}; steps of all seeds together."
    others = [f"- {one['who']}: {one['says']} ({one['source']})." for one in results["elsewhere"]]
    parts = [about, tables.table(HEAD, rows), "\n".join(rest) and "Not measured:\n\n" + "\n".join(rest)]
    return "\n\n".join(filter(None, [*parts, "Published elsewhere:\n\n" + "\n".join(others)]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?", default=RESULTS, help="the file of results")
    parser.add_argument("--table", action="store_true", help="print what the file holds")
    parser.add_argument("--small", action="store_true", help="few small rows, in this process: to see that it works")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="for all rows")
    parser.add_argument("--row", metavar="NAME", help="measure one in this process (used by the benchmark)")
    options = parser.parse_args(arguments)
    if options.table:
        print(table(json.loads(options.path.read_text())))
        return
    if options.row:
        print(json.dumps(measure(next(row for row in (*ROWS, *SMALL) if row.name == options.row))))
        return
    rows, began = SMALL if options.small else ROWS, time.monotonic()
    found: dict[str, Figures] = {}
    take = (lambda row, limit: measure(row, 0.1)) if options.small else measure_apart
    for name, figures in measured(rows, options.budget, take):
        if figures.get("platform") == "cpu" and not options.small:
            sys.exit("There is no accelerator here; --small measures a few rows on the CPU.")
        found[name] = figures
        print(name, {key: value for key, value in figures.items() if value is not None}, flush=True)
        options.path.write_text(json.dumps(report(found, rows, time.monotonic() - began), indent=1) + "\n")


if __name__ == "__main__":
    main()
