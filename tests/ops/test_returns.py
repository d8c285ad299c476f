"""Advantages and discounted sums against numbers worked by hand, and against rlax."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.ops import returns, td
from tests.ops.reference import rlax

GAMMA, LAMBDA = 0.5, 0.5
R_T = jnp.array([1.0, 2.0, 3.0])
V_TM1 = jnp.array([1.0, 1.0, 1.0])
V_T = jnp.array([1.0, 1.0, 2.0])
NEVER = jnp.array([False, False, False])
MIDDLE = jnp.array([False, True, False])


def advantages(compiled, terminated, truncated, gae_lambda=LAMBDA):
    continues_t = 1.0 - (terminated | truncated)
    discount_t = td.discount(terminated, GAMMA)
    return compiled(returns.generalised_advantage)(R_T, discount_t, V_TM1, V_T, continues_t, gae_lambda)


def test_advantages_by_hand(compiled):
    # delta = (1 + .5 - 1, 2 + .5 - 1, 3 + 1 - 1) = (.5, 1.5, 3); a step back weighs .5 * .5
    # A_2 = 3, A_1 = 1.5 + 3 / 4 = 2.25, A_0 = .5 + 2.25 / 4 = 1.0625
    np.testing.assert_allclose(advantages(compiled, NEVER, NEVER), [1.0625, 2.25, 3.0], rtol=1e-6)


def test_truncation_keeps_the_bootstrap_and_stops_the_sum(compiled):
    # delta_1 = 2 + .5 * 1 - 1 = 1.5 stands; A_2 does not flow over the cut: A_1 = 1.5, A_0 = .5 + 1.5 / 4
    np.testing.assert_allclose(advantages(compiled, NEVER, MIDDLE), [0.875, 1.5, 3.0], rtol=1e-6)


def test_termination_drops_the_bootstrap_and_stops_the_sum(compiled):
    # delta_1 = 2 - 1 = 1; A_1 = 1, A_0 = .5 + 1 / 4
    np.testing.assert_allclose(advantages(compiled, MIDDLE, NEVER), [0.75, 1.0, 3.0], rtol=1e-6)


def test_a_step_both_terminated_and_truncated_is_terminated(compiled):
    np.testing.assert_allclose(advantages(compiled, MIDDLE, MIDDLE), advantages(compiled, MIDDLE, NEVER), rtol=1e-6)


def test_lambda_zero_is_the_one_step_error(compiled):
    np.testing.assert_allclose(advantages(compiled, NEVER, NEVER, 0.0), [0.5, 1.5, 3.0], rtol=1e-6)


def test_lambda_one_is_the_return_less_the_value(compiled):
    # G_2 = 3 + .5 * 2 = 4, G_1 = 2 + .5 * 4 = 4, G_0 = 1 + .5 * 4 = 3
    np.testing.assert_allclose(advantages(compiled, NEVER, NEVER, 1.0), [2.0, 3.0, 3.0], rtol=1e-6)


def test_the_value_of_the_true_successor_is_used_not_the_next_state_left(compiled):
    # after a cut the next row belongs to another episode: v_t[1] = 10 is the successor, v_tm1[2] = 1 is not
    v_t = jnp.array([1.0, 10.0, 2.0])
    discount_t, continues_t = td.discount(NEVER, GAMMA), 1.0 - MIDDLE
    answer = compiled(returns.generalised_advantage)(R_T, discount_t, V_TM1, v_t, continues_t, LAMBDA)
    assert answer[1] == pytest.approx(6.0)  # 2 + .5 * 10 - 1


def lambda_returns(compiled, terminated, truncated, trace_lambda=LAMBDA):
    discount_t, continues_t = td.discount(terminated, GAMMA), 1.0 - (terminated | truncated)
    return compiled(returns.lambda_return)(R_T, discount_t, V_T, continues_t, trace_lambda)


def test_lambda_returns_by_hand(compiled):
    # g_2 = 3 + .5 * 2 = 4; g_1 = 2 + .5 (.5 * 1 + .5 * 4) = 3.25; g_0 = 1 + .5 (.5 * 1 + .5 * 3.25) = 2.0625
    np.testing.assert_allclose(lambda_returns(compiled, NEVER, NEVER), [2.0625, 3.25, 4.0], rtol=1e-6)
    # a cut: g_1 = 2 + .5 * 1 = 2.5, g_0 = 1 + .5 (.5 * 1 + .5 * 2.5); an end: g_1 = 2, g_0 = 1 + .5 (.5 + .5 * 2)
    np.testing.assert_allclose(lambda_returns(compiled, NEVER, MIDDLE), [1.875, 2.5, 4.0], rtol=1e-6)
    np.testing.assert_allclose(lambda_returns(compiled, MIDDLE, NEVER), [1.75, 2.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize("trace_lambda", [0.0, 0.3, 1.0])
def test_lambda_returns_are_values_and_generalised_advantages(compiled, trace_lambda):
    g = lambda_returns(compiled, NEVER, MIDDLE, trace_lambda)
    np.testing.assert_allclose(g - V_TM1, advantages(compiled, NEVER, MIDDLE, trace_lambda), rtol=1e-6)


def n_step(compiled, terminated, over):
    return [float(value) for value in compiled(returns.n_step)(R_T, terminated, over, GAMMA)]


def test_n_step_return_by_hand(compiled):
    # 1 + .5 * 2 + .25 * 3 = 2.75, then .125 of the value after step 2
    assert n_step(compiled, NEVER, NEVER) == [2.75, 0.125, 2]


def test_an_end_stops_the_n_step_return_and_drops_the_bootstrap(compiled):
    assert n_step(compiled, MIDDLE, MIDDLE) == [2.0, 0.0, 1]


def test_a_cut_stops_the_n_step_return_and_keeps_the_bootstrap(compiled):
    assert n_step(compiled, NEVER, MIDDLE) == [2.0, 0.25, 1]


def test_an_end_after_the_cut_belongs_to_another_episode(compiled):
    last = jnp.array([False, False, True])
    assert n_step(compiled, last, MIDDLE) == [2.0, 0.25, 1]


def test_one_step_is_the_reward_and_the_plain_discount(compiled):
    for terminated in (False, True):
        ends = jnp.array([terminated])
        total, discount_t, last = compiled(returns.n_step)(R_T[:1], ends, ends, GAMMA)
        assert (total, discount_t, last) == (1.0, td.discount(ends, GAMMA)[0], 0)


def test_sums_run_forward_and_forget_each_episode(compiled):
    # 4 comes in: .5 * 4 + 1 = 3; .5 * 3 + 2 = 3.5, the end; 3; .5 * 3 + 4 = 5.5
    carry, sums = compiled(returns.discounted_sums)(
        jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([1.0, 0.0, 1.0, 1.0]), 0.5, jnp.float32(4.0)
    )
    np.testing.assert_allclose(sums, [3.0, 3.5, 3.0, 5.5], rtol=1e-6)
    assert carry == pytest.approx(5.5)


def test_no_sum_is_carried_out_of_an_episode_that_ended(compiled):
    carry, sums = compiled(returns.discounted_sums)(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), 0.5, jnp.float32(0))
    np.testing.assert_allclose(sums, [1.0, 2.5], rtol=1e-6)
    assert carry == 0.0


def test_sums_of_two_blocks_are_those_of_one(compiled):
    reward, continues = jnp.arange(6.0), jnp.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    _, whole = compiled(returns.discounted_sums)(reward, continues, 0.9, jnp.float32(0))
    carry, first = compiled(returns.discounted_sums)(reward[:2], continues[:2], 0.9, jnp.float32(0))
    _, second = compiled(returns.discounted_sums)(reward[2:], continues[2:], 0.9, carry)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, rtol=1e-6)


def test_discounted_returns_by_hand(compiled):
    g = compiled(returns.discounted)(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.5, 0.1]), jnp.float32(10.0))
    np.testing.assert_allclose(g, [3.0, 4.0, 4.0])  # 1 + 4 / 2, 2 + 4 / 2, 3 + 10 / 10


def test_the_first_visit_is_the_first_of_its_episode(compiled):
    visited, over = jnp.array([1, 2, 1, 1, 2, 2]), jnp.array([False, False, True, False, False, False])
    assert compiled(returns.first_visit)(visited, over).tolist() == [True, True, False, True, True, False]


def test_first_visits_are_those_of_a_plain_loop(compiled):
    rng = np.random.default_rng(0)
    visited, over = rng.integers(-3, 9, 500), rng.random(500) < 0.05
    wanted, seen = [], set()
    for place, ends in zip(visited.tolist(), over, strict=True):
        wanted.append(place not in seen)
        seen = set() if ends else seen | {place}
    assert compiled(returns.first_visit)(jnp.array(visited), jnp.array(over)).tolist() == wanted


def test_first_visits_of_a_long_block_take_little_memory():
    steps = jax.ShapeDtypeStruct((20_000,), jnp.int32), jax.ShapeDtypeStruct((20_000,), bool)
    memory = jax.jit(returns.first_visit).lower(*steps).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**21  # a matrix of all pairs takes 400 MB


def corrected(compiled, rho, terminated=NEVER, truncated=NEVER, **clips):
    continues_t = 1.0 - (terminated | truncated)
    discount_t = td.discount(terminated, GAMMA)
    function = compiled(lambda rho: returns.vtrace(R_T, discount_t, V_TM1, V_T, continues_t, rho, **clips))
    return function(jnp.array(rho))


def test_vtrace_by_hand(compiled):
    # rho = (1/2, 2 clipped to 1, 1): delta = (.25, 1.5, 3)
    # vs_2 = 1 + 3, vs_1 = 1 + 1.5 + .5 * 3 = 4, vs_0 = 1 + .25 + .5 * .5 * (4 - 1) = 2
    # A = (.5 (1 + .5 * 4 - 1), 2 + .5 * 4 - 1, 3 + .5 * 2 - 1)
    vs, advantage = corrected(compiled, [0.5, 2.0, 1.0])
    np.testing.assert_allclose(vs, [2.0, 4.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(advantage, [1.0, 3.0, 3.0], rtol=1e-6)


def test_vtrace_of_the_policy_that_acted_is_its_return(compiled):
    vs, advantage = corrected(compiled, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(vs, [3.0, 4.0, 4.0], rtol=1e-6)  # as in the test of lambda one above
    np.testing.assert_allclose(advantage, vs - V_TM1, rtol=1e-6)


def test_vtrace_does_not_look_past_a_cut_and_keeps_its_bootstrap(compiled):
    # after step 1: delta_1 = 2 + .5 - 1 = 1.5 stands alone, whatever comes after
    vs, advantage = corrected(compiled, [1.0, 1.0, 1.0], truncated=MIDDLE)
    np.testing.assert_allclose(vs, [2.25, 2.5, 4.0], rtol=1e-6)
    np.testing.assert_allclose(advantage, [1.25, 1.5, 3.0], rtol=1e-6)


# Against rlax: random inputs. It knows one flag, a discount of 0, so truncation has to be judged by hand, above.


class Drawn(NamedTuple):
    """A trajectory in which one step, the same for all, terminates."""

    r_t: np.ndarray
    discount_t: np.ndarray
    v: np.ndarray  # [T + 1]
    rho: np.ndarray
    continues_t: np.ndarray


@pytest.fixture(params=range(3))
def drawn(request):
    rng = np.random.default_rng(request.param)
    r_t, v, rho = (rng.normal(size=n).astype(np.float32) for n in (6, 7, 6))
    continues_t = np.float32([1, 1, 0, 1, 1, 1])
    return Drawn(r_t, 0.9 * continues_t, v, np.exp(rho), continues_t)


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_discounted_returns_are_rlax(compiled, drawn):
    ours = compiled(returns.discounted)(drawn.r_t, drawn.discount_t, drawn.v[-1])
    assert_same(ours, rlax.discounted_returns(drawn.r_t, drawn.discount_t, drawn.v[-1]))


@pytest.mark.parametrize("trace_lambda", [0.0, 0.7, 1.0])
def test_lambda_returns_are_rlax(compiled, drawn, trace_lambda):
    ours = compiled(returns.lambda_return)(drawn.r_t, drawn.discount_t, drawn.v[1:], drawn.continues_t, trace_lambda)
    assert_same(ours, rlax.lambda_returns(drawn.r_t, drawn.discount_t, drawn.v[1:], trace_lambda))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_advantages_are_rlax(compiled, drawn, gae_lambda):
    v_tm1, v_t = drawn.v[:-1], drawn.v[1:]
    ours = compiled(returns.generalised_advantage)(
        drawn.r_t, drawn.discount_t, v_tm1, v_t, drawn.continues_t, gae_lambda
    )
    theirs = rlax.truncated_generalized_advantage_estimation(drawn.r_t, drawn.discount_t, gae_lambda, drawn.v)
    assert_same(ours, theirs)


@pytest.mark.parametrize("n", [1, 3])
def test_n_step_returns_are_rlax(compiled, drawn, n):
    theirs = rlax.n_step_bootstrapped_returns(drawn.r_t, drawn.discount_t, drawn.v[1:], n)
    terminated = 1.0 - drawn.continues_t
    for begin in range(len(drawn.r_t) - n + 1):
        steps = slice(begin, begin + n)
        total, discount, last = compiled(returns.n_step)(drawn.r_t[steps], terminated[steps], terminated[steps], 0.9)
        assert_same(total + discount * drawn.v[1:][begin + int(last)], theirs[begin])


def test_vtrace_is_rlax(compiled, drawn):
    v_tm1, v_t = drawn.v[:-1], drawn.v[1:]
    ours = compiled(returns.vtrace)(drawn.r_t, drawn.discount_t, v_tm1, v_t, drawn.continues_t, drawn.rho)
    theirs = rlax.vtrace_td_error_and_advantage(v_tm1, v_t, drawn.r_t, drawn.discount_t, drawn.rho)
    assert_same(ours[0] - v_tm1, theirs.errors)
    assert_same(ours[1], theirs.pg_advantage)
