"""Hashes of short runs of every algorithm, on both engines: what a change of the code must leave as it is.

    python -m benchmarks.hashes > after.json
    python -m benchmarks.hashes --compare before.json after.json

A hash covers every number of the final policy and every metric of the run, bit for bit. Compilers and processors differ
in the last bit, so both files come from one machine; the older one from a checkout of the older code (with this file).
"""

import argparse
import dataclasses
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

import polyak
from polyak.algorithms import ALGORITHMS
from polyak.settings import build

REPLAY = {"learning_starts": 64, "train_freq": 4, "buffer_size": 512, "batch_size": 16, "target_update_interval": 32}
NETWORK = {"network": "mlp:16:tanh"}
ROUNDS = {"n_steps": 16, "batch_size": 32, **NETWORK}
NORMALISED = {"normalize_observation": True, "normalize_reward": True}

# Settings that make an algorithm small. Tables are small by default; theirs begin with ones, so that they change before
# the first reward.
SMALL: dict[str, dict[str, Any]] = {
    "dqn": REPLAY | NETWORK,
    "c51": REPLAY | NETWORK | {"n_atoms": 11},
    "qr-dqn": REPLAY | NETWORK | {"n_quantiles": 8},
    "iqn": REPLAY | NETWORK | {"n_quantiles": 8},
    "rainbow": REPLAY | {"n_atoms": 11, "network": "dueling:16:relu:noisy=0.5"},
    "recurrent-dqn": REPLAY | {"burn_in": 4, "sequence_length": 4, "network": "mlp:16:tanh+lstm:8"},
    "pqn": ROUNDS,
    "ppo": ROUNDS | NORMALISED,
    "a2c": NETWORK | NORMALISED,
    "reinforce": NETWORK | {"n_steps": 64},
    "trpo": ROUNDS | {"n_epochs": 2},
    "tabular-cem": {"session_length": 64},
}
# Besides the defaults, what takes another way through the code.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn, prioritised, double, n-step": ("dqn", {"replay": "prioritised", "double": True, "n_steps": 3}),
    "dqn, observations normalised": ("dqn", {"normalize_observation": True, "anneal_learning_rate": True}),
    "ppo, recurrent": ("ppo", {"network": "mlp:16:tanh+gru:8", "sequence_length": 8}),
    "ppo, penalised": ("ppo", {"kl_coef": 1.0, "target_kl": 0.01}),
    "a2c, critic of actions": ("a2c", {"weight": "q"}),
    "reinforce, whitened, no baseline": ("reinforce", {"baseline": False, "whiten": True}),
    "q-learning, visits": ("q-learning", {"learning_rate": "1/n^0.8", "exploration": "ucb:2"}),
    "sarsa-lambda, accumulating": ("sarsa-lambda", {"replacing_traces": False, "learning_rate": "0.5:0.01"}),
    "td-lambda, accumulating": ("td-lambda", {"replacing_traces": False, "learning_rate": "1/n"}),
    "n-step-td, visits": ("n-step-td", {"learning_rate": "1/n"}),
    "double-q-learning, boltzmann": ("double-q-learning", {"exploration": "boltzmann:1"}),
    "monte-carlo, every visit": ("monte-carlo", {"first_visit": False, "exploring_starts": True}),
    "linear-sarsa, fourier": (
        "linear-sarsa",
        {"features": "fourier:3", "replacing_traces": True, "learning_rate": 1e-3},
    ),
}
CONTINUOUS = ("ppo", "a2c", "reinforce", "trpo")  # these run on Pendulum too


def cases() -> dict[str, tuple[str, dict[str, Any], str]]:
    """By name: algorithm, settings, environment."""
    chosen = {name: (name, {}) for name in ALGORITHMS} | VARIANTS
    found = {}
    for label, (name, settings) in chosen.items():
        fields = {field.name for field in dataclasses.fields(ALGORITHMS[name])}  # type: ignore[arg-type]
        table: dict[str, Any] = {"initial_value": 1.0} if "initial_value" in fields else {}
        table |= {"n_steps": 64} if ALGORITHMS[name].starts_at_reset else {}
        whole = SMALL.get(name, table) | settings
        deep = name in SMALL and name != "tabular-cem"
        env = (
            "tic-tac-toe" if name == "afterstate-td" else "CartPole-v1" if deep or "linear" in name else "FrozenLake-v1"
        )
        found[label] = (name, whole, env)
        if name in CONTINUOUS and label == name:
            found[f"{label}, continuous"] = (name, whole, "Pendulum-v1")
    return found


def run_hash(name: str, settings: dict[str, Any], env: str, steps: int) -> str:
    """The hash of a short run."""
    with tempfile.TemporaryDirectory() as folder:
        algorithm = build(name, settings)
        num_envs = min(4, algorithm.default_num_envs)
        run = polyak.train(
            algorithm, env, steps=steps, num_envs=num_envs, seed=3, processes=0, progress=False, out=folder
        )
        digest = hashlib.sha256()
        with safetensors.safe_open(str(run.path / "policy-3.safetensors"), "numpy") as file:
            leaves = [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118
        for text in sorted(f"{leaf.dtype} {leaf.shape} {leaf.tobytes().hex()}" for leaf in leaves):
            digest.update(text.encode())  # in whatever order and by whatever name a file keeps them
        digest.update(Path(run.to_csv()).read_bytes())
        digest.update(np.asarray(run.scores.returns).tobytes())
        return digest.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--steps", type=int, default=512)
    args = parser.parse_args()
    if args.compare:
        before, after = (json.loads(path.read_text()) for path in args.compare)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        print(f"{len(before)} before, {len(after)} after; changed: {', '.join(changed) or 'none'}")
        sys.exit(bool(changed))
    hashes: dict[str, str] = {}
    for label, (name, settings, env) in cases().items():
        for prefix in ("", "gymnasium:"):
            case = f"{label} on {prefix}{env}"
            if args.only in case and not (prefix and env == "tic-tac-toe"):
                try:
                    hashes[case] = run_hash(name, settings, f"{prefix}{env}", args.steps)
                except polyak.Error as error:
                    hashes[case] = str(error)
                print(f"{case}: {hashes[case]}", file=sys.stderr, flush=True)
    print(json.dumps(hashes, indent=1))


if __name__ == "__main__":
    main()
