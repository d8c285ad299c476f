"""What is kept of the runs that presets are judged by."""

import json
import tomllib

import numpy as np
import pytest

import polyak
from benchmarks import evidence
from polyak.agent import Spec
from polyak.algorithms import ALGORITHMS
from polyak.envs import make
from polyak.parts.tables import PredictionState
from polyak.presets import Preset, presets
from polyak.runs.store import slug


def test_every_algorithm_has_evidence_or_there_is_a_reason():
    measured = {preset.algorithm for preset in presets() if preset.score in preset.evidence}
    assert sorted([*measured, *evidence.WITHOUT]) == sorted(ALGORITHMS)


def test_predictions_are_judged_by_their_values_and_bandits_by_their_regret():
    for preset in presets():
        score = "rms_error" if hasattr(ALGORITHMS[preset.algorithm], "policy") else "iqm"
        assert preset.score == ("regret" if preset.env.startswith("bandit/") else score), preset


def test_every_interval_that_is_kept_passes_its_threshold():
    for preset in presets():
        if preset.score in preset.evidence:
            assert evidence.passes(preset, preset.evidence), preset


def test_a_curve_is_the_mean_over_seeds_with_every_final_score(tmp_path):
    how = {"steps": 4_000, "num_envs": 1, "seeds": 3, "out": tmp_path, "progress": False, "processes": 0}
    run = polyak.train(polyak.QLearning(), "FrozenLake-v1", **how)
    found = json.loads(json.dumps(evidence.of_returns(run).curve))
    assert (found["algorithm"], found["env"]) == ("q-learning", "FrozenLake-v1")
    points = [len(found[name]) for name in ("steps", "mean", "low", "high")]
    assert len(set(points)) == 1 and found["steps"][-1] == 4_000
    _, values = run.metrics("episode_return")
    assert found["mean"][-1] == pytest.approx(np.mean([row[np.isfinite(row)][-1] for row in values]), rel=1e-3)
    assert all(low <= mean <= high for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True))
    assert found["final"] == {str(seed): evidence.four_digits(run.scores.returns[seed].mean()) for seed in range(3)}


def predicting(values, env, learner=polyak.TD(gamma=1.0)) -> polyak.Policy:  # noqa: B008
    """A policy whose table holds these values [S]."""
    world = make(env)
    spec = Spec(world.observation_space, world.action_space, 1, world.max_episode_steps, 1)
    return polyak.Policy(learner, spec, PredictionState(np.float32(values), (), np.int32(0)), env)


def test_the_error_is_that_of_the_values_between_the_ends_of_a_walk():
    one_of_five_is_wrong_by_a_sixth = np.array([9, 1, 2, 3, 4, 6, 9]) / 6
    found = evidence.rms_error(predicting(one_of_five_is_wrong_by_a_sixth, "random-walk/5"))
    assert found == pytest.approx(1 / 6 / 5**0.5)


def test_the_error_of_an_untrained_table_is_what_the_page_of_scores_says():
    found = evidence.rms_error(predicting(np.zeros(21), "random-walk/19"))
    assert found == pytest.approx(0.3**0.5)  # twice 0.1^2 + ... + 0.9^2 is 5.7, over 19 states
    assert "an untrained table has an error of 0.548" in (evidence.ROOT / "docs/benchmarks/scores.md").read_text()


def test_the_error_is_against_the_policy_and_the_discount_that_were_given():
    plan = polyak.value_iteration(polyak.MDP.from_gymnasium("FrozenLake-v1"), 0.9)
    learner = polyak.TD(policy=polyak.TabularPolicy(plan.policy), gamma=0.9)
    inner = np.array([letter not in "HG" for letter in "SFFFFHFHFFFHHFFG"])
    values = np.where(inner, plan.values + 0.25, 7.0)  # holes and goal do not count
    assert evidence.rms_error(predicting(values, "FrozenLake-v1", learner)) == pytest.approx(0.25, rel=1e-5)


@pytest.fixture(scope="module")
def prediction(tmp_path_factory) -> polyak.Run:
    """Of two seeds, with values kept every 500 steps."""
    out, callbacks = tmp_path_factory.mktemp("prediction"), [evidence.Snapshots(policy_every=500)]
    how = {"steps": 2_000, "num_envs": 1, "seeds": 2, "progress": False, "processes": 0}
    return polyak.train(polyak.TD(gamma=1.0), "random-walk/5", out=out, callbacks=callbacks, **how)


