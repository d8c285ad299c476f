"""Noisy layers against dense matrices built by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.parts import networks
from polyak.parts.networks import MLP, Dueling, MinAtarCNN, NoisyLinear
from polyak.parts.networks.layers import with_noise

KEY = jax.random.key(0)
VECTOR = Box(-1.0, 1.0, (5,), np.float32)


def dense(layer: NoisyLinear, noise: tuple, x: np.ndarray) -> np.ndarray:
    """Each sample with a weight matrix of its own, as equations 9 to 11 of Fortunato et al. (2018) are written."""
    rows = []
    for row, e_in, e_out in zip(x, *noise, strict=True):
        weight = layer.weight + layer.weight_sigma * np.outer(e_out, e_in)
        rows.append(weight @ row + layer.bias + layer.bias_sigma * e_out)
    return np.array(rows)


def test_the_two_products_are_the_dense_noise_of_each_sample():
    module = MLP((6,), noisy=0.5).init(KEY, VECTOR, 3)
    module = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(KEY, leaf.shape), module)  # sigmas that differ
    x = jax.random.normal(jax.random.key(1), (4, 5))
    noise = networks.noise(MLP((6,), noisy=0.5), VECTOR, 3)(jax.random.key(2), (4,))
    hidden = np.maximum(dense(module.torso.layers[0], noise[0], np.asarray(x)), 0)
    np.testing.assert_allclose(module(x, noise), dense(module.head, noise[1], hidden), rtol=1e-4, atol=1e-5)


def test_without_noise_a_noisy_network_is_its_means():
    x = jax.random.normal(KEY, (4, 5))
    noisy, plain = (kind((6,), noisy=sigma) for kind, sigma in ((Dueling, 0.5), (Dueling, None)))
    # the means begin as the weights of the same network without noise
    np.testing.assert_array_equal(noisy.init(KEY, VECTOR, 3)(x), plain.init(KEY, VECTOR, 3)(x))
    silent = jax.tree.map(jnp.zeros_like, networks.noise(noisy, VECTOR, 3)(KEY, (4,)))
    module = noisy.init(KEY, VECTOR, 3)
    np.testing.assert_allclose(module(x, silent), module(x), rtol=1e-6)


def test_gradients_reach_every_mean_and_every_sigma():
    network = MinAtarCNN((6,), noisy=0.5, dueling=True)
    board = Box(0.0, 1.0, (4, 4, 2), np.float32)
    module = network.init(KEY, board, (2, 3))
    noise = networks.noise(network, board, (2, 3))(KEY, (8,))
    x = jax.random.normal(jax.random.key(1), (8, 32))
    gradient = jax.grad(lambda module: jnp.square(module(x, noise) - 1).sum())(module)
    for path, leaf in jax.tree.flatten_with_path(gradient)[0]:
        assert jnp.any(leaf != 0), jax.tree_util.keystr(path)
    assert len(jax.tree.leaves(gradient)) == 2 + 4 * 4


def test_sigmas_begin_at_sigma_0_over_the_root_of_the_inputs():
    layer = MLP((), noisy=0.4).init(KEY, VECTOR, 3).head
    np.testing.assert_allclose(layer.weight_sigma, 0.4 / 5**0.5, rtol=1e-6)
    np.testing.assert_allclose(layer.bias_sigma, 0.4 / 5**0.5, rtol=1e-6)


def test_noise_is_the_signed_root_of_normal_numbers_and_new_for_every_sample_and_layer():
    (e_in, e_out), (f_in, f_out) = networks.noise(MLP((7,), noisy=0.5), VECTOR, 3)(KEY, (2000,))
    assert (e_in.shape, e_out.shape, f_in.shape, f_out.shape) == ((2000, 5), (2000, 7), (2000, 7), (2000, 3))
    every = np.concatenate([e_in, e_out, f_in, f_out], 1)
    normal = np.sign(every) * every**2
    assert normal.mean() == pytest.approx(0, abs=0.02) and normal.std() == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef(every.T) - np.eye(22)).max() < 0.1


def test_noise_of_no_shape_is_shared_by_the_batch():
    network = MLP((6,), noisy=0.5)
    module, x = network.init(KEY, VECTOR, 3), jax.random.normal(KEY, (4, 5))
    noise = networks.noise(network, VECTOR, 3)(KEY, ())
    rows = jnp.stack([module(row, noise) for row in x])
    np.testing.assert_allclose(module(x, noise), rows, rtol=1e-5, atol=1e-6)


def test_a_network_without_noisy_layers_needs_no_noise():
    assert networks.noise(MLP(), VECTOR, 3)(KEY, (4,)) == ()
    module, x = MLP().init(KEY, VECTOR, 3), jnp.ones((4, 5))
    np.testing.assert_array_equal(module(x, ()), module(x))
    assert with_noise(module, None) is module
