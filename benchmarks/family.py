"""What parts of a family of algorithms reach: each is put on a preset, all else left as it is.

python -m benchmarks.family                 # every row, ten seeds: hours
python -m benchmarks.family dueling         # the row of this name

Results go to `family.json`, and from there into the documentation. Seeds are others than those of tuning and of the
presets.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import polyak
from benchmarks.evidence import finished
from benchmarks.tables import Place, put, table
from polyak import settings
from polyak.presets import presets

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """A change of an algorithm's preset for an environment."""

    name: str
    env: str
    change: dict[str, Any]
    wanted: float | None  # the lower end of the interval; None where it is shown that something cannot be had
    first_seed: int = 300  # a row changed after a look at its seeds moves on
    algorithm: str = "dqn"


CARTPOLE, LANDER, BLIND = "CartPole-v1", "LunarLander-v3", "CartPoleNoVel-v1"
PENALTY = {"kl_coef": 1.0, "target_kl": 0.01, "anneal_clip_range": False}
ROWS = (
    Row("double, 3 steps", CARTPOLE, {"double": True, "n_steps": 3}, 475),
    Row("dueling", CARTPOLE, {"network": "dueling:128,128:relu:layer_norm"}, 475),
    Row("prioritised", CARTPOLE, {"replay": "prioritised"}, 475),
    Row(
        "noisy layers in place of epsilon, double, 3 steps, observations normalised",
        CARTPOLE,
        {
            "network": "mlp:128,128:relu:layer_norm:noisy",
            "exploration": "greedy",
            "double": True,
            "n_steps": 3,
            "normalize_observation": True,
        },
        475,
        first_seed=400,
    ),
    Row(
        "double, dueling, prioritised, 3 steps",
        LANDER,
        {"network": "dueling:128,128:relu:layer_norm", "replay": "prioritised"},
        200,
    ),
    Row("an adaptive penalty in place of clipping", CARTPOLE, PENALTY, 495, algorithm="ppo"),
    Row("the return as weight", CARTPOLE, {"weight": "return"}, None, algorithm="a2c"),
    Row("the TD error as weight", CARTPOLE, {"weight": "td_error"}, None, algorithm="a2c"),
    Row("Q of a critic of actions as weight", CARTPOLE, {"weight": "q"}, None, algorithm="a2c"),
    Row("an LSTM in place of a GRU", BLIND, {"network": "mlp:64:tanh+lstm:64"}, 450, algorithm="ppo"),
    Row("a transformer in place of a GRU", BLIND, {"network": "mlp:64:tanh+transformer:64:16"}, 450, algorithm="ppo"),
    Row("no memory", BLIND, {"network": "mlp:64,64:tanh"}, None, algorithm="ppo"),
)


def measure(row: Row) -> dict[str, Any]:
    """Trains one row."""
    preset = next(preset for preset in presets() if (preset.algorithm, preset.env) == (row.algorithm, row.env))
    algorithm = settings.build(row.algorithm, {**preset.settings, **row.change})
    run = finished(
        polyak.train(
            algorithm,
            row.env,
            steps=preset.steps,
            num_envs=preset.num_envs,
            seed=row.first_seed,
            seeds=SEEDS,
            out="runs/family",
        )
    )
    low, high = run.scores.interval
    return {
        "algorithm": row.algorithm,
        "env": row.env,
        "steps": preset.steps,
        "change": row.change,
        "seeds": [run.seeds[0], run.seeds[-1]],
        "iqm": run.scores.iqm,
        "interval": [low, high],
        "wanted": row.wanted,
        "worst_seed": float(run.scores.returns.mean(1).min()),
    }


HEAD = ("preset of", "with", "environment", "steps", "IQM", "95 % interval", "wanted", "worst seed")


def rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """What was measured, under `HEAD`."""
    found = []
    for name, result in results.items():
        low, high = result["interval"]
        row = (
            result["algorithm"],
            name,
            result["env"],
            f"{result['steps']:,}",
            f"{result['iqm']:.4g}",
            f"{low:.4g} to {high:.4g}",
            "" if result["wanted"] is None else f"{result['wanted']:g}",
            f"{result['worst_seed']:.4g}",
        )
        found.append(row)
    return found


def results() -> dict[str, Any]:
    """What was measured so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def tables(found: dict[str, Any] | None = None) -> dict[Place, str]:
    """What was measured, of the file of results by default."""
    return {Place("docs/benchmarks/family.md", "family"): table(HEAD, rows(results() if found is None else found))}


def main(wanted: list[str]) -> None:
    if unknown := set(wanted) - {row.name for row in ROWS}:
        raise SystemExit(f"There is no row {', '.join(sorted(unknown))!r}; there are: {[row.name for row in ROWS]}.")
    found = results()
    for row in ROWS:
        if not wanted or row.name in wanted:
            found[row.name] = measure(row)
            in_order = {row.name: found[row.name] for row in ROWS if row.name in found}
            RESULTS.write_text(json.dumps(in_order, indent=2) + "\n")
            put(tables(in_order))


if __name__ == "__main__":
    main(sys.argv[1:])
