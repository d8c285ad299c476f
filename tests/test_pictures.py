"""Pictures, judged by what is on their axes; how they look is for eyes."""

from typing import NamedTuple

import gymnasium
import matplotlib
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from PIL import Image

import polyak
from polyak import cli
from polyak.agent import Spec
from polyak.algorithms.tabular import tabular_cem
from polyak.envs.mdp import Grid
from polyak.errors import BadFile, BadSetting, UnknownName
from polyak.parts.tables import ControlState
from polyak.pictures.board import board_of, bottom
from polyak.pictures.path import points_of, walked
from polyak.runs import store
from polyak.runs.about import About

ROOM = polyak.MDP.from_grid(["S.#", "..G"], id="room", max_episode_steps=9)  # left, down, right, up
LEFT, DOWN, RIGHT, UP = range(4)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Pictures that are saved by default fall into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def table_policy(algorithm, state, env="room", states=6, actions=4):
    spec = Spec(gymnasium.spaces.Discrete(states), gymnasium.spaces.Discrete(actions), 1, None, 100)
    return polyak.Policy(algorithm, spec, state, env)


def q_policy(q):
    return table_policy(polyak.QLearning(), ControlState(np.asarray(q, np.float32), (), np.int32(0)))


def arrows(picture) -> dict[tuple[int, int], set[tuple[int, int]]]:
    """The directions, to the right and down, of the arrows in each cell (column, row)."""
    (quiver,) = (artist for artist in picture.figure.axes[0].collections if isinstance(artist, Quiver))
    found: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for x, y, u, v in zip(quiver.X, quiver.Y, quiver.U, quiver.V, strict=True):
        cell = round(float(x + u / 2)), round(float(y + v / 2))
        found.setdefault(cell, set()).add((int(np.sign(u)), int(np.sign(v))))
    return found


def marked(picture, gid):
    return [artist for artist in picture.figure.findobj(lambda artist: artist.get_gid() == gid)]


# values


def test_the_heat_map_is_the_values_in_the_shape_of_the_grid_and_empty_in_walls_and_ends():
    picture = polyak.draw_values(ROOM, np.array([1.0, 2, 3, 4, 5, 6]))
    (image,) = picture.figure.axes[0].images
    assert np.array_equal(image.get_array().filled(np.nan), [[1, 2, np.nan], [4, 5, np.nan]], equal_nan=True)


def test_every_best_action_gets_an_arrow():
    q = np.zeros((6, 4))
    q[0, [DOWN, RIGHT]] = 1.0
    q[1, DOWN] = q[3, RIGHT] = q[4, RIGHT] = 1.0
    found = arrows(polyak.draw_values(ROOM, q))
    assert found == {(0, 0): {(1, 0), (0, 1)}, (1, 0): {(0, 1)}, (0, 1): {(1, 0)}, (1, 1): {(1, 0)}}


def test_the_arrows_of_a_plan_are_its_optimal_actions():
    solution = polyak.value_iteration(ROOM, gamma=0.9)
    found = arrows(polyak.draw_values(ROOM, solution))
    assert found[0, 0] == {(1, 0), (0, 1)}, "both ways are equally long"
    assert found[1, 1] == {(1, 0)}


def test_a_policy_that_is_evaluated_shows_its_own_actions_and_not_better_ones():
    evaluated = polyak.policy_evaluation(ROOM, np.full(6, LEFT), gamma=0.9)
    assert set.union(*arrows(polyak.draw_values(ROOM, evaluated)).values()) == {(-1, 0)}


def test_an_improbable_action_is_paler():
    pi = np.zeros((6, 4))
    pi[:, RIGHT], pi[:, UP] = 0.8, 0.2
    picture = polyak.draw_values(ROOM, policy=pi)
    (quiver,) = (artist for artist in picture.figure.axes[0].collections if isinstance(artist, Quiver))
    assert np.allclose(sorted(set(quiver.get_alpha())), [0.25, 1.0])
    assert not picture.figure.axes[0].images, "where nothing is known of values there is no heat map"


