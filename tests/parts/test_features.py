"""Features by hand."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak import settings
from polyak.errors import BadSetting, UnknownName
from polyak.parts.features import Fourier, Polynomial, Radial, Raw, Tiles, features_from_text
from polyak.parts.text import part_text

SQUARE = gymnasium.spaces.Box(np.array([0.0, -1.0], np.float32), np.array([1.0, 1.0], np.float32))
HALVES = jnp.array([0.5, 0.0])  # the middle of both


def features(kind, obs=HALVES, space=SQUARE):
    made = kind.map(space)
    x = jax.jit(made.of)(obs)
    assert x.shape == (made.size,) == made.scale.shape
    return x


def test_raw_features_are_the_observation():
    assert features(Raw()).tolist() == [0.5, 0.0]


def test_polynomials_are_products_of_powers():
    x = features(Polynomial(2), jnp.array([0.5, 0.5]))  # (1/2, 3/4) of the way
    np.testing.assert_allclose(x, [1, 3 / 4, 9 / 16, 1 / 2, 3 / 8, 9 / 32, 1 / 4, 3 / 16, 9 / 64])


def test_fourier_features_are_cosines_and_the_fast_ones_learn_slowly():
    np.testing.assert_allclose(features(Fourier(1)), [1, 0, 0, -1], atol=1e-6)  # 0, pi/2, pi/2, pi
    np.testing.assert_allclose(Fourier(1).map(SQUARE).scale, [1, 1, 1, 1 / np.sqrt(2)])


def test_radial_features_fall_with_the_distance_from_their_centres():
    x = features(Radial(3))  # centres 0, 1/2, 1; sigma 1/2
    near, far = np.exp(-0.5), np.exp(-1.0)
    np.testing.assert_allclose(x, [far, near, far, near, 1, near, far, near, far], rtol=1e-6)


def test_one_tile_of_each_grid_holds_the_observation():
    kind = Tiles(tilings=4, tiles=3)
    rng = np.random.default_rng(0)
    for obs in rng.uniform([0, -1], [1, 1], (50, 2)):
        x = features(kind, jnp.asarray(obs, jnp.float32)).reshape(4, 16)
        assert (x.sum(1) == 1).all()
    assert features(kind, jnp.array([1.0, 1.0])).sum() == features(kind, jnp.array([-5.0, 5.0])).sum() == 4
    np.testing.assert_allclose(kind.map(SQUARE).scale, 1 / 4)


def test_near_observations_share_tiles_and_far_ones_do_not():
    kind = Tiles(tilings=8, tiles=4)
    here, near, far = (features(kind, jnp.array([x, 0.0])) for x in (0.5, 0.56, 0.9))
    assert 8 > here @ near >= 5
    assert here @ far == 0


def test_one_grid_is_a_table_over_bins():
    kind = Tiles(tilings=1, tiles=2)
    places = [int(features(kind, jnp.array([x, y])).argmax()) for x in (0.1, 0.9) for y in (-0.9, 0.9)]
    assert kind.map(SQUARE).size == 4
    assert sorted(places) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("low", "high", "obs", "share"),
    [
        (-np.inf, np.inf, 2.0, 0.75),  # from -4 to 4
        (-3.4e38, 3.4e38, 2.0, 0.75),
        (5.0, np.inf, 7.0, 0.25),  # from 5 to 13
        (4.0, np.inf, 6.0, 0.25),
        (-np.inf, -5.0, -7.0, 0.75),  # from -13 to -5
        (2e6, 3e6, 2.25e6, 0.25),  # far away, and yet between bounds
        (-1e6, 1e6, 0.0, 0.5),
        (1.0, 1.0, 1.0, 0.0),  # it never changes
        (0.0, 1e-44, 0.0, 0.0),
    ],
)
def test_a_coordinate_is_read_between_its_bounds_or_eight_wide(low, high, obs, share):
    space = gymnasium.spaces.Box(np.array([0, low], np.float32), np.array([1, high], np.float32))
    x = features(Polynomial(1), jnp.array([0.5, obs], jnp.float32), space)
    np.testing.assert_allclose(x, [1, share, 0.5, share / 2], rtol=1e-6)
    for kind in (Fourier(2), Radial(3), Tiles(4, 4)):
        assert np.isfinite(features(kind, jnp.array([0.5, obs], jnp.float32), space)).all()


@pytest.mark.parametrize("text", ["raw", "polynomial:2", "fourier:3", "radial:5", "tiles:8:4"])
def test_each_kind_has_a_text_form(text):
    assert part_text(features_from_text(text)) == text


@pytest.mark.parametrize("text", ["fourier:x", "fourier:3:3", "tiles:-1", "raw:1", "tiles:8.0", "tiles:" + "9" * 4000])
def test_what_is_no_kind_of_features_is_refused(text):
    with pytest.raises(BadSetting, match="The kind of features must be of the form"):
        features_from_text(text)
    with pytest.raises(UnknownName, match="did you mean fourier"):
        features_from_text("furier:3")


@pytest.mark.parametrize("text", ["tiles:0", "tiles:8:0", "fourier:100001"])
def test_a_number_of_features_that_cannot_work_is_refused(text):
    with pytest.raises(BadSetting, match=r"linear-sarsa's features's .* it must be at least 1 and at most 100,000"):
        settings.build("linear-sarsa", {"features": text})


@pytest.mark.parametrize(
    ("kind", "dimensions", "says"),
    [
        (Fourier(99), 4, r"fourier:99 would be 100\^4, and 100,000 are the most"),
        (Radial(11), 5, r"radial:11 would be 11\^5,"),
        (Tiles(2, 999), 2, r"tiles:2:999 would be 1,000\^2 x 2,"),
        (Polynomial(100_000), 2**16, r"100,001\^65,536"),  # which nobody should wait for
        (Tiles(1, 2), 2**16, r"2\^65,536"),
    ],
)
def test_too_many_features_are_refused_before_they_are_counted(kind, dimensions, says):
    with pytest.raises(BadSetting, match=says):
        kind.map(gymnasium.spaces.Box(0.0, 1.0, (dimensions,), np.float32))


def test_as_many_features_as_may_be_are_made():
    line = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    assert Radial(100_000).map(line).size == 100_000 == Tiles(50_000, 1).map(line).size
    assert Radial(1).map(gymnasium.spaces.Box(0.0, 1.0, (1_000,), np.float32)).size == 1
