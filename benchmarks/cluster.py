"""What actors cost, and what they bring.

    python -m benchmarks.cluster cost [--rounds 3]           the cluster engine beside the host engine, per CPU-second
    python -m benchmarks.cluster scale [--actors 1 2 4 8 16]  throughput where a step of the environment takes 25 ms
    python -m benchmarks.cluster peer --python PYTHON         beside RLlib, in an interpreter that has ray[rllib], torch

Cost: IMPALA with 256 x 256 units on Gymnasium's CartPole, two actors whose blocks have 1,600 steps, against the same
blocks collected by the learner itself. CPU-seconds are those of all processes of a run, Ray's own among them, between
two moments while it learns; the two take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil

import polyak
from benchmarks.tables import ROOT

SLEEP = 0.025  # seconds of a step
WARM, MEASURED = 8.0, 20.0  # seconds of learning before and in a measurement
PEER_ACTORS, PEER_ENVS = 2, 32  # on both sides


class Sleepy(gymnasium.Env):
    """Takes its time and nothing else, as a simulator on other cores, or a machine, would."""

    observation_space, action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,)), gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        return np.zeros(4, np.float32), {}

    def step(self, action):
        time.sleep(SLEEP)
        return np.zeros(4, np.float32), 1.0, False, False, {}


def sleepy() -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(Sleepy(), 100)


class Meter:
    """A callback that measures steps, seconds and CPU-seconds of all processes between two moments of a run."""

    def __init__(self, warm: float, measured: float):
        self.warm, self.measured = warm, measured
        self.marks: list[tuple[float, int, float]] = []  # seconds, steps, CPU-seconds
        self.first: float | None = None

    def on_chunk(self, run: Any, seed: int, step: int, metrics: dict[str, float]) -> Any:
        now = time.monotonic()
        self.first = self.first or now
        if now - self.first < self.warm:
            return None
        if not self.marks:
            self.marks.append((now, step, cpu_seconds()))
        if now - self.marks[0][0] < self.measured:
            return None
        self.marks.append((now, step, cpu_seconds()))
        return polyak.Stop("measured", whole_run=True)

    def result(self) -> dict[str, float]:
        (begun, first, cpu), (ended, last, cpu_then) = self.marks[0], self.marks[-1]
        return {"rate": (last - first) / (ended - begun), "per_cpu_second": (last - first) / (cpu_then - cpu)}


def cpu_seconds() -> float:
    """CPU-seconds so far of this process and all that it has started."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def measure(actors: int, kind: str) -> dict[str, float]:
    """One run."""
    meter = Meter(WARM, MEASURED)
    network, env, steps = polyak.MLP(hidden=(256, 256)), "gymnasium:CartPole-v1", 10**9
    if kind == "cost":
        algorithm, num_envs = polyak.IMPALA(network=network), 160
    elif kind == "impala":
        algorithm, num_envs = polyak.IMPALA(n_steps=50, network=network), PEER_ENVS
    elif kind == "ppo":
        algorithm, num_envs = polyak.PPO(n_steps=128, batch_size=128, n_epochs=6, network=network), PEER_ENVS
    else:
        algorithm, env, num_envs = polyak.IMPALA(n_steps=20), sleepy, max(1, actors)
        steps = 4_000 * num_envs  # a fiftieth of which, two seconds' worth, goes by between two looks
    with tempfile.TemporaryDirectory() as out:
        polyak.train(
            algorithm,
            env,
            steps=steps,
            num_envs=num_envs,
            actors=actors,
            final_episodes=1,
            out=Path(out),
            progress=False,
            callbacks=[meter],
        )
    return meter.result()


def in_a_process(actors: int, kind: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.cluster", kind, "--one", str(actors)]
    return json.loads(subprocess.check_output(command, cwd=ROOT, text=True).splitlines()[-1])


def cost(rounds: int) -> None:
    """Tells what a CPU-second of a cluster is worth, of one without."""
    found: dict[str, list[dict[str, float]]] = {"host engine": [], "2 actors": []}
    for _ in range(rounds):
        found["host engine"].append(in_a_process(0, "cost"))
        found["2 actors"].append(in_a_process(2, "cost"))
    for name, results in found.items():
        rate, per_second = (statistics.median(one[key] for one in results) for key in ("rate", "per_cpu_second"))
        print(f"{name:12} {rate:10,.0f} steps/s {per_second:10,.0f} steps a CPU-second")
    shares = [
        two["per_cpu_second"] / one["per_cpu_second"]
        for one, two in zip(found["host engine"], found["2 actors"], strict=True)
    ]
    print(f"a CPU-second of the cluster does {statistics.median(shares):.2f} of the host engine's work")


def peer(python: str, rounds: int) -> None:
    """Tells what a CPU-second of ours does, of RLlib's: the same network and environments, learner in a process."""
    for kind in ("impala", "ppo"):
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(in_a_process(PEER_ACTORS, kind))
            script = str(ROOT / "benchmarks" / "rllib_peer.py")
            numbers = [str(number) for number in (PEER_ACTORS, PEER_ENVS // PEER_ACTORS, WARM, MEASURED)]
            quiet = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
            told = subprocess.check_output(
                [python, script, kind, *numbers], text=True, env=quiet, cwd=Path(python).parent
            )
            theirs.append(json.loads(told.splitlines()[-1]))
        for name, found in (("polyak", ours), ("RLlib", theirs)):
            rate, per_second = (statistics.median(one[key] for one in found) for key in ("rate", "per_cpu_second"))
            print(f"{kind:7} {name:7} {rate:10,.0f} steps/s {per_second:10,.0f} steps a CPU-second", flush=True)
        ratios = [one["per_cpu_second"] / other["per_cpu_second"] for one, other in zip(ours, theirs, strict=True)]
        print(f"{kind}: {statistics.median(ratios):.1f} times RLlib's steps a CPU-second", flush=True)


def scale(actors: list[int]) -> None:
    """Tells and draws throughput against actors."""
    rates = [in_a_process(count, "scale")["rate"] for count in actors]
    for count, rate in zip(actors, rates, strict=True):
        print(f"{count:3} actors {rate:8,.1f} steps/s, {rate / (count / SLEEP):.2f} of {count / SLEEP:,.0f}")
    picture = draw(actors, rates)
    print(f"picture: {picture}")


def draw(actors: list[int], rates: list[float]) -> Path:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(5, 3.4), layout="constrained").add_subplot()
    axes.plot(actors, [count / SLEEP for count in actors], color="0.7", label="one step each 25 ms")
    axes.plot(actors, rates, "o-", label="measured")
    axes.set(xlabel="actors", ylabel="steps a second", title="IMPALA, environments that sleep")
    axes.legend()
    path = ROOT / "docs" / "figures" / "actors.png"
    path.parent.mkdir(exist_ok=True)
    axes.figure.savefig(path, dpi=150)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("cost", "scale", "peer", "impala", "ppo"))
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, for cost")
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="how many, for scale")
    parser.add_argument("--python", help="an interpreter that has ray[rllib] and torch, for peer")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one, arguments.kind)))
    elif arguments.kind == "cost":
        cost(arguments.rounds)
    elif arguments.kind == "peer":
        peer(arguments.python or sys.executable, arguments.rounds)
    else:
        scale(arguments.actors)


if __name__ == "__main__":
    main()
