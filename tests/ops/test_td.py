"""Temporal-difference errors against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops import td
from tests.ops.reference import rlax

GAMMA = 0.9
Q_TM1 = jnp.array([1.0, 2.0, 3.0])
Q_T = jnp.array([4.0, 0.0, -1.0])
SELECTOR = jnp.array([0.0, 5.0, 1.0])


def test_truncation_keeps_the_bootstrap(compiled):
    # the clock ran out but the MDP goes on: terminated is False, whatever truncated says
    error = compiled(td.q_learning)(Q_TM1, 1, 0.5, td.discount(jnp.bool_(False), GAMMA), Q_T)
    assert error == pytest.approx(2.1)  # 0.5 + 0.9 * max(4, 0, -1) - 2


def test_termination_drops_the_bootstrap(compiled):
    error = compiled(td.q_learning)(Q_TM1, 1, 0.5, td.discount(jnp.bool_(True), GAMMA), Q_T)
    assert error == pytest.approx(-1.5)  # 0.5 - 2


def test_the_discount_is_gamma_or_nothing(compiled):
    terminated = jnp.array([[False, True], [True, False]])
    np.testing.assert_allclose(compiled(td.discount)(terminated, GAMMA), [[0.9, 0.0], [0.0, 0.9]], rtol=1e-6)


def test_q_learning_judges_the_action_taken(compiled):
    errors = [compiled(td.q_learning)(Q_TM1, a, 0.0, 0.5, Q_T) for a in range(3)]
    np.testing.assert_allclose(errors, [1.0, 0.0, -1.0], atol=1e-6)  # 0.5 * 4 - (1, 2, 3)


def test_td_learning_looks_to_the_state_that_follows(compiled):
    assert compiled(td.td_learning)(2.0, 0.5, GAMMA, 3.0) == pytest.approx(1.2)  # 0.5 + 0.9 * 3 - 2
    assert compiled(td.td_learning)(2.0, 0.5, 0.0, 3.0) == pytest.approx(-1.5)  # 0.5 - 2


def test_sarsa_looks_to_the_action_that_follows(compiled):
    assert compiled(td.sarsa)(Q_TM1, 1, 0.5, GAMMA, Q_T, 2) == pytest.approx(-2.4)  # 0.5 - 0.9 - 2
    assert compiled(td.sarsa)(Q_TM1, 1, 0.5, 0.0, Q_T, 0) == pytest.approx(-1.5)  # 0.5 - 2
    best = compiled(td.sarsa)(Q_TM1, 1, 0.5, GAMMA, Q_T, 0)
    assert best == pytest.approx(float(td.q_learning(Q_TM1, 1, 0.5, GAMMA, Q_T)))


def test_expected_sarsa_looks_to_the_mean(compiled):
    probabilities = jnp.array([0.5, 0.3, 0.2])  # 0.5 * 4 + 0 - 0.2 = 1.8
    assert compiled(td.expected_sarsa)(Q_TM1, 1, 0.5, GAMMA, Q_T, probabilities) == pytest.approx(0.12)
    certain = compiled(td.expected_sarsa)(Q_TM1, 1, 0.5, GAMMA, Q_T, jnp.array([0.0, 0.0, 1.0]))
    assert certain == pytest.approx(float(td.sarsa(Q_TM1, 1, 0.5, GAMMA, Q_T, 2)))


def test_double_q_learning_chooses_with_one_network_and_judges_with_the_other(compiled):
    # the selector prefers action 1, which the judging values put at 0, not at their own maximum 4
    error = compiled(td.double_q_learning)(Q_TM1, 1, 0.5, GAMMA, Q_T, SELECTOR)
    assert error == pytest.approx(-1.5)  # 0.5 + 0.9 * 0 - 2
    assert compiled(td.double_q_learning)(Q_TM1, 1, 0.5, GAMMA, SELECTOR, Q_T) == pytest.approx(-1.5)
    assert compiled(td.double_q_learning)(Q_TM1, 1, 0.5, GAMMA, SELECTOR, SELECTOR) == pytest.approx(
        3.0
    )  # 0.5 + 4.5 - 2


def test_double_q_learning_with_one_network_is_q_learning(compiled):
    double = compiled(td.double_q_learning)(Q_TM1, 2, 1.0, GAMMA, Q_T, Q_T)
    assert double == pytest.approx(float(compiled(td.q_learning)(Q_TM1, 2, 1.0, GAMMA, Q_T)))


def test_double_q_learning_drops_the_bootstrap_at_the_end(compiled):
    assert compiled(td.double_q_learning)(Q_TM1, 0, 0.5, 0.0, Q_T, SELECTOR) == pytest.approx(-0.5)  # 0.5 - 1


@pytest.mark.parametrize(
    ("error", "delta", "loss"),
    [
        (0.0, 1.0, 0.0),
        (0.5, 1.0, 0.125),  # 0.5^2 / 2
        (-0.5, 1.0, 0.125),
        (1.0, 1.0, 0.5),  # both branches agree where they meet
        (2.0, 1.0, 1.5),  # 1 * (2 - 1 / 2)
        (-3.0, 2.0, 4.0),  # 2 * (3 - 2 / 2)
    ],
)
def test_huber_is_square_inside_and_straight_outside(compiled, error, delta, loss):
    assert compiled(td.huber)(error, delta) == pytest.approx(loss)


@pytest.mark.parametrize(("error", "slope"), [(0.25, 0.25), (-0.5, -0.5), (7.0, 1.0), (-7.0, -1.0), (0.0, 0.0)])
def test_the_gradient_of_huber_is_the_error_clipped(compiled, error, slope):
    assert compiled(jax.grad(td.huber))(error) == pytest.approx(slope)


def test_a_huge_delta_leaves_the_squared_loss_and_its_gradient(compiled):
    assert compiled(td.huber)(3.0, 1e9) == pytest.approx(4.5)
    assert compiled(jax.grad(td.huber))(3.0, 1e9) == pytest.approx(3.0)


# Against rlax: random inputs


@pytest.mark.parametrize(
    ("mine", "theirs", "arguments"),
    [
        (td.td_learning, rlax.td_learning, "v r discount w"),
        (td.sarsa, rlax.sarsa, "q a r discount p b"),
        (td.expected_sarsa, rlax.expected_sarsa, "q a r discount p probs"),
        (td.q_learning, rlax.q_learning, "q a r discount p"),
        (td.double_q_learning, rlax.double_q_learning, "q a r discount p selector"),
        (td.huber, rlax.huber_loss, "v delta"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_the_errors_are_rlax(mine, theirs, arguments):
    keys = jax.random.split(jax.random.key(1), 9)
    count, actions = 50, 4
    drawn = {name: 2 * jax.random.normal(key, (count,)) for name, key in zip("vrw", keys[:3], strict=True)}
    drawn |= {
        name: jax.random.normal(key, (count, actions))
        for name, key in zip(("q", "p", "selector"), keys[3:6], strict=True)
    }
    drawn |= {name: jax.random.randint(key, (count,), 0, actions) for name, key in zip("ab", keys[6:8], strict=True)}
    drawn |= {"probs": jax.nn.softmax(drawn["selector"]), "delta": jnp.full(count, 0.7)}
    drawn["discount"] = 0.9 * jax.random.bernoulli(keys[8], 0.8, (count,))
    given = [drawn[name] for name in arguments.split()]
    np.testing.assert_allclose(jax.vmap(mine)(*given), jax.vmap(theirs)(*given), rtol=1e-5, atol=1e-6)
