"""Searches: one population told by hand, their references, quadratics, and how policies are shared out and scored."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from gymnasium.spaces import Box, Discrete
from jax.flatten_util import ravel_pytree

from polyak.agent import Spec, Step
from polyak.algorithms import ALGORITHMS
from polyak.algorithms.search.ars import ARS
from polyak.algorithms.search.cem import CEM
from polyak.algorithms.search.cma_es import CMAES, principal_axes
from polyak.algorithms.search.genetic import Genetic
from polyak.algorithms.search.hill_climbing import HillClimbing
from polyak.algorithms.search.nelder_mead import NelderMead
from polyak.algorithms.search.openai_es import OpenAIES
from polyak.algorithms.search.random_search import RandomSearch
from polyak.algorithms.search.simulated_annealing import SimulatedAnnealing
from polyak.errors import BadSetting
from polyak.ops.evolution import Adaptation
from polyak.parts.networks import MLP
from polyak.parts.population import Elite
from polyak.settings import build
from tests.speeds import slow

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for packages that draw
    import cma

KEY, START = jax.random.key(0), jnp.float32(0.0)
EVERY = {kind.name: kind for kind in ALGORITHMS.values() if hasattr(kind, "search")}


def many(ask, state, count: int):
    """[count, P, D] populations that a search asks for."""
    return jax.jit(jax.vmap(ask, (None, 0)))(state, jax.random.split(KEY, count))


def column(*numbers):
    """Members of one parameter each."""
    return jnp.array(numbers, jnp.float32)[:, None]


def told(search, state, members, *scores, progress=0.0, key=KEY):
    return jax.jit(search.tell)(state, members, jnp.array(scores, jnp.float32), key, jnp.float32(progress))


# ---- one population, by hand


def test_random_search_keeps_the_best_guess_and_tries_it_again():
    search = RandomSearch().search(3)
    state = search.init(KEY, jnp.zeros(1))
    state = told(search, state, column(0, 1, -2), 1, 3, 2)
    np.testing.assert_array_equal(search.best(state), [1])
    state = told(search, state, column(1, 5, 6), 2, 2.5, 2)  # it earned 3 and 2
    np.testing.assert_array_equal(search.best(state), [1])
    state = told(search, state, column(1, 7, 8), -2, 0, 1.5)  # it earned 3, 2 and -2
    np.testing.assert_array_equal(search.best(state), [8])
    np.testing.assert_array_equal(search.ask(state, KEY)[0], [8])


def test_hill_climbing_looks_farther_after_a_success_and_nearer_after_a_failure():
    search = HillClimbing(sigma=0.4, largest_sigma=0.6).search(3)
    state = search.init(KEY, jnp.zeros(1))
    state = told(search, state, column(0, 1, 2), 2, 0, 1)
    assert (search.best(state), state.sigma) == (0, pytest.approx(0.4 * 2**-0.25))
    state = told(search, state, column(0, 3, 4), -1, 0, 1)  # it earned 2 and -1
    assert (search.best(state), state.sigma) == (4, pytest.approx(0.6))
    state = state._replace(sigma=jnp.float32(0.1))
    state = told(search, state, column(4, 5, 6), 1, 1, 1)
    assert (search.best(state), state.sigma) == (4, pytest.approx(0.2))


def test_simulated_annealing_takes_a_worse_policy_as_often_as_it_should():
    search = SimulatedAnnealing(temperature=2.0).search(4)
    state = search.init(KEY, jnp.zeros(1))._replace(x=column(0, 10))
    # the first search stands at 0, which earned 3, and may move to 1, which earned 1; the second is offered better
    tries = 4_000
    told_of = jax.jit(jax.vmap(lambda key: told(search, state, column(0, 10, 1, 11), 3, 3, 1, 4, key=key)))
    after = told_of(jax.random.split(KEY, tries))
    taken, p = int((after.x[:, 0, 0] == 1).sum()), np.exp(-1.0)
    assert abs(taken - tries * p) < 4.0 * (tries * p * (1.0 - p)) ** 0.5
    np.testing.assert_array_equal(after.score[:, 0], jnp.where(after.x[:, 0, 0] == 1, 1, 3))
    assert (after.x[:, 1] == 11).all() and (after.score[:, 1] == 4).all()


def test_simulated_annealing_cools_geometrically_and_keeps_means_of_scores():
    search = SimulatedAnnealing(temperature=10.0, final_temperature=0.1, sigma=0.5, final_sigma=0.02).search(2)
    state = search.init(KEY, jnp.zeros(1))._replace(x=column(0))
    state = told(search, state, column(0, 1), 4, -1e9, progress=0.5)
    assert (float(state.temperature), float(state.sigma)) == (pytest.approx(1.0), pytest.approx(0.1))
    state = told(search, state, column(0, 1), 1, -1e9, progress=1.0)
    assert (float(state.score[0]), float(state.tries[0])) == (2.5, 2)
    assert (float(state.temperature), float(state.sigma)) == (pytest.approx(0.1), pytest.approx(0.02))


def test_simulated_annealing_acts_as_the_best_of_its_places():
    search = SimulatedAnnealing().search(4)
    state = search.init(KEY, jnp.zeros(1))._replace(x=column(6, 7), score=jnp.array([1.0, 2.0]))
    assert search.best(state) == 7


def test_the_genetic_algorithm_keeps_the_best_and_breeds_from_them():
    search = Genetic(elite_share=0.5, mutation_rate=0.0).search(4)
    x = jnp.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    state = told(search, search.init(KEY, jnp.zeros(2)), x, 0, 2, 1, 5)
    np.testing.assert_array_equal(state.elite.x, x[jnp.array([3, 1])])
    np.testing.assert_array_equal(search.best(state), x[3])
    asked = many(search.ask, state, 50)
    assert (asked[:, :2] == state.elite.x).all()
    children = np.asarray(asked[:, 2:]).reshape(-1, 2)
    assert {tuple(child) for child in children} == {(1, 1), (3, 3), (1, 3), (3, 1)}


def test_parents_of_the_genetic_algorithm_are_the_best_of_a_tournament():
    # of two places the better is drawn unless all k draws show the other: 1 - 2^-k
    for size, p in ((1, 0.5), (3, 0.875)):
        search = Genetic(elite_share=0.5, mutation_rate=0.0, crossover_rate=0.0, tournament_size=size).search(4)
        state = told(search, search.init(KEY, jnp.zeros(1)), column(0, 1, 2, 3), 0, 2, 1, 5)
        asked = many(search.ask, state, 1_000)[:, 2:]
        best = int((asked == 3).sum())
        assert abs(best - 2_000 * p) < 4.0 * (2_000 * p * (1.0 - p)) ** 0.5


def test_the_genetic_algorithm_mutates_as_many_genes_as_it_says():
    search = Genetic(elite_share=0.5, mutation_rate=0.25, sigma=0.3).search(8)
    state = search.init(KEY, jnp.zeros(1_000))
    state = state._replace(elite=Elite.of(jnp.zeros((4, 1_000))))
    children = np.asarray(search.ask(state, KEY)[4:]).ravel()
    assert abs((children != 0).sum() - 1_000) < 4.0 * (4_000 * 0.25 * 0.75) ** 0.5
    assert children[children != 0].std() == pytest.approx(0.3, rel=0.1)


def test_cem_takes_mean_and_deviation_of_the_elite_and_adds_noise_that_fades():
    search = CEM(elite_share=0.5, extra_sigma=0.3).search(4)
    state = search.init(KEY, jnp.zeros(1))
    for progress, noise in ((0.0, 0.09), (0.5, 0.045), (1.0, 0.0)):
        state = told(search, state, column(1, 2, 3, 5), 7, 1, 9, 8, progress=progress)
        assert (float(state.mean[0]), float(state.sigma[0])) == (4.0, pytest.approx((1.0 + noise) ** 0.5))


def test_ars_by_hand():
    # directions 1 and 2; nu = 0.5; plus earns 3 and 1, minus 1 and 0, of which the deviation is 1.1875^0.5
    search = ARS(sigma=0.5, learning_rate=0.1).search(4)
    state = search.init(KEY, jnp.zeros(1))
    x = search.best(told(search, state, column(0.5, 1, -0.5, -1), 3, 1, 1, 0))
    assert float(x[0]) == pytest.approx(0.1 / (2 * 1.1875**0.5) * ((3 - 1) * 1 + (1 - 0) * 2))
    # of the better direction alone the returns are 3 and 1, whose deviation is 1
    search = ARS(sigma=0.5, learning_rate=0.1, top_share=0.5).search(4)
    x = search.best(told(search, state, column(0.5, 1, -0.5, -1), 3, 1, 1, 0))
    assert float(x[0]) == pytest.approx(0.1 * (3 - 1) * 1)


def test_cma_es_by_hand():
    # Of 4 members in 1 dimension: weights 0.80416 and 0.19584, mu_eff = 1.45977, c_sigma = 3.45977 / 7.45977, and
    # c_c = 5.45977 / 7.91954, c_1 = 2 / 6.74977, c_mu = 0.78963 / 10.45977. The best are 1 and 0: <y> = 0.80416.
    search = CMAES(sigma=1.0, active=False).search(4)
    state = told(search, search.init(KEY, jnp.zeros(1)), column(1, -1, 2, 0), 4, 2, 1, 3)
    assert float(search.best(state)[0]) == pytest.approx(0.80416, abs=1e-4)
    assert float(state.p_sigma[0]) == pytest.approx((0.46379 * 1.53621 * 1.45977) ** 0.5 * 0.80416, abs=1e-4)
    # c_sigma / d_sigma = 0.46379 / 1.46379, E|N(0, 1)| = 0.79788
    assert float(state.sigma) == pytest.approx(np.exp(0.31684 * (0.82013 / 0.79788 - 1)), abs=1e-4)
    assert float(state.p_c[0]) == pytest.approx((0.68940 * 1.31060 * 1.45977) ** 0.5 * 0.80416, abs=1e-4)
    assert float(state.covariance[0, 0]) == pytest.approx(
        1 - 0.29631 - 0.07549 + 0.29631 * 0.92357**2 + 0.07549 * 0.80416 * 1**2, abs=1e-4
    )


def test_a_simplex_by_hand():
    search = NelderMead(edge=1.0, adaptive=False).search(5)
    state = search.init(KEY, jnp.zeros(2))
    members = search.ask(state, KEY)
    np.testing.assert_array_equal(members, [[0, 0], [1, 0], [0, 1], [0, 0], [1, 0]])
    state = told(search, state, members, 1, 3, 0, 2, 5)  # means 1.5, 4 and 0
    np.testing.assert_array_equal(state.simplex, [[1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(state.scores, [4, 1.5, 0])

    # The worst is (0, 1), the middle of the others (0.5, 0).
    members = search.ask(state, KEY)
    np.testing.assert_array_equal(members, [[1, 0], [1, -1], [1.5, -2], [0.75, -0.5], [0.25, 0.5]])
    # The best was tried three times by now, and has earned 3, 5 and 4; the expansion is better than the reflection.
    expanded = told(search, state, members, 4, 5, 6, 0, 0)
    np.testing.assert_array_equal(expanded.simplex, [[1.5, -2], [1, 0], [0, 0]])
    np.testing.assert_array_equal(expanded.scores, [6, 4, 1.5])
    np.testing.assert_array_equal(expanded.tries, [1, 3, 2])
    for scores, worst in (
        ((4, 5, 5, 0, 0), [1, -1]),  # an expansion that is not better
        ((4, 2, 6, 0, 0), [1, -1]),  # a reflection that is not the best: nobody looks beyond it
        ((4, 1, 6, 1, 0), [0.75, -0.5]),  # one that is the worst but for the old: an outside contraction
        ((4, 0, 6, 9, 0.5), [0.25, 0.5]),  # one that is no better than the old: an inside contraction
    ):
        after = told(search, state, members, *scores).simplex
        assert worst in after.tolist() and [0, 1] not in after.tolist() and [1, 0] in after.tolist(), scores
    for scores in ((4, 1, 6, 0.5, 9), (4, 0, 6, 9, 0)):  # no contraction helps: all move half of the way to (1, 0)
        after = told(search, state, members, *scores)
        np.testing.assert_array_equal(after.simplex, [[1, 0], [0.5, 0], [0.5, 0.5]])
        np.testing.assert_array_equal(search.ask(after, KEY), np.asarray(after.simplex)[[1, 2, 1, 2, 1]])


def test_coefficients_of_gao_and_han():
    assert NelderMead().coefficients(4) == (1.5, 0.625, 0.75)
    assert NelderMead().coefficients(2) == NelderMead(adaptive=False).coefficients(2) == (2.0, 0.5, 0.5)
    assert NelderMead().coefficients(1) == (2.0, 0.5, 0.5)


# ---- what evolution strategies estimate


def estimate_of(search, state, f, key):
    """The estimate of the gradient of f from one population, which is a tenth of Adam's first moment."""
    members = search.ask(state, key)
    after = search.tell(state, members, jax.vmap(f)(members), key, START)
    return -10.0 * after.optimizer_state.first


