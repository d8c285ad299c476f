"""TD on afterstates: against a loop by hand, and against every line of play that could beat what it learnt."""

from functools import cache

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.tabular.afterstate_td import AfterstateTD
from polyak.engines.compiled import CompiledEngine
from polyak.envs import make
from polyak.envs.tictactoe import AFTER, EMPTY, LEGAL, OPPONENTS, OVER, TURNED, WON, minimax
from polyak.errors import BadSetting
from polyak.parts.exploration import UCB, Boltzmann, EpsilonGreedy, NoisyGreedy
from polyak.parts.schedules import StepSize
from polyak.presets import preset
from polyak.settings import build
from tests.envs.contests import by_chance, by_policy, contest, in_every_way

ACTIONS, AFTERSTATES = 3, 20


def shown(low: int, high: int, count: int) -> gymnasium.spaces.Dict:
    """The space of observations that show afterstates."""
    return gymnasium.spaces.Dict({"afterstates": gymnasium.spaces.Box(low, high, (count,), np.int32)})


SPACES = shown(-1, AFTERSTATES - 1, ACTIONS), gymnasium.spaces.Discrete(ACTIONS)


def random_steps(length: int = 300) -> list[tuple]:
    """Steps of no world in particular: x, a, r, terminated, truncated, x'; -1 where an action is not allowed."""
    rng = np.random.default_rng(0)
    steps = []
    for _ in range(length):
        x, x_next = rng.integers(AFTERSTATES, size=(2, ACTIONS))
        x[rng.integers(ACTIONS)] = x_next[rng.integers(ACTIONS)] = -1
        a = rng.choice(np.flatnonzero(x >= 0))
        terminated, truncated = rng.random(2) < 0.2
        steps.append((x, a, rng.normal(), terminated, truncated, np.full(ACTIONS, -1) if terminated else x_next))
    return steps


def learnt_from(algorithm: AfterstateTD, steps: list[tuple]):
    agent = algorithm.agent(Spec(*SPACES, 1, None, len(steps)))
    state = agent.init(jax.random.key(0))
    learn = jax.jit(lambda state, block: agent.learn(agent.observe(state, block), block, jax.random.key(0))[0])
    kinds = (np.float32, np.int32, np.float32, bool, bool, np.float32)
    for step in steps:
        leaves = [np.asarray(leaf, kind)[None, None] for leaf, kind in zip(step, kinds, strict=True)]
        state = learn(state, Step(*leaves, ()))
    return state


@pytest.mark.parametrize("self_play", [True, False])
def test_the_update_is_the_loop_by_hand(self_play):
    """The next one to move is the opponent in self-play, oneself otherwise; a cut by the clock keeps what follows."""
    v, steps, sign = np.zeros(AFTERSTATES), random_steps(), -1 if self_play else 1
    for x, a, r, terminated, _, x_next in steps:
        follows = 0.0 if terminated else max(v[y] for y in x_next if y >= 0)
        v[x[a]] += 0.2 * (r + sign * 0.9 * follows - v[x[a]])
    learnt = learnt_from(AfterstateTD(learning_rate=0.2, gamma=0.9, self_play=self_play), steps)
    np.testing.assert_allclose(learnt.v, v, atol=1e-5)


def test_averaging_step_sizes_count_how_often_an_afterstate_was_chosen():
    steps = random_steps()
    learnt = learnt_from(AfterstateTD(learning_rate=StepSize(1.0, power=0.7)), steps)
    chosen = np.bincount([x[a] for x, a, *_ in steps], minlength=AFTERSTATES)
    np.testing.assert_array_equal(learnt.visits, chosen)


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize(
    "exploration", [EpsilonGreedy(1.0), Boltzmann(5.0), NoisyGreedy(9.0), UCB(9.0)], ids=lambda e: e.name
)
def test_what_is_not_allowed_is_never_chosen_and_all_else_is_when_exploring(exploration, explore):
    agent = AfterstateTD(exploration=exploration).agent(Spec(*SPACES, 500, None, 1_000))
    state = agent.init(jax.random.key(0))
    state = state._replace(v=jax.random.normal(jax.random.key(1), state.v.shape) - 5.0)  # all worse than none
    obs = np.tile(np.array([[-1, 3, 4], [5, -1, 6], [7, -1, -1]]), (500, 1))
    noise = agent.noise(jax.random.key(2), (len(obs),))
    action, _, _ = jax.jit(agent.act, static_argnums=4)(state, (), obs, noise, explore)
    chosen = np.take_along_axis(obs, np.asarray(action)[:, None], 1)
    assert (chosen >= 0).all()
    if explore:
        assert set(chosen.ravel()) == {3, 4, 5, 6, 7}
    else:
        assert set(chosen.ravel()) == {max((3, 4), key=state.v.__getitem__), max((5, 6), key=state.v.__getitem__), 7}


