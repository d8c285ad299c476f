"""Atari: ids and protocols, and both ways to play, which must show an agent the same."""

import json
import sys

import numpy as np
import pytest

import polyak
from polyak.agent import Spec
from polyak.engines.host import HostEngine
from polyak.envs import make, make_original
from polyak.envs.atari import GAMES, PROTOCOLS, Atari, atari_game
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.errors import BadSetting, EnvironmentFault, UnknownName
from polyak.runs.video import film

BOTH = ("envpool:", "gymnasium:")


def play(id, actions, seed=0, **how):
    """The first observations, and what came of each row of actions [T, B]."""
    vector = make(id, actions.shape[1], **how)
    try:
        return vector.reset(seed), [vector.step(action) for action in actions]
    finally:
        vector.close()


def random_actions(count, steps, num_envs=1, seed=0):
    return np.random.default_rng(seed).integers(0, count, (steps, num_envs)).astype(np.int32)


# ids


@pytest.mark.parametrize(
    "id, wanted",
    [
        ("Pong-v5", Atari("Pong")),
        ("Pong-v5/deepmind", Atari("Pong")),
        ("MsPacman-v5/noops=1,fire=false", Atari("MsPacman", noops=1, fire=False)),
        ("Pong-v5/machado", Atari("Pong", 0.25, life_loss=False, noops=1, fire=False, full_actions=True)),
        ("ALE/Pong-v5", Atari("Pong", 0.25, life_loss=False, noops=1, fire=False)),
        ("ALE/Pong-v5/deepmind,limit=50", Atari("Pong", limit=50)),
        ("Pong-v5/dopamine,full_actions=true", Atari("Pong", **PROTOCOLS["machado"])),
        ("CartPole-v1", None),
        ("Ant-v5", None),
        ("Pnog-v5", None),
    ],
)
def test_an_id_says_the_game_and_how_it_is_played(id, wanted):
    assert atari_game(id) == wanted


@pytest.mark.parametrize(
    "id, kind, words",
    [
        ("Pnog-v5", UnknownName, "did you mean Pong-v5"),
        ("ALE/Pnog-v5", UnknownName, "did you mean ALE/Pong-v5"),
        ("Pong-v5/mashado", UnknownName, "did you mean machado"),
        ("Pong-v5/stiky=0.25", UnknownName, "did you mean sticky"),
        ("Pong-v5/machado,deepmind", UnknownName, "no Atari setting named 'deepmind'"),
        ("Pong-v5/sticky=often", BadSetting, "must be a number"),
        ("Pong-v5/sticky=nan", BadSetting, "from 0.0 to 1.0"),
        ("Pong-v5/noops=0", BadSetting, "from 1 to 1,000"),
        ("Pong-v5/clip=1", BadSetting, "true or false"),
        ("Pong-v5/limit=27001", BadSetting, "from 1 to 27,000"),
    ],
)
def test_a_mistake_in_an_id_is_named(id, kind, words):
    with pytest.raises(kind, match=words):
        make(id)


def test_the_games_are_those_of_both_packages():
    envpool, roms = pytest.importorskip("envpool"), pytest.importorskip("ale_py.roms")
    shared = {"combat", "joust", "maze_craze", "warlords"}  # for two players
    assert set(GAMES.values()) == set(roms.get_all_rom_ids()) - shared
    assert {f"{game}-v5".lower() for game in GAMES} <= {id.lower() for id in envpool.list_all_envs()}


def test_a_missing_package_is_told_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert type(make("Pong-v5")) is GymnasiumVector  # the other way to play
    with pytest.raises(EnvironmentFault, match=r"pip install polyak\[atari\]"):
        make("envpool:Pong-v5")
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(EnvironmentFault, match=r"pip install polyak\[atari\]"):
        make("Pong-v5")


# both ways to play


