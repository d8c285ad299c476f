"""What is kept of the runs that presets are judged by."""

import json

import numpy as np
import pytest

import polyak
from benchmarks import evidence
from polyak.presets import presets
from polyak.runs.store import slug


def test_a_curve_is_the_mean_over_seeds_with_every_final_score(tmp_path):
    how = {"steps": 4_000, "num_envs": 1, "seeds": 3, "out": tmp_path, "progress": False, "processes": 0}
    run = polyak.train(polyak.QLearning(), "FrozenLake-v1", **how)
    found = json.loads(json.dumps(evidence.curve(run)))
    assert (found["algorithm"], found["env"]) == ("q-learning", "FrozenLake-v1")
    points = [len(found[name]) for name in ("steps", "mean", "low", "high")]
    assert len(set(points)) == 1 and found["steps"][-1] == 4_000
    _, values = run.metrics("episode_return")
    assert found["mean"][-1] == pytest.approx(np.mean([row[np.isfinite(row)][-1] for row in values]), rel=1e-3)
    assert all(low <= mean <= high for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True))
    assert found["final"] == {str(seed): evidence.four_digits(run.scores.returns[seed].mean()) for seed in range(3)}


def test_the_curves_that_are_kept_are_those_of_the_evidence():
    known = {f"{preset.algorithm}-{slug(preset.env)}": preset.evidence for preset in presets()}
    files = list(evidence.CURVES.glob("*.json"))
    assert files
    for file in files:
        found, proof = json.loads(file.read_text()), known[file.stem]
        finals = list(found["final"].values())
        assert list(map(int, found["final"])) == list(range(proof["seeds"][0], proof["seeds"][1] + 1)), file.stem
        assert np.mean(finals) == pytest.approx(proof["mean"], rel=2e-3), file.stem
        assert min(finals) == pytest.approx(proof["worst_seed"], rel=1e-3), file.stem