def test_the_estimated_gradient_is_that_of_ranks_in_a_double_loop():
    search = OpenAIES(sigma=0.1, weight_decay=0.3).search(6)
    state = search.init(KEY, jnp.array([0.5, -1.0, 2.0]))
    members = search.ask(state, KEY)
    scores = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    ranks = [-0.1, -0.4, 0.1, -0.4, 0.3, 0.5]  # 1 and 1 share the places 0 and 1
    np.testing.assert_allclose(members[:3] - state.x, state.x - members[3:], atol=1e-6)
    expected = np.zeros(3)
    for i in range(6):
        for j in range(3):
            expected[j] += ranks[i] * (float(members[i, j]) - float(state.x[j])) / 0.1 / (6 * 0.1)
    expected -= 0.3 * np.asarray(state.x)
    after = told(search, state, members, *scores)
    np.testing.assert_allclose(-10.0 * after.optimizer_state.first, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.x - state.x, 0.05 * np.sign(expected), rtol=1e-4)  # Adam's first step


def test_the_estimated_gradient_of_a_slope_is_unbiased_within_its_interval():
    # Along the slope w the noise z of a member has the rank ((P - 2) Phi(z) + 1[z > 0]) / (P - 1) - 1/2 in expectation:
    # its own mirror image and P - 2 others. E[z Phi(z)] = 1 / (2 sqrt(pi)), and E[z 1[z > 0]] = 1 / sqrt(2 pi).
    w, populations, size, sigma = jnp.array([3.0, -4.0, 0.0]), 4_000, 8, 0.5
    search = OpenAIES(sigma=sigma).search(size)
    state = search.init(KEY, jnp.ones(3))
    keys = jax.random.split(KEY, populations)
    estimates = np.asarray(jax.jit(jax.vmap(lambda key: estimate_of(search, state, lambda x: w @ x, key)))(keys))
    length = ((size - 2) / (2 * np.pi**0.5) + 1 / (2 * np.pi) ** 0.5) / (size - 1) / sigma
    interval = 4.0 * estimates.std(0, ddof=1) / populations**0.5
    assert (abs(estimates.mean(0) - length * np.array([0.6, -0.8, 0.0])) < interval).all()
    assert (interval < 0.05 * length).all()