@pytest.mark.parametrize(
    "id, steps",
    [("Pong-v5/noops=1", 200), ("Breakout-v5/noops=1", 260), ("SpaceInvaders-v5/noops=1,fire=false,limit=150", 320)],
)
def test_both_ways_show_the_same_bit_for_bit(id, steps):
    """Without sticky actions, with no draw of no-ops. What differs is stated here and nowhere else.

    After a lost life EnvPool's stack goes on and Gymnasium's begins anew, and a frame after which a game is over within
    a step is pooled by EnvPool alone.
    """
    actions = random_actions(4, steps)
    (first, pooled), (other_first, single) = (play(prefix + id, actions) for prefix in BOTH)
    assert first.shape == (1, 4, 84, 84) and first.dtype == np.uint8 and first.max() > 0
    np.testing.assert_array_equal(first, other_first)
    common, lives, games, scored = 4, 0, 0, 0.0  # the newest frames, which both show
    for one, other in zip(pooled, single, strict=True):
        for name in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.score.points, other.score.points)
        np.testing.assert_array_equal(one.score.over, other.score.over)
        common = min(4, common + 1)
        over = bool(one.score.over[0] and one.terminated[0])
        np.testing.assert_array_equal(one.next_obs[0, 4 - common : 4 - over], other.next_obs[0, 4 - common : 4 - over])
        if one.terminated[0] or one.truncated[0]:
            common = 4 if one.score.over[0] else 1
            lives, games = lives + 1, games + int(one.score.over[0])
        np.testing.assert_array_equal(one.obs[0, 4 - common :], other.obs[0, 4 - common :])
        scored += one.score.points[0]
    assert scored != 0.0
    if not id.startswith("Pong"):
        assert lives >= 2 and games >= 1


@pytest.mark.parametrize("prefix", BOTH)
def test_after_a_lost_life_the_same_game_goes_on(prefix):
    """Breakout has five lives, and a ball that nobody hits is lost within 40 steps."""
    first, outcomes = play(f"{prefix}Breakout-v5", np.zeros((150, 2), np.int32), seed=1)
    before, lives, lengths = first, np.zeros(2, int), []
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome.next_obs[:, :3], before[:, 1:])  # the successor of what was seen
        ended = outcome.terminated | outcome.truncated
        lives += ended
        for i in np.flatnonzero(outcome.score.over):
            assert ended[i]
            lengths.append(lives[i])
            lives[i] = 0
        fresh = (outcome.obs == outcome.obs[:, :1]).all((1, 2, 3))  # four times the same frame
        assert fresh[outcome.score.over].all()
        if prefix == "envpool:":  # the stack of the life before goes on
            on = ended & ~outcome.score.over
            np.testing.assert_array_equal(outcome.obs[on, :3], outcome.next_obs[on, 1:])
        before = outcome.obs
    assert lengths and set(lengths) == {5}


@pytest.mark.parametrize("prefix", BOTH)
def test_rewards_are_clipped_and_the_score_is_not(prefix):
    actions = random_actions(6, 150)
    clipped = play(f"{prefix}SpaceInvaders-v5", actions)[1]
    whole = play(f"{prefix}SpaceInvaders-v5/clip=false", actions)[1]
    points = np.array([outcome.score.points for outcome in clipped])
    assert points.max() >= 5
    np.testing.assert_array_equal(np.array([outcome.reward for outcome in clipped]), np.sign(points))
    np.testing.assert_array_equal(np.array([outcome.reward for outcome in whole]), points)


@pytest.mark.parametrize("prefix", BOTH)
def test_the_limit_truncates_the_game_and_not_the_life(prefix):
    outcomes = play(f"{prefix}Breakout-v5/limit=60", np.zeros((125, 1), np.int32))[1]
    assert [t for t, outcome in enumerate(outcomes, 1) if outcome.truncated[0]] == [60, 120]
    assert any(outcome.terminated[0] for outcome in outcomes[:59])  # a life, from which the clock went on
    assert not any(outcome.terminated[0] for outcome in outcomes if outcome.truncated[0])
    assert [t for t, outcome in enumerate(outcomes, 1) if outcome.score.over[0]] == [60, 120]


@pytest.mark.parametrize("prefix", BOTH)
def test_sticky_actions_repeat_the_last_one(prefix):
    frames = {
        (sticky, seed): play(f"{prefix}Pong-v5/noops=1,sticky={sticky}", random_actions(6, 25, seed=seed))[1][
            -1
        ].next_obs
        for sticky, seed in [(0.0, 0), (0.0, 1), (0.25, 0), (1.0, 0), (1.0, 1)]
    }
    assert (frames[0.0, 0] != frames[0.0, 1]).any()
    assert (frames[0.25, 0] != frames[0.0, 0]).any()
    np.testing.assert_array_equal(frames[1.0, 0], frames[1.0, 1])  # the last one for ever


