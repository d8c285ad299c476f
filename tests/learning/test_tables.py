"""Tables against planning, on all of Gymnasium's toy environments; minutes, so `make learn` and not `make test`.

Planned and learnt policies alike do not see the clock; what one that does see it could reach is printed beside them.
"""

import numpy as np
import pytest

import polyak
from polyak.presets import preset

EPISODES = 2_000
LEARNERS = ("q-learning", "double-q-learning", "expected-sarsa", "dyna-q")


@pytest.mark.parametrize("id", ["FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4"])
@pytest.mark.parametrize("name", LEARNERS)
def test_the_greedy_policy_returns_what_the_planned_one_returns_within_2_percent(name, id, tmp_path):
    mdp, gamma = polyak.MDP.from_gymnasium(id), preset(name, id).settings["gamma"]
    planned = polyak.value_iteration(mdp, gamma).policy
    wanted = polyak.expected_return(mdp, planned)
    with_clock = polyak.backward_induction(mdp, mdp.max_episode_steps).values[-1] @ mdp.start
    run = polyak.train(name, id, seed=100, seeds=10, out=tmp_path)
    played = [polyak.evaluate(run.policy(seed), episodes=EPISODES).mean for seed in run.seeds]
    exact = [polyak.expected_return(mdp, run.policy(seed)(np.arange(mdp.num_states))) for seed in run.seeds]
    print(name, id, f"planned {wanted:.4f}, exact {min(exact):.4f}, played {min(played):.4f}, clock {with_clock:.4f}")
    assert min(exact) >= wanted - 0.02 * abs(wanted)
    assert np.mean(played) >= wanted - 0.02 * abs(wanted)


def test_on_the_cliff_sarsa_earns_more_while_it_learns_and_q_learning_once_it_has_learnt(tmp_path):
    runs = {
        name: polyak.train(name, "CliffWalking-v1", seed=100, seeds=10, out=tmp_path)
        for name in ("q-learning", "sarsa")
    }
    online = {name: np.nanmean(run.metrics("episode_return")[1]) for name, run in runs.items()}
    assert (runs["q-learning"].scores.returns == -13).all()
    assert (runs["sarsa"].scores.returns <= -15).all()
    assert online["sarsa"] > online["q-learning"]
