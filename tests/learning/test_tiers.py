"""How exactly each environment that Gymnasium and MinAtar register, and that can be made here, can be resumed."""

import contextlib

import gymnasium
import pytest

import polyak
from polyak.envs.one import make_one, register_minatar
from polyak.envs.snapshot import tier

with contextlib.suppress(polyak.Error):  # without the package there are fewer
    register_minatar()

OTHERS = {
    **dict.fromkeys(["LunarLander-v3", "LunarLanderContinuous-v3", "CarRacing-v3"], "replayable"),  # a Box2D world
    **dict.fromkeys(["BipedalWalker-v3", "BipedalWalkerHardcore-v3"], "cut"),  # one that outlives reset
    **dict.fromkeys(["phys2d/CartPole-v0", "phys2d/CartPole-v1", "phys2d/Pendulum-v0"], "replayable"),  # JAX arrays
    **dict.fromkeys(["tabular/Blackjack-v0", "tabular/CliffWalking-v0"], "replayable"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", gymnasium.registry)
def test_the_tier_is_the_same_for_every_seed(id):
    try:
        make_one(id).close()
    except polyak.Error as missing:
        pytest.skip(str(missing))
    found = {tier(lambda: make_one(id), seed) for seed in range(5)}
    assert found == {OTHERS.get(id, "copyable")}
