"""Cores against Equinox's cells, and sequences against a plain loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.parts import networks
from polyak.parts.networks import GRU, LSTM, MLP, Dueling, MinAtarCNN, Recurrent

KEY = jax.random.key(0)
VECTOR = Box(-1.0, 1.0, (5,), np.float32)


def test_a_gru_is_that_of_equinox():
    cell = eqx.nn.GRUCell(5, 7, key=KEY)
    core = GRU(cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n)
    x, h = jax.random.normal(KEY, (3, 5)), jax.random.normal(jax.random.key(1), (3, 7))
    carry, y = core.advance(h, core.project(x))
    np.testing.assert_allclose(y, jax.vmap(cell)(x, h), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(carry, y)


def test_an_lstm_is_that_of_equinox():
    cell = eqx.nn.LSTMCell(5, 7, key=KEY)
    core = LSTM(cell.weight_ih, cell.weight_hh, cell.bias)
    x = jax.random.normal(KEY, (3, 5))
    h, c = jax.random.normal(jax.random.key(1), (2, 3, 7))
    (new_h, new_c), y = core.advance((h, c), core.project(x))
    expected_h, expected_c = jax.vmap(cell)(x, (h, c))
    np.testing.assert_allclose(new_h, expected_h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new_c, expected_c, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y, new_h)


@pytest.mark.parametrize(
    ("recurrent", "outputs"),
    [(Recurrent(MLP((6,)), "gru", 4), 3), (Recurrent(Dueling((6,), noisy=0.5), "lstm", 4), (3, 2))],
    ids=["gru", "noisy dueling lstm"],
)
def test_a_sequence_is_its_steps_with_an_empty_memory_where_episodes_begin(recurrent, outputs):
    module = recurrent.init(KEY, VECTOR, outputs)
    x = jax.random.normal(KEY, (6, 2, 5))
    first = jnp.array([[0, 1], [0, 0], [1, 0], [0, 0], [1, 1], [0, 0]], bool)
    noise = networks.noise(recurrent, VECTOR, outputs)(KEY, (6, 2))
    before = jax.tree.map(lambda leaf: leaf + 0.3, recurrent.start(2))
    carry, answers = module.unroll(before, x, first, noise)
    assert answers.shape == (6, 2, *((outputs,) if isinstance(outputs, int) else outputs))

    for b in range(2):
        memory = jax.tree.map(lambda leaf, b=b: leaf[b], before)
        for t in range(6):
            if first[t, b]:
                memory = jax.tree.map(jnp.zeros_like, memory)
            here = jax.tree.map(lambda leaf, t=t, b=b: leaf[t, b], noise)
            memory, expected = module.step(memory, x[t, b], here)
            np.testing.assert_allclose(answers[t, b], expected, rtol=1e-5, atol=1e-6)
        jax.tree.map(
            lambda ours, theirs, b=b: np.testing.assert_allclose(ours[b], theirs, rtol=1e-5, atol=1e-6), carry, memory
        )


def test_memory_reaches_what_follows_but_not_the_next_episode():
    recurrent = Recurrent(MLP((6,)), "lstm", 4)
    module = recurrent.init(KEY, VECTOR, 3)
    x = jax.random.normal(KEY, (4, 1, 5))
    first = jnp.zeros((4, 1), bool).at[2].set(True)

    def influence(t):
        """Of the first observation on the answers at t."""
        return jnp.abs(jax.grad(lambda x: module.unroll(recurrent.start(1), x, first)[1][t].sum())(x)[0]).sum()

    assert influence(1) > 0
    assert influence(2) == influence(3) == 0


def test_a_core_follows_any_torso():
    board = Box(0.0, 1.0, (4, 4, 2), np.float32)
    for network in (MinAtarCNN((6,), dueling=True), MinAtarCNN(())):
        recurrent = Recurrent(network, "gru", 4)
        module = recurrent.init(KEY, board, 3)
        _, answers = module.step(recurrent.start(2), jnp.ones((2, 32)))
        assert answers.shape == (2, 3)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(module))
    assert [leaf.shape for leaf in jax.tree.leaves(Recurrent(MLP(), "lstm", 9).start(2))] == [(2, 9)] * 2
