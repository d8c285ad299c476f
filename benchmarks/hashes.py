"""Hashes of short runs of every algorithm, on both engines: what a change of the code must leave as it is.

    python -m benchmarks.hashes > after.json
    python -m benchmarks.hashes --compare before.json after.json

A hash covers every number of the final policy and every metric of the run, bit for bit. Compilers and processors differ
in the last bit, so both files come from one machine; the older one from a checkout of the older code, with this file
and `tests/small.py`.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors

import polyak
from polyak.agent import Algorithm
from polyak.algorithms import ALGORITHMS
from tests import small


def cases() -> dict[str, tuple[Algorithm, str]]:
    """By name, what learns where: the small settings of every algorithm and their variants."""
    found: dict[str, tuple[Algorithm, str]] = {}
    for case in (*ALGORITHMS, *small.VARIANTS):
        algorithm = small.algorithm(case, initial_value=1.0)  # so that tables change before the first reward
        found[case] = (algorithm, small.world_of(algorithm))
        if case in ALGORITHMS and found[case][1] != "Pendulum-v1" and small.suits(algorithm, "Pendulum-v1"):
            found[f"{case}, continuous"] = (algorithm, "Pendulum-v1")
    return found


def run_hash(algorithm: Algorithm, env: str, steps: int) -> str:
    """The hash of a short run."""
    with tempfile.TemporaryDirectory() as folder:
        num_envs = small.few_envs(algorithm)
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
    for name, (algorithm, env) in cases().items():
        for prefix in ("", "gymnasium:"):
            case = f"{name} on {prefix}{env}"
            if args.only in case and not (prefix and env == "tic-tac-toe"):
                try:
                    hashes[case] = run_hash(algorithm, f"{prefix}{env}", args.steps)
                except polyak.Error as error:
                    hashes[case] = str(error)
                print(f"{case}: {hashes[case]}", file=sys.stderr, flush=True)
    print(json.dumps(hashes, indent=1))


if __name__ == "__main__":
    main()
