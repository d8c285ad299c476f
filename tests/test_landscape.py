"""The landscape of two parameters: what is on it, and where the searches have been."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import polyak
from polyak.errors import BadSetting
from polyak.pictures.landscape import linear_policy_score

TOP = jnp.array([0.5, -0.25])


def hill(x):
    """Highest at `TOP`."""
    return -jnp.square(x - TOP).sum()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    searches = [polyak.HillClimbing(sigma=0.2), polyak.OpenAIES(sigma=0.1, learning_rate=0.05)]
    path = tmp_path_factory.mktemp("landscape") / "hill.png"
    return polyak.draw_landscape(hill, searches, start=(-0.5, 0.5), members=8, generations=40, path=path)


def test_the_landscape_is_the_score_of_every_point(picture):
    row, column = np.unravel_index(picture.scores.argmax(), picture.scores.shape)
    ends = np.linspace(-1, 1, len(picture.scores))
    np.testing.assert_allclose([ends[column], ends[row]], TOP, atol=0.02)
    assert picture.scores[0, 0] == pytest.approx(float(hill(jnp.array([-1.0, -1.0]))))


def test_searches_begin_where_they_are_told_and_arrive_at_the_top(picture):
    for route in picture.routes:
        assert route.best.shape == (41, 2) and route.members.shape == (40, 8, 2)
        np.testing.assert_allclose(route.best[0], [-0.5, 0.5])
        np.testing.assert_allclose(route.best[-1], TOP, atol=0.1)


def test_a_line_and_a_point_are_drawn_for_each_search(picture):
    axes = picture.figure.axes[0]
    lines = [line for line in axes.lines if line.get_label() in ("hill-climbing", "openai-es")]
    for line, route in zip(lines, picture.routes, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), route.best)
    with Image.open(picture.path) as image:
        assert image.size[0] > 600


def test_the_film_shows_a_generation_after_the_other(picture, tmp_path):
    with Image.open(picture.film(tmp_path / "hill.gif")) as film:
        assert film.n_frames == 40
        first = np.asarray(film.convert("L"))
        film.seek(39)
        assert (first != np.asarray(film.convert("L"))).any()
    with pytest.raises(BadSetting, match=r"neither \.mp4 nor \.gif"):
        picture.film(tmp_path / "hill.avi")


def test_what_a_linear_policy_is_worth_is_what_it_earns_in_the_world():
    env = polyak.make("MountainCarContinuous-v0")
    x = np.array([0.3, 0.8])  # pushes along with the velocity: reaches the goal
    earned = []
    low, high = env.observation_space.low, env.observation_space.high
    noise = env.noise(jax.random.key(5), (env.max_episode_steps + 1, 2))
    for start in noise[0]:
        state, obs = env.reset(start)
        total, over, step = 0.0, False, jax.jit(env.step)
        while not over:
            z = (np.asarray(obs) - (high + low) / 2) / ((high - low) / 2)
            state, obs, reward, terminated, truncated = step(state, np.clip([z @ x], -1, 1), 0.0)
            total, over = total + float(reward), bool(terminated | truncated)
        earned.append(total)
    score = linear_policy_score(env, episodes=2, seed=5)
    assert float(score(jnp.asarray(x, jnp.float32))) == pytest.approx(np.mean(earned), abs=0.1)
    assert np.mean(earned) > 80
    assert float(score(jnp.zeros(2))) == 0.0  # stays where it is, and pays nothing


def test_what_cannot_be_drawn_is_said_in_one_sentence():
    with pytest.raises(BadSetting, match="dqn is no search among policies"):
        polyak.draw_landscape(hill, [polyak.DQN()])
    with pytest.raises(BadSetting, match="at least one search"):
        polyak.draw_landscape(hill, [])
    with pytest.raises(BadSetting, match="CartPole-v1 has observations"):
        linear_policy_score(polyak.make("CartPole-v1"))
