"""What is kept of the runs that presets are judged by."""

import json
import tomllib

import numpy as np
import pytest

import polyak
from benchmarks import evidence
from polyak.algorithms import ALGORITHMS
from polyak.presets import Preset, presets
from polyak.runs.store import slug


def test_every_algorithm_has_evidence_or_there_is_a_reason():
    measured = {preset.algorithm for preset in presets() if preset.score in preset.evidence}
    assert sorted([*measured, *evidence.WITHOUT]) == sorted(ALGORITHMS)


def test_those_that_evaluate_a_policy_are_judged_by_their_values_and_no_others_are():
    for preset in presets():
        assert (preset.score == "rms_error") == hasattr(ALGORITHMS[preset.algorithm], "policy"), preset.algorithm


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


def trained(learner, env, **more):
    how = {"steps": 2_000, "num_envs": 1, "progress": False, "processes": 0}
    return polyak.train(learner, env, **how | more)


def test_the_error_is_that_of_the_values_between_the_ends_of_a_walk(tmp_path):
    policy = trained(polyak.TD(gamma=1.0), "random-walk/5", out=tmp_path).policy()
    off = policy.tables["v"][1:-1] - np.array([1, 2, 3, 4, 5]) / 6
    assert np.abs(off).max() > 0.01
    assert evidence.rms_error(policy) == pytest.approx((off @ off / 5) ** 0.5, rel=1e-6)
    policy.state = policy.state._replace(v=np.array([9, 1, 2, 3, 4, 6, 9]) / 6)  # one of five is wrong, by 1/6
    assert evidence.rms_error(policy) == pytest.approx(1 / 6 / 5**0.5)


def test_the_error_of_an_untrained_table_is_what_the_page_of_scores_says(tmp_path):
    policy = trained(polyak.TD(gamma=1.0), "random-walk/19", out=tmp_path).policy()
    policy.state = policy.state._replace(v=np.zeros(21))
    assert evidence.rms_error(policy) == pytest.approx(0.3**0.5)  # twice 0.1^2 + ... + 0.9^2 is 5.7, over 19 states
    assert "an untrained table has an error of 0.548" in (evidence.ROOT / "docs/benchmarks/scores.md").read_text()


def test_the_error_is_against_the_policy_and_the_discount_that_were_given(tmp_path):
    plan = polyak.value_iteration(polyak.MDP.from_gymnasium("FrozenLake-v1"), 0.9)
    learner = polyak.TD(policy=polyak.TabularPolicy(plan.policy), gamma=0.9)
    policy = trained(learner, "FrozenLake-v1", out=tmp_path).policy()
    inner = np.array([letter not in "HG" for letter in "SFFFFHFHFFFHHFFG"])
    policy.state = policy.state._replace(v=np.where(inner, plan.values + 0.25, 7.0))  # holes and goal do not count
    assert evidence.rms_error(policy) == pytest.approx(0.25, rel=1e-5)


def test_the_curve_of_an_error_is_the_mean_over_seeds_of_what_was_kept_on_the_way(tmp_path):
    run = trained(
        polyak.TD(gamma=1.0), "random-walk/5", seeds=3, out=tmp_path, callbacks=[evidence.Snapshots(policy_every=500)]
    )
    found = json.loads(json.dumps(evidence.curve_of_error(run)))
    assert (found["score"], found["algorithm"], found["env"]) == ("rms_error", "td", "random-walk/5")
    assert found["steps"] == [500, 1_000, 1_500, 2_000]
    errors = [
        evidence.rms_error(polyak.load(run.path / f"snapshots/policy-{seed}-500.safetensors")) for seed in (0, 1, 2)
    ]
    assert found["mean"][0] == pytest.approx(np.mean(errors), rel=1e-3)
    assert found["mean"][-1] == pytest.approx(np.mean(list(found["final"].values())), rel=1e-3)
    assert found["final"]["2"] == evidence.four_digits(evidence.rms_error(run.policy(2)))
    assert all(low <= mean <= high for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True))


def test_the_interval_of_a_mean_is_about_two_deviations_wide_on_each_side():
    samples = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = evidence.interval_of_mean(samples)
    deviation = samples.std() / 20
    assert samples.mean() - low == pytest.approx(1.96 * deviation, rel=0.1)
    assert high - samples.mean() == pytest.approx(1.96 * deviation, rel=0.1)
    assert evidence.interval_of_mean(np.array([0.5, 0.5])) == (0.5, 0.5)


def test_evidence_goes_into_the_file_of_the_environment_and_leaves_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    file = tmp_path / "src/polyak/presets/random-walk-5.toml"
    file.parent.mkdir(parents=True)
    file.write_text('env = "random-walk/5"\n\n[td]\nsteps = 2_000 # few\n\n[td.settings]\ngamma = 1.0\n')
    run = trained(polyak.TD(gamma=1.0), "random-walk/5", seeds=2, out=tmp_path)
    evidence.write(Preset("td", "random-walk/5", 2_000, 1, 0.1, {}, {}, "rms_error"), run)
    assert file.read_text().startswith(
        'env = "random-walk/5"\n\n[td]\nsteps = 2_000 # few\n\n[td.settings]\ngamma = 1.0'
    )
    proof = tomllib.loads(file.read_text())["td"]["evidence"]
    errors = evidence.rms_errors(run)
    assert proof["rms_error"] == pytest.approx(errors.mean(), rel=1e-3) and proof["seeds"] == [0, 1]
    assert proof["interval"] == pytest.approx(sorted(errors), rel=1e-3)  # of two seeds, and so is the worst
    assert proof["worst_seed"] == proof["interval"][1] and "iqm" not in proof and proof["wall_seconds"] >= 0


def test_the_curves_that_are_kept_are_those_of_the_evidence():
    known = {f"{preset.algorithm}-{slug(preset.env)}": preset.evidence for preset in presets()}
    files = list(evidence.CURVES.glob("*.json"))
    assert files
    for file in files:
        found, proof = json.loads(file.read_text()), known[file.stem]
        finals = list(found["final"].values())
        assert list(map(int, found["final"])) == list(range(proof["seeds"][0], proof["seeds"][1] + 1)), file.stem
        mean, worst = ("rms_error", max) if "rms_error" in proof else ("mean", min)
        assert ("score" in found) == (mean == "rms_error"), file.stem
        assert np.mean(finals) == pytest.approx(proof[mean], rel=2e-3), file.stem
        assert worst(finals) == pytest.approx(proof["worst_seed"], rel=1e-3), file.stem
