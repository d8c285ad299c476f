"""What parts of the DQN family reach: each is put on the preset of DQN, all else left as it is.

python -m benchmarks.family                 # every row, ten seeds: hours
python -m benchmarks.family dueling         # the row of this name

Results go to `family.json`, and from there into the README. Seeds are others than those of tuning and of the presets.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import polyak
from benchmarks import readme
from benchmarks.evidence import finished
from polyak import settings
from polyak.presets import presets

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """A change of DQN's preset for an environment."""

    name: str
    env: str
    change: dict[str, Any]
    wanted: float  # the lower end of the interval
    first_seed: int = 300  # a row changed after a look at its seeds moves on


CARTPOLE, LANDER = "CartPole-v1", "LunarLander-v3"
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
)


def measure(row: Row) -> dict[str, Any]:
    """Trains one row."""
    preset = next(preset for preset in presets() if (preset.algorithm, preset.env) == ("dqn", row.env))
    algorithm = settings.build("dqn", {**preset.settings, **row.change})
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
        "env": row.env,
        "steps": preset.steps,
        "change": row.change,
        "seeds": [run.seeds[0], run.seeds[-1]],
        "iqm": run.scores.iqm,
        "interval": [low, high],
        "wanted": row.wanted,
        "worst_seed": float(run.scores.returns.mean(1).min()),
    }


def write_table(results: dict[str, Any]) -> None:
    """Puts what was measured into the README."""
    head = ("DQN's preset with", "environment", "steps", "IQM", "95 % interval", "wanted", "worst seed")
    rows = []
    for name, found in results.items():
        low, high = found["interval"]
        row = (
            name,
            found["env"],
            f"{found['steps']:,}",
            f"{found['iqm']:.4g}",
            f"{low:.4g} to {high:.4g}",
            f"{found['wanted']:g}",
            f"{found['worst_seed']:.4g}",
        )
        rows.append(row)
    readme.put("family", readme.table(head, rows))


def main(wanted: list[str]) -> None:
    if unknown := set(wanted) - {row.name for row in ROWS}:
        raise SystemExit(f"There is no row {', '.join(sorted(unknown))!r}; there are: {[row.name for row in ROWS]}.")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for row in ROWS:
        if not wanted or row.name in wanted:
            results[row.name] = measure(row)
            in_order = {row.name: results[row.name] for row in ROWS if row.name in results}
            RESULTS.write_text(json.dumps(in_order, indent=2) + "\n")
            write_table(in_order)


if __name__ == "__main__":
    main(sys.argv[1:])
