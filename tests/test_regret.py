"""Regret: beside a plain loop on the same noise, and what its results say."""

import dataclasses
from typing import ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import polyak
from polyak import bandit_regret, bandits
from polyak.agent import Agent, Spec, no_memory
from polyak.bandit_regret import Game
from polyak.cli import main
from polyak.errors import BadSetting, UnknownName

GREEDY = polyak.ActionValueBandit(exploration=polyak.Greedy())


def fixed(*means: float, comparator="best_now", flips: bool = False, spoilt: float = 0.0) -> polyak.Bandit:
    """Pays the means and no less; with `flips`, to the arms from the other end in every other pull."""
    paid = jnp.array(means)

    def now(problem, obs):
        return jnp.where(problem % 2 == 1, paid[::-1], paid) if flips else paid

    return polyak.Bandit(
        "bandit/fixed",
        gymnasium.spaces.Discrete(1),
        gymnasium.spaces.Discrete(len(means)),
        draw=lambda key: jnp.int32(0),
        noise=jax.random.uniform,
        context=lambda problem, noise: jnp.int32(0),
        means=now,
        pull=lambda problem, obs, action, noise: now(problem, obs)[action] + spoilt,
        advance=lambda problem, noise: problem + 1,
        comparator=comparator,
    )


@dataclasses.dataclass(frozen=True)
class OneArm:
    """Always pulls the same arm, and learns nothing from blocks of `block_length` pulls."""

    name: ClassVar[str] = "one-arm"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    block_length: int = 1
    arm: int = 0

    def agent(self, spec: Spec) -> Agent:
        def act(state, carry, obs, noise, explore):
            return jnp.full(obs.shape[:1], self.arm), carry, ()

        def learn(state, block, key):
            return state, {}

        def same(state, *_):
            return state

        return Agent(lambda key: jnp.zeros(1), no_memory, lambda key, shape: (), act, same, learn, same)


def test_it_is_what_a_plain_loop_measures_with_the_same_noise():
    """UCB on three Bernoulli arms, forty pulls of five problems, in NumPy."""
    pulls, problems, c = 40, 5, 0.8
    algorithm = polyak.ActionValueBandit(exploration=polyak.UCB(c))
    bandit = bandits.bernoulli(3)
    found = polyak.regret(algorithm, bandit, pulls, problems, seed=7)
    game = Game.of(algorithm, bandit, pulls)
    regrets, rewards, optimal = np.zeros((3, problems, pulls))
    for i in range(problems):
        playing = game.start(jax.random.fold_in(jax.random.key(7), i))
        ties, coins, _ = game._noise(playing, jnp.int32(0))
        ties, coins, p = (np.asarray(leaf, np.float64).ravel() for leaf in (ties, coins, playing.problem))
        sums, counts = np.zeros(3), np.zeros(3)
        for t in range(pulls):
            with np.errstate(divide="ignore", invalid="ignore"):
                bounds = np.where(counts > 0, sums / counts + c * np.sqrt(np.log(max(t, 1)) / counts), np.inf)
            best = np.flatnonzero(bounds >= bounds.max() - 1e-6)
            arm = best[int(ties[t] * len(best))]
            paid = float(coins[t] < p[arm])
            sums[arm], counts[arm] = sums[arm] + paid, counts[arm] + 1
            regrets[i, t], rewards[i, t], optimal[i, t] = p.max() - p[arm], paid, p[arm] == p.max()
    np.testing.assert_allclose(found.regret, regrets.cumsum(1).mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.final, regrets.sum(1), rtol=1e-5)
    np.testing.assert_allclose(found.reward, rewards.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.optimal, optimal.mean(0), rtol=1e-6)
    low, high = stats.t.interval(0.95, problems - 1, regrets.sum(1).mean(), stats.sem(regrets.sum(1)))
    np.testing.assert_allclose(found.interval, (low, high), rtol=1e-4)


def test_regret_is_against_the_best_of_every_pull_or_against_one_arm_in_hindsight():
    """Arms pay (0, 3) and (3, 0) by turns: who always pulls the first earns 0, 3, 0, 3, 0."""
    of_each = polyak.regret(OneArm(), fixed(0.0, 3.0, flips=True), pulls=5, problems=2)
    np.testing.assert_allclose(of_each.regret, [3.0, 3.0, 6.0, 6.0, 9.0])
    np.testing.assert_allclose(of_each.optimal, [0.0, 1.0, 0.0, 1.0, 0.0])
    of_arm = polyak.regret(OneArm(), fixed(0.0, 3.0, flips=True, comparator="best_arm"), pulls=5, problems=2)
    np.testing.assert_allclose(of_arm.regret, [3.0, 0.0, 3.0, 0.0, 3.0])  # the other has earned 3, 3, 6, 6, 9
    np.testing.assert_allclose(of_arm.reward, [0.0, 3.0, 0.0, 3.0, 0.0])


