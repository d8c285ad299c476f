"""Ways to explore: how often each action is taken, and how they are written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak import settings
from polyak.errors import BadSetting, UnknownName
from polyak.parts.exploration import (
    UCB,
    AnnealedEpsilon,
    Boltzmann,
    EpsilonGreedy,
    EpsilonLadder,
    Greedy,
    NoisyGreedy,
    exploration_from_text,
)
from polyak.parts.text import part_text

Q, VISITS = jnp.array([1.0, 0.0, 1.0]), jnp.array([5.0, 2.0, 5.0])


@pytest.mark.parametrize(
    ("strategy", "progress", "wanted"),
    [
        (EpsilonGreedy(0.3), 0.9, [0.45, 0.1, 0.45]),  # 0.3 / 3, and half of 0.7 for each of the best
        (EpsilonGreedy(0.0), 0.5, [0.5, 0.0, 0.5]),
        (EpsilonGreedy(1.0, 0.0, 0.5), 0.25, [5 / 12, 1 / 6, 5 / 12]),  # epsilon is 1/2 by then
        (Boltzmann(1.0), 0.5, np.array([np.e, 1, np.e]) / (2 * np.e + 1)),
        (Boltzmann(2.0, 1.0), 1.0, np.array([np.e, 1, np.e]) / (2 * np.e + 1)),
        (UCB(0.0), 0.5, [0.5, 0.0, 0.5]),
        (UCB(10.0), 0.5, [0.0, 1.0, 0.0]),  # what was tried least
        (AnnealedEpsilon(1.0, 0.0, 0.5), 0.25, [2 / 3, 1 / 6, 1 / 6]),
    ],
)
def test_actions_are_taken_as_often_as_is_said(strategy, progress, wanted):
    check_shares(strategy, Q, VISITS, progress, wanted)


def check_shares(strategy, q, visits, progress, wanted):
    probabilities = strategy.probabilities(q, visits, progress)
    np.testing.assert_allclose(probabilities, wanted, atol=1e-6)
    noise = strategy.noise(jax.random.key(0), (30_000,), 3)
    chosen = jax.vmap(strategy.choose, (None, None, None, 0))(q, visits, progress, noise)
    assert chosen.dtype == jnp.int32
    share = np.bincount(chosen, minlength=3) / 30_000
    np.testing.assert_allclose(share, wanted, atol=0.012)  # four standard errors


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (EpsilonGreedy(0.4), [0.2, 0.0, 0.8]),
        (Boltzmann(1.0), np.array([1, 0, np.e]) / (np.e + 1)),
        (UCB(0.0), [0.0, 0.0, 1.0]),
        (UCB(10.0), [1.0, 0.0, 0.0]),  # what was tried least of what is allowed
    ],
)
def test_an_action_of_value_minus_infinity_is_never_taken(strategy, wanted):
    check_shares(strategy, jnp.array([0.0, -jnp.inf, 1.0]), jnp.array([2.0, 0.0, 5.0]), 0.5, wanted)


def test_noise_does_not_bring_back_what_is_not_allowed():
    strategy = NoisyGreedy(100.0)
    noise = strategy.noise(jax.random.key(0), (1_000,), 3)
    q = jnp.array([0.0, -jnp.inf, 1.0])
    assert set(jax.vmap(strategy.choose, (None, None, None, 0))(q, (), 0.5, noise).tolist()) == {0, 2}


def test_noise_on_the_values_fades():
    strategy = NoisyGreedy(2.0, 0.0, fraction=0.5)
    noise = strategy.noise(jax.random.key(0), (30_000,), 3)
    early, late = (
        np.bincount(jax.vmap(strategy.choose, (None, None, None, 0))(Q, VISITS, p, noise), minlength=3) / 30_000
        for p in (0.0, 0.5)
    )
    assert 0.15 < early[1] < 1 / 3
    np.testing.assert_allclose(late, [0.5, 0.0, 0.5], atol=0.012)


def test_greedy_takes_the_first_of_equals():
    assert Greedy().choose(Q, (), 0.5, Greedy().noise(jax.random.key(0), (4,), 3)) == 0
    np.testing.assert_array_equal(Greedy().probabilities(Q, (), 0.5), [1.0, 0.0, 0.0])


def test_the_ladder_gives_each_environment_an_epsilon_of_its_own():
    strategy = EpsilonLadder(0.4, 7.0)
    np.testing.assert_allclose(strategy.epsilons(3), [0.4, 0.4**4.5, 0.4**8], rtol=1e-5)
    np.testing.assert_allclose(strategy.epsilons(1), [0.4], rtol=1e-6)
    noise = strategy.noise(jax.random.key(0), (20_000, 2), 3)
    choose = jax.vmap(jax.vmap(strategy.choose, (None, None, None, 0)), (None, None, None, 0))
    chosen = choose(jnp.array([0.0, 1.0, -jnp.inf]), (), 0.5, noise)
    # of two allowed actions half of what explores is the other one
    np.testing.assert_allclose((chosen == 0).mean(0), [0.2, 0.4**8 / 2], atol=0.012)
    assert (chosen != 2).all()


@pytest.mark.parametrize("strategy", [EpsilonLadder(), NoisyGreedy()])
def test_what_has_no_closed_form_says_so(strategy):
    with pytest.raises(BadSetting, match="use epsilon"):
        strategy.probabilities(Q, VISITS, 0.5)


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("epsilon", EpsilonGreedy()),
        ("epsilon:0.3", EpsilonGreedy(0.3)),
        ("epsilon:1:0.05:0.5", EpsilonGreedy(1.0, 0.05, 0.5)),
        ("boltzmann:2:0.1", Boltzmann(2.0, 0.1)),
        ("noise:1", NoisyGreedy(1.0)),
        ("noise:1:none", NoisyGreedy(1.0, None)),
        ("ucb:1.5", UCB(1.5)),
        ("ladder", EpsilonLadder()),
        ("ladder:0.3:5", EpsilonLadder(0.3, 5.0)),
        ("greedy", Greedy()),
    ],
)
def test_each_has_a_text_form(text, strategy):
    assert exploration_from_text(text) == strategy
    assert exploration_from_text(part_text(strategy)) == strategy


@pytest.mark.parametrize(
    "text",
    [
        "epsilon:2",
        "boltzmann:0",
        "boltzmann:inf",
        "noise:1:-1",
        "ucb:-1",
        "epsilon:1:0:7",
        "ladder:2",
        "ladder:1:-1",
    ],
)
def test_what_cannot_work_is_refused(text):
    with pytest.raises(BadSetting, match=r"q-learning's exploration's .* it must be"):
        settings.build("q-learning", {"exploration": text})


@pytest.mark.parametrize("text", ["epsilon:x", "epsilon:1:2:3:4", "epsilon:none", "greedy:1"])
def test_what_is_no_exploration_is_refused(text):
    with pytest.raises(BadSetting, match="The exploration must be of the form"):
        exploration_from_text(text)


def test_the_nearest_name_is_offered():
    with pytest.raises(UnknownName, match="did you mean epsilon"):
        exploration_from_text("epsilom:0.1")