def test_the_estimate_does_not_change_when_scores_are_bent():
    search = OpenAIES(sigma=0.5).search(8)
    state = search.init(KEY, jnp.ones(3))
    plain, bent = (estimate_of(search, state, f, KEY) for f in (lambda x: x.sum(), lambda x: jnp.exp(3.0 * x.sum())))
    np.testing.assert_array_equal(plain, bent)


# ---- the elite against a list


@pytest.mark.parametrize("seed", range(10))
def test_an_elite_is_a_list_of_the_best_by_the_means_of_their_scores(seed):
    rng, count, size = np.random.default_rng(seed), 1 + seed % 4, 6
    elite = Elite.of(column(*range(count)))
    plain = [(float(i), []) for i in range(count)]  # x and all that it earned
    for turn in range(6):
        new, scores = 100.0 * (turn + 1) + np.arange(size - count), rng.normal(size=size).astype(np.float32)
        elite = elite.after(column(*elite.x[:, 0], *new), jnp.array(scores))
        plain = [(x, [*earned, score]) for (x, earned), score in zip(plain, scores[:count], strict=True)]
        plain += [(x, [score]) for x, score in zip(new, scores[count:], strict=True)]
        plain = sorted(plain, key=lambda one: -np.mean(one[1]))[:count]
        np.testing.assert_array_equal(elite.x[:, 0], [x for x, _ in plain])
        np.testing.assert_array_equal(elite.tries, [len(earned) for _, earned in plain])
        np.testing.assert_allclose(elite.score, [np.mean(earned) for _, earned in plain], rtol=1e-5, atol=1e-6)