def test_the_curve_of_an_error_is_the_mean_over_seeds_of_what_was_kept_on_the_way(prediction):
    found = json.loads(json.dumps(evidence.of_errors(prediction).curve))
    assert (found["score"], found["algorithm"], found["env"]) == ("rms_error", "td", "random-walk/5")
    assert found["steps"] == [500, 1_000, 1_500, 2_000]
    kept = [polyak.load(prediction.path / f"snapshots/policy-{seed}-500.safetensors") for seed in (0, 1)]
    assert found["mean"][0] == pytest.approx(np.mean([evidence.rms_error(policy) for policy in kept]), rel=1e-3)
    assert found["mean"][-1] == pytest.approx(np.mean(list(found["final"].values())), rel=1e-3)
    assert found["final"]["1"] == evidence.four_digits(evidence.rms_error(prediction.policy(1)))
    assert all(low <= mean <= high for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True))


def test_the_interval_of_a_mean_is_about_two_deviations_wide_on_each_side():
    samples = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = evidence.interval_of_mean(samples)
    deviation = samples.std() / 20
    assert samples.mean() - low == pytest.approx(1.96 * deviation, rel=0.1)
    assert high - samples.mean() == pytest.approx(1.96 * deviation, rel=0.1)
    assert evidence.interval_of_mean(np.array([0.5, 0.5])) == (0.5, 0.5)


def test_evidence_goes_into_the_file_of_the_environment_and_leaves_the_rest(tmp_path, monkeypatch, prediction):
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    monkeypatch.setattr(evidence, "CURVES", tmp_path / "curves")
    file = tmp_path / "src/polyak/presets/random-walk-5.toml"
    file.parent.mkdir(parents=True)
    begins = 'env = "random-walk/5"\n\n[td]\nsteps = 2_000 # few\n\n[td.settings]\ngamma = 1.0\n'
    file.write_text(begins)
    found = evidence.of_errors(prediction)
    evidence.write(Preset("td", "random-walk/5", 2_000, 1, 0.1, {}, {}, "rms_error"), found)
    assert file.read_text().startswith(begins)
    proof = tomllib.loads(file.read_text())["td"]["evidence"]
    errors = evidence.rms_errors(prediction)
    assert proof["rms_error"] == pytest.approx(errors.mean(), rel=1e-3) and proof["seeds"] == [0, 1]
    assert proof["interval"] == pytest.approx(sorted(errors), rel=1e-3)  # of two seeds, and so is the worst
    assert proof["worst_seed"] == proof["interval"][1] and "iqm" not in proof and proof["wall_seconds"] >= 0
    assert json.loads((tmp_path / "curves/td-random-walk-5.json").read_text()) == found.curve


def test_what_bounds_returns_from_below_bounds_errors_and_regret_from_above():
    facts = {"interval": [0.4, 0.6]}
    for score, low, between in (("iqm", True, False), ("rms_error", False, False), ("regret", False, False)):
        kept = [Preset("a", "e", 1, 1, threshold, {}, {}, score) for threshold in (0.3, 0.5, 0.7)]
        assert [evidence.passes(preset, facts) for preset in kept] == [low, between, not low]


def test_regret_and_its_curve_are_those_that_were_measured():
    found = polyak.regret("exp3", "bandit/bernoulli", pulls=200, problems=20)
    facts, curve = evidence.of_regret(Preset("exp3", "bandit/bernoulli", 200, 1, 60, {}, {}, "regret"), found)
    assert (facts["problems"], facts["regret"]) == (20, evidence.four_digits(found.final.mean()))
    assert facts["interval"] == list(map(evidence.four_digits, found.interval))
    assert facts["best_arm"] == pytest.approx(found.optimal[180:].mean(), rel=1e-3)
    assert len(curve["mean"]) == len(curve["steps"]) == 60 and curve["steps"][0] == 1 and curve["steps"][-1] == 200
    assert curve["mean"][-1] == facts["regret"] and [curve["low"][-1], curve["high"][-1]] == facts["interval"]
    assert curve["mean"][30] == evidence.four_digits(found.regret[curve["steps"][30] - 1])


def test_the_curves_that_are_kept_are_those_of_the_evidence():
    known = {f"{preset.algorithm}-{slug(preset.env)}": preset for preset in presets()}
    files = list(evidence.CURVES.glob("*.json"))
    assert files
    for file in files:
        found, preset = json.loads(file.read_text()), known[file.stem]
        proof = preset.evidence
        assert found.get("score", "iqm") == preset.score, file.stem
        if preset.score == "regret":
            assert (found["problems"], found["mean"][-1]) == (proof["problems"], proof["regret"]), file.stem
            continue
        finals = list(found["final"].values())
        mean, worst = ("mean", min) if preset.score == "iqm" else ("rms_error", max)
        assert list(map(int, found["final"])) == list(range(proof["seeds"][0], proof["seeds"][1] + 1)), file.stem
        assert np.mean(finals) == pytest.approx(proof[mean], rel=2e-3), file.stem
        assert worst(finals) == pytest.approx(proof["worst_seed"], rel=1e-3), file.stem
