"""Dynamic programming against numbers worked by hand, brute force, and each other."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from polyak.algorithms.planning.backward_induction import backward_induction, expected_return
from polyak.algorithms.planning.policy_evaluation import (
    policy_evaluation,
    policy_evaluation_exact,
    policy_improvement,
)
from polyak.algorithms.planning.policy_iteration import modified_policy_iteration, policy_iteration
from polyak.algorithms.planning.prioritised_sweeping import prioritised_sweeping
from polyak.algorithms.planning.value_iteration import value_iteration
from polyak.envs.mdp import MDP, TWINS
from polyak.errors import BadSetting

PLANNERS = (value_iteration, policy_iteration, modified_policy_iteration, prioritised_sweeping)
planners = pytest.mark.parametrize("plan", PLANNERS)


def random_mdp(seed: int, states: int, actions: int) -> MDP:
    """Dense random transitions, some states terminal."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.full(states, 0.3), (states, actions))
    terminal = rng.random(states) < 0.2
    return MDP.from_arrays(P, rng.normal(size=(states, actions)), terminal)


def corridor(length: int = 4) -> MDP:
    """Cells in a row; left or right, -1 a step, and the last cell ends: v(i) = -(cells to go)."""
    return MDP.from_grid(["S" + "." * (length - 2) + "G"], step=-1.0, goal=-1.0)


@planners
def test_the_corridor_by_hand(plan):
    if plan is policy_iteration:
        found = plan(corridor(), gamma=1.0)
        np.testing.assert_allclose(found.values, [-3, -2, -1, 0], atol=1e-9)
    found = plan(corridor(), gamma=0.5)
    np.testing.assert_allclose(found.values, [-1.75, -1.5, -1, 0], atol=1e-8)  # -1 - 1/2 - 1/4, -1 - 1/2, -1
    assert (found.policy[:3] == 2).all()  # right
    np.testing.assert_allclose(found.q[2], [-1.75, -1.5, -1, -1.5], atol=1e-8)  # left, down, right, up


def test_the_corridor_walked_at_random():
    """Left, right, and twice on the spot: from the middle of three cells v = -1 + v/2 + (v_left)/4."""
    walk = policy_evaluation_exact(corridor(3), np.full((3, 4), 0.25), gamma=1.0)
    np.testing.assert_allclose(walk.values, [-12, -8, 0])  # v0 = -1 + 3/4 v0 + 1/4 v1, v1 = -1 + 1/2 v1 + 1/4 v0


@pytest.mark.parametrize("id", TWINS)
@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_all_planners_agree_on_gymnasiums_environments(id, gamma):
    mdp = MDP.from_gymnasium(id)
    reference = policy_iteration(mdp, gamma)
    for plan in PLANNERS:
        np.testing.assert_allclose(plan(mdp, gamma).values, reference.values, atol=1e-6)


def test_they_agree_on_other_maps_and_weathers():
    for kind, how in (
        ("FrozenLake-v1", {"is_slippery": False}),
        ("FrozenLake8x8-v1", {"is_slippery": False}),
        ("FrozenLake-v1", {"desc": ["SFH", "FFF", "HFG"]}),
        ("Taxi-v4", {"is_rainy": True}),
    ):
        mdp = MDP.from_gymnasium(kind, **how)
        reference = policy_iteration(mdp, 0.9)
        for plan in PLANNERS:
            np.testing.assert_allclose(plan(mdp, 0.9).values, reference.values, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), states=st.integers(1, 4), actions=st.integers(1, 3), gamma=st.floats(0.0, 0.95))
def test_no_policy_is_better_than_the_planned_one(seed, states, actions, gamma):
    """Brute force: every deterministic policy of a small MDP, evaluated by linear equations."""
    mdp = random_mdp(seed, states, actions)
    policies = itertools.product(range(actions), repeat=states)
    best = np.max([policy_evaluation_exact(mdp, np.array(policy), gamma).values for policy in policies], 0)
    for plan in PLANNERS:
        found = plan(mdp, gamma)
        np.testing.assert_allclose(found.values, best, atol=1e-6)
        np.testing.assert_allclose(policy_evaluation_exact(mdp, found.policy, gamma).values, best, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), gamma=st.floats(0.0, 0.95), tolerance=st.sampled_from([1e-1, 1e-3, 1e-6]))