@pytest.mark.parametrize("prefix", BOTH)
def test_no_ops_and_seeds_vary_the_beginning(prefix):
    one, again, other = (play(f"{prefix}Pong-v5", np.zeros((40, 2), np.int32), seed)[1][-1].obs for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert len(np.unique(np.concatenate([one, other]).reshape(4, -1), axis=0)) == 4  # neighbouring seeds share none


def test_all_actions_where_they_are_asked_for():
    assert [make(f"{prefix}Pong-v5{end}").action_space.n for prefix in BOTH for end in ("", "/machado")] == [6, 18] * 2


def test_processes_keep_the_score_too():
    actions = random_actions(6, 60, 2)
    id = "gymnasium:SpaceInvaders-v5/limit=40"
    (first, here), (other_first, there) = play(id, actions), play(id, actions, workers=2)
    np.testing.assert_array_equal(first, other_first)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.next_obs, other.next_obs)
        np.testing.assert_array_equal(one.score.points, other.score.points)
        np.testing.assert_array_equal(one.score.over, other.score.over)


# scores, films and going on


def test_scores_are_of_whole_games_and_films_of_the_real_screen():
    env = make_original("envpool:Breakout-v5", "rgb_array")
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        _, _, terminated, truncated, _ = env.step(0)
        over, steps = terminated or truncated, steps + 1
    assert env.unwrapped.ale.lives() == 0 and steps > 100  # five lives
    screen = env.render()
    assert screen.shape == (210, 160, 3) and np.ptp(screen, -1).max() > 50  # in colour
    env.close()


@pytest.mark.slow
def test_a_game_is_gone_on_with_by_playing_it_again():
    """The emulator's memory is no plain data, but seed and actions decide all, sticky actions too."""
    vector, other = (make("ALE/Pong-v5") for _ in range(2))
    vector.reset(3), other.reset(3)
    *_, last = (vector.step(action) for action in random_actions(6, 70))
    found = json.loads(json.dumps(vector.snapshot()))
    assert all(len(place["actions"]) == 70 and "state" not in place for place in found["places"])
    assert not other.restore(found, last.obs.copy()).any()
    for action in random_actions(6, 40, seed=1):
        np.testing.assert_array_equal(vector.step(action).obs, other.step(action).obs)


def test_a_game_in_a_pool_is_lost_with_its_process():
    pool = make("Pong-v5")
    first = pool.reset(3)
    found = pool.snapshot()
    seen = np.zeros_like(first)
    assert pool.restore(found, seen).all()
    assert seen.any()
    pool.close()


@pytest.mark.slow
def test_training_counts_whole_games_and_so_do_scores(tmp_path):
    """Lives end episodes for the agent alone. Its policy knows by its id how it was trained, and plays games so."""
    id = "Breakout-v5/limit=60"
    vector = make(id, 2)
    algorithm = polyak.DQN(buffer_size=64, learning_starts=0, batch_size=4, train_freq=4, network=polyak.MLP((4,)))
    spec = Spec(vector.observation_space, vector.action_space, 2, vector.max_episode_steps, 1_000)
    agent = algorithm.agent(spec)
    engine = HostEngine(algorithm, agent, vector, spec, chunk=16)
    loop, metrics = engine.advance(engine.init(0), 16, learn=True)
    engine.close()
    assert metrics["episodes"] == 2 and metrics["episode_length"] == 60  # where the first life is lost after 24
    polyak.Policy(algorithm, spec, agent.policy(loop.agent), id).save(tmp_path / "policy.safetensors")
    policy = polyak.load(tmp_path / "policy.safetensors")
    assert policy.env == id
    (returns,) = polyak.evaluate(policy, episodes=2).returns
    assert (returns >= 0).all()
    video = film(policy, tmp_path / "film.gif")
    assert video.path.stat().st_size > 1_000 and len(video.returns) == 1