def test_actions_mean_what_the_arrows_of_the_grid_say():
    """CliffWalking counts up, right, down, left; FrozenLake left, down, right, up."""
    cliff = polyak.MDP.from_gymnasium("CliffWalking-v1")
    found = arrows(polyak.draw_values(cliff, polyak.value_iteration(cliff, gamma=1.0)))
    assert found[0, 3] == {(0, -1)} and found[5, 2] == {(1, 0)} and found[11, 2] == {(0, 1)}
    assert not {(column, 3) for column in range(1, 12)} & found.keys(), "nobody stands on the cliff"


def test_numbers_are_written_where_there_is_room():
    texts = [text.get_text() for text in polyak.draw_values(ROOM, np.full(6, -1.5)).figure.axes[0].texts]
    assert texts.count("\N{MINUS SIGN}1.50") == 4 and "S" in texts and "G" in texts
    hall = polyak.MDP.from_grid(["S" + "." * 40 + "G"])
    texts = [text.get_text() for text in polyak.draw_values(hall, np.full(42, 2.0)).figure.axes[0].texts]
    assert texts == ["v(s)", "S", "G"]


# what a policy knows


def test_the_tables_of_a_policy_are_named_and_shaped_alike():
    q = np.arange(24, dtype=np.float32).reshape(6, 4)
    double = ControlState(np.stack([q, q + 2]), (), np.int32(0))
    both = table_policy(polyak.DoubleQLearning(), double).tables
    assert np.array_equal(both["q"], q + 1) and both.keys() == {"q"}
    pi = np.full((6, 4), 0.25, np.float32)
    assert table_policy(polyak.TabularCEM(), tabular_cem.State(pi)).tables.keys() == {"pi"}
    assert np.array_equal(q_policy(q).tables["q"], q)


def test_a_trained_policy_draws_as_its_table_does():
    q = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    by_policy, by_table = polyak.draw_values(ROOM, q_policy(q)), polyak.draw_values(ROOM, q)
    assert arrows(by_policy) == arrows(by_table)
    assert np.ma.allequal(*(picture.figure.axes[0].images[0].get_array() for picture in (by_policy, by_table)))
    assert by_policy.title == "q-learning on room"


def test_a_table_of_state_values_is_drawn_without_arrows():
    """Prediction learns what a policy is worth and not what to do."""

    class State(NamedTuple):
        v: np.ndarray

    policy = table_policy(polyak.QLearning(), State(np.arange(6, dtype=np.float32)))
    axes = polyak.draw_values(ROOM, policy).figure.axes[0]
    assert np.array_equal(axes.images[0].get_array().compressed(), [0, 1, 3, 4])
    assert not any(isinstance(artist, Quiver) for artist in axes.collections)
    with pytest.raises(BadSetting, match="nothing of single actions"):
        polyak.draw_q(ROOM, policy)


# action values


def test_a_cell_is_four_triangles_each_on_the_side_that_its_action_leads_to():
    q = np.zeros((6, 4))
    q[0] = [10, 11, 12, 13]
    picture = polyak.draw_q(ROOM, q)
    (faces,) = (artist for artist in picture.figure.axes[0].collections if isinstance(artist, PolyCollection))
    assert len(faces.get_paths()) == 4 * 4, "four free cells"
    for path, value in zip(faces.get_paths()[:4], faces.get_array()[:4], strict=True):
        x, y = path.vertices[1:3].mean(0)
        assert (x, y) == {10: (-0.5, 0), 11: (0, 0.5), 12: (0.5, 0), 13: (0, -0.5)}[value]


def test_the_best_actions_are_marked():
    q = np.tile([0.0, 1.0, 1.0, 0.5], (6, 1))
    assert [text.get_text() for text in marked(polyak.draw_q(ROOM, q), "best")] == ["1.00"] * 8


def test_a_world_without_a_grid_is_a_table_of_states_by_actions():
    P = np.tile([0.0, 0.0, 1.0], (3, 2, 1))
    mdp = polyak.MDP.from_arrays(P, np.ones((3, 2)), terminal=[2], id="by hand")
    q = np.array([[1.0, 2.0], [4.0, 3.0], [0.0, 0.0]])
    picture = polyak.draw_q(mdp, q)
    assert np.array_equal(picture.figure.axes[0].images[0].get_array(), q)
    (dots,) = marked(picture, "best")
    assert np.round(dots.get_offsets()).tolist() == [[1, 0], [0, 1]], "and none where the episode is over"


