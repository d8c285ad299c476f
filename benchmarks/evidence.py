"""Runs presets on seeds that they were not tuned on, and writes what came of it into their files, and how into curves.

python -m benchmarks.evidence                       # every preset, ten seeds: hours
python -m benchmarks.evidence dqn CartPole-v1       # one preset
"""

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import polyak
from benchmarks import published
from benchmarks.tables import ROOT, Place, put, table
from polyak.algorithms import ALGORITHMS
from polyak.envs.mdp import WALKS
from polyak.pictures.curves import POINTS, summary_band
from polyak.presets import Preset, presets
from polyak.processes import cores
from polyak.runs.store import slug

SEEDS = (100, 109)  # tuning used those below
BANDITS = (
    "A bandit's algorithm is judged by its regret, while it learns: [bandits](../how-to/bandits.md#regret) tells how "
    "`polyak.regret` measures it beside others, and [figures of the book](../benchmarks/book.md) show it on the "
    "ten-armed testbed."
)
WITHOUT = {  # algorithms that have no evidence, and why
    name: BANDITS for name, kind in ALGORITHMS.items() if ".bandits." in kind.__module__
}
CURVES = ROOT / "docs" / "evidence"  # one small file a preset


def measure(preset: Preset, out: str = "runs/evidence") -> polyak.Run:
    """Trains a preset on the seeds that its file names: other ones after a change, and fewer where a run takes long.

    The file may name a faster version of the environment too, `env = "envpool:Swimmer-v5"` among the evidence.
    """
    (first, last), env = preset.evidence.get("seeds", SEEDS), preset.evidence.get("env", preset.env)
    callbacks = [Snapshots(preset.steps // POINTS)] if preset.score == "rms_error" else []
    return finished(
        polyak.train(preset.algorithm, env, seed=first, seeds=last - first + 1, out=out, callbacks=callbacks)
    )


@dataclasses.dataclass
class Snapshots:
    """Has values kept in the run folder as they are learnt, for the curve of their error."""

    policy_every: int  # environment steps

    def on_policy(self, run: polyak.Run, seed: int, step: int, path: Path) -> None:
        """Nothing is left to do."""


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
    evidence = tomlkit.table()
    evidence["date"] = datetime.date.today()
    if "env" in preset.evidence:
        evidence["env"] = preset.evidence["env"]
    evidence["seeds"] = [run.seeds[0], run.seeds[-1]]
    evidence.update(returned(run) if preset.score == "iqm" else erred(run))
    evidence["wall_seconds"] = round(run.about["wall_seconds"])
    evidence["machine"] = f"{cores()} CPU cores, {run.about['engine']} engine, jax {run.about['versions']['jax']}"
    evidence.add(tomlkit.nl())
    document[preset.algorithm]["evidence"] = evidence
    path.write_text(tomlkit.dumps(document).rstrip() + "\n")


def returned(run: polyak.Run) -> dict[str, Any]:
    """What final policies earn, for the preset's file."""
    return {
        "episodes": run.scores.returns.shape[1],
        "mean": four_digits(run.scores.mean),
        "iqm": four_digits(run.scores.iqm),
        "interval": [four_digits(end) for end in run.scores.interval],
        "worst_seed": four_digits(run.scores.returns.mean(1).min()),
    }


def erred(run: polyak.Run) -> dict[str, Any]:
    """How far predicted values are from the exact ones in the end, for the preset's file."""
    errors = rms_errors(run)
    return {
        "rms_error": four_digits(errors.mean()),
        "interval": [four_digits(end) for end in interval_of_mean(errors)],
        "worst_seed": four_digits(errors.max()),
    }


def rms_errors(run: polyak.Run) -> np.ndarray:
    """[seeds] the `rms_error` of each seed's final values."""
    return np.array([rms_error(run.policy(seed)) for seed in run.seeds])


def rms_error(policy: polyak.Policy) -> float:
    """The error of a table of predicted values, root of the mean square over the states that do not end an episode.

    The exact values are those of the policy that was evaluated, with the same discount, by linear equations.
    """
    learner: Any = policy.algorithm
    mdp = world(policy.env)
    pi = learner.policy.probabilities(mdp.num_states, mdp.num_actions)
    exact = polyak.policy_evaluation_exact(mdp, pi, learner.gamma).values
    return float(np.sqrt(np.mean((policy.tables["v"] - exact)[~mdp.terminal] ** 2)))


def world(env: str) -> polyak.MDP:
    """The table of an environment that carries one."""
    return WALKS[env]() if env in WALKS else polyak.MDP.from_gymnasium(env)


def interval_of_mean(samples: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of the mean of samples [N]."""
    from scipy import stats

    if np.ptp(samples) == 0.0:
        return float(samples[0]), float(samples[0])
    rng = np.random.default_rng(0)
    found = stats.bootstrap((samples,), np.mean, n_resamples=10_000, method="percentile", rng=rng).confidence_interval
    return float(found.low), float(found.high)


def write_curve(preset: Preset, run: polyak.Run) -> None:
    """Keeps the learning curve and the final score of every seed, from which pages and pictures are drawn."""
    CURVES.mkdir(exist_ok=True)
    found = curve(run) if preset.score == "iqm" else curve_of_error(run)
    text = json.dumps(found, separators=(",", ":"))
    (CURVES / f"{preset.algorithm}-{slug(preset.env)}.json").write_text(text + "\n")


def curve(run: polyak.Run) -> dict[str, Any]:
    """Training returns against environment steps, mean over seeds and 95 % interval, and each seed's final score."""
    return _curve(run, *run.metrics("episode_return"), run.scores.returns.mean(1))


def curve_of_error(run: polyak.Run) -> dict[str, Any]:
    """The same of the `rms_error` of predicted values, from the snapshots of a run."""
    found: dict[int, dict[int, float]] = {seed: {} for seed in run.seeds}
    for file in (run.path / "snapshots").glob("policy-*-*.safetensors"):
        seed, step = map(int, file.stem.split("-")[1:])
        found[seed][step] = rms_error(polyak.load(file))
    steps = sorted(found[run.seeds[0]])
    values = np.array([[errors[step] for step in steps] for errors in found.values()])
    return {"score": "rms_error", **_curve(run, np.array(steps), values, rms_errors(run))}


def _curve(run: polyak.Run, steps: np.ndarray, values: np.ndarray, finals: np.ndarray) -> dict[str, Any]:
    """The file's content: values [seeds, points] at steps [points], and the final scores [seeds]."""
    grid, mean, low, high = summary_band(steps, values)
    points = {"mean": mean, "low": low, "high": high}
    return {
        "algorithm": run.about["algorithm"],
        "env": run.about["env"],
        "steps": [round(step) for step in grid],
        **{name: [four_digits(value) for value in values] for name, values in points.items()},
        "final": dict(zip(map(str, run.seeds), map(four_digits, finals), strict=True)),
    }


def four_digits(value: float) -> float:
    """As many as mean something, on a lake that pays 1 and on a ship that pays 250."""
    return float(f"{value:.4g}")


HEAD = ("environment", "algorithm", "steps", "seeds", "IQM", "95 % interval", "wanted", "worst seed", "wall time")
HEAD_OF_ERRORS = (*HEAD[:4], "RMS error", "95 % interval", "at most", "worst seed", "wall time")
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
    """What a preset that was measured reaches, under `HEAD`, or of a prediction under `HEAD_OF_ERRORS`."""
    proof = preset.evidence
    low, high = proof["interval"]
    return (
        preset.env,
        preset.algorithm,
        f"{preset.steps:,}",
        str(proof["seeds"][1] - proof["seeds"][0] + 1),
        f"{proof[preset.score]:.4g}",
        f"{low:.4g} to {high:.4g}",
        f"{preset.threshold:g}",
        f"{proof['worst_seed']:.4g}",
        f"{proof['wall_seconds']:,} s",
    )


def measured(score: str, algorithm: str | None = None) -> list[Preset]:
    """The presets with evidence by one kind of score: all, or those of an algorithm."""
    return [one for one in presets() if score in one.evidence and algorithm in (None, one.algorithm)]


def tables() -> dict[Place, str]:
    """All evidence, what others published beside it, and the README's summary."""
    rows = {(preset.env, preset.algorithm): row(preset) for preset in measured("iqm")}
    beside = published.rows(measured("iqm"))
    few, kept = ("environment", "algorithm", "steps", "seeds", "score", "95 % interval", "time"), (0, 1, 2, 3, 4, 5, 8)
    return {
        Place("docs/benchmarks/scores.md", "evidence"): table(HEAD, rows.values()),
        Place("docs/benchmarks/scores.md", "predictions"): table(HEAD_OF_ERRORS, map(row, measured("rms_error"))),
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