def trained(id: str, steps: int, seeds: int):
    """The agent, and its states with a leading axis of seeds if there are several, after a run with the preset."""
    algorithm = build("afterstate-td", preset("afterstate-td", id).settings)
    env = make(id)
    spec = Spec(env.observation_space, env.action_space, 1, None, steps)
    agent = algorithm.agent(spec)
    engine = CompiledEngine(algorithm, agent, env, spec, 10_000, batched=seeds > 1)
    loop = engine.init(jnp.arange(seeds) if seeds > 1 else 0)
    for _ in range(0, steps, engine.chunk):
        loop, _ = engine.advance(loop, engine.chunk, True)
    return agent, loop.agent


STEPS = preset("afterstate-td", "tic-tac-toe").steps


@cache
def self_taught():
    """Four seeds of the preset; its evidence is over ten others."""
    return trained("tic-tac-toe", STEPS, seeds=4)


def masters():
    """What self-play has taught them, as players."""
    agent, states = self_taught()
    act = jax.jit(lambda state, obs: agent.act(state, (), obs, (), False)[0])
    of_seed = [jax.tree.map(lambda leaf, k=k: leaf[k], states) for k in range(4)]
    return [by_policy(lambda obs, state=state: act(state, obs)) for state in of_seed]


@pytest.mark.parametrize("name", ["random", "perfect"])
def test_who_learnt_by_self_play_never_loses_a_thousand_games(name):
    for master in masters():
        assert contest(master, by_chance(OPPONENTS[name](), seed=0), 1_000).second_won == 0
        assert contest(by_chance(OPPONENTS[name](), seed=1), master, 1_000).first_won == 0


def test_who_learnt_by_self_play_cannot_be_beaten_by_anything():
    for master in masters():
        assert contest(master, in_every_way, 1).second_won == 0
        assert contest(in_every_way, master, 1).first_won == 0


def best_against(moves: np.ndarray) -> float:
    """The most that can be scored on average against an opponent of whom all is known, beginning half of the games."""

    @cache
    def worth(board: int) -> float:
        return max(worth_after(x) for x in AFTER[board].tolist() if x >= 0)

    def worth_after(x: int) -> float:
        if OVER[x]:
            return float(WON[x])
        return np.mean([worth_once_answered(y) for y in AFTER[TURNED[x], moves[TURNED[x]]]])

    def worth_once_answered(y: int) -> float:
        return -float(WON[y]) if OVER[y] else worth(int(TURNED[y]))

    return (worth(EMPTY) + np.mean([worth_once_answered(y) for y in AFTER[EMPTY]])) / 2


def test_against_a_greedy_opponent_it_learns_to_set_traps():
    """A careful player mostly draws against one who blocks; who has come to know the opponent wins more often."""
    agent, state = trained("tic-tac-toe/greedy", 100_000, seeds=1)
    learnt = by_policy(lambda obs: agent.act(state, (), obs, (), False)[0])
    careful = by_chance(OPPONENTS["perfect"](), seed=0)
    greedy = OPPONENTS["greedy"]()

    def score(player) -> float:
        first, second = contest(player, by_chance(greedy, 1), 1_000), contest(by_chance(greedy, 2), player, 1_000)
        return (first.first_won - first.second_won + second.second_won - second.first_won) / 2_000

    best = best_against(greedy)
    assert best == pytest.approx(0.664, abs=1e-3)
    assert score(learnt) > 0.9 * best > score(careful)


def test_the_table_knows_which_first_moves_win_draw_and_lose():
    """A win is worth 0.9 to the power of the moves until then, a loss the same below zero."""
    boards = [EMPTY, *TURNED[AFTER[EMPTY]]]
    legal = LEGAL[boards]
    for v in self_taught()[1].v:
        np.testing.assert_array_equal(np.sign(np.round(v[AFTER[boards]], 1))[legal], minimax()[boards][legal])


def test_a_seed_among_others_learns_what_it_learns_alone():
    _, alone = trained("tic-tac-toe", STEPS, seeds=1)
    np.testing.assert_array_equal(alone.v, self_taught()[1].v[0])


def test_an_environment_without_afterstates_is_refused():
    box, nine = gymnasium.spaces.Box(-1.0, 1.0, (9,), np.float32), gymnasium.spaces.Discrete(9)
    fractions = gymnasium.spaces.Dict({"afterstates": gymnasium.spaces.Box(-1.0, 8.0, (9,), np.float32)})
    unnamed = gymnasium.spaces.Box(-1, 8, (9,), np.int32)
    for observed in (box, nine, unnamed, fractions, shown(-1, 8, 4), shown(-2, 8, 9)):
        with pytest.raises(BadSetting, match="number of the afterstate that each action leads to"):
            AfterstateTD().agent(Spec(observed, nine, 1, None, 100))
    for acted in (box, gymnasium.spaces.Discrete(9, start=1)):
        with pytest.raises(BadSetting, match="needs discrete actions, numbered from 0"):
            AfterstateTD().agent(Spec(shown(-1, 8, 9), acted, 1, None, 100))