@pytest.mark.parametrize("comparator", ["best_now", "best_arm"])
def test_small_regrets_are_not_lost_beside_large_sums(comparator):
    bandit = fixed(1.0, 1.0 + 2**-10, comparator=comparator)
    found = polyak.regret(OneArm(), bandit, pulls=50_000, problems=2)
    np.testing.assert_allclose(found.regret, np.arange(1, 50_001) * 2**-10, rtol=1e-5)


def test_how_many_problems_are_learnt_side_by_side_changes_nothing(monkeypatch):
    whole = polyak.regret("exp3", "bandit/bernoulli", pulls=300, problems=7)
    monkeypatch.setattr(bandit_regret, "BYTES", 3 * Game.of(polyak.EXP3(), bandits.bernoulli(), 300).bytes())
    pieces = polyak.regret("exp3", "bandit/bernoulli", pulls=300, problems=7)  # three, three and one
    np.testing.assert_allclose(whole.final, pieces.final, rtol=1e-5)
    for name in ("regret", "low", "high", "reward", "optimal"):
        np.testing.assert_allclose(getattr(whole, name), getattr(pieces, name), rtol=1e-5, err_msg=name)


def test_all_algorithms_are_paid_alike_whatever_their_blocks():
    one, seven = (polyak.regret(OneArm(length), bandits.drifting(), pulls=300, problems=3) for length in (1, 7))
    np.testing.assert_allclose(one.reward, seven.reward, rtol=1e-5)
    np.testing.assert_allclose(one.regret, seven.regret, rtol=1e-4)
    assert len(seven.regret) == 300
    assert (polyak.regret(OneArm(), bandits.drifting(), 300, 3, seed=1).reward != one.reward).all()


def test_a_block_is_learnt_from_when_it_is_over_and_not_before_learning_starts():
    """Greedy on (-1, 1) pulls the first arm until it has learnt what that pays."""

    @dataclasses.dataclass(frozen=True)
    class Late:
        name: ClassVar[str] = "late"
        starts_at_reset: ClassVar[bool] = False
        block_length: int = 1
        learning_starts: int = 0

        def agent(self, spec: Spec) -> Agent:
            return GREEDY.agent(spec)

    for late, first in ((Late(), 1), (Late(1, 8), 9), (Late(4), 4), (Late(4, 6), 12)):
        found = polyak.regret(late, fixed(-1.0, 1.0), pulls=20, problems=2)
        assert found.optimal.tolist() == [0.0] * first + [1.0] * (20 - first)
        assert found.mean == 2.0 * first


def test_algorithms_that_know_nothing_of_bandits_learn_too():
    found = polyak.regret(polyak.MonteCarlo(n_steps=16), fixed(0.0, 1.0), pulls=100, problems=20)
    assert found.optimal[-20:].mean() > 0.9
    assert found.algorithm == "monte-carlo, n_steps=16"


def test_problems_are_paired():
    worse = polyak.regret(OneArm(), "bandit/gaussian", pulls=50, problems=30)
    better = polyak.regret(polyak.ThompsonSampling(polyak.NormalPrior()), "bandit/gaussian", pulls=50, problems=30)
    more, low, high = better.less(worse)
    differences = worse.final - better.final
    assert more == pytest.approx(differences.mean())
    expected = stats.t.interval(0.95, 29, differences.mean(), stats.sem(differences))
    np.testing.assert_allclose((low, high), expected)
    assert low > 0
    with pytest.raises(BadSetting, match="only results on the same problems are compared"):
        better.less(polyak.regret(OneArm(), "bandit/gaussian", pulls=51, problems=30))


