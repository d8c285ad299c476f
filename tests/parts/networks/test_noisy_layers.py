"""Noisy layers against dense matrices built by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.parts import networks
from polyak.parts.networks import MLP, Dueling, MinAtarCNN, NoisyLinear
from polyak.parts.networks.layers import with_noise
from tests.parts.networks.drawn import KEY, drawn, drawn_module, drawn_noise

VECTOR = Box(-1.0, 1.0, (5,), np.float32)
NOISY = MLP((6,), noisy=0.4)
answer = jax.jit(lambda module, x, noise=None: module(x, noise))


def dense(layer: NoisyLinear, noise: tuple, x: np.ndarray) -> np.ndarray:
    """Each sample with a weight matrix of its own, as equations 9 to 11 of Fortunato et al. (2018) are written."""
    rows = []
    for row, e_in, e_out in zip(x, *noise, strict=True):
        weight = layer.weight + layer.weight_sigma * np.outer(e_out, e_in)
        rows.append(weight @ row + layer.bias + layer.bias_sigma * e_out)
    return np.array(rows)


def test_the_two_products_are_the_dense_noise_of_each_sample():
    module, noise, x = drawn_module(NOISY, VECTOR, 3), drawn_noise(NOISY, VECTOR, 3, (4,)), drawn(4, 5)
    hidden = np.maximum(dense(module.torso.layers[0], noise[0], x), 0)
    np.testing.assert_allclose(answer(module, x, noise), dense(module.head, noise[1], hidden), rtol=1e-4, atol=1e-5)


def test_without_noise_a_noisy_network_is_its_means():
    noisy, x = drawn_module(Dueling((6,), noisy=0.4), VECTOR, 3), drawn(4, 5)
    shapes = jax.eval_shape(lambda key: Dueling((6,)).init(key, VECTOR, 3), KEY)
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.flatten_with_path(noisy)[0]}
    means = [leaves[jax.tree_util.keystr(path)] for path, _ in jax.tree.flatten_with_path(shapes)[0]]
    plain = jax.tree.unflatten(jax.tree.structure(shapes), means)
    np.testing.assert_allclose(answer(noisy, x), answer(plain, x), rtol=1e-5, atol=1e-6)
    silent = jax.tree.map(np.zeros_like, drawn_noise(Dueling((6,), noisy=0.4), VECTOR, 3, (4,)))
    np.testing.assert_allclose(answer(noisy, x, silent), answer(plain, x), rtol=1e-5, atol=1e-6)


def test_gradients_reach_every_mean_and_every_sigma():
    network, board = MinAtarCNN((6,), noisy=0.5, dueling=True), Box(0.0, 1.0, (4, 4, 2), np.float32)
    module, noise, x = (drawn_module(network, board, (2, 3)), drawn_noise(network, board, (2, 3), (8,)), drawn(8, 32))
    gradient = jax.jit(jax.grad(lambda module: jnp.square(module(x, noise) - 1).sum()))(module)
    for path, leaf in jax.tree.flatten_with_path(gradient)[0]:
        assert np.any(np.asarray(leaf) != 0), jax.tree_util.keystr(path)
    assert len(jax.tree.leaves(gradient)) == 2 + 4 * 4


def test_a_noisy_layer_begins_as_the_plain_one_with_sigma_0_over_the_root_of_the_inputs():
    noisy, plain = (MLP((), noisy=sigma).init(KEY, VECTOR, 3).head for sigma in (0.4, None))
    np.testing.assert_array_equal(noisy.weight, plain.weight)
    np.testing.assert_array_equal(noisy.bias, plain.bias)
    np.testing.assert_allclose(noisy.weight_sigma, np.full((3, 5), 0.4 / 5**0.5), rtol=1e-6)
    np.testing.assert_allclose(noisy.bias_sigma, np.full(3, 0.4 / 5**0.5), rtol=1e-6)


def test_noise_is_the_signed_root_of_normal_numbers_and_new_for_every_sample_and_layer():
    draw = jax.jit(networks.noise(lambda key: MLP((7,), noisy=0.5).init(key, VECTOR, 3)), static_argnums=1)
    (e_in, e_out), (f_in, f_out) = draw(KEY, (2000,))
    assert (e_in.shape, e_out.shape, f_in.shape, f_out.shape) == ((2000, 5), (2000, 7), (2000, 7), (2000, 3))
    every = np.concatenate([e_in, e_out, f_in, f_out], 1)
    normal = np.sign(every) * every**2
    assert normal.mean() == pytest.approx(0, abs=0.02) and normal.std() == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef(every.T) - np.eye(22)).max() < 0.1


def test_noise_of_no_shape_is_shared_by_the_batch():
    module, noise, x = drawn_module(NOISY, VECTOR, 3), drawn_noise(NOISY, VECTOR, 3, ()), drawn(4, 5)
    each = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (4, *leaf.shape)), noise)
    np.testing.assert_allclose(answer(module, x, noise), answer(module, x, each), rtol=1e-5, atol=1e-6)


def test_a_network_without_noisy_layers_needs_no_noise():
    assert networks.noise(lambda key: MLP().init(key, VECTOR, 3))(KEY, (4,)) == ()
    module, x = drawn_module(MLP((6,)), VECTOR, 3), drawn(4, 5)
    np.testing.assert_array_equal(answer(module, x, ()), answer(module, x))
    assert with_noise(module, None) is module
