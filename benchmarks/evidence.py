"""Runs presets on seeds that they were not tuned on, and writes what came of it into their files, and how into curves.

python -m benchmarks.evidence                       # every preset, ten seeds: hours
python -m benchmarks.evidence dqn CartPole-v1       # one preset
"""

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import polyak
from benchmarks import published
from benchmarks.tables import ROOT, Place, put, table
from polyak.envs.mdp import walk
from polyak.envs.walks import WALKS
from polyak.pictures.curves import POINTS, summary_band
from polyak.presets import Preset, presets
from polyak.processes import cores
from polyak.runs.store import slug

SEEDS = (100, 109)  # tuning used those below
PROBLEMS = 1_000  # of a bandit
COSTLY = "No tuned settings are measured yet: ten seeds take hours."
WITHOUT = {  # algorithms that have no evidence, and why
    "mcts": "It learns nothing: a score would tell of the time that it is given.",
    "redq": COSTLY,
    "droq": COSTLY,
    "recurrent-sac": COSTLY,
    "discrete-sac": "No tuned settings are measured yet: of those that were tried on CartPole, with 20,000 steps, the "
    "best reached 425 of 500, mean of three seeds.",
}
CURVES = ROOT / "docs" / "evidence"  # one small file a preset
LINES = ("mean", "low", "high")  # of a curve


class Found(NamedTuple):
    """What measuring a preset gave."""

    facts: dict[str, Any]  # for its file, the interval among them
    curve: dict[str, Any]  # for the folder of curves


