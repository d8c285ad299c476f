"""Linear layers, a row or a column per output."""

import gc
import pickle
import weakref

import gymnasium
import jax
import numpy as np

from polyak.parts import networks


def test_columns_answer_what_rows_do_and_turn_back():
    space = gymnasium.spaces.Box(-1.0, 1.0, (4,))
    network = networks.MLP(hidden=(32, 16), activation="tanh").init(jax.random.key(0), space, 3)
    turned = networks.by_columns(network)
    shapes = [leaf.shape for leaf in jax.tree.leaves(turned)]
    assert shapes == [(4, 32), (32,), (32, 16), (16,), (3, 16), (3,)]  # the narrow head stays as it was
    x = jax.random.normal(jax.random.key(1), (5, 4))
    for observations in (x, x[0]):
        np.testing.assert_allclose(turned(observations), network(observations), rtol=1e-5, atol=1e-6)
    for old, new in zip(jax.tree.leaves(network), jax.tree.leaves(networks.by_rows(turned)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_network_from_another_process_is_the_same_and_is_let_go_of():
    """Equinox alone keeps what was unpickled for ever."""
    space = gymnasium.spaces.Box(-1.0, 1.0, (4,))
    network = networks.Dueling(hidden=(8,)).init(jax.random.key(0), space, 3)
    sent = pickle.loads(pickle.dumps(jax.device_get(network)))
    assert jax.tree.structure(sent) == jax.tree.structure(network)
    x = jax.random.normal(jax.random.key(1), (5, 4))
    np.testing.assert_array_equal(sent(x), network(x))
    kept = weakref.ref(sent)
    del sent
    gc.collect()
    assert kept() is None
