"""Critics of actions that are numbers: against numbers worked by hand, and against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

from polyak.errors import BadSetting
from polyak.parts import critics, networks
from polyak.parts.critics import MOMENTUM, WARM_UP, BatchNorm, DropoutCritic
from polyak.parts.networks import MLP, Dueling, Linear, MinAtarCNN, NatureCNN
from tests.parts.networks.drawn import drawn

KEY = jax.random.key(0)
TWO, BYTES = Box(-1.0, 1.0, (2,)), Box(0, 255, (2,), np.uint8)


def numbers_of(shapes, seed: int = 0):
    """A module with numbers from NumPy, of the shapes of another; to draw them takes no time to compile."""
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [drawn(*leaf.shape, seed=seed + i) for i, leaf in enumerate(leaves)])


def made(init, seed: int = 0):
    return numbers_of(jax.eval_shape(init, KEY), seed)


def linear(weight, bias) -> Linear:
    return Linear(jnp.array(weight, jnp.float32), jnp.array(bias, jnp.float32))


def one_of(both, i: int):
    return jax.tree.map(lambda leaf: leaf[i], both)


# ---- plain critics


def test_a_critic_is_a_perceptron_of_what_is_seen_beside_the_action():
    one = made(critics.critic(MLP((3,), "tanh"), TWO, 1, 2))
    x, action = drawn(5, 2, seed=10), drawn(5, 1, seed=11)
    (hidden,), head = one.layers.torso.layers, one.layers.head
    expected = np.tanh(np.hstack([x, action]) @ hidden.weight.T + hidden.bias) @ head.weight.T + head.bias
    answers = one(jnp.asarray(x), jnp.asarray(action))
    assert answers.shape == (5, 2)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)


def test_bytes_are_read_as_shares_of_255_and_actions_as_they_are():
    one = made(critics.critic(MLP(()), BYTES, 1, 1))
    weight, bias = one.layers.head.weight[0], one.layers.head.bias[0]
    answer = one(jnp.array([[255, 51]], jnp.uint8), jnp.array([[0.5]]))
    np.testing.assert_allclose(answer, [[weight @ [1.0, 0.2, 0.5] + bias]], rtol=1e-5)


def test_an_ensemble_answers_as_its_members_alone():
    init = critics.critic(MLP((3,)), TWO, 1, 1)
    three = critics.ensemble(init, 3)(KEY)
    x, action = jnp.asarray(drawn(5, 2)), jnp.asarray(drawn(5, 1))
    answers = critics.q_values(three, x, action)
    assert answers.shape == (3, 5)
    for i, key in enumerate(jax.random.split(KEY, 3)):
        np.testing.assert_allclose(answers[i], one_of(three, i)(x, action)[:, 0], rtol=1e-5, atol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one_of(three, i), init(key))
    assert not np.allclose(answers[0], answers[1])


IMAGES = {
    "minatar": (MinAtarCNN((8,)), Box(0.0, 1.0, (5, 4, 2))),
    "minatar, bytes": (MinAtarCNN((8,)), Box(0, 255, (3, 5, 4), np.uint8)),
    "nature": (NatureCNN((8,)), Box(0, 255, (36, 36, 1), np.uint8)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_critic_of_images_reads_the_image_and_the_action(name):
    network, space = IMAGES[name]
    one = made(critics.critic(network, space, 2, 1))
    assert one.layers.torso.layers[0].weight.shape == (8, 8 + 2)  # a layer more, which reads the action too
    encoded = networks.encode(space)
    random = np.random.default_rng(0)
    seen = 255 * random.random((6, *space.shape)) if space.dtype == np.uint8 else random.random((6, *space.shape))
    x, action = encoded(seen.astype(space.dtype)), jnp.asarray(drawn(6, 2))

    @jax.jit
    def answer(x, action):
        return one(x, action)[..., 0]

    answers = answer(x, action)
    assert answers.shape == (6,) and np.isfinite(answers).all()
    np.testing.assert_allclose(answer(x[::-1], action[::-1]), answers[::-1], rtol=1e-3, atol=1e-3)
    assert not np.allclose(answer(x[::-1], action), answers)
    assert not np.allclose(answer(x, action[::-1]), answers)


def test_networks_that_a_critic_cannot_have_are_refused_in_one_sentence():
    critics.check_networks("SAC", MLP((4,)), MinAtarCNN())
    for network, why in ((MLP((4,), noisy=0.5), "draws no noise"), (Dueling((4,)), "no dueling network")):
        with pytest.raises(BadSetting, match=rf"^SAC .*{why}.*\.$"):
            critics.check_networks("SAC", MLP(), network)
    assert critics.check_mlp("DroQ", MLP((4,))) == MLP((4,))
    with pytest.raises(BadSetting, match=r"^DroQ's critic_network is nature; .*\.$"):
        critics.check_mlp("DroQ", NatureCNN())


# ---- units that are left out


def test_dropout_by_hand():
    # (2, 3) -> (2 + 3, 2 - 3) = (5, -1); a unit that is kept is doubled where half of them are left out
    hidden, head = linear([[1, 1], [1, -1]], [0, 0]), linear([[0.5, 7]], [1])
    plain = DropoutCritic((hidden,), head, "relu", normalise=False, rate=0.5)
    x, action = jnp.full((3, 1), 2.0), jnp.full((3, 1), 3.0)
    kept = jnp.array([[True, True], [False, True], [True, False]])
    # relu: (10, 0), (0, 0), (10, 0)
    np.testing.assert_allclose(plain(x, action, (kept,)), [[6.0], [1.0], [6.0]], rtol=1e-6)
    normalised = dataclasses.replace(plain, normalise=True)
    # (10, -2) -> (1, -1); (0, -2) -> (1, -1); (10, 0) -> (1, -1): then relu
    np.testing.assert_allclose(normalised(x, action, (kept,)), [[1.5]] * 3, rtol=1e-4)
    rough = dataclasses.replace(plain, activation="tanh", rate=0.0)
    np.testing.assert_allclose(rough(x, action, (kept,))[1], [7 * np.tanh(-1.0) + 1.0], rtol=1e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_a_dropout_critic_of_which_nothing_is_left_out_is_the_plain_one(normalise):
    network = MLP((4, 3), "silu", layer_norm=normalise)
    plain, dropping = (
        made(critics.critic(network, TWO, 1, 1)),
        made(critics.dropout_critic(network, TWO, 1, 0.0)),
    )
    x, action = jnp.asarray(drawn(5, 2)), jnp.asarray(drawn(5, 1))
    kept = (jnp.ones((5, 4), bool), jnp.ones((5, 3), bool))
    np.testing.assert_allclose(dropping(x, action, kept), plain(x, action), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.25, 0.999])
def test_the_share_of_units_that_is_left_out_is_the_rate(rate):
    first, second = critics.kept_units(KEY, (3, 5), (2, 10, 1_000), rate)
    assert (first.shape, second.shape) == ((2, 10, 1_000, 3), (2, 10, 1_000, 5))
    for kept in (first, second):
        deviation = (rate * (1 - rate) / kept.size) ** 0.5
        assert abs((~kept).mean() - rate) <= 4 * deviation + 2.0**-16
    columns = np.concatenate([first, second], -1).reshape(-1, 8).T
    if 0.1 < rate < 0.9:
        np.testing.assert_allclose(np.corrcoef(columns), np.eye(8), atol=4 / columns.shape[1] ** 0.5)


def test_a_rate_that_is_nearly_one_leaves_nearly_nothing():
    (kept,) = critics.kept_units(KEY, (4,), (1_000,), 1 - 1e-9)
    assert kept.mean() < 0.01


# ---- units that are standardised over the batch

X = np.float32([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0], [7.0, 0.0]])
MEAN, VARIANCE = np.float32([4.0, 15.0]), np.float32([5.0, 225.0])  # (9 + 1 + 1 + 9) / 4, (25 + 25 + 625 + 225) / 4


def normalised(x, mean, variance):
    return (x - mean) / np.sqrt(variance + 1e-3)


def test_units_are_standardised_by_the_batch_while_learning():
    y, (mean, variance) = BatchNorm.of(2).of_batch(jnp.asarray(X))
    np.testing.assert_allclose(mean, MEAN)
    np.testing.assert_allclose(variance, VARIANCE, rtol=1e-6)
    np.testing.assert_allclose(y, normalised(X, MEAN, VARIANCE), rtol=1e-5)
    gains = dataclasses.replace(BatchNorm.of(2), scale=jnp.array([2.0, 1.0]), shift=jnp.array([0.0, -1.0]))
    np.testing.assert_allclose(gains.of_batch(jnp.asarray(X))[0], y * np.array([2, 1]) + np.array([0, -1]), rtol=1e-5)


def test_units_are_standardised_by_running_statistics_where_there_is_no_batch():
    norm = BatchNorm.of(2)
    np.testing.assert_allclose(norm(jnp.asarray(X)), X / np.sqrt(1.001), rtol=1e-5)  # which begin as mean 0, variance 1
    known = dataclasses.replace(norm, mean=jnp.asarray(MEAN), variance=jnp.asarray(VARIANCE))
    np.testing.assert_allclose(known(jnp.asarray(X)), normalised(X, MEAN, VARIANCE), rtol=1e-5)
    np.testing.assert_allclose(known(jnp.asarray(X[:1])), normalised(X[:1], MEAN, VARIANCE), rtol=1e-5)


def test_running_statistics_follow_those_of_batches():
    norm = BatchNorm.of(2)
    for _ in range(2):
        norm = norm.moved(jnp.asarray(MEAN), jnp.asarray(VARIANCE))
    share = 1 - MOMENTUM**2
    np.testing.assert_allclose(norm.mean, share * MEAN, rtol=1e-4)
    np.testing.assert_allclose(norm.variance, 1 + share * (VARIANCE - 1), rtol=1e-4)
    assert float(norm.count) == 2
    assert (norm.scale.tolist(), norm.shift.tolist()) == ([1.0, 1.0], [0.0, 0.0])


@pytest.mark.parametrize(("count", "corrects"), [(WARM_UP - 1, False), (WARM_UP, True)])
def test_after_the_warm_up_a_batch_is_standardised_as_running_statistics_would(count, corrects):
    # deviations 1.5 times the batch's and 0.8 of it, means a deviation off: within bounds
    running = BatchNorm(
        jnp.ones(2), jnp.zeros(2), jnp.array([3.0, 30.0]), jnp.array([11.25, 144.0]), jnp.float32(count)
    )
    y, _ = running.of_batch(jnp.asarray(X))
    expected = normalised(X, np.array([3.0, 30.0]), np.array([11.25, 144.0])) if corrects else None
    np.testing.assert_allclose(y, normalised(X, MEAN, VARIANCE) if expected is None else expected, rtol=1e-4)


def test_the_correction_keeps_within_its_bounds():
    """Deviations 100 times larger and smaller, means 1,000 deviations off: factors of 1/3 and 3, shifts of -5 and 5."""
    far = BatchNorm(
        jnp.ones(2),
        jnp.zeros(2),
        jnp.array([1e6, -1e6]),
        jnp.array([5.0 * 1e4, 225.0 * 1e-4]),
        jnp.float32(WARM_UP),
    )
    y, _ = far.of_batch(jnp.asarray(X))
    expected = normalised(X, MEAN, VARIANCE) * np.array([1 / 3, 3]) + [-5, 5]
    np.testing.assert_allclose(y, expected, rtol=1e-4)


@pytest.mark.parametrize("count", [0, WARM_UP])
def test_gradients_go_through_the_batch_and_reach_no_running_statistics(count):
    norm = dataclasses.replace(BatchNorm.of(1), mean=jnp.array([0.5]), count=jnp.float32(count))
    x = X[:, :1]

    def loss(norm, x):
        return (norm.of_batch(x)[0][:, 0] * jnp.array([1.0, 0.0, 0.0, -2.0])).sum()

    gradient, slope = jax.jit(jax.grad(loss, argnums=(0, 1)))(norm, jnp.asarray(x))
    for statistic in (gradient.mean, gradient.variance, gradient.count):
        np.testing.assert_array_equal(statistic, jnp.zeros_like(statistic))
    np.testing.assert_allclose(slope.sum(), 0.0, atol=1e-5)  # to shift a batch changes nothing
    unit = normalised(x, 4.0, 5.0)
    # with w the weights and y the standardised units: (w - mean(w) - y mean(w y)) / deviation, times the correction
    w = np.array([[1.0], [0.0], [0.0], [-2.0]])
    correction = np.sqrt(5.001 / 1.001) if count else 1.0
    expected = correction * (w - w.mean() - unit * (w * unit).mean()) / np.sqrt(5.001)
    np.testing.assert_allclose(slope, expected, rtol=1e-3)


def test_a_critic_standardises_its_inputs_and_each_hidden_layer():
    one = critics.batch_norm_critic(MLP((3,)), TWO, 1)(KEY)
    x, action = drawn(6, 2, seed=1), drawn(6, 1, seed=2)
    (hidden,), head = one.layers, one.head
    inputs = np.hstack([x, action])
    y = normalised(inputs, inputs.mean(0), inputs.var(0))
    units = np.maximum(y @ hidden.weight.T + hidden.bias, 0)
    expected = normalised(units, units.mean(0), units.var(0)) @ head.weight.T + head.bias
    answers, statistics = jax.jit(lambda x, action: one.of_batch(x, action))(x, action)
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-4)
    for found, values in zip(statistics, (inputs, units), strict=True):
        np.testing.assert_allclose(found[0], values.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], values.var(0), rtol=1e-3, atol=1e-5)
    settled = one.settled(statistics)
    for norm, found in zip(settled.norms, statistics, strict=True):
        np.testing.assert_allclose(norm.mean, (1 - MOMENTUM) * found[0], rtol=1e-4, atol=1e-7)
    # without a batch it answers by these: the same for one row as for many
    alone = [settled(x[i : i + 1], action[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(settled(x, action)[:2], alone, rtol=1e-4, atol=1e-6)
