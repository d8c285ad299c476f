"""Every preset again, on the seeds of its evidence; hours, so `make learn` and not `make test`."""

import pytest

from benchmarks.evidence import measure
from polyak.presets import Preset, presets


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: f"{preset.algorithm}-{preset.env}")
def test_the_lower_end_of_the_interval_reaches_the_threshold(preset: Preset, tmp_path):
    scores = measure(preset, tmp_path).scores
    print(preset.algorithm, preset.env, scores)
    assert scores.interval[0] >= preset.threshold
