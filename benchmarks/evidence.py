"""Runs presets on seeds that they were not tuned on, and writes what came of it into their files, and how into curves.

python -m benchmarks.evidence                       # every preset, ten seeds: hours
python -m benchmarks.evidence dqn CartPole-v1       # one preset
"""

import datetime
import json
import sys
from typing import Any

import polyak
from benchmarks import published
from benchmarks.tables import ROOT, Place, put, table
from polyak.pictures.curves import summary_band
from polyak.presets import Preset, presets
from polyak.processes import cores
from polyak.runs.store import slug

SEEDS = (100, 109)  # tuning used those below
CURVES = ROOT / "docs" / "evidence"  # one small file a preset


def measure(preset: Preset, out: str = "runs/evidence") -> polyak.Run:
    """Trains a preset on the seeds that its file names: other ones after a change, and fewer where a run takes long.

    The file may name a faster version of the environment too, `env = "envpool:Swimmer-v5"` among the evidence.
    """
    (first, last), env = preset.evidence.get("seeds", SEEDS), preset.evidence.get("env", preset.env)
    return finished(polyak.train(preset.algorithm, env, seed=first, seeds=last - first + 1, out=out))


def finished(run: polyak.Run) -> polyak.Run:
    """The run, where all its seeds came to their end: some of them are no evidence."""
    if run.about["status"] != "finished":
        raise SystemExit("Nothing is written, as the run was stopped.")
    return run


def write(preset: Preset, run: polyak.Run) -> None:
    """Puts the evidence into the preset's file."""
    import tomlkit  # not where pages are written

    path = ROOT / "src/polyak/presets" / f"{slug(preset.env)}.toml"
    document = tomlkit.parse(path.read_text())
    low, high = run.scores.interval
    evidence = tomlkit.table()
    evidence["date"] = datetime.date.today()
    if "env" in preset.evidence:
        evidence["env"] = preset.evidence["env"]
    evidence["seeds"] = [run.seeds[0], run.seeds[-1]]
    evidence["episodes"] = run.scores.returns.shape[1]
    evidence["mean"] = four_digits(run.scores.mean)
    evidence["iqm"] = four_digits(run.scores.iqm)
    evidence["interval"] = [four_digits(low), four_digits(high)]
    evidence["worst_seed"] = four_digits(run.scores.returns.mean(1).min())
    evidence["wall_seconds"] = round(run.about["wall_seconds"])
    evidence["machine"] = f"{cores()} CPU cores, {run.about['engine']} engine, jax {run.about['versions']['jax']}"
    evidence.add(tomlkit.nl())
    document[preset.algorithm]["evidence"] = evidence
    path.write_text(tomlkit.dumps(document).rstrip() + "\n")


def write_curve(preset: Preset, run: polyak.Run) -> None:
    """Keeps the learning curve and the final score of every seed, from which pages and pictures are drawn."""
    CURVES.mkdir(exist_ok=True)
    text = json.dumps(curve(run), separators=(",", ":"))
    (CURVES / f"{preset.algorithm}-{slug(preset.env)}.json").write_text(text + "\n")


def curve(run: polyak.Run) -> dict[str, Any]:
    """Training returns against environment steps, mean over seeds and 95 % interval, and each seed's final score."""
    grid, mean, low, high = summary_band(*run.metrics("episode_return"))
    finals = dict(zip(map(str, run.seeds), map(four_digits, run.scores.returns.mean(1)), strict=True))
    points = {"mean": mean, "low": low, "high": high}
    return {
        "algorithm": run.about["algorithm"],
        "env": run.about["env"],
        "steps": [round(step) for step in grid],
        **{name: [four_digits(value) for value in values] for name, values in points.items()},
        "final": finals,
    }


def four_digits(value: float) -> float:
    """As many as mean something, on a lake that pays 1 and on a ship that pays 250."""
    return float(f"{value:.4g}")


HEAD = ("environment", "algorithm", "steps", "seeds", "IQM", "95 % interval", "wanted", "worst seed", "wall time")
SHOWN = (  # in the README: a row of each kind of task
    ("FrozenLake-v1", "q-learning"),
    ("CartPole-v1", "ppo"),
    ("CartPole-v1", "dqn"),
    ("Pendulum-v1", "sac"),
    ("LunarLander-v3", "ppo"),
    ("MinAtar/Breakout-v1", "pqn"),
    ("HalfCheetah-v5", "ppo"),
    ("Pong-v5", "dqn"),
)


def row(preset: Preset) -> tuple[str, ...]:
    """What a preset that was measured reaches, under `HEAD`."""
    proof = preset.evidence
    low, high = proof["interval"]
    return (
        preset.env,
        preset.algorithm,
        f"{preset.steps:,}",
        str(proof["seeds"][1] - proof["seeds"][0] + 1),
        f"{proof['iqm']:.4g}",
        f"{low:.4g} to {high:.4g}",
        f"{preset.threshold:g}",
        f"{proof['worst_seed']:.4g}",
        f"{proof['wall_seconds']:,} s",
    )


def tables() -> dict[Place, str]:
    """All evidence, what others published beside it, and the README's summary."""
    measured = [preset for preset in presets() if "iqm" in preset.evidence]
    rows = {(preset.env, preset.algorithm): row(preset) for preset in measured}
    beside = published.rows(measured)
    few, kept = ("environment", "algorithm", "steps", "seeds", "score", "95 % interval", "time"), (0, 1, 2, 3, 4, 5, 8)
    return {
        Place("docs/benchmarks/scores.md", "evidence"): table(HEAD, rows.values()),
        Place("docs/benchmarks/published.md", "published"): (
            f"{table(published.HEAD, beside)}\n\n{published.protocols(beside)}"
        ),
        Place("README.md", "evidence"): table(few, [[rows[shown][i] for i in kept] for shown in SHOWN]),
    }


def main(wanted: list[str]) -> None:
    """Measures the presets whose algorithm and environment are all named in `wanted`; all, where it is empty."""
    for preset in presets():
        if set(wanted) <= {preset.algorithm, preset.env}:
            run = measure(preset)
            write(preset, run)
            write_curve(preset, run)
            put(tables())


if __name__ == "__main__":
    main(sys.argv[1:])
