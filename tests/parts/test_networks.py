"""Networks: shapes, initial values, what each computes, and their text form."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from polyak.errors import BadSetting, UnknownName
from polyak.parts import networks
from polyak.parts.networks import (
    MLP,
    Dueling,
    Linear,
    MinAtarCNN,
    Perceptron,
    Torso,
    network_from_text,
    network_text,
)

KEY = jax.random.key(0)
VECTOR = Box(-1.0, 1.0, (5,), np.float32)
BOARD = Box(0.0, 1.0, (10, 10, 4), np.float32)


@pytest.mark.parametrize(
    ("network", "space"),
    [
        (MLP(hidden=(8, 6)), VECTOR),
        (Dueling(hidden=(8, 6)), VECTOR),
        (MinAtarCNN(hidden=(8,)), BOARD),
        (MLP((4,)), BOARD),
    ],
    ids=["mlp", "dueling", "minatar", "mlp on a board"],
)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_answers_have_the_leading_axes_of_the_observations(network, space, leading):
    module = network.init(KEY, space, outputs=3)
    obs = jax.random.normal(KEY, (*leading, *space.shape))
    answers = module(networks.encode(space)(obs))
    assert answers.shape == (*leading, 3)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(module))


def test_a_batch_is_answered_row_by_row():
    for network, space in ((MLP((8,)), VECTOR), (Dueling((8,)), VECTOR), (MinAtarCNN((8,)), BOARD)):
        module, encode = network.init(KEY, space, 2), networks.encode(space)
        obs = jax.random.normal(KEY, (4, *space.shape))
        rows = jnp.stack([module(encode(row)) for row in obs])
        np.testing.assert_allclose(module(encode(obs)), rows, rtol=1e-5, atol=1e-6)


def test_a_perceptron_by_hand():
    hidden = Linear(jnp.array([[1.0], [-1.0]]), jnp.array([0.0, 1.0]))
    head = Linear(jnp.array([[2.0, 3.0]]), jnp.array([-9.0]))
    x = jnp.array([2.0])  # the hidden layer makes (2, -2 + 1) of it
    relu, tanh, normed = (Torso((hidden,), *how) for how in (("relu", False), ("tanh", False), ("tanh", True)))
    assert Perceptron(relu, head)(x) == pytest.approx(2 * 2 + 3 * 0 - 9)
    assert Perceptron(tanh, head)(x) == pytest.approx(2 * np.tanh(2) + 3 * np.tanh(-1) - 9, rel=1e-5)
    # (2, -1) has mean 1/2 and deviation 3/2, so that its units become 1 and -1
    assert Perceptron(normed, head)(x) == pytest.approx(2 * np.tanh(1) + 3 * np.tanh(-1) - 9, rel=1e-5)


def test_a_normalised_layer_has_mean_zero_and_variance_one_whatever_comes_in():
    x = 1e3 * jax.random.normal(KEY, (4, 50)) + 1e3
    np.testing.assert_allclose(networks.layer_norm(x).mean(-1), 0.0, atol=1e-4)
    np.testing.assert_allclose(networks.layer_norm(x).std(-1), 1.0, rtol=1e-4)
    np.testing.assert_array_equal(networks.layer_norm(jnp.ones((2, 8))), np.zeros((2, 8)))  # and no division by zero


@pytest.mark.parametrize("kind", [MLP, Dueling])
def test_layers_are_normalised_where_asked(kind):
    plain, normed = (kind((8,), layer_norm=how).init(KEY, VECTOR, 3) for how in (False, True))
    x = jax.random.normal(KEY, (6, 5))
    assert jax.tree.structure(plain) != jax.tree.structure(normed)
    # scaling what the hidden layer makes changes nothing once it is normalised
    assert not np.allclose(plain.torso(10 * x), plain.torso(x), atol=1e-2)
    scaled = jax.tree.map(lambda leaf: 10 * leaf, normed.torso)
    np.testing.assert_allclose(scaled(x), normed.torso(x), atol=1e-3)


def test_dueling_values_average_to_the_value_of_the_state():
    module = Dueling(hidden=(8,)).init(KEY, VECTOR, outputs=4)
    x = jax.random.normal(KEY, (6, 5))
    torso = module.torso(x)
    q, advantage = module(x), module.advantage(torso)
    np.testing.assert_allclose(q.mean(-1), module.value(torso)[..., 0], rtol=1e-5, atol=1e-6)
    # and differ among themselves as the advantages do
    np.testing.assert_allclose(q - q[:, :1], advantage - advantage[:, :1], rtol=1e-4, atol=1e-6)


def test_the_minatar_network_is_a_convolution():
    module = MinAtarCNN(hidden=(8,)).init(KEY, BOARD, outputs=3)
    board = jax.random.uniform(jax.random.key(1), (5, 10, 10, 4))
    kernel = module.kernel.weight.T.reshape(3, 3, 4, 16)
    maps = jax.lax.conv_general_dilated(
        board, kernel, window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = module.body(jax.nn.relu(maps + module.kernel.bias).reshape(5, -1))
    np.testing.assert_allclose(module(board.reshape(5, -1)), expected, rtol=1e-4, atol=1e-5)


def test_the_minatar_network_wants_images():
    with pytest.raises(BadSetting, match="reads images"):
        MinAtarCNN().init(KEY, VECTOR, 3)


def test_uniform_weights_are_within_one_over_the_root_of_the_inputs():
    weight, bias = networks.uniform(KEY, 16, 500)
    assert float(jnp.abs(weight).max()) <= 0.25
    assert float(jnp.abs(bias).max()) <= 0.25
    assert float(weight.std()) == pytest.approx(0.25 / 3**0.5, rel=0.05)
    assert float(bias.std()) > 0.1


def test_orthogonal_weights_are_orthogonal_and_biases_zero():
    weight, bias = networks.orthogonal(2**0.5)(KEY, 12, 7)
    np.testing.assert_allclose(weight @ weight.T, 2.0 * np.eye(7), atol=1e-5)
    np.testing.assert_array_equal(bias, np.zeros(7))


def test_the_head_has_an_initialiser_of_its_own():
    module = MLP(hidden=(8,)).init(KEY, VECTOR, 3, networks.orthogonal(2**0.5), networks.orthogonal(0.01))
    np.testing.assert_allclose(module.head.weight @ module.head.weight.T, 1e-4 * np.eye(3), atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        MLP(),
        MLP((32,), "tanh"),
        MLP((), "relu"),
        MLP((32, 16), layer_norm=True),
        Dueling((128, 64, 32), "silu"),
        MinAtarCNN(),
        MinAtarCNN((64, 64), "gelu"),
    ],
)
def test_the_text_form_is_read_back_as_the_same_network(network):
    assert network_from_text(network_text(network)) == network


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("mlp", MLP()),
        ("mlp:64,32", MLP((64, 32))),
        ("mlp:7:tanh", MLP((7,), "tanh")),
        ("mlp::tanh", MLP(activation="tanh")),
        ("mlp:::layer_norm", MLP(layer_norm=True)),
        ("dueling:8", Dueling((8,))),
        ("minatar", MinAtarCNN()),
    ],
)
def test_what_a_text_leaves_out_has_its_default(text, network):
    assert network_from_text(text) == network


def test_the_text_form_is_one_line():
    assert network_text(MLP((64, 64), "tanh")) == "mlp:64,64:tanh"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("mpl", UnknownName, "did you mean mlp"),
        ("", UnknownName, "no network named ''"),
        ("mlp:64:tanhh", UnknownName, "did you mean tanh"),
        ("mlp:64,x", BadSetting, "name:width,width:activation"),
        ("mlp:64,", BadSetting, "name:width,width:activation"),
        ("mlp:64,0", BadSetting, "without units"),
        ("mlp:-3", BadSetting, "without units"),
        ("mlp:64:relu:norm", BadSetting, "activation:layer_norm"),
        ("mlp:64:relu:layer_norm:3", BadSetting, "activation:layer_norm"),
    ],
)
def test_a_text_that_cannot_be_read_is_told_in_a_sentence(text, error, says):
    with pytest.raises(error, match=says):
        network_from_text(text)


def test_discrete_observations_become_one_hot_from_the_start_of_their_space():
    space = Discrete(3, start=5)
    assert networks.num_features(space) == 3
    np.testing.assert_array_equal(networks.encode(space)(jnp.array([5, 7, 6])), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert networks.encode(space)(jnp.int32(6)).shape == (3,)


def test_bytes_are_divided_by_255():
    encode = networks.encode(Box(0, 255, (2,), np.uint8))
    encoded = encode(jnp.array([[0, 255], [51, 102]], jnp.uint8))
    assert encoded.dtype == jnp.float32
    np.testing.assert_allclose(encoded, [[0.0, 1.0], [0.2, 0.4]], rtol=1e-6)


def test_boxes_are_flattened_as_they_are():
    encode = networks.encode(Box(-1e9, 1e9, (2, 2), np.float32))
    np.testing.assert_array_equal(encode(jnp.array([[[300.0, -2.0], [0.5, 1.0]]])), [[300.0, -2.0, 0.5, 1.0]])
    assert networks.encode(Box(0, 1, (2, 2), np.bool_))(jnp.ones((3, 2, 2), bool)).dtype == jnp.float32


def test_other_spaces_are_refused_in_a_sentence():
    with pytest.raises(BadSetting, match="reads Box and Discrete"):
        networks.encode(gymnasium.spaces.Dict({"a": VECTOR}))
