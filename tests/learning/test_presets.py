"""Every preset again, on the seeds of its evidence; hours, so `make learn` and not `make test`."""

import pytest

from benchmarks.evidence import interval_of_mean, measure, rms_errors
from polyak.presets import Preset, presets


def judged_by(score: str) -> pytest.MarkDecorator:
    found = [preset for preset in presets() if preset.score == score]
    return pytest.mark.parametrize("preset", found, ids=lambda preset: f"{preset.algorithm}-{preset.env}")


@judged_by("iqm")
def test_the_lower_end_of_the_interval_reaches_the_threshold(preset: Preset, tmp_path):
    scores = measure(preset, tmp_path).scores
    print(preset.algorithm, preset.env, scores)
    assert scores.interval[0] >= preset.threshold


@judged_by("rms_error")
def test_the_upper_end_of_the_error_stays_below_the_threshold(preset: Preset, tmp_path):
    errors = rms_errors(measure(preset, tmp_path))
    print(preset.algorithm, preset.env, "errors", errors)
    assert interval_of_mean(errors)[1] <= preset.threshold