def test_five_hundred_states_stand_in_columns_of_a_hundred():
    taxi = polyak.MDP.from_gymnasium("Taxi-v4")
    q = np.arange(3000.0).reshape(500, 6)
    (image,) = polyak.draw_q(taxi, q).figure.axes[0].images
    shown = image.get_array()
    assert shown.shape == (100, 5 * 6 + 4 * 3)
    assert shown[7, 2 * 9 + 4] == q[207, 4]


def test_a_fall_leaves_colours_to_the_rest():
    low, extend = bottom(np.array([-1.0, -2, -3, -4, -5, -6, -113]))
    assert (low, extend) == (-6, "min")
    assert bottom(np.array([0.0, 0, 0, 0, 1])) == (0, "neither")
    assert bottom(np.array([0.0, 0, 0, 0, -1])) == (-1, "neither"), "two values are two colours"


# paths


def test_a_path_is_the_visited_cells_in_their_order():
    picture = polyak.draw_path(ROOM, np.array([DOWN, 0, 0, RIGHT, RIGHT, 0]))
    (lines,) = marked(picture, "path")
    assert isinstance(lines, LineCollection)
    assert np.array_equal(lines.get_segments(), [[(0, 0), (0, 1)], [(0, 1), (1, 1)], [(1, 1), (2, 1)]])
    (start,), (end,) = marked(picture, "start"), marked(picture, "end")
    assert start.get_xydata().tolist() == [[0, 0]] and end.get_xydata().tolist() == [[2, 1]]
    assert picture.title == "room: return 1 in 3 steps"


def test_each_visit_of_a_cell_has_a_place_of_its_own_within_it():
    points = points_of(board_of(ROOM), np.array([0] * 12))
    assert len({tuple(point) for point in points.round(6)}) == 12
    assert np.abs(points).max() < 0.5


def test_a_path_ends_at_the_time_limit_and_says_so():
    picture = polyak.draw_path(ROOM, np.full(6, UP))
    assert picture.title == "room: return 0, cut after 9 steps"
    assert polyak.draw_path(ROOM, np.full(6, UP), max_steps=2).title.endswith("cut after 2 steps")


def test_the_same_seed_walks_the_same_way():
    lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
    pi = np.full((16, 4), 0.25)
    first, second, other = (walked(lake, pi, seed, 100).states for seed in (3, 3, 4))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_walks_earn_what_was_planned():
    """The mean of many walks is the expected return: the dice are those of the world."""
    lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
    policy = polyak.value_iteration(lake, gamma=0.99).policy
    walks = [walked(lake, np.eye(4)[policy], seed, 100).total for seed in range(400)]
    assert np.mean(walks) == pytest.approx(polyak.expected_return(lake, policy), abs=4 * 0.5 / 20)


def test_a_fall_from_the_cliff_is_dashed():
    world = polyak.MDP.from_grid(["...", "SCG"], max_episode_steps=4)
    (lines,) = marked(polyak.draw_path(world, np.array([RIGHT, DOWN, 0, UP, 0, 0])), "path")
    assert [dashes is not None for _, dashes in lines.get_linestyle()] == [False, False, True, False]


# curves


def make_run(folder, algorithm="q-learning", seeds=2, metric="episode_return", returns=None, **settings) -> polyak.Run:
    folder.mkdir()
    about = About(
        format=1,
        status="stopped",
        algorithm=algorithm,
        env="room",
        custom_env=True,
        steps=30,
        seeds=list(range(seeds)),
        num_envs=1,
        eval_every=None,
        eval_episodes=1,
        settings=settings,
        wall_seconds=0.0,
        steps_per_second=0.0,
        returns=returns or {},
    )
    store.write_about(folder, about)
    writer = store.MetricWriter(folder)
    writer.write([(seed, step, metric, seed + step) for seed in range(seeds) for step in (10, 20, 30)])
    writer.close()
    return polyak.Run(folder)


def labels(picture):
    return [text.get_text() for text in picture.figure.axes[0].get_legend().get_texts()]


def test_curves_of_several_algorithms_stand_together(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "sarsa", seeds=1)]
    picture = polyak.draw_curves(runs)
    assert labels(picture) == ["q-learning on room, 2 seeds", "sarsa on room, 1 seed"]
    assert picture.path == tmp_path / "a" / "curve.png"
    thin, other, mean = picture.figure.axes[0].lines[:3]
    assert [line.get_ydata().tolist() for line in (thin, other, mean)] == [
        [10, 20, 30],
        [11, 21, 31],
        [10.5, 20.5, 30.5],
    ]