def test_a_number_that_is_not_finite_is_told_in_a_sentence():
    with pytest.raises(BadSetting, match=r"^What action-value-bandit learnt on bandit/fixed became infinite or NaN;"):
        polyak.regret(GREEDY, fixed(0.0, 1.0, spoilt=float("inf")), pulls=10, problems=2)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("exp3", "bandit/gaussian", 0), BadSetting, "regret's pulls=0 is not a whole number from 1 to"),
        (("exp3", "bandit/gaussian", 10, 1), BadSetting, "regret's problems=1 is not a whole number from 2 to"),
        (("exp4", "bandit/gaussian"), UnknownName, "no algorithm named 'exp4'; did you mean exp3"),
        (("exp3", "bandit/gauss"), UnknownName, "no bandit named 'bandit/gauss'; did you mean bandit/gaussian"),
        (("exp3", "CartPole-v1"), UnknownName, "no bandit named 'CartPole-v1'"),
        (("exp3", 3), BadSetting, "regret takes a bandit, as bandit/gaussian or polyak.bandits.gaussian"),
        ((polyak.EXP3, "bandit/gaussian"), BadSetting, "regret takes an algorithm, its name or one with settings"),
        ((polyak.EXP3(2.0), "bandit/gaussian"), BadSetting, "exploration_rate is 2.0; it must be more than 0"),
        (("exp3", "bandit/linear"), BadSetting, "EXP3 keeps a table, so it needs discrete observations"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        polyak.regret(*arguments)


# ---- pictures, and the command


def results(pulls: int = 30):
    return [polyak.regret(OneArm(arm=arm), fixed(0.0, 1.0, 0.5), pulls, 3) for arm in (0, 1)]


def test_results_are_drawn_together(tmp_path):
    worse, best = results()
    picture = polyak.draw_regret([worse, best], path=tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    (axes,) = picture.figure.axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["one-arm"], np.arange(1, 31))
    np.testing.assert_allclose(lines["one-arm, arm=1"], np.zeros(30))
    assert picture.title == "bandit/fixed" and axes.get_xlabel() == "pulls of each problem"
    shares = polyak.draw_regret([worse, best], "optimal", path=tmp_path / "o.svg").figure.axes[0].lines
    assert [line.get_ydata()[-1] for line in shares] == [0.0, 1.0]
    assert worse.plot(tmp_path / "one.png").path == tmp_path / "one.png"


def test_long_curves_are_thinned_and_rewards_averaged(tmp_path):
    (axes,) = polyak.draw_regret(results(5_000)[0], path=tmp_path / "r.png").figure.axes
    (line,) = axes.lines
    assert len(line.get_xdata()) == 1_000 and line.get_xdata()[-1] == line.get_ydata()[-1] == 5_000
    flipping = polyak.regret(OneArm(), fixed(0.0, 3.0, flips=True), 4_000, 2)
    (axes,) = polyak.draw_regret(flipping, "reward", path=tmp_path / "r.png").figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.full(1_000, 1.5))


def test_curves_that_there_are_not_are_refused_in_a_sentence():
    with pytest.raises(UnknownName, match="no curve named 'rewards'; did you mean reward"):
        polyak.draw_regret(results()[0], "rewards")
    with pytest.raises(BadSetting, match="takes at least one result"):
        polyak.draw_regret([])


def test_a_result_says_what_was_measured():
    assert str(results()[0]) == (
        "one-arm on bandit/fixed, 3 problems of 30 pulls: regret 30, 95 % interval [30, 30]; "
        "best arm in 0.0 % of the last tenth"
    )


def test_the_command_measures_several_and_draws_them(tmp_path, capsys):
    names = "action-value-bandit:exploration=ucb:2:learning_rate=1/n,gradient-bandit:baseline=false"
    sizes = ["--pulls", "50", "--problems", "4", "--out", str(tmp_path / "r.png")]
    assert main(["regret", names, "bandit/bernoulli", *sizes]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "action-value-bandit, exploration=ucb:2.0 on bandit/bernoulli, 4 problems of 50 pulls: regret"
    )
    assert second.startswith("gradient-bandit, baseline=False on")
    assert third == f"picture: {tmp_path / 'r.png'}" and (tmp_path / "r.png").exists()


def test_a_bare_name_takes_the_preset_of_the_bandit_and_settings_take_none(tmp_path, capsys):
    tuned = "gradient-bandit, learning_rate=0.5 on bandit/bernoulli"
    assert str(polyak.regret("gradient-bandit", "bandit/bernoulli", 20, 2)).startswith(tuned)
    assert str(polyak.regret("gradient-bandit", "bandit/gaussian", 20, 2)).startswith("gradient-bandit on bandit/")
    sizes = ["--pulls", "20", "--problems", "2", "--out", str(tmp_path / "r.png")]
    assert main(["regret", "gradient-bandit,gradient-bandit:baseline=true", "bandit/bernoulli", *sizes]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith(tuned) and second.startswith("gradient-bandit on bandit/bernoulli")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("exp3:rate=3", "There is no exp3 setting named 'rate'"),
        ("exp3:3", "A setting is of the form exp3:NAME=VALUE, not 'exp3:3'."),
        ("exp3:exploration_rate=much", "exploration_rate is 'much'; it must be of type float or None"),
        ("gradient-bandit,exp4", "There is no algorithm named 'exp4'"),
    ],
)
def test_what_the_command_cannot_read_is_told_in_a_sentence(capsys, names, sentence):
    assert main(["regret", names, "bandit/bernoulli"]) == 2
    assert sentence in capsys.readouterr().err
