"""What the figures of Sutton and Barto's book show, on few runs."""

import numpy as np
import pytest

from benchmarks import figures


@pytest.mark.slow
def test_td_is_better_than_monte_carlo_on_the_random_walk():
    found = figures.example_6_2(runs=20)
    assert found.values.shape == (101, 5)
    np.testing.assert_array_equal(found.values[0], 0.5)
    assert found.td.mean(1).max() < found.mc.mean(1).min()
    assert found.td.min() < found.mc.min()
    for curve in (*found.td, *found.mc):
        assert curve[-1] < 0.5 * curve[0]
        assert curve[10] < curve[0]


@pytest.mark.slow
def test_sarsa_earns_more_than_q_learning_while_it_learns_beside_the_cliff():
    found = figures.figure_6_4(runs=25, episodes=150)
    sarsa, q = (curve[-75:].mean() for curve in found.values())
    assert sarsa > q + 10
    assert all(curve[:5].mean() < curve[-5:].mean() for curve in found.values())


@pytest.mark.slow
def test_exploring_finds_better_arms_than_greed_on_the_testbed():
    found = figures.figure_2_2(problems=300)
    greedy, _, exploring = found.optimal[:, -100:].mean(1)
    assert 0.25 < greedy < 0.45 and 0.7 < exploring < 0.91
    assert found.reward[2, -100:].mean() > found.reward[0, -100:].mean() + 0.2


@pytest.mark.slow
def test_optimism_costs_at_first_and_pays_later():
    hopeful, realistic = figures.figure_2_3(problems=300).values()
    assert hopeful[12:50].mean() < realistic[12:50].mean() - 0.1
    assert hopeful[-100:].mean() > realistic[-100:].mean() + 0.03
    assert hopeful[10] > 2 * max(hopeful[9], hopeful[12])  # after every arm was tried once, the best is


@pytest.mark.slow
def test_upper_confidence_bounds_earn_more_than_chance():
    bounds, epsilon = figures.figure_2_4(problems=300).values()
    assert bounds[-100:].mean() > epsilon[-100:].mean() + 0.05


@pytest.mark.slow
def test_a_baseline_makes_the_gradient_bandit_find_the_best_arm():
    slow, fast, slow_without, fast_without = (
        curve[-100:].mean() for curve in figures.figure_2_5(problems=300).values()
    )
    assert slow > fast > slow_without > fast_without


@pytest.mark.slow
def test_every_method_is_best_in_the_middle_of_its_range_and_bounds_are_best_of_all():
    found = figures.figure_2_6(problems=300)
    assert all(0 < curve.argmax() < len(curve) - 1 for curve in found.values())
    best = {name: curve.max() for name, curve in found.items()}
    assert max(best, key=best.get) == "UCB: c"


RATES = np.array([0.05, 0.2, 0.4, 0.8])


@pytest.mark.slow
def test_an_n_in_the_middle_is_best():
    least = {n: curve.min() for n, curve in figures.figure_7_2(20, (1, 4, 64), RATES).items()}
    assert least[4] < 0.8 * min(least[1], least[64])


@pytest.mark.slow
@pytest.mark.parametrize("measure", [figures.figure_12_3, figures.figure_12_6])
def test_a_lambda_in_the_middle_is_best(measure):
    """With accumulating traces values may grow without bound, where lambda and alpha are both large."""
    least = {number: np.nanmin(curve) for number, curve in measure(20, (0.0, 0.8, 0.99), RATES).items()}
    assert least[0.8] < 0.9 * min(least[0.0], least[0.99])


def test_names_beside_lines_are_kept_apart_and_near_them():
    moved = figures.spread(np.array([0.5, 0.1, 0.51]), 0.1)
    np.testing.assert_allclose(moved, [0.455, 0.1, 0.555])


def test_a_picture_is_drawn_and_said_in_numbers(tmp_path, capsys):
    figures.main(["--out", str(tmp_path), "--only", "6.2", "--runs", "3"])
    picture = (tmp_path / "example-6.2.png").read_bytes()
    assert picture[:4] == b"\x89PNG" and len(picture) < 150_000
    assert "RMS after 100 episodes: TD with alpha" in capsys.readouterr().out
