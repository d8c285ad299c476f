"""Members of spaces with parts as rows, and back."""

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from polyak.errors import BadSetting
from polyak.parts import networks
from polyak.parts.networks.encoding import read_space
from polyak.spaces import (
    MASK,
    from_rows,
    has_parts,
    in_own_type,
    kept,
    mask_of,
    parts,
    row_shape,
    storage_type,
    to_rows,
    whole_range,
)

NESTED = Dict(
    {
        "at": Box(-1.0, 1.0, (2, 2), np.float32),
        "inner": Tuple([Discrete(3, start=5), Dict({"lights": MultiBinary(2), "time": Box(0, 9, (), np.int64)})]),
        "picture": Box(0, 255, (1, 2), np.uint8),
    }
)
MEMBER = {
    "at": np.array([[0.5, -0.5], [0.25, 1.0]], np.float32),
    "inner": (6, {"lights": np.array([1, 0], np.int8), "time": np.array(7)}),
    "picture": np.array([[255, 51]], np.uint8),
}
ROW = [0.5, -0.5, 0.25, 1.0, 6.0, 1.0, 0.0, 7.0, 255.0, 51.0]


def test_a_row_holds_the_parts_in_the_order_of_the_space():
    assert [part.path for part in parts(NESTED)] == [
        ("at",), ("inner", 0), ("inner", 1, "lights"), ("inner", 1, "time"), ("picture",)
    ]  # fmt: skip
    assert (row_shape(NESTED), storage_type(NESTED)) == ((10,), np.float32)
    np.testing.assert_array_equal(to_rows(NESTED, MEMBER), np.float32(ROW))


def test_members_come_back_from_their_rows():
    NESTED.seed(0)
    members = [NESTED.sample() for _ in range(20)]
    for member in members:
        again = from_rows(NESTED, to_rows(NESTED, member))
        assert NESTED.contains(again)
        np.testing.assert_array_equal(to_rows(NESTED, again), to_rows(NESTED, member))


def test_a_batch_of_members_is_a_batch_of_rows():
    batch = {"choice": [1, 0, 1], "at": np.zeros((3, 2))}
    space = Dict({"at": Box(-1.0, 1.0, (2,)), "choice": Discrete(2)})
    rows = to_rows(space, batch)
    np.testing.assert_array_equal(rows, [[0, 0, 1], [0, 0, 0], [0, 0, 1]])
    assert from_rows(space, rows)["choice"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("space", [Discrete(3), Box(0, 1, (2, 3)), MultiBinary((2, 2)), MultiDiscrete([2, 3])])
def test_a_space_without_parts_keeps_its_shape(space):
    assert not has_parts(space)
    assert row_shape(space) == (space.shape or ())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"at": np.zeros((2, 3))}, r"part 'at' has shape \(2, 3\) in place of \(2, 2\)"),
        ({"at": "here"}, "part 'at' is 'here', which is no number"),
        ({"inner": (6,)}, r"part 'inner' has the parts \[0\] and should have \[0, 1\]"),
        ({"inner": np.zeros(2)}, r"part 'inner' is a ndarray and should have \[0, 1\]"),
        ({"inner": (6, {"lights": [1, 0]})}, r"part 'inner'\[1\] has the parts \['lights'\] and should have"),
        ({"inner": (1.7, MEMBER["inner"][1])}, r"part 'inner'\[0\] is 1.7, which is no whole number"),
        ({"picture": np.zeros((4, 1, 2))}, r"part 'picture' has shape \(4, 1, 2\) in place of \(1, 2\)"),
    ],
)
def test_what_is_no_member_is_told_by_its_part(change, says):
    with pytest.raises(ValueError, match=says):
        to_rows(NESTED, MEMBER | change)


def test_networks_read_every_part_of_a_row():
    """Bytes are divided by 255, choices become one-hot vectors."""
    x = networks.encode(NESTED)(jnp.array([ROW]))
    np.testing.assert_allclose(x, [[0.5, -0.5, 0.25, 1.0, 0, 1, 0, 1, 0, 7, 1.0, 0.2]], rtol=1e-6)
    assert networks.num_features(NESTED) == 12


