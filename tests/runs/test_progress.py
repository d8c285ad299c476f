"""What a run shows of itself: little where it is kept, and a long evaluation even there."""

import io

import pytest
from rich.console import Console

from polyak.runs import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_is_told_of_an_evaluation_only_where_nothing_else_has_happened_for_long(clock, capsys):
    lines = progress.Lines()
    lines.start("title", 100)
    for second in range(25):
        clock[0] += 1.0
        lines.playing(f"seed 0: evaluation, {second} of 25 episodes")
    lines.update(50, None)
    clock[0] += 1.0
    lines.playing("seed 1: evaluation, 3 of 25 episodes")
    lines.playing("")
    told = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert told[:3] == ["title", *(f"seed 0: evaluation, {n} of 25 episodes" for n in (9, 19))]
    assert len(told) == 4 and "50 of 100 steps" in told[3]


def test_a_bar_shows_an_evaluation_until_training_goes_on():
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    bar = progress.Bar(console)
    bar.start("title", 100)
    bar.playing("seed 0: evaluation, 3 of 25 episodes")
    bar.progress.refresh()
    assert "seed 0: evaluation, 3 of 25 episodes" in console.file.getvalue()
    bar.update(50, 1.0)
    assert bar.progress.tasks[0].fields["playing"] == ""
    bar.stop()