def test_runs_of_one_algorithm_are_told_apart_by_the_settings_in_which_they_differ(tmp_path):
    runs = [make_run(tmp_path / name, gamma=0.9, learning_rate=rate) for name, rate in (("a", 0.1), ("b", 0.5))]
    assert labels(polyak.draw_curves(runs)) == [f"q-learning on room (learning_rate={x}), 2 seeds" for x in (0.1, 0.5)]
    alike = [make_run(tmp_path / name) for name in ("c", "d")]
    assert labels(polyak.draw_curves(alike))[1] == "q-learning on room (d), 2 seeds"
    assert labels(polyak.draw_curves(alike, labels=["before", "after"])) == ["before", "after"]


def test_a_curve_that_is_not_there_is_named(tmp_path):
    run = make_run(tmp_path / "a", metric="td_error")
    with pytest.raises(BadFile, match="no episode has ended"):
        polyak.draw_curves(run)
    with pytest.raises(UnknownName, match="did you mean td_error"):
        polyak.draw_curves(run, "td_eror")


# files and notebooks


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_ending_chooses_the_format(ending, tmp_path):
    picture = polyak.draw_values(ROOM, np.zeros(6), path=tmp_path / f"v.{ending}")
    start = (tmp_path / f"v.{ending}").read_bytes()[:8]
    assert start.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    assert str(picture) == str(tmp_path / f"v.{ending}")


def test_outside_a_notebook_a_picture_is_saved_and_says_where(tmp_path):
    solution = polyak.value_iteration(ROOM, gamma=0.9)
    for draw, name in (
        (polyak.draw_values, "values-room.png"),
        (polyak.draw_q, "q-room.png"),
        (polyak.draw_path, "path-room.png"),
    ):
        picture = draw(ROOM, solution)
        assert str(picture) == name and name in repr(picture)
        with Image.open(tmp_path / name) as image:
            assert image.width > 300


def test_in_a_notebook_a_picture_shows_itself_and_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr("polyak.pictures.picture.in_notebook", lambda: True)
    picture = polyak.draw_values(ROOM, np.zeros(6))
    assert picture.path is None and list(tmp_path.iterdir()) == []
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert picture.save("kept.png") == picture.path


def test_pyplot_is_not_touched():
    """No figure is left open, and the backend that a user chose stays."""
    from matplotlib import pyplot

    before = matplotlib.rcParams["backend"]
    polyak.draw_q(ROOM, np.zeros((6, 4)))._repr_png_()
    assert pyplot.get_fignums() == [] and matplotlib.rcParams["backend"] == before


def test_pictures_stand_side_by_side_on_axes_of_the_callers(tmp_path):
    figure = Figure(layout="constrained")
    first, second = figure.subplots(2)
    polyak.draw_values(ROOM, np.zeros(6), axes=first)
    picture = polyak.draw_path(ROOM, np.full(6, DOWN), behind=np.zeros(6), axes=second)
    assert picture.figure is figure and list(tmp_path.iterdir()) == [], "the whole is saved when it is complete"
    assert picture.save("both.png").stat().st_size > 5_000


# mistakes


