"""Cores against Equinox's cells, and sequences against a plain loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.errors import BadSetting
from polyak.parts.networks import GRU, LSTM, MLP, Dueling, MinAtarCNN, Recurrent
from polyak.parts.networks.recurrent import RecurrentNetwork
from tests.parts.networks.drawn import KEY, drawn, drawn_module, drawn_noise

VECTOR = Box(-1.0, 1.0, (5,), np.float32)


def cell(kind):
    """Equinox's, with numbers from NumPy."""
    shapes = jax.eval_shape(lambda key: kind(5, 7, key=key), KEY)
    return jax.tree.map(lambda leaf: drawn(*leaf.shape, seed=len(leaf.shape) + leaf.shape[-1]), shapes)


def test_a_gru_is_that_of_equinox():
    theirs = cell(eqx.nn.GRUCell)
    core = GRU(theirs.weight_ih, theirs.weight_hh, theirs.bias, theirs.bias_n)
    x, h = drawn(3, 5), drawn(3, 7)
    carry, y = jax.jit(lambda core: core.advance(h, core.project(x)))(core)
    np.testing.assert_allclose(y, jax.jit(jax.vmap(theirs))(x, h), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(carry, y)


def test_an_lstm_is_that_of_equinox():
    theirs = cell(eqx.nn.LSTMCell)
    core = LSTM(theirs.weight_ih, theirs.weight_hh, theirs.bias)
    x, before = drawn(3, 5), (drawn(3, 7, seed=3), drawn(3, 7, seed=4))
    (h, c), y = jax.jit(lambda core: core.advance(before, core.project(x)))(core)
    expected_h, expected_c = jax.jit(jax.vmap(theirs))(x, before)
    np.testing.assert_allclose(h, expected_h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(c, expected_c, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y, h)


@pytest.mark.parametrize(
    ("recurrent", "outputs"),
    [
        (Recurrent(MLP((6,)), "gru", 4), 3),
        (Recurrent(Dueling((6,), noisy=0.5), "lstm", 4), (3, 2)),
        (Recurrent(MLP((6,)), "transformer", 8, 3), 3),
    ],
    ids=["gru", "noisy dueling lstm", "transformer"],
)
def test_a_sequence_is_its_steps_with_an_empty_memory_where_episodes_begin(recurrent, outputs):
    module, noise = drawn_module(recurrent, VECTOR, outputs), drawn_noise(recurrent, VECTOR, outputs, (6, 2))
    x, first = drawn(6, 2, 5), np.array([[0, 1], [0, 0], [1, 0], [0, 0], [1, 1], [0, 0]], bool)
    before = jax.tree.map(lambda leaf: drawn(*leaf.shape), recurrent.start(2))
    carries, answers = jax.jit(RecurrentNetwork.unroll)(module, before, x, first, noise)
    assert answers.shape == (6, 2, *((outputs,) if isinstance(outputs, int) else outputs))

    step = jax.jit(RecurrentNetwork.step)
    for b in range(2):
        memory = jax.tree.map(lambda leaf, b=b: leaf[b], before)
        for t in range(6):
            if first[t, b]:
                memory = jax.tree.map(np.zeros_like, memory)
            here = jax.tree.map(lambda leaf, t=t, b=b: leaf[t, b], noise)
            memory, expected = step(module, memory, x[t, b], here)
            np.testing.assert_allclose(answers[t, b], expected, rtol=1e-5, atol=1e-6)
            for ours, theirs in zip(jax.tree.leaves(carries), jax.tree.leaves(memory), strict=True):
                np.testing.assert_allclose(ours[t, b], theirs, rtol=1e-5, atol=1e-6)


def test_a_transformer_is_attention_over_the_last_steps():
    """Against PyTorch-style attention of all heads at once, written with a loop in NumPy."""
    core = drawn_module(Recurrent(MLP((6,)), "transformer", 8, 3), VECTOR, 3).core
    x, there = drawn(5, 6), 3
    carry, answers = jax.tree.map(lambda leaf: leaf[0], Recurrent(MLP((6,)), "transformer", 8, there).start(1)), []
    for t in range(5):
        carry, y = jax.jit(lambda carry, x: core.advance(carry, core.project(x)))(carry, x[t])
        answers.append(y)

    def norm(v):
        return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)

    def linear(layer, v):
        return v @ np.asarray(layer.weight).T + np.asarray(layer.bias)

    e = linear(core.embed, np.asarray(x))
    q, k, v = np.split(norm(e) @ np.asarray(core.attend).T, 3, -1)
    for t in range(5):
        past = range(max(0, t - there + 1), t + 1)
        seen = np.zeros(8)
        for head in (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)):
            scores = np.array([q[t, head] @ (k[s] + np.asarray(core.age)[there - 1 - (t - s)])[head] for s in past])
            weights = np.exp(scores / np.sqrt(2)) / np.exp(scores / np.sqrt(2)).sum()
            seen[head] = sum(weight * v[s, head] for weight, s in zip(weights, past, strict=True))
        y = e[t] + np.asarray(core.out) @ seen
        y = y + linear(core.outer, np.maximum(linear(core.inner, norm(y)), 0))
        np.testing.assert_allclose(answers[t], y, rtol=1e-4, atol=1e-5)


def test_a_transformer_needs_as_many_units_as_heads_can_share():
    with pytest.raises(BadSetting, match="4 heads, and 6 cannot be"):
        Recurrent(MLP((6,)), "transformer", 6).init(KEY, VECTOR, 3)


def test_memory_reaches_what_follows_but_not_the_next_episode():
    recurrent = Recurrent(MLP((6,)), "lstm", 4)
    module, x = drawn_module(recurrent, VECTOR, 3), drawn(4, 1, 5)
    first = np.array([[0], [0], [1], [0]], bool)
    slopes = jax.jit(jax.jacrev(lambda x: module.unroll(recurrent.start(1), x, first)[1].sum((1, 2))))(x)
    influence = np.abs(slopes).sum((2, 3))  # [t, s] of the observation at s on the answers at t
    assert (influence > 0).tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, True, True],
    ]


def test_a_core_follows_any_torso():
    board = Box(0.0, 1.0, (4, 4, 2), np.float32)
    for network in (MinAtarCNN((6,), dueling=True), MinAtarCNN(())):
        recurrent = Recurrent(network, "gru", 4)
        module = jax.eval_shape(lambda key, make=recurrent.init: make(key, board, 3), KEY)
        x = jax.ShapeDtypeStruct((2, 32), jnp.float32)
        carry, answers = jax.eval_shape(RecurrentNetwork.step, module, recurrent.start(2), x)
        assert (carry.shape, answers.shape) == ((2, 4), (2, 3))
    assert [leaf.shape for leaf in jax.tree.leaves(Recurrent(MLP(), "lstm", 9).start(2))] == [(2, 9)] * 2