def test_of_equals_the_one_that_was_there_before_stays():
    elite = Elite.of(column(0, 1)).after(column(0, 1, 2, 3), jnp.array([1.0, 2.0, 2.0, 1.0]))
    np.testing.assert_array_equal(elite.x[:, 0], [1, 2])
    elite = elite.after(column(1, 2, 4, 5), jnp.array([2.0, 2.0, 2.0, 2.0]))
    np.testing.assert_array_equal(elite.x[:, 0], [1, 2])


# ---- references


def ellipsoid(dimension: int, condition: float, seed: int = 0):
    """A quadratic of 64 bits on turned axes, the least at a random place; float64 [D] -> float."""
    rng = np.random.default_rng(seed)
    turn, centre = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0], rng.normal(size=dimension)
    scale = condition ** np.linspace(0.0, 1.0, dimension)
    return lambda x: float(scale @ np.square(turn @ (np.asarray(x) - centre)))


@pytest.mark.parametrize(
    ("dimension", "size", "sigma", "active"),
    [(5, 10, 0.5, False), (5, 10, 0.5, True), (5, 10, 0.003, True), (3, 40, 1.0, True), (100, 6, 0.5, True)],
)
def test_cma_es_follows_its_reference_step_by_step(dimension, size, sigma, active):
    given = Adaptation.of(size, dimension, active)
    every = max(1, int(0.1 / dimension / (given.c_1 + given.c_mu)))
    assert every == (2 if dimension == 100 else 1)
    options = {"popsize": size, "CMA_active": active, "updatecovwait": every, "seed": 3, "verbose": -9}
    reference = cma.CMAEvolutionStrategy(np.linspace(-1.0, 1.0, dimension), sigma, options)
    # since the tutorial it has come to take these two a little larger
    reference.adapt_sigma.cs, reference.adapt_sigma.damps = given.c_sigma, given.d_sigma
    f, stalls = ellipsoid(dimension, 100.0), 0
    with jax.enable_x64(True):
        search = CMAES(sigma=sigma, active=active).search(size)
        state, tell = search.init(KEY, jnp.linspace(-1.0, 1.0, dimension)), jax.jit(search.tell)
        # it begins with eigenvalues that differ a little
        state = state._replace(covariance=jnp.array(reference.sm.C), lengths=jnp.array(reference.sm.D))
        for _ in range(30):
            members = np.array(reference.ask())
            scores = -np.array([f(x) for x in members])
            state = tell(state, jnp.array(members), jnp.array(scores), KEY, START)
            reference.tell(list(members), list(-scores))
            assert state.mean.dtype == state.covariance.dtype == state.sigma.dtype == np.float64
            for ours, theirs in (
                (state.mean, reference.mean),
                (state.sigma, reference.sigma),
                (state.covariance, reference.sm.C),
                (state.p_sigma, reference.adapt_sigma.ps),
                (state.p_c, reference.pc),
            ):
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)  # it adds 1e-9 to lengths
            stalls += not reference.adapt_sigma.hsig(reference)
    assert sigma > 0.003 or stalls > 10  # steps in one direction, for which sigma was too small