TAXI_LIKE = polyak.MDP.from_arrays(np.ones((1, 2, 1)), np.zeros((1, 2)), id="flat")
CROOKED = polyak.MDP.from_arrays(np.ones((1, 2, 1)), np.zeros((1, 2)), id="crooked", grid=Grid(("..",), "←→"))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: polyak.draw_values(TAXI_LIKE, np.zeros(1)), "no grid to draw on; polyak.draw_q"),
        (lambda: polyak.draw_path(TAXI_LIKE, np.zeros(1, int)), "no grid to draw on"),
        (lambda: polyak.draw_values(CROOKED, np.zeros(1)), "has 2 cells and 2 arrows; it needs 1 and 2"),
        (lambda: polyak.draw_values("FrozenLake-v1", np.zeros(16)), "MDP.from_gymnasium"),
        (lambda: polyak.draw_path("FrozenLake-v1", np.zeros(16, int)), "MDP.from_gymnasium"),
        (lambda: polyak.draw_values(ROOM), "needs something to draw"),
        (lambda: polyak.draw_values(ROOM, np.zeros(7)), r"shape \(7,\); room wants values \[6\]"),
        (lambda: polyak.draw_values(ROOM, {"a": 1}), "dict is no table"),
        (lambda: polyak.draw_values(ROOM, [[1, 2], [3]]), "list is no table"),
        (lambda: polyak.draw_values(ROOM, np.full(6, np.nan)), "not all finite"),
        (lambda: polyak.draw_q(ROOM, np.zeros((6, 3))), r"shape \(6, 3\)"),
        (lambda: polyak.draw_q(ROOM, np.zeros(6)), "draw_values draws them"),
        (lambda: polyak.draw_path(ROOM, np.full(6, 4)), "actions that do not exist; they are 0 to 3"),
        (lambda: polyak.draw_path(ROOM, np.zeros(6)), "expected actions"),
        (lambda: polyak.draw_path(ROOM, np.full(6, UP), max_steps=0), "max_steps is 0"),
        (lambda: polyak.draw_values(ROOM, np.zeros(6), policy=np.full((6, 4), 0.5)), "do not sum to one"),
        (lambda: polyak.draw_values(ROOM, np.zeros(6), path="picture.bmp"), r"\.png, \.svg or \.pdf"),
        (lambda: polyak.draw_values(ROOM, np.zeros(6), path="no/such/folder.png"), "cannot be written"),
        (lambda: polyak.draw_curves([]), "at least one run"),
        (lambda: polyak.draw_curves([ROOM], labels=["one", "two"]), "a label for each run"),
    ],
)
def test_a_mistake_is_one_sentence(draw, words):
    with pytest.raises(polyak.Error, match=words) as caught:
        draw()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_policy_of_another_world_is_refused():
    lake = polyak.MDP.from_gymnasium("FrozenLake-v1")
    for draw in (polyak.draw_values, polyak.draw_path):
        with pytest.raises(BadSetting, match="trained on room"):
            draw(lake, q_policy(np.zeros((6, 4))))


# the command line


@pytest.fixture
def lake_run(tmp_path):
    run = make_run(tmp_path / "run", returns={"0": [0.0]})
    q = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    policy = table_policy(polyak.QLearning(), ControlState(q, (), np.int32(0)), "FrozenLake-v1", states=16)
    policy.save(run.path / "policy-0.safetensors")
    return run


@pytest.mark.parametrize(
    ("options", "file", "words"),
    [
        ([], "values.png", "values: q-learning on FrozenLake-v1; picture:"),
        (["--what", "q"], "q.png", "q: q-learning"),
        (["--what", "path", "--seed", "2"], "path.png", "q-learning on FrozenLake-v1: return"),
    ],
)
def test_draw_pictures_a_run(options, file, words, lake_run, capsys):
    assert cli.main(["draw", str(lake_run.path), *options]) == 0
    said = capsys.readouterr().out
    assert words in said and f"picture: {lake_run.path / file}" in said and "Next: polyak " in said
    with Image.open(lake_run.path / file) as image:
        image.load()


def test_draw_takes_a_policy_file_too(lake_run, capsys, tmp_path):
    assert cli.main(["draw", str(lake_run.path / "policy-0.safetensors"), "--out", "lake.svg"]) == 0
    assert (tmp_path / "lake.svg").exists()


def test_a_world_that_only_its_maker_knows_is_drawn_in_python(tmp_path, capsys):
    q_policy(np.zeros((6, 4))).save(tmp_path / "room.safetensors")
    assert cli.main(["draw", "room.safetensors"]) == 2
    assert "polyak.draw_values(mdp, policy)" in capsys.readouterr().err


def test_where_there_is_neither_grid_nor_action_values_draw_says_so(tmp_path, capsys):
    pi = np.full((500, 6), 1 / 6, np.float32)
    table_policy(polyak.TabularCEM(), tabular_cem.State(pi), "Taxi-v4", 500, 6).save(tmp_path / "cab.safetensors")
    assert cli.main(["draw", "cab.safetensors"]) == 2
    assert "Taxi-v4 has no grid to draw on, and tabular-cem keeps no action values" in capsys.readouterr().err
