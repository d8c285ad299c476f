"""Modules and noise with numbers from NumPy: what `init` draws would take most of these tests' time to compile."""

import jax
import numpy as np

from polyak.parts import networks

KEY = jax.random.key(0)


def _filled(shapes, seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.5 * random.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def drawn_module(network, space, outputs, seed=0):
    """What `network.init` makes, with other numbers."""
    return _filled(jax.eval_shape(lambda key: network.init(key, space, outputs), KEY), seed)


def drawn_noise(network, space, outputs, shape, seed=1):
    """What `networks.noise` draws, with other numbers."""
    draw = networks.noise(lambda key: network.init(key, space, outputs))
    return _filled(jax.eval_shape(lambda key: draw(key, shape), KEY), seed)


def drawn(*shape, seed=2):
    """An array."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