def test_cma_es_draws_from_the_distribution_that_it_says():
    search = CMAES(sigma=2.0).search(20_000)
    state = search.init(KEY, jnp.array([1.0, -1.0]))
    covariance = jnp.array([[2.0, 1.2], [1.2, 1.0]])
    axes, lengths = principal_axes(covariance)
    np.testing.assert_allclose((axes * lengths**2) @ axes.T, covariance, atol=1e-5)
    members = np.asarray(search.ask(state._replace(axes=axes, lengths=lengths), KEY))
    np.testing.assert_allclose(members.mean(0), [1.0, -1.0], atol=4.0 * 2.0 * 2.0**0.5 / 20_000**0.5)
    np.testing.assert_allclose(np.cov(members.T), 4.0 * covariance, atol=0.4)


def rough(x):
    """A bowl full of bumps, on which a simplex often shrinks."""
    return float(np.sum(np.square(x) + np.cos(30.0 * np.asarray(x))))


@pytest.mark.parametrize("size", [5, 16])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
    ("f", "dimension"), [(scipy.optimize.rosen, 2), (scipy.optimize.rosen, 3), (ellipsoid(4, 30.0), 4), (rough, 5)]
)
def test_the_simplex_follows_scipys(f, dimension, adaptive, size):
    moves, shrinks = 50, 0
    x = np.linspace(-1.2, 1.0, dimension)
    simplex = np.concatenate([x[None], x + 0.7 * np.eye(dimension)])
    with jax.enable_x64(True):
        search = NelderMead(edge=0.7, adaptive=adaptive).search(size)
        ask, tell = jax.jit(search.ask), jax.jit(search.tell)
        state = search.init(KEY, jnp.array(x))
        for move in range(moves):
            while True:  # until all vertices are known again
                members = ask(state, KEY)
                state = tell(state, members, jnp.array([-f(x) for x in np.asarray(members)]), KEY, START)
                if state.known == dimension + 1:
                    break
                shrinks += move > 0 and int(state.known) == 1
            options = {"initial_simplex": simplex, "adaptive": adaptive, "maxiter": move + 1, "xatol": 0, "fatol": 0}
            expected, values = scipy.optimize.minimize(f, x, method="Nelder-Mead", options=options).final_simplex
            np.testing.assert_allclose(state.simplex, expected, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(-state.scores, values, rtol=1e-9, atol=1e-9)
    assert f is not rough or shrinks > 2


# ---- quadratics


# How much of the distance to the best score is left, at most, of 12 ellipsoids; measured, and several times as much.
LEFT = {
    "random-search": 0.6,
    "hill-climbing": 1e-4,
    "simulated-annealing": 0.25,
    "genetic": 1e-2,
    "cem": 5e-3,
    "openai-es": 1e-2,
    "ars": 5e-3,
    "cma-es": 1e-10,
    "nelder-mead": 1e-6,
}


@pytest.mark.parametrize("condition", [10.0, slow(100.0)])
@pytest.mark.parametrize("name", EVERY)
def test_a_search_converges_on_turned_ellipsoids(name, condition):
    search, dimension, generations = EVERY[name]().search(16), 5, 200

    def left(key):
        """The share of the distance between the first score and the best that is left in the end."""
        turn_key, centre_key, init_key, key = jax.random.split(key, 4)
        turn = jnp.linalg.qr(jax.random.normal(turn_key, (dimension, dimension)))[0]
        centre = jax.random.normal(centre_key, (dimension,))
        scale = condition ** jnp.linspace(0.0, 1.0, dimension)

        def f(x):
            return -(jnp.square((x - centre) @ turn) @ scale)

        def generation(state, i):
            ask_key, tell_key = jax.random.split(jax.random.fold_in(key, i))
            members = search.ask(state, ask_key)
            return search.tell(state, members, f(members), tell_key, (i + 1) / generations), f(members).max()

        start = jnp.zeros(dimension)
        state, met = jax.lax.scan(generation, search.init(init_key, start), jnp.arange(generations))
        return f(search.best(state)) / f(start), met.max() / f(start)

    acting, met = jax.jit(jax.vmap(left))(jax.random.split(jax.random.key(3), 12))
    assert acting.max() < LEFT[name]
    if name in {"random-search", "hill-climbing", "genetic"}:  # which forget nothing that is better
        np.testing.assert_allclose(acting, met, rtol=1e-5, atol=1e-9)


# ---- policies of a population

SEEN, CHOICES, AMOUNTS = Box(-1.0, 1.0, (3,)), Discrete(2), Box(-1.0, 1.0, (2,))


def agent_of(algorithm, num_envs: int, actions=AMOUNTS, steps: int = 1_000):
    """The agent of an algorithm, compiled."""
    agent = algorithm.agent(Spec(SEEN, actions, num_envs, None, steps))
    return agent._replace(
        init=jax.jit(agent.init),
        act=jax.jit(agent.act, static_argnums=4),
        observe=jax.jit(agent.observe),
        learn=jax.jit(agent.learn),
    )


def block_of(reward, terminated=None, obs=None) -> Step:
    """A block [T, B] in which nothing is truncated."""
    reward = jnp.array(reward, jnp.float32)
    over = jnp.zeros(reward.shape, bool) if terminated is None else jnp.array(terminated, bool)
    obs = jnp.zeros((*reward.shape, 3)) if obs is None else obs
    return Step(obs, jnp.zeros((*reward.shape, 2)), reward, over, jnp.zeros_like(over), obs, ())


@pytest.mark.parametrize("network", ["mlp:none", "mlp:5:tanh"])
@pytest.mark.parametrize("actions", [AMOUNTS, CHOICES], ids=["numbers", "choices"])
def test_environment_i_acts_with_member_i_modulo_the_population(actions, network):
    algorithm = build("cem", {"episodes_per_member": 2, "network": network})
    agent = agent_of(algorithm, 6, actions)
    state = agent.init(KEY)
    obs = jax.random.normal(KEY, (6, 3))
    action = agent.act(state, (), obs, (), True)[0]
    for i in range(6):
        network = jax.tree.map(lambda leaf: leaf[i % 3], state.members)  # noqa: B023
        answer = network(obs[i])
        expected = answer.argmax() if actions is CHOICES else jnp.clip(answer, -1.0, 1.0)
        np.testing.assert_allclose(action[i], expected, rtol=1e-5, atol=1e-6)


def test_the_policy_that_acts_is_the_best_and_needs_no_more_than_its_parameters():
    agent = agent_of(CEM(), 4)
    state = agent.init(KEY)
    kept = agent.policy(state._replace(parameters=jnp.arange(8.0)))
    assert kept.members == () and kept.search == ()
    # parameters are a matrix [2, 3] and two biases, in some order: seen nothing, the biases answer
    action = agent.act(kept, (), jnp.zeros((5, 3)), (), False)[0]
    np.testing.assert_array_equal(action, np.full((5, 2), 1.0))
    action = agent.act(kept._replace(parameters=jnp.full(8, 0.1)), (), jnp.ones((5, 3)), (), False)[0]
    np.testing.assert_allclose(action, np.full((5, 2), 0.4), rtol=1e-6)


def test_only_first_episodes_count_and_a_member_counts_by_the_mean_of_its_environments():
    agent = agent_of(CEM(elite_share=0.5, episodes_per_member=2, extra_sigma=0.0), 8)
    state = agent.init(KEY)
    # Members 0 to 3 play in environments 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    reward = [[1, 0, 4, 0, 1, 0, 0, 1], [9, 2, 0, 0, 1, 2, 0, 1], [9, 9, 0, 0, 1, 2, 0, 1]]
    over = np.zeros((3, 8), bool)
    over[0, 0] = over[1, 1] = True
    # first episodes are worth 1, 2, 4, 0 and 3, 4, 0, 3: means 2, 3, 2, 1.5
    after, metrics = agent.learn(state, block_of(reward, over), KEY)
    assert (float(metrics["session_score"]), float(metrics["best_score"])) == (2.125, 3.0)
    flat = np.asarray(jax.vmap(lambda network: ravel_pytree(network)[0])(state.members))
    np.testing.assert_allclose(after.parameters, flat[:2].mean(0), rtol=1e-5, atol=1e-6)  # of 0 and 2 the first
    members = np.asarray(jax.vmap(lambda network: ravel_pytree(network)[0])(after.members))
    assert (members != flat).all()


def test_scores_that_are_not_finite_move_nothing_but_the_members():
    agent = agent_of(CEM(), 4)
    state = agent.init(KEY)
    after, metrics = agent.learn(state, block_of([[1.0, np.inf, 0.0, 2.0]]), KEY)
    assert np.isnan(metrics["session_score"])
    jax.tree.map(np.testing.assert_array_equal, (after.search, after.parameters), (state.search, state.parameters))


def test_ars_takes_the_bonus_off_every_reward_of_a_first_episode():
    algorithm = ARS(alive_bonus=1.0, sigma=0.5, learning_rate=0.1, normalize_observation=False)
    agent = agent_of(algorithm, 2)
    state = agent.init(KEY)
    over = [[True, False], [False, True]]
    _, metrics = agent.learn(state, block_of([[3.0, 1.0], [7.0, 4.0]], over), KEY)
    assert float(metrics["best_score"]) == 3.0  # 3 - 1 and 1 + 4 - 2
    assert float(metrics["session_score"]) == 2.5


def test_observations_are_normalised_by_the_moments_of_all_steps():
    agent = agent_of(CEM(normalize_observation=True), 4)
    obs = 3.0 + 2.0 * jax.random.normal(KEY, (50, 4, 3))
    state = agent.observe(agent.init(KEY), block_of(np.zeros((50, 4)), obs=obs))
    flat = np.asarray(obs).reshape(-1, 3)
    np.testing.assert_allclose(state.features.mean, flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(state.features.variance, flat.var(0), rtol=1e-4)
    action = agent.act(state, (), obs[0], (), True)[0]
    for i in range(4):
        network = jax.tree.map(lambda leaf: leaf[i], state.members)  # noqa: B023
        seen = (flat[i] - flat.mean(0)) / flat.std(0)
        np.testing.assert_allclose(action[i], jnp.clip(network(jnp.array(seen)), -1.0, 1.0), rtol=1e-3, atol=1e-4)
    assert agent_of(CEM(), 4).init(KEY).features == ()


def test_a_search_learns_how_much_of_the_run_is_over():
    agent = agent_of(SimulatedAnnealing(temperature=10.0, final_temperature=0.1), 4, steps=40)
    block = block_of(np.zeros((5, 4)))
    state = agent.observe(agent.init(KEY), block)
    _, metrics = agent.learn(state, block, KEY)  # 20 steps of 40
    assert float(metrics["temperature"]) == pytest.approx(1.0)


# ---- refusals


@pytest.mark.parametrize(
    ("algorithm", "num_envs", "sentence"),
    [
        (CEM(episodes_per_member=3), 16, "episodes_per_member=3 has to divide the number of environments, 16: each"),
        (CEM(episodes_per_member=32), 16, "episodes_per_member=32 has to divide the number of environments, 16: each"),
        (CEM(), 1, "better of its members: it needs at least 2 members (num_envs / episodes_per_member), not 1."),
        (RandomSearch(), 1, "at least 2 members"),
        (HillClimbing(episodes_per_member=4), 4, "at least 2 members"),
        (Genetic(), 1, "at least 2 members"),
        (CMAES(), 3, "CMA-ES ranks its members: it needs at least 4 members"),
        (NelderMead(episodes_per_member=4), 16, "beside its best vertex: it needs at least 5 members"),
        (OpenAIES(), 5, "num_envs / episodes_per_member has to be even, not 5."),
        (ARS(), 5, "Augmented random search tries members in pairs"),
        (SimulatedAnnealing(episodes_per_member=2), 6, "has to be even, not 3."),
        (CMAES(network=MLP((500,))), 8, "of 3,002 there are too many: take a network of at most 2,000, or openai-es"),
    ],
    ids=lambda value: value.name if dataclasses.is_dataclass(value) else None,
)
def test_populations_that_cannot_be_are_refused_in_one_sentence(algorithm, num_envs, sentence):
    with pytest.raises(BadSetting) as caught:
        agent_of(algorithm, num_envs)
    message = str(caught.value)
    assert sentence in message and "\n" not in message and message.endswith(".")
