"""`polyak.check` raises no false alarm on whatever Gymnasium and MinAtar register and can be made here."""

import contextlib

import gymnasium
import pytest

import polyak
from polyak.envs.one import register_minatar

with contextlib.suppress(polyak.Error):  # without the package there are fewer
    register_minatar()

TRUE_WARNINGS = {
    "BipedalWalker-v3": {"reset-forgets"},  # the Box2D world outlives reset, and contacts are solved in another order
    "Blackjack-v1": {"space-not-supported"},  # a Tuple
    "CliffWalkingSlippery-v1": {"never-ends"},  # no time limit, and chance does not find the goal
    "tabular/CliffWalking-v0": {"never-ends"},
    "MinAtar/Freeway-v0": {"never-ends"},  # its own clock rings after 2,500 steps and is declared nowhere
    "MinAtar/Freeway-v1": {"never-ends"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", gymnasium.registry)
def test_no_false_alarm(id):
    try:
        findings = polyak.check(id)
    except polyak.Error as missing:
        pytest.skip(str(missing))
    told = {finding.name for finding in findings} - {"slow"}  # which depends on the machine
    assert not findings.errors and told <= TRUE_WARNINGS.get(id, set()), str(findings)