def test_several_choices_become_one_hot_vectors_side_by_side():
    space = MultiDiscrete([2, 3], start=[0, 5])
    np.testing.assert_array_equal(
        networks.encode(space)(jnp.array([[1, 5], [0, 7]])), [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    )


def test_a_mask_is_not_read_and_leaves_an_image_an_image():
    image = Box(0, 255, (4, 4, 2), np.uint8)
    space = Dict({"observation": image, MASK: MultiBinary(3)})
    rows = to_rows(space, {"observation": np.full((4, 4, 2), 200), MASK: [1, 0, 1]})
    mask = mask_of(space)
    assert rows[mask].tolist() == [1, 0, 1]
    x = networks.encode(space)(jnp.array(rows[None]))
    assert (read_space(space), x.shape, x.dtype) == (image, (1, 32), jnp.uint8)
    assert mask_of(NESTED) is None


@pytest.mark.parametrize("space", [gymnasium.spaces.Text(3), Dict({"a": gymnasium.spaces.Text(3)}), Dict({})])
def test_what_no_network_can_read_is_refused_in_a_sentence(space):
    with pytest.raises(BadSetting, match="are not supported; polyak reads Box, Discrete"):
        networks.num_features(space)


@pytest.mark.parametrize("space", [Box(0, 1, (0,)), Dict({"nothing": Box(0, 1, (2, 0))})])
def test_observations_without_a_number_are_refused_in_a_sentence(space):
    with pytest.raises(BadSetting, match="hold no number"):
        networks.num_features(space)


FAR = 2**24  # float32 tells whole numbers apart up to here


@pytest.mark.parametrize("value", [FAR + 1, -FAR - 1, np.float64(FAR + 1), np.array(FAR + 1, np.uint32), 2**63])
def test_a_whole_number_that_a_row_cannot_hold_is_told(value):
    space = Dict({"count": Box(-(2**63), 2**63 - 1, (), np.int64), "level": Discrete(3)})
    with pytest.raises(ValueError, match=rf"part 'count' is .*{str(value)[-4:]}.*, and .* up to 16,777,216"):
        to_rows(space, {"count": value, "level": 0})
    assert to_rows(space, {"count": np.array(-FAR), "level": 2}).tolist() == [-FAR, 2]


@pytest.mark.parametrize(
    ("space", "range_"),
    [
        (Discrete(2**40), (0, 2**40 - 1)),
        (Discrete(3, start=-(2**40)), (-(2**40), 2 - 2**40)),
        (MultiDiscrete([2**62, 3], start=[2**62, -1]), (-1, 2**63 - 1)),
        (Box(np.array([0, -7]), np.array([2**31, 1]), dtype=np.int64), (-7, 2**31)),
        (Box(-np.inf, np.inf, (2,), np.int64), (0, 0)),
        (Box(3, 2**32 - 1, (2,), np.uint32), (0, 0)),
        (Box(0, 1e9, (2,), np.float64), (0, 0)),
        (Box(0, 9, (0,), np.int64), (0, 0)),
        (MultiBinary(3), (0, 0)),
    ],
    ids=str,
)
def test_whole_numbers_have_the_range_that_their_space_binds_them_to(space, range_):
    """The last number of a type is no bound."""
    assert whole_range(space) == range_


TENTH = Box(-0.1, 0.1, (2,), np.float64)
GIVEN = {
    "bounds that rounding moved out": (TENTH, np.float32([-0.1, 0.1]), [-0.1, 0.1]),
    "within": (TENTH, np.float32([-0.05, 0.0]), [np.float32(-0.05), 0.0]),
    "far out": (TENTH, np.float32([-0.2, 7.0]), [np.float32(-0.2), 7.0]),
    "out by little": (TENTH, np.float64([0.1 + 1e-6, 0.1 + 1e-9]), [0.1 + 1e-6, 0.1]),
    "a bound that rounding moved in": (Box(-0.7, 0.7, (1,), np.float64), np.float32([0.7]), [np.float32(0.7)]),
    "unbounded": (Box(-np.inf, 1e300, (1,), np.float64), np.float32([3e38]), [np.float32(3e38)]),
    "float32": (Box(-0.1, 0.1, (2,), np.float32), np.float32([-0.1, 0.1]), np.float32([-0.1, 0.1])),
    "from float64": (Box(-1.0, 1.0, (1,), np.float32), np.float64([0.1]), np.float32([0.1])),
    "choices": (MultiDiscrete([2, 3]), np.int32([1, 2]), [1, 2]),
}


@pytest.mark.parametrize("title", GIVEN)
def test_an_action_is_given_in_the_type_of_its_space_and_within_its_bounds(title):
    """What lies within them as float32; what lies elsewhere is left there."""
    space, action, expected = GIVEN[title]
    for given in (in_own_type(space)(action), in_own_type(space)(np.stack([action]))[0]):
        assert given.dtype == space.dtype
        assert given.tolist() == np.asarray(expected, np.float64).tolist()
    assert space.contains(given) or title in ("far out", "out by little")


def test_fractions_are_not_cut_off_for_a_space_of_whole_numbers():
    assert in_own_type(MultiDiscrete([2, 3]))(np.array([0.7, 1.0])).tolist() == [0.7, 1.0]


def test_parts_of_an_action_are_within_their_bounds():
    space = Dict({"push": TENTH, "gear": Discrete(3, start=1)})
    for end in (TENTH.low, TENTH.high):
        assert space.contains(from_rows(space, to_rows(space, {"push": end, "gear": 2})))


@pytest.mark.parametrize(
    ("space", "values", "says"),
    [
        (Discrete(3), np.array([1, 2**33]), "8589934592 cannot be kept as int32"),
        (Box(0, 255, (2,), np.uint8), [0.5, 1.0], "0.5 cannot be kept as uint8"),
        (Discrete(3), "left", "the whole is 'left', which is no number"),
        (Box(0, 1, (2,)), [[0.0], [0.0, 1.0]], "which is no array"),
    ],
)
def test_values_that_would_be_kept_as_others_are_told(space, values, says):
    with pytest.raises(ValueError, match=says):
        kept(space, values)


def test_values_are_kept_in_the_type_of_their_space():
    assert kept(Discrete(3), [1.0, 2.0]).dtype == np.int32
    assert kept(Box(0, 1, (1,), np.float64), [0.1]).tolist() == [np.float32(0.1)]