def test_the_error_is_within_its_bound_and_the_bound_within_the_tolerance(seed, gamma, tolerance):
    mdp = random_mdp(seed, 6, 3)
    exact = policy_iteration(mdp, gamma).values
    for plan in (value_iteration, modified_policy_iteration, prioritised_sweeping):
        found = plan(mdp, gamma, tolerance=tolerance)
        assert np.abs(found.values - exact).max() <= found.error_bound + 1e-12
        assert found.error_bound <= tolerance * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), gamma=st.floats(0.0, 0.95))
def test_sweeps_evaluate_a_policy_as_linear_equations_do(seed, gamma):
    mdp = random_mdp(seed, 6, 3)
    policy = np.random.default_rng(seed).dirichlet(np.ones(3), 6)
    swept, solved = policy_evaluation(mdp, policy, gamma), policy_evaluation_exact(mdp, policy, gamma)
    np.testing.assert_allclose(swept.values, solved.values, atol=1e-8)
    assert solved.residual < 1e-10
    better = policy_improvement(mdp, solved.values, gamma)
    assert (policy_evaluation_exact(mdp, better, gamma).values >= solved.values - 1e-9).all()


def test_with_few_steps_left_one_dares_what_one_otherwise_would_not():
    """From 0: a sure reward of 1 now, which ends it, or 0 now and 3 after two more steps."""
    P = np.zeros((4, 2, 4))
    P[0, 0, 3] = P[0, 1, 1] = 1.0
    P[1, :, 2] = P[2, :, 3] = P[3, :, 3] = 1.0
    R = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 3.0], [0.0, 0.0]])
    mdp = MDP.from_arrays(P, R, terminal=[3], max_episode_steps=2)
    plan = backward_induction(mdp, horizon=3)
    assert plan.policy[:, 0].tolist() == [0, 0, 1]  # with 1, 2 and 3 steps left
    np.testing.assert_allclose(plan.values[:, 0], [0, 1, 1, 3])
    patient = value_iteration(mdp, gamma=0.99).policy
    assert patient[0] == 1
    assert expected_return(mdp, patient) == 0.0  # the clock cuts it short
    assert expected_return(mdp, patient, horizon=3) == 3.0


def test_the_expected_return_is_the_mean_of_played_ones():
    from polyak.evaluation import evaluate

    mdp = MDP.from_gymnasium("FrozenLake-v1")
    policy = value_iteration(mdp, 0.99).policy
    returns = evaluate(lambda obs: policy[obs], "FrozenLake-v1", episodes=1_000).returns
    assert returns.mean() == pytest.approx(expected_return(mdp, policy), abs=4 * returns.std() / 1_000**0.5)


def test_policies_that_never_end_have_no_undiscounted_value():
    left = np.zeros(4, int)
    with pytest.raises(BadSetting, match="never ends"):
        policy_evaluation_exact(corridor(), left, gamma=1.0)
    with pytest.raises(BadSetting, match="still moved by 1 after 1,000 iterations"):
        policy_evaluation(corridor(), left, gamma=1.0, max_iterations=1_000)
    assert policy_evaluation_exact(corridor(), left, gamma=0.5).values[0] == pytest.approx(-2)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (np.zeros(3, int), r"The policy has shape \(3,\)"),
        (np.full(4, 4), "actions that do not exist; they are 0 to 3"),
        (np.ones((4, 4)), "do not sum to one"),
    ],
)
def test_what_is_no_policy_is_refused(policy, sentence):
    with pytest.raises(BadSetting, match=sentence):
        policy_evaluation(corridor(), policy, 0.9)


def test_what_is_no_discount_is_refused():
    for plan in (*PLANNERS, lambda mdp, gamma: policy_evaluation(mdp, np.zeros(4, int), gamma)):
        with pytest.raises(BadSetting, match=r"gamma is 1\.5"):
            plan(corridor(), 1.5)
