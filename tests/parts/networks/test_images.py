"""Networks that read images: what they compute, and that both forms of a convolution are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.errors import BadSetting
from polyak.parts.networks import ImpalaCNN, MinAtarCNN, NatureCNN, encode
from polyak.parts.networks.convolution import Image, as_convolution, as_products
from polyak.parts.networks.images import max_pool

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("size", "stride", "height", "width", "channels", "filters"),
    [(8, 4, 20, 27, 4, 8), (4, 2, 9, 10, 8, 6), (3, 1, 7, 5, 6, 4), (3, 2, 8, 7, 2, 3), (1, 1, 3, 3, 2, 2)],
)
def test_both_forms_of_a_convolution_agree(size, stride, height, width, channels, filters):
    keys = jax.random.split(KEY, 3)
    x = jax.random.normal(keys[0], (3, height, width, channels))
    weight = jax.random.normal(keys[1], (filters, size * size * channels))

    def both_ways(form):
        y, back = jax.vjp(lambda x, weight: form(x, weight, size, stride), x, weight)
        return y, *back(jax.random.normal(keys[2], y.shape))

    found, expected = (jax.jit(both_ways, static_argnums=0)(form) for form in (as_products, as_convolution))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_a_convolution_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    weight = jnp.array([[1.0, 10.0, 100.0, 1000.0]])  # rows, columns: (0, 0), (0, 1), (1, 0), (1, 1)
    for form in (as_products, as_convolution):
        np.testing.assert_allclose(form(x, weight, 2, 2)[0, :, :, 0], [[5410, 7632], [14298, 16520]])


def test_the_minatar_network_is_a_convolution():
    board = Box(0.0, 1.0, (10, 10, 4), np.float32)
    module = MinAtarCNN(hidden=(8,)).init(KEY, board, outputs=3)
    obs = jax.random.uniform(jax.random.key(1), (5, 10, 10, 4))
    kernel = module.kernel.weight.T.reshape(3, 3, 4, 16)
    maps = jax.lax.conv_general_dilated(obs, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    expected = module.body(jax.nn.relu(maps + module.kernel.bias).reshape(5, -1))
    np.testing.assert_allclose(module(obs.reshape(5, -1)), expected, rtol=1e-4, atol=1e-5)


def test_the_nature_network_layer_by_layer():
    space = Box(0, 255, (4, 36, 44), np.uint8)
    module = NatureCNN(hidden=(8,)).init(KEY, space, outputs=3)
    obs = jax.random.randint(KEY, (2, 4, 36, 44), 0, 256).astype(jnp.uint8)
    x = obs.astype(jnp.float32) / 255
    for layer, (filters, size, stride) in zip(module.kernel.layers, ((32, 8, 4), (64, 4, 2), (64, 3, 1)), strict=True):
        kernel = layer.weight.reshape(filters, size, size, -1).transpose(0, 3, 1, 2)  # OIHW, as PyTorch has it
        x = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "VALID")
        x = jax.nn.relu(x + layer.bias[:, None, None])
    assert x.shape == (2, 64, 1, 2)
    expected = module.body(x.transpose(0, 2, 3, 1).reshape(2, -1))
    np.testing.assert_allclose(module(encode(space)(obs)), expected, rtol=1e-4, atol=1e-5)


def test_channels_may_come_first_or_last():
    image = jax.random.uniform(KEY, (2, 9, 8, 3))
    last, first = Image.of((9, 8, 3)), Image.of((3, 9, 8))
    np.testing.assert_array_equal(last.read(image.reshape(2, -1)), image)
    np.testing.assert_array_equal(first.read(image.transpose(0, 3, 1, 2).reshape(2, -1)), image)
    assert Image.of((10, 10, 10)) == Image(10, 10, 10, channels_first=False)


@pytest.mark.parametrize(("height", "width"), [(8, 7), (1, 2), (5, 4)])
def test_the_maximum_of_places_is_that_of_xla(height, width):
    x = jax.random.normal(KEY, (2, height, width, 3))

    def reference(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    np.testing.assert_array_equal(max_pool(x), reference(x))
    weight = jax.random.normal(KEY, reference(x).shape)
    ours, theirs = (jax.grad(lambda x, f=f: jnp.vdot(f(x), weight))(x) for f in (max_pool, reference))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_residual_network_whose_outer_convolutions_are_zero_is_its_sections_alone():
    space = Box(0.0, 1.0, (9, 8, 2), np.float32)
    module = ImpalaCNN(hidden=(4,)).init(KEY, space, outputs=3)
    sections = tuple(
        tuple(jax.tree.map(lambda leaf, i=i: leaf * (i not in (2, 4)), layer) for i, layer in enumerate(section))
        for section in module.kernel.sections
    )
    kernel = type(module.kernel)(sections, False)
    x = obs = jax.random.normal(KEY, (2, 9, 8, 2))
    for first, *_ in module.kernel.sections:
        x = max_pool(first(x))
    assert x.shape == (2, 2, 1, 32)
    np.testing.assert_allclose(kernel(obs), x, rtol=1e-5, atol=1e-6)
    assert not np.allclose(module.kernel(obs), x, atol=1e-3)


def test_maps_are_normalised_where_asked():
    space = Box(0.0, 1.0, (6, 6, 2), np.float32)
    x = jax.random.uniform(KEY, (3, 72))
    module = MinAtarCNN((), layer_norm=True).init(KEY, space, 2)
    louder = type(module)(jax.tree.map(lambda leaf: 10 * leaf, module.kernel), module.body, module.image, True)
    np.testing.assert_allclose(louder(x), module(x), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("network", [MinAtarCNN(), NatureCNN(), ImpalaCNN()])
def test_a_network_for_images_wants_images(network):
    with pytest.raises(BadSetting, match=f"'{network.name}' reads images"):
        network.init(KEY, Box(-1.0, 1.0, (5,), np.float32), 3)


@pytest.mark.parametrize("network", [MinAtarCNN(), NatureCNN()])
def test_an_image_that_is_too_small_is_refused_in_a_sentence(network):
    with pytest.raises(BadSetting, match="cannot read images as small as"):
        network.init(KEY, Box(0.0, 1.0, (20, 2, 4), np.float32), 3)
