"""Networks that read images: what they compute, and that both forms of a convolution are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.errors import BadSetting
from polyak.parts.networks import ImpalaCNN, MinAtarCNN, NatureCNN, NipsCNN, encode
from polyak.parts.networks.convolution import Convolution, Image, as_convolution, as_products
from polyak.parts.networks.images import ImageNetwork, Residual, max_pool
from tests.parts.networks.drawn import KEY, drawn, drawn_module


@pytest.mark.parametrize(
    ("size", "stride", "height", "width", "channels", "filters"),
    [(8, 4, 20, 27, 4, 8), (4, 2, 9, 10, 8, 6), (3, 1, 7, 5, 6, 4), (3, 1, 6, 5, 64, 4), (3, 2, 8, 7, 2, 3)],
)
def test_both_forms_of_a_convolution_agree(size, stride, height, width, channels, filters):
    x, weight = drawn(3, height, width, channels), drawn(filters, size * size * channels)

    def both_ways(form):
        y, back = jax.vjp(lambda x, weight: form(x, weight, size, stride), x, weight)
        return y, *back(drawn(*y.shape, seed=3))

    found, expected = (jax.jit(both_ways, static_argnums=0)(form) for form in (as_products, as_convolution))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize(("size", "stride", "channels"), [(8, 4, 4), (4, 2, 3), (6, 3, 2), (3, 1, 4)])
def test_a_convolution_reads_channels_first_and_bytes(size, stride, channels, kind):
    x = np.random.default_rng(0).integers(0, 256, (2, channels, 18, 21)).astype(kind)
    weight, numbers = drawn(5, size * size * channels), jnp.float32(x) / (255 if kind == np.uint8 else 1)

    def both_ways(form, x, channels_first):
        y, back = jax.vjp(lambda weight: form(x, weight, size, stride, channels_first), weight)
        return y, *back(drawn(*y.shape, seed=3))

    expected = both_ways(as_convolution, numbers.transpose(0, 2, 3, 1), False)
    for form in (as_products, as_convolution):
        for ours, theirs in zip(jax.jit(both_ways, static_argnums=(0, 2))(form, x, True), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_a_convolution_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    weight = jnp.array([[1.0, 10.0, 100.0, 1000.0]])  # rows, columns: (0, 0), (0, 1), (1, 0), (1, 1)
    for form in (as_products, as_convolution):
        np.testing.assert_allclose(form(x, weight, 2, 2)[0, :, :, 0], [[5410, 7632], [14298, 16520]])


def test_the_minatar_network_is_a_convolution():
    board = Box(0.0, 1.0, (10, 10, 4), np.float32)
    module = drawn_module(MinAtarCNN(hidden=(8,)), board, 3)
    obs = drawn(5, 10, 10, 4)

    @jax.jit
    def reference(module, obs):
        kernel = module.kernel.weight.T.reshape(3, 3, 4, 16)
        maps = jax.lax.conv_general_dilated(obs, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return module.body(jax.nn.relu(maps + module.kernel.bias).reshape(5, -1))

    answers = jax.jit(lambda module, obs: module(obs.reshape(5, -1)))(module, obs)
    np.testing.assert_allclose(answers, reference(module, obs), rtol=1e-4, atol=1e-4)


def test_the_nature_network_layer_by_layer():
    space = Box(0, 255, (4, 36, 44), np.uint8)
    module = drawn_module(NatureCNN(hidden=(8,)), space, 3)
    obs = np.random.default_rng(0).integers(0, 256, (2, 4, 36, 44), np.uint8)

    @jax.jit
    def reference(module, obs):
        x = obs.astype(jnp.float32) / 255
        sizes = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
        for layer, (filters, size, stride) in zip(module.kernel.layers, sizes, strict=True):
            kernel = layer.weight.reshape(filters, size, size, -1).transpose(0, 3, 1, 2)  # OIHW, as PyTorch has it
            x = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "VALID")
            x = jax.nn.relu(x + layer.bias[:, None, None])
        assert x.shape == (2, 64, 1, 2)
        return module.body(x.transpose(0, 2, 3, 1).reshape(2, -1))

    answers = jax.jit(lambda module, x: module(x))(module, encode(space)(obs))
    np.testing.assert_allclose(answers, reference(module, obs), rtol=1e-4, atol=1e-5)


def test_channels_may_come_first_or_last():
    image = drawn(2, 9, 8, 3)
    last, first = Image.of((9, 8, 3)), Image.of((3, 9, 8))
    np.testing.assert_array_equal(last.read(image.reshape(2, -1)), image)
    planes = image.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(first.read(planes.reshape(2, -1)), planes)
    assert Image.of((10, 10, 10)) == Image(10, 10, 10, channels_first=False)


@pytest.mark.parametrize(("height", "width"), [(8, 7), (1, 2)])
def test_the_maximum_of_places_is_that_of_xla(height, width):
    x = drawn(2, height, width, 3)

    def reference(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    def both_ways(pool):
        y, back = jax.vjp(pool, x)
        return y, *back(jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    found, expected = (jax.jit(both_ways, static_argnums=0)(pool) for pool in (max_pool, reference))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)


def test_a_residual_section_by_hand():
    section = tuple(Convolution(drawn(3, 27, seed=i), drawn(3, seed=i), 3, 1, True) for i in range(5))
    x = drawn(2, 7, 6, 3)

    @jax.jit
    def reference(section, x):
        def layer(i, x):
            kernel = section[i].weight.reshape(3, 3, 3, 3)
            return section[i].bias + jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "OHWI", "NHWC")
            )

        x = jax.lax.reduce_window(layer(0, x), -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        x = x + layer(2, jax.nn.relu(layer(1, jax.nn.relu(x))))
        return x + layer(4, jax.nn.relu(layer(3, jax.nn.relu(x))))

    answers = jax.jit(lambda section, x: Residual((section,), False)(x))(section, x)
    assert answers.shape == (2, 4, 3, 3)
    np.testing.assert_allclose(answers, reference(section, x), rtol=1e-4, atol=1e-2)


def test_maps_are_normalised_where_asked():
    space = Box(0.0, 1.0, (6, 6, 2), np.float32)
    x = drawn(3, 72)
    module = drawn_module(MinAtarCNN((), layer_norm=True), space, 2)
    louder = ImageNetwork(jax.tree.map(lambda leaf: 10 * leaf, module.kernel), module.body, module.image, True)
    answer = jax.jit(lambda module, x: module(x))
    np.testing.assert_allclose(answer(louder, x), answer(module, x), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("network", [MinAtarCNN(), NipsCNN(), NatureCNN(), ImpalaCNN()])
def test_a_network_for_images_wants_images(network):
    with pytest.raises(BadSetting, match=f"'{network.name}' reads images"):
        network.init(KEY, Box(-1.0, 1.0, (5,), np.float32), 3)


@pytest.mark.parametrize("network", [MinAtarCNN(), NatureCNN()])
def test_an_image_that_is_too_small_is_refused_in_a_sentence(network):
    with pytest.raises(BadSetting, match="cannot read images as small as"):
        network.init(KEY, Box(0.0, 1.0, (20, 2, 4), np.float32), 3)
