"""The optimizers against optax's own, and the average that moves a target network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from polyak import settings
from polyak.errors import BadSetting, UnknownName
from polyak.parts.optimise import (
    Adam,
    RAdam,
    RMSProp,
    adam,
    optimizer_from_text,
    polyak_average,
)
from polyak.parts.text import part_text

RULES = pytest.mark.parametrize("kind", [Adam(), RAdam(), RMSProp()], ids=lambda kind: kind.name)

PARAMETERS = {"weight": jnp.arange(6.0).reshape(2, 3), "bias": (jnp.array([1.0, -1.0]), jnp.float32(2.0))}

LOSS = jnp.float32(1.0)


def gradient(step: int):
    """Small at first, then far above the clipping norm."""
    return jax.tree.map(lambda leaf: jnp.sin(leaf + step) * 10.0 ** (step - 2), PARAMETERS)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        (Adam(), optax.adam(0.01)),
        (Adam(eps=1e-5), optax.adam(0.01, eps=1e-5)),
        (RAdam(), optax.radam(0.01)),
        (RMSProp(), optax.rmsprop(0.01, decay=0.95, eps=0.01, centered=True)),
        (RMSProp(decay=0.9, eps=1e-3), optax.rmsprop(0.01, decay=0.9, eps=1e-3, centered=True)),
    ],
    ids=lambda value: part_text(value) if hasattr(value, "rule") else "",
)
def test_it_is_optax_after_clipping_by_the_global_norm(kind, theirs):
    mine, theirs = kind.rule(0.5), optax.chain(optax.clip_by_global_norm(0.5), theirs)
    update, their_update = jax.jit(mine.update), jax.jit(theirs.update)
    parameters, expected = PARAMETERS, PARAMETERS
    state, their_state = mine.init(parameters), theirs.init(expected)
    for step in range(12):  # RAdam knows enough from the sixth on
        given = gradient(step % 5)
        parameters, state, norm = update(parameters, given, state, 0.01, LOSS)
        updates, their_state = their_update(given, their_state)
        expected = optax.apply_updates(expected, updates)
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(given)])
        assert float(norm) == pytest.approx(float(np.linalg.norm(flat)), rel=1e-5)  # before clipping
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parameters, expected)


def test_the_learning_rate_is_that_of_the_step():
    rule = adam(10.0)
    state = rule.init(PARAMETERS)
    still, state, _ = rule.update(PARAMETERS, gradient(1), state, 0.0, LOSS)
    jax.tree.map(np.testing.assert_array_equal, still, PARAMETERS)
    # Adam's first steps along a constant gradient are one learning rate long, whatever the gradient's size
    moved, _, _ = rule.update(PARAMETERS, gradient(1), state, jnp.float32(0.25), LOSS)
    lengths = jax.tree.map(lambda new, old: jnp.abs(new - old), moved, PARAMETERS)
    assert max(float(leaf.max()) for leaf in jax.tree.leaves(lengths)) == pytest.approx(0.25, rel=1e-3)


@RULES
@pytest.mark.parametrize(("loss", "spoilt"), [(np.nan, 1.0), (np.inf, 1.0), (1.0, np.nan), (1.0, -np.inf), (1.0, 1e30)])
def test_an_update_from_numbers_that_are_not_finite_is_refused_and_so_are_those_after_it(kind, loss, spoilt):
    rule = kind.rule(10.0)
    parameters, state, _ = rule.update(PARAMETERS, gradient(1), rule.init(PARAMETERS), 0.1, LOSS)
    worse = gradient(1) | {"bias": (jnp.array([spoilt, 1.0]), jnp.float32(0.0))}
    held, after, norm = rule.update(parameters, worse, state, 0.1, jnp.float32(loss))
    assert not np.isfinite(norm) or not np.isfinite(loss)  # which is how the run learns of it
    for _ in range(2):
        jax.tree.map(np.testing.assert_array_equal, (held, after.first, after.second), (parameters, *state[:2]))
        assert after.updates == -2  # one was made
        held, after, _ = rule.update(held, gradient(1), after, 0.1, LOSS)


def test_polyak_average_by_hand():
    target, online = (
        {"w": jnp.array([0.0, 2.0]), "b": jnp.float32(1.0)},
        {"w": jnp.array([4.0, -2.0]), "b": jnp.float32(5.0)},
    )
    averaged = polyak_average(target, online, 0.25)  # 3/4 target + 1/4 online
    np.testing.assert_allclose(averaged["w"], [1.0, 1.0])
    assert averaged["b"] == 2.0


@pytest.mark.parametrize("tau", [1.0, jnp.float32(1.0)], ids=["number", "array"])
def test_a_tau_of_one_is_an_exact_copy(tau):
    target, online = jnp.array([1e8, -1e8, 0.1]), jnp.array([0.1, 0.3, 1e-7])  # old + (new - old) would lose these
    np.testing.assert_array_equal(polyak_average(target, online, tau), online)
    np.testing.assert_array_equal(jax.jit(polyak_average)(target, online, tau), online)


def test_a_tau_of_zero_leaves_the_target_alone():
    target, online = jnp.array([0.1, 3.0]), jnp.array([7.0, -1e8])
    np.testing.assert_array_equal(polyak_average(target, online, 0.0), target)


@pytest.mark.parametrize("kind", [Adam(), Adam(1.5e-4), RAdam(), RMSProp(0.9, 1e-6)], ids=part_text)
def test_an_optimizer_survives_its_text_form(kind):
    assert optimizer_from_text(part_text(kind)) == kind


def test_a_short_text_stands_for_the_defaults():
    assert optimizer_from_text("rmsprop") == RMSProp() and optimizer_from_text("rmsprop:0.9") == RMSProp(decay=0.9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adm", "did you mean adam"),
        ("adam:x", "of the form adam:eps"),
        ("adam:1:0.5:2", "of the form adam:eps:beta1"),
        ("adam:0", "dqn's optimizer's eps is 0.0; it must be more than 0"),
        ("adam:-1", "dqn's optimizer's eps is -1.0; it must be more than 0"),
        ("radam:nan", "dqn's optimizer's eps is nan; it must be more than 0"),
        ("rmsprop:1", "dqn's optimizer's decay is 1.0; it must be 0 or more and below 1"),
    ],
)
def test_what_is_no_optimizer_is_refused_in_a_sentence(text, said):
    with pytest.raises((BadSetting, UnknownName), match=said):
        settings.build("dqn", {"optimizer": text})
