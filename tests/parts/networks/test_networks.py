"""Networks: shapes, initial values, what each computes, and their text form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from polyak import settings
from polyak.errors import BadSetting, UnknownName
from polyak.parts import networks
from polyak.parts.networks import (
    MLP,
    Dueling,
    ImpalaCNN,
    Linear,
    MinAtarCNN,
    NatureCNN,
    Perceptron,
    Recurrent,
    Torso,
    any_network_from_text,
    any_network_text,
    network_from_text,
    network_text,
    recurrent_from_text,
    recurrent_text,
)
from polyak.parts.networks.layers import LARGE

KEY = jax.random.key(0)
VECTOR = Box(-1.0, 1.0, (5,), np.float32)
BOARD = Box(0.0, 1.0, (10, 10, 4), np.float32)
FRAMES = Box(0, 255, (4, 36, 44), np.uint8)


@pytest.mark.parametrize(
    ("network", "space"),
    [
        (MLP(hidden=(8, 6)), VECTOR),
        (Dueling(hidden=(8, 6)), VECTOR),
        (MinAtarCNN(hidden=(8,)), BOARD),
        (MLP((4,)), BOARD),
        (NatureCNN((8,), layer_norm=True, dueling=True), FRAMES),
        (ImpalaCNN((8,), noisy=0.5), Box(0, 255, (3, 9, 8), np.uint8)),
    ],
    ids=["mlp", "dueling", "minatar", "mlp on a board", "nature", "impala"],
)
def test_answers_have_the_leading_axes_of_the_observations(network, space):
    encode = networks.encode(space)
    for outputs, answers in ((3, (3,)), ((3, 4), (3, 4))):
        make = jax.eval_shape(lambda key, outputs=outputs: network.init(key, space, outputs), KEY)
        draw = networks.noise(lambda key, outputs=outputs: network.init(key, space, outputs))
        for leading in ((), (3,), (2, 3)):
            x = jax.eval_shape(encode, jax.ShapeDtypeStruct((*leading, *space.shape), space.dtype))
            noise = jax.eval_shape(lambda key, draw=draw, leading=leading: draw(key, leading), KEY)
            assert all(leaf.shape[:-1] == leading for leaf in jax.tree.leaves(noise))
            for given in (None, noise):
                found = jax.eval_shape(lambda module, x, noise: module(x, noise), make, x, given)
                assert (found.shape, found.dtype) == ((*leading, *answers), jnp.float32)


def test_all_leaves_of_a_module_are_arrays():
    for network in (Dueling((4,), noisy=0.5), MinAtarCNN((4,))):
        module = network.init(KEY, BOARD, 3)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(module))


def test_a_batch_is_answered_row_by_row():
    for network, space in ((MLP((8,)), VECTOR), (Dueling((8,)), VECTOR), (MinAtarCNN((8,)), BOARD)):
        module, encode = network.init(KEY, space, 2), networks.encode(space)
        obs = jax.random.normal(KEY, (4, *space.shape))
        rows = jnp.stack([module(encode(row)) for row in obs])
        np.testing.assert_allclose(module(encode(obs)), rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inputs", [3, LARGE // 4])
def test_a_linear_layer_and_its_gradients_are_those_of_a_product(inputs):
    x, weight, bias = (jax.random.normal(KEY, shape) for shape in ((5, inputs), (4, inputs), (4,)))

    def both_ways(layer):
        y, back = jax.vjp(layer, x, weight, bias)
        return y, *back(jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    expected = both_ways(lambda x, weight, bias: x @ weight.T + bias)
    found = jax.jit(lambda: both_ways(lambda x, weight, bias: Linear(weight, bias)(x)))()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_a_perceptron_by_hand():
    hidden = Linear(jnp.array([[1.0], [-1.0]]), jnp.array([0.0, 1.0]))
    head = Linear(jnp.array([[2.0, 3.0]]), jnp.array([-9.0]))
    x = jnp.array([2.0])  # the hidden layer makes (2, -2 + 1) of it
    relu, tanh, normed = (Torso((hidden,), *how) for how in (("relu", False), ("tanh", False), ("tanh", True)))
    assert Perceptron(relu, head, (1,))(x) == pytest.approx(2 * 2 + 3 * 0 - 9)
    assert Perceptron(tanh, head, (1,))(x) == pytest.approx(2 * np.tanh(2) + 3 * np.tanh(-1) - 9, rel=1e-5)
    # (2, -1) has mean 1/2 and deviation 3/2, so that its units become 1 and -1
    assert Perceptron(normed, head, (1,))(x) == pytest.approx(2 * np.tanh(1) + 3 * np.tanh(-1) - 9, rel=1e-5)


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


@pytest.mark.parametrize("outputs", [4, (4, 3)])
def test_dueling_values_average_to_the_value_of_the_state(outputs):
    module = Dueling(hidden=(8,)).init(KEY, VECTOR, outputs)
    x = jax.random.normal(KEY, (6, 5))
    torso = module.torso(x)
    q = module(x).reshape(6, 4, -1)  # [N, A, K]; K = 1 where one number answers
    advantage = module.advantage(torso).reshape(q.shape)
    np.testing.assert_allclose(q.mean(1), module.value(torso), rtol=1e-5, atol=1e-6)
    # and differ among themselves as the advantages do
    np.testing.assert_allclose(q - q[:, :1], advantage - advantage[:, :1], rtol=1e-4, atol=1e-6)


def test_the_streams_of_a_dueling_cnn_have_hidden_layers_of_their_own():
    module = MinAtarCNN((8,), dueling=True).init(KEY, BOARD, (3, 2))
    value, advantage = module.body.value, module.body.advantage
    assert value.torso.layers[0].weight.shape == advantage.torso.layers[0].weight.shape == (8, 8 * 8 * 16)
    assert not np.array_equal(value.torso.layers[0].weight, advantage.torso.layers[0].weight)
    features = jax.random.normal(KEY, (5, 8 * 8 * 16))
    q, a = module.body(features), advantage(features)
    v = value(features)[:, None]
    np.testing.assert_allclose(q, v + a - a.mean(1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_the_parameters_of_a_key_have_not_changed_since_the_first_version():
    """Saved policies and published seeds depend on it: layer by layer, which key draws what."""
    torso_key, head_key = jax.random.split(KEY)
    (first,) = jax.random.split(torso_key, 1)
    mlp = MLP((8,)).init(KEY, VECTOR, 3)
    np.testing.assert_array_equal(mlp.torso.layers[0].weight, networks.uniform(first, 5, 8)[0])
    np.testing.assert_array_equal(mlp.head.weight, networks.uniform(head_key, 8, 3)[0])
    torso_key, value_key, advantage_key = jax.random.split(KEY, 3)
    dueling = Dueling((8,)).init(KEY, VECTOR, 3)
    np.testing.assert_array_equal(dueling.value.weight, networks.uniform(value_key, 8, 1)[0])
    np.testing.assert_array_equal(dueling.advantage.weight, networks.uniform(advantage_key, 8, 3)[0])
    kernel_key, body_key = jax.random.split(KEY)
    minatar = MinAtarCNN((8,)).init(KEY, BOARD, 3)
    np.testing.assert_array_equal(minatar.kernel.weight, networks.uniform(kernel_key, 9 * 4, 16)[0])
    np.testing.assert_array_equal(minatar.body.head.weight, networks.uniform(jax.random.split(body_key)[1], 8, 3)[0])
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.flatten_with_path(minatar)[0]}
    layers = (".kernel", ".body.torso.layers[0]", ".body.head")
    assert names == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


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
        MLP((8,), noisy=0.5),
        Dueling((), layer_norm=True, noisy=0.25),
        NatureCNN(dueling=True),
        ImpalaCNN((8,), "tanh", True, 0.5, True),
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
        ("mlp:::noisy", MLP(noisy=0.5)),
        ("nature:::dueling:noisy=0.4", NatureCNN(noisy=0.4, dueling=True)),
    ],
)
def test_what_a_text_leaves_out_has_its_default(text, network):
    assert network_from_text(text) == network


def test_the_text_form_is_one_line():
    assert network_text(MLP((64, 64), "tanh")) == "mlp:64,64:tanh"
    rich = NatureCNN(layer_norm=True, noisy=0.5, dueling=True)
    assert network_text(rich) == "nature:512:relu:layer_norm:noisy:dueling"
    assert recurrent_text(Recurrent(rich, "lstm", 256)) == "nature:512:relu:layer_norm:noisy:dueling+lstm:256"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("mpl", UnknownName, "did you mean mlp"),
        ("", UnknownName, "no network named ''"),
        ("mlp:64:tanhh", UnknownName, "did you mean tanh"),
        ("mlp:64,x", BadSetting, "name:width,width:activation"),
        ("mlp:64,", BadSetting, "name:width,width:activation"),
        ("mlp:64,0", BadSetting, r"dqn's network's hidden is \(64, 0\); it must be at least 1"),
        ("mlp:-3", BadSetting, "name:width,width:activation"),
        ("mlp:" + "9" * 4000, BadSetting, "name:width,width:activation"),
        ("mlp:64:relu:norm", BadSetting, "activation:layer_norm"),
        ("mlp:64:relu:layer_norm:3", BadSetting, "activation:layer_norm"),
        ("mlp:64:relu:dueling", BadSetting, "activation:layer_norm:noisy,"),
        ("mlp:64:relu:noisy=0", BadSetting, "dqn's network's noisy is 0.0; it must be more than 0"),
        ("mlp:64:relu:noisy=nan", BadSetting, "dqn's network's noisy is nan; it must be more than 0"),
        ("mlp:64:relu:noise=1", BadSetting, "noisy=0.4"),
        ("mlp:64:relu:noisy:noisy=1", BadSetting, "twice"),
        ("mlp:64+gru:8", BadSetting, "has a memory"),
    ],
)
def test_a_text_that_cannot_be_read_is_told_in_a_sentence(text, error, says):
    with pytest.raises(error, match=says):
        settings.build("dqn", {"network": text})


def test_a_recurrent_network_is_a_network_and_its_memory():
    for recurrent in (
        Recurrent(MLP((8,), noisy=0.5), "gru", 16),
        Recurrent(NatureCNN(dueling=True), "lstm", 512),
        Recurrent(MLP((8,)), "transformer", 64, 32),
    ):
        assert recurrent_from_text(recurrent_text(recurrent)) == recurrent
        assert any_network_from_text(any_network_text(recurrent)) == recurrent
    assert recurrent_from_text("mlp+gru:8") == Recurrent(MLP(), "gru", 8)
    assert recurrent_from_text("mlp+transformer:8") == Recurrent(MLP(), "transformer", 8, 16)
    assert any_network_from_text("mlp:8") == MLP((8,))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("mlp:64", BadSetting, "network.memory:units"),
        ("mlp:64+gru", BadSetting, "network.memory:units"),
        ("mlp:64+gru:0", BadSetting, "network's units is 0; it must be at least 1 and at most 65,536"),
        ("mlp:64+gru:1000000", BadSetting, "network's units is 1000000; it must be at least 1 and at most 65,536"),
        ("mlp:64+gru:" + "9" * 5000, BadSetting, "network.memory:units"),
        ("mlp:64+lstn:8", UnknownName, "did you mean lstm"),
        ("mpl+gru:8", UnknownName, "did you mean mlp"),
        ("mlp+gru:8+gru:8", BadSetting, "network.memory:units"),
        ("mlp+gru:8:4", BadSetting, "network.memory:units"),
        ("mlp+transformer:8:x", BadSetting, "network.memory:units"),
        ("mlp+transformer:8:1", BadSetting, "network's window is 1; it must be at least 2 and at most 4,096"),
    ],
)
def test_a_memory_that_cannot_be_read_is_told_in_a_sentence(text, error, says):
    with pytest.raises(error, match=says):
        settings.build("recurrent-dqn", {"network": text})


def test_discrete_observations_become_one_hot_from_the_start_of_their_space():
    space = Discrete(3, start=5)
    assert networks.num_features(space) == 3
    np.testing.assert_array_equal(networks.encode(space)(jnp.array([5, 7, 6])), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert networks.encode(space)(jnp.int32(6)).shape == (3,)


@pytest.mark.parametrize("network", [MLP((8,)), MLP(()), Dueling((8,)), MinAtarCNN((8,)), ImpalaCNN((8,))])
@pytest.mark.parametrize("shape", [(7, 6, 3), (3, 7, 6)])
def test_networks_divide_bytes_by_255(network, shape):
    space = Box(0, 255, shape, np.uint8)
    module, obs = network.init(KEY, space, 2), jax.random.randint(KEY, (4, *shape), 0, 256).astype(jnp.uint8)
    x = networks.encode(space)(obs)
    np.testing.assert_array_equal(x, obs.reshape(4, -1))
    assert x.dtype == jnp.uint8
    answers = jax.jit(lambda module, x: module(x))
    np.testing.assert_allclose(answers(module, x), answers(module, x.astype(jnp.float32) / 255), rtol=1e-5, atol=1e-6)


def test_boxes_are_flattened_as_they_are():
    encode = networks.encode(Box(-1e9, 1e9, (2, 2), np.float32))
    np.testing.assert_array_equal(encode(jnp.array([[[300.0, -2.0], [0.5, 1.0]]])), [[300.0, -2.0, 0.5, 1.0]])
    assert networks.encode(Box(0, 1, (2, 2), np.bool_))(jnp.ones((3, 2, 2), bool)).dtype == jnp.float32
