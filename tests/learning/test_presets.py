"""Every preset again, on the seeds of its evidence; hours, so `make learn` and not `make test`."""

import pytest

from benchmarks.evidence import measure, passes
from polyak.presets import Preset, presets


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: f"{preset.algorithm}-{preset.env}")
def test_the_interval_is_on_the_right_side_of_the_threshold(preset: Preset, tmp_path):
    """That of returns above it, that of errors and of regret below."""
    facts = measure(preset, tmp_path).facts
    print(preset.algorithm, preset.env, facts)
    assert passes(preset, facts)