def measure(preset: Preset, out: str | Path = "runs/evidence") -> Found:
    """Runs a preset on the seeds that its file names: other ones after a change, and fewer where a run takes long.

    The file may name a faster version of the environment too, `env = "envpool:Swimmer-v5"` among the evidence, or how
    many `problems` of a bandit are played.
    """
    (first, last), env = preset.evidence.get("seeds", SEEDS), preset.evidence.get("env", preset.env)
    if preset.score == "regret":
        problems = preset.evidence.get("problems", PROBLEMS)
        return of_regret(preset, polyak.regret(preset.algorithm, env, preset.steps, problems, seed=first))
    callbacks = [Snapshots(preset.steps // POINTS)] if preset.score == "rms_error" else []
    run = finished(
        polyak.train(preset.algorithm, env, seed=first, seeds=last - first + 1, out=out, callbacks=callbacks)
    )
    return of_returns(run) if preset.score == "iqm" else of_errors(run)


def passes(preset: Preset, facts: dict[str, Any]) -> bool:
    """Whether an interval is on the right side of the threshold: of returns above it, of errors and regret below."""
    low, high = facts["interval"]
    return low >= preset.threshold if preset.score == "iqm" else high <= preset.threshold


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


def of_returns(run: polyak.Run) -> Found:
    """What final policies earn, and what was earned while they learnt."""
    finals = run.scores.returns.mean(1)
    facts = {
        "episodes": run.scores.returns.shape[1],
        "mean": four_digits(run.scores.mean),
        "iqm": four_digits(run.scores.iqm),
        "interval": [four_digits(end) for end in run.scores.interval],
        "worst_seed": four_digits(finals.min()),
    }
    return Found(_facts(run, facts), _curve(run, *run.metrics("episode_return"), finals))


def of_errors(run: polyak.Run) -> Found:
    """How far predicted values are from the exact ones, in the end and in the snapshots of the run."""
    finals = rms_errors(run)
    facts = {
        "rms_error": four_digits(finals.mean()),
        "interval": [four_digits(end) for end in interval_of_mean(finals)],
        "worst_seed": four_digits(finals.max()),
    }
    found: dict[int, dict[int, float]] = {seed: {} for seed in run.seeds}
    for file in (run.path / "snapshots").glob("policy-*-*.safetensors"):
        seed, step = map(int, file.stem.split("-")[1:])
        found[seed][step] = rms_error(polyak.load(file))
    steps = sorted(found[run.seeds[0]])
    values = np.array([[errors[step] for step in steps] for errors in found.values()])
    return Found(_facts(run, facts), {"score": "rms_error", **_curve(run, np.array(steps), values, finals)})


def of_regret(preset: Preset, found: polyak.Regret) -> Found:
    """What the best arms would have paid more than those that were pulled."""
    facts = {
        "problems": found.problems,
        "regret": four_digits(found.mean),
        "interval": [four_digits(end) for end in found.interval],
        "best_arm": four_digits(found.optimal[-(found.pulls // 10) :].mean()),  # share, in the last tenth of pulls
    }
    pulls = np.linspace(1, found.pulls, POINTS).round().astype(int)
    curve = {
        "score": "regret",
        "algorithm": preset.algorithm,
        "env": preset.env,
        "steps": pulls.tolist(),
        **_lines(found.regret[pulls - 1], found.low[pulls - 1], found.high[pulls - 1]),
        "problems": found.problems,
    }
    return Found(facts, curve)


def _facts(run: polyak.Run, scores: dict[str, Any]) -> dict[str, Any]:
    """What a preset's file says of a run: its seeds, its scores, and what it took."""
    machine = f"{cores()} CPU cores, {run.about['engine']} engine, jax {run.about['versions']['jax']}"
    seeds = [run.seeds[0], run.seeds[-1]]
    return {"seeds": seeds, **scores, "wall_seconds": round(run.about["wall_seconds"]), "machine": machine}


def _curve(run: polyak.Run, steps: np.ndarray, values: np.ndarray, finals: np.ndarray) -> dict[str, Any]:
    """The mean over seeds and 95 % interval of values [seeds, points] at steps [points], and final scores [seeds]."""
    grid, *lines = summary_band(steps, values)
    return {
        "algorithm": run.about["algorithm"],
        "env": run.about["env"],
        "steps": [round(step) for step in grid],
        **_lines(*lines),
        "final": dict(zip(map(str, run.seeds), map(four_digits, finals), strict=True)),
    }


def _lines(*lines: np.ndarray) -> dict[str, list[float]]:
    return {name: [four_digits(value) for value in line] for name, line in zip(LINES, lines, strict=True)}


def write(preset: Preset, found: Found) -> None:
    """Puts the evidence into the preset's file and keeps the curve, from which pages and pictures are drawn."""
    import tomlkit  # not where pages are written

    path = ROOT / "src/polyak/presets" / f"{slug(preset.env)}.toml"
    document = tomlkit.parse(path.read_text())
    evidence = tomlkit.table()
    evidence["date"] = datetime.date.today()
    if "env" in preset.evidence:
        evidence["env"] = preset.evidence["env"]
    evidence.update(found.facts)
    evidence.add(tomlkit.nl())
    document[preset.algorithm]["evidence"] = evidence
    path.write_text(tomlkit.dumps(document).rstrip() + "\n")
    CURVES.mkdir(exist_ok=True)
    text = json.dumps(found.curve, separators=(",", ":"))
    (CURVES / f"{preset.algorithm}-{slug(preset.env)}.json").write_text(text + "\n")


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
    return walk(env) if env in WALKS else polyak.MDP.from_gymnasium(env)


def interval_of_mean(samples: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of the mean of samples [N]."""
    from scipy import stats

    if np.ptp(samples) == 0.0:
        return float(samples[0]), float(samples[0])
    rng = np.random.default_rng(0)
    found = stats.bootstrap((samples,), np.mean, n_resamples=10_000, method="percentile", rng=rng).confidence_interval
    return float(found.low), float(found.high)


def four_digits(value: float) -> float:
    """As many as mean something, on a lake that pays 1 and on a ship that pays 250."""
    return float(f"{value:.4g}")


_SEEDS = ("environment", "algorithm", "steps", "seeds")
HEADS = {  # of the tables, by what is measured
    "iqm": (*_SEEDS, "IQM", "95 % interval", "wanted", "worst seed", "wall time"),
    "rms_error": (*_SEEDS, "RMS error", "95 % interval", "at most", "worst seed", "wall time"),
    "regret": ("bandit", "algorithm", "pulls", "problems", "regret", "95 % interval", "at most", "best arm in the end"),
}
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
    """What a preset that was measured reaches, under its head of `HEADS`."""
    proof = preset.evidence
    low, high = proof["interval"]
    if preset.score == "regret":
        number, more = proof["problems"], (f"{100 * proof['best_arm']:.3g} %",)
    else:
        number = proof["seeds"][1] - proof["seeds"][0] + 1
        more = (f"{proof['worst_seed']:.4g}", f"{proof['wall_seconds']:,} s")
    score, interval = f"{proof[preset.score]:.4g}", f"{low:.4g} to {high:.4g}"
    return (
        preset.env,
        preset.algorithm,
        f"{preset.steps:,}",
        f"{number:,}",
        score,
        interval,
        f"{preset.threshold:g}",
        *more,
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
        Place("docs/benchmarks/scores.md", "evidence"): table(HEADS["iqm"], rows.values()),
        **{
            Place("docs/benchmarks/scores.md", score): table(HEADS[score], map(row, measured(score)))
            for score in ("rms_error", "regret")
        },
        Place("docs/benchmarks/published.md", "published"): (
            f"{table(published.HEAD, beside)}\n\n{published.protocols(beside)}"
        ),
        Place("README.md", "evidence"): table(few, [[rows[shown][i] for i in kept] for shown in SHOWN]),
    }


def main(wanted: list[str]) -> None:
    """Measures the presets whose algorithm and environment are all named in `wanted`; all, where it is empty."""
    for preset in presets():
        if set(wanted) <= {preset.algorithm, preset.env}:
            write(preset, measure(preset))
            put(tables())


if __name__ == "__main__":
    main(sys.argv[1:])
