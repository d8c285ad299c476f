"""Off-policy actor-critics: one gradient step of each by hand, and how they act, wait, bootstrap and refuse.

Networks are linear, so that every loss and gradient is a line of NumPy; policies that end in tanh are differentiated by
central differences in 64 bits.
"""

import dataclasses
import itertools
import math
from functools import cache
from unittest import mock

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium.spaces import Box, Discrete

from polyak.agent import Spec, Step
from polyak.algorithms.continuous.crossq import CrossQ
from polyak.algorithms.continuous.ddpg import DDPG
from polyak.algorithms.continuous.discrete_sac import DiscreteSAC
from polyak.algorithms.continuous.droq import DroQ
from polyak.algorithms.continuous.recurrent_sac import RecurrentSAC, Sequences
from polyak.algorithms.continuous.redq import REDQ
from polyak.algorithms.continuous.sac import SAC
from polyak.algorithms.continuous.td3 import TD3
from polyak.algorithms.continuous.tqc import TQC
from polyak.engines.compiled import CompiledEngine
from polyak.envs.probes import _probe
from polyak.errors import BadSetting
from polyak.parts import off_policy_actor_critic as family
from polyak.parts.action_box import ActionBox
from polyak.parts.action_noise import GaussianNoise, OrnsteinUhlenbeckNoise
from polyak.parts.networks import MLP, Dueling, MinAtarCNN, Recurrent
from polyak.parts.off_policy_actor_critic import Batch
from polyak.parts.soft_actor_critic import Networks
from polyak.parts.soft_policy import soft_policy
from tests import small
from tests.speeds import slow

KEY = jax.random.key(0)
SEEN, NUMBERS, CHOICES = Box(-1.0, 1.0, (1,)), Box(-1.0, 1.0, (1,)), Discrete(2)
CONTINUOUS = [DDPG, TD3, SAC, TQC, REDQ, DroQ, CrossQ, RecurrentSAC]
EVERY = [*CONTINUOUS, DiscreteSAC]
TINY = {"network": MLP(()), "critic_network": MLP(())}


def spec_of(algorithm, num_envs: int = 1, observations=SEEN, actions=None) -> Spec:
    counted = isinstance(algorithm, DiscreteSAC)
    return Spec(observations, actions or (CHOICES if counted else NUMBERS), num_envs, None, 1_000)


def name_of(kind) -> str:
    return kind.name


# ---- a gradient step by hand


def method_of(algorithm) -> family.Method:
    """The networks of an algorithm, and its gradient step."""

    def keep(hyper, spec, actions, method, *memory):
        return method

    with mock.patch.object(family, "agent", keep), mock.patch.object(family, "agent_from", keep):
        return algorithm.agent(spec_of(algorithm))


@cache
def update_of(algorithm):
    return jax.jit(method_of(algorithm).update)


def learner_of(algorithm) -> family.Learner:
    """All of what is learnt as zeros."""
    shapes = jax.eval_shape(method_of(algorithm).init, KEY)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def filled(like, *leaves):
    """A network with these numbers for its leaves, in their order."""
    old, tree = jax.tree.flatten(like)
    assert [np.shape(leaf) for leaf in leaves] == [leaf.shape for leaf in old]
    return jax.tree.unflatten(tree, [jnp.asarray(leaf, jnp.float32) for leaf in leaves])


def gradients(moments, beta1: float = 0.9) -> list[np.ndarray]:
    """Those that the first step of Adam was made with, leaf by leaf."""
    return [np.asarray(leaf) / (1 - beta1) for leaf in jax.tree.leaves(moments.first)]


def central_differences(function, *given, step: float = 1e-6) -> list[np.ndarray]:
    """The slopes of a function of arrays of 64 bits."""
    slopes = []
    for at, array in enumerate(given):
        slope = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = np.array(array, np.float64)
                moved[place] += sign * step
                ends.append(function(*given[:at], moved, *given[at + 1 :]))
            slope[place] = (ends[0] - ends[1]) / (2 * step)
        slopes.append(slope)
    return slopes


def assert_all_close(found, expected, rtol: float = 2e-4, atol: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


# Three transitions, the second of which ended; the last counts half.
X_TM1, A_TM1 = np.array([[1.0], [-1.0], [0.5]]), np.array([[0.5], [0.2], [-0.9]])
R_T, DISCOUNT_T = np.array([1.0, 2.0, -1.0]), np.array([0.9, 0.0, 0.9])
X_T, WEIGHTS = np.array([[0.5], [2.0], [-1.0]]), np.array([1.0, 1.0, 0.5])
BATCH = Batch(*(jnp.float32(array) for array in (X_TM1, A_TM1, R_T, DISCOUNT_T, X_T, WEIGHTS)))
NEXT_NOISE, NOISE = np.array([[0.3], [-1.0], [0.8]]), np.array([[-0.5], [1.2], [0.1]])
BOTH_NOISES = jnp.float32(np.stack([NEXT_NOISE, NOISE]))

# Of the policy tanh(weight x + bias), and of one that answers the log of its deviation too.
MU, TARGET_MU = (np.array([[0.5]]), np.array([0.1])), (np.array([[-1.0]]), np.array([0.2]))
PI = (np.array([[0.5], [0.2]]), np.array([0.1, -0.7]))
# Of two critics: which of them is the lower one differs from row to row, of the targets too.
Q = (np.array([[[2.0, 3.0]], [[1.0, -1.0]]]), np.array([[1.0], [0.5]]))
TARGET_Q = (np.array([[[1.0, 2.0]], [[-1.0, 0.5]]]), np.array([[-1.0], [0.5]]))


def q(critics, x, action) -> np.ndarray:
    """[K, N] of each of K linear critics; [K, M, N] where they answer M numbers."""
    weight, bias = critics
    answers = np.einsum("kmi,ni->kmn", weight, np.hstack([x, action])) + bias[..., None]
    return answers[:, 0] if answers.shape[1] == 1 else answers


def mu(policy, x) -> np.ndarray:
    return np.tanh(x @ policy[0].T + policy[1])


def sampled(policy, x, noise) -> tuple[np.ndarray, np.ndarray]:
    """[N, 1] actions of a random policy, [N] their log-densities."""
    mean, log_std = np.split(x @ policy[0].T + policy[1], 2, -1)
    action = np.tanh(mean + np.exp(log_std) * noise)
    log_prob = scipy.stats.norm.logpdf(noise) - log_std - np.log(1 - action**2)
    return action, log_prob[:, 0]


def squared(error) -> float:
    """The loss of errors [..., N]."""
    return (WEIGHTS * 0.5 * error**2).mean(-1).sum()


def slopes_of_squared(error, inputs) -> list[np.ndarray]:
    """Those for the weights [K, 1, i] and biases [K, 1] of K linear critics with errors [K, N] = y - Q."""
    weighted = -WEIGHTS * error / len(WEIGHTS)
    return [np.einsum("kn,ni->ki", weighted, inputs)[:, None], weighted.sum(-1)[:, None]]


INPUTS = np.hstack([X_TM1, A_TM1])


def ddpg_learner():
    learner = learner_of(SINGLE)
    one, target = ([leaf[0] for leaf in both] for both in (Q, TARGET_Q))
    now = learner.parameters._replace(
        actor=filled(learner.parameters.actor, *MU), critic=filled(learner.parameters.critic, *one)
    )
    behind = now._replace(actor=filled(now.actor, *TARGET_MU), critic=filled(now.critic, *target))
    return learner._replace(parameters=now, target=behind)


SINGLE = DDPG(**TINY, tau=0.1)


def test_ddpg_by_hand():
    before = ddpg_learner()
    now, behind = before.parameters, before.target
    after, priorities, metrics = update_of(SINGLE)(before, BATCH, (), 0.0, jnp.int32(0))

    q_t = X_T[:, 0] + 2 * mu(TARGET_MU, X_T)[:, 0] - 1
    error = R_T + DISCOUNT_T * q_t - (2 * X_TM1[:, 0] + 3 * A_TM1[:, 0] + 1)
    assert error[1] == pytest.approx(2.0 - (-2 + 0.6 + 1))  # an end: the reward alone
    np.testing.assert_allclose(priorities, abs(error), rtol=1e-5)
    assert metrics["critic_loss"] == pytest.approx(squared(error), rel=1e-5)
    assert metrics["td_error"] == pytest.approx(abs(error).mean(), rel=1e-5)
    expected = [slope[0] for slope in slopes_of_squared(error[None], INPUTS)]
    assert_all_close(gradients(after.optimiser.critic), expected)

    # dQ/da is 3, and that of tanh 1 - tanh^2
    action = mu(MU, X_TM1)
    assert metrics["actor_loss"] == pytest.approx(-(2 * X_TM1 + 3 * action + 1).mean(), rel=1e-5)
    chain = -3 * (1 - action**2)
    assert_all_close(gradients(after.optimiser.actor), [[[(chain * X_TM1).mean()]], [chain.mean()]])
    followed = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, behind, now)
    assert_all_close(jax.tree.leaves(after.target), jax.tree.leaves(followed))


def td3_learner():
    learner = learner_of(TWIN)
    now = learner.parameters._replace(
        actor=filled(learner.parameters.actor, *MU), critics=filled(learner.parameters.critics, *Q)
    )
    behind = now._replace(actor=filled(now.actor, *TARGET_MU), critics=filled(now.critics, *TARGET_Q))
    return learner._replace(parameters=now, target=behind)


TWIN = TD3(**TINY, tau=0.1, policy_delay=2)


def test_td3s_targets_are_the_lower_of_two_at_smoothed_actions():
    noise = np.array([[0.9], [0.1], [0.45]])
    after, priorities, metrics = update_of(TWIN)(td3_learner(), BATCH, jnp.float32(noise), 0.0, jnp.int32(0))
    a_t = np.clip(mu(TARGET_MU, X_T) + noise, -1, 1)
    assert a_t[2] == 1 and abs(a_t[0]) < 1  # one of them is clipped
    both = q(TARGET_Q, X_T, a_t)
    assert set(both[:, [0, 2]].argmin(0)) == {0, 1}
    error = R_T + DISCOUNT_T * both.min(0) - q(Q, X_TM1, A_TM1)
    np.testing.assert_allclose(priorities, abs(error).max(0), rtol=1e-5)
    assert metrics["critic_loss"] == pytest.approx(squared(error), rel=1e-5)
    assert_all_close(gradients(after.optimiser.critics), slopes_of_squared(error, INPUTS))


def test_td3_moves_policy_and_targets_at_every_second_update_alone():
    before, noise = td3_learner(), jnp.zeros((3, 1))
    odd, _, metrics = update_of(TWIN)(before, BATCH, noise, 0.0, jnp.int32(0))
    jax.tree.map(np.testing.assert_array_equal, odd.target, before.target)
    jax.tree.map(np.testing.assert_array_equal, odd.optimiser.actor, before.optimiser.actor)
    assert metrics["actor_loss"] == 0
    even, _, metrics = update_of(TWIN)(before, BATCH, noise, 0.0, jnp.int32(1))
    action = mu(MU, X_TM1)
    assert metrics["actor_loss"] == pytest.approx(2 * -(2 * X_TM1 + 3 * action + 1).mean(), rel=1e-5)  # a mean of two
    chain = -3 * (1 - action**2)  # by the first critic alone
    assert_all_close(gradients(even.optimiser.actor), [[[(chain * X_TM1).mean()]], [chain.mean()]])
    followed = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.target, before.parameters)
    assert_all_close(jax.tree.leaves(even.target), jax.tree.leaves(followed))


def test_td3s_smoothing_noise_is_normal_and_clipped():
    noise = method_of(TD3(batch_size=20_000, target_policy_noise=0.4, target_noise_clip=0.4)).noise(KEY)
    assert noise.shape == (20_000, 1)
    assert float(abs(noise).max()) == pytest.approx(0.4)
    share = 2 * scipy.stats.norm.sf(1.0)
    assert (abs(noise) >= 0.4 - 1e-6).mean() == pytest.approx(share, abs=4 * (share / 20_000) ** 0.5)
    within = np.float64(noise[abs(noise) < 0.39])
    assert scipy.stats.kstest(within, scipy.stats.truncnorm(-0.975, 0.975, scale=0.4).cdf).pvalue > 1e-3


LOG_ALPHA, TARGET_ENTROPY = np.log(0.2), -1.0  # of one coordinate
ALPHA = 0.2


def soft_learner(algorithm, critics, target, policy=PI):
    """A soft actor-critic's, with these numbers."""
    learner = learner_of(algorithm)
    now = learner.parameters
    heat = () if algorithm.ent_coef is not None else jnp.float32(LOG_ALPHA)
    now = Networks(filled(now.actor, *policy), heat, filled(now.critics, *critics))
    return learner._replace(parameters=now, target=filled(now.critics, *target) if target else ())


def soft_targets(q_t) -> np.ndarray:
    """[..., N] for the values [..., N] of what the policy does next."""
    return R_T + DISCOUNT_T * (q_t - ALPHA * sampled(PI, X_T, NEXT_NOISE)[1])


def actor_objective(value):
    """(weight, bias) -> mean of alpha log pi - value(actions)."""

    def objective(*policy) -> float:
        action, log_prob = sampled(policy, X_TM1, NOISE)
        return (ALPHA * log_prob - value(action)).mean()

    return objective


def check_actor(after, metrics, value, every: int = 1, beta1: float = 0.9) -> None:
    """That the policy's loss is that of a value of its actions, and the gradient its slope."""
    objective = actor_objective(value)
    assert metrics["actor_loss"] == pytest.approx(every * objective(*PI), rel=1e-4)
    assert_all_close(gradients(after.optimiser.actor, beta1), central_differences(objective, *PI), rtol=1e-3)
    assert metrics["entropy"] == pytest.approx(-sampled(PI, X_T, NEXT_NOISE)[1].mean(), rel=1e-4)
    assert metrics["temperature"] == pytest.approx(ALPHA, rel=1e-5)
    log_prob = sampled(PI, X_TM1, NOISE)[1]
    slope = -(log_prob + TARGET_ENTROPY).mean()
    assert metrics["temperature_loss"] == pytest.approx(every * LOG_ALPHA * slope, rel=1e-4)
    np.testing.assert_allclose(gradients(after.optimiser.log_alpha, beta1), [slope], rtol=1e-4)


def lower(critics):
    return lambda action: q(critics, X_TM1, action).min(0)


def mean(critics):
    return lambda action: q(critics, X_TM1, action).mean(0)


SMOOTH = SAC(**TINY, tau=0.1)


def test_sac_by_hand():
    before = soft_learner(SMOOTH, Q, TARGET_Q)
    after, priorities, metrics = update_of(SMOOTH)(before, BATCH, (BOTH_NOISES, ()), 0.0, jnp.int32(0))
    both = q(TARGET_Q, X_T, sampled(PI, X_T, NEXT_NOISE)[0])
    assert set(both[:, [0, 2]].argmin(0)) == {0, 1}
    error = soft_targets(both.min(0)) - q(Q, X_TM1, A_TM1)
    np.testing.assert_allclose(priorities, abs(error).max(0), rtol=1e-4)
    assert metrics["critic_loss"] == pytest.approx(squared(error), rel=1e-4)
    assert metrics["q_max"] == pytest.approx(q(Q, X_TM1, A_TM1).max(), rel=1e-5)
    assert_all_close(gradients(after.optimiser.critics), slopes_of_squared(error, INPUTS))
    assert set(q(Q, X_TM1, sampled(PI, X_TM1, NOISE)[0]).argmin(0)) == {0, 1}
    check_actor(after, metrics, lower(Q))
    followed = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.target, before.parameters.critics)
    assert_all_close(jax.tree.leaves(after.target), jax.tree.leaves(followed))


def test_a_given_temperature_is_kept_and_not_learnt():
    algorithm = SAC(**TINY, tau=0.1, ent_coef=ALPHA)
    before = soft_learner(algorithm, Q, TARGET_Q)
    after, _, metrics = update_of(algorithm)(before, BATCH, (BOTH_NOISES, ()), 0.0, jnp.int32(0))
    assert after.parameters.log_alpha == ()
    assert "temperature_loss" not in metrics
    assert metrics["temperature"] == pytest.approx(ALPHA)
    objective = actor_objective(lower(Q))
    assert_all_close(gradients(after.optimiser.actor), central_differences(objective, *PI), rtol=1e-3)


def descended(update, before, batch, noise, updates: int = 0):
    """What comes of a step with a rate of 1, with which Adam moves every number by 1 against its gradient at first; its
    metrics; and the critics as they should be then."""
    still, _, _ = update(before, batch, noise, 0.0, jnp.int32(updates))
    after, _, metrics = update(before, batch, noise, 1.0, jnp.int32(updates))
    name = "critic" if hasattr(before.parameters, "critic") else "critics"
    old, new = (list(map(np.asarray, jax.tree.leaves(getattr(one.parameters, name)))) for one in (before, after))
    moved = [leaf - np.sign(slope) for leaf, slope in zip(old, gradients(getattr(still.optimiser, name)), strict=True)]
    assert_all_close(new, moved)
    climbed = [
        leaf - np.sign(slope)
        for leaf, slope in zip(jax.tree.leaves(before.parameters.actor), gradients(after.optimiser.actor), strict=True)
    ]
    assert_all_close(jax.tree.leaves(after.parameters.actor), climbed)
    followed = after.parameters if hasattr(before.target, "actor") else after.parameters.critics
    expected = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.target, followed)
    assert_all_close(jax.tree.leaves(after.target), jax.tree.leaves(expected))
    return after, metrics, moved


def test_a_policy_climbs_what_came_of_the_critics_step_and_targets_follow_both():
    """A step of DDPG, and one of TD3 in which its policy moves."""
    action = mu(MU, X_TM1)
    _, metrics, (weight, bias) = descended(update_of(SINGLE), ddpg_learner(), BATCH, ())
    assert metrics["actor_loss"] == pytest.approx(-(np.hstack([X_TM1, action]) @ weight.T + bias).mean(), rel=1e-4)
    _, metrics, moved = descended(update_of(TWIN), td3_learner(), BATCH, jnp.zeros((3, 1)), updates=1)
    assert metrics["actor_loss"] == pytest.approx(2 * -q(moved, X_TM1, action)[0].mean(), rel=1e-4)


def test_a_soft_policy_climbs_what_came_of_the_critics_step_and_targets_follow_them():
    before = soft_learner(SMOOTH, Q, TARGET_Q)
    after, metrics, moved = descended(update_of(SMOOTH), before, BATCH, (BOTH_NOISES, ()))
    assert metrics["actor_loss"] == pytest.approx(actor_objective(lower(moved))(*PI), rel=1e-4)
    slope = -(sampled(PI, X_TM1, NOISE)[1] + TARGET_ENTROPY).mean()
    assert float(after.parameters.log_alpha) == pytest.approx(LOG_ALPHA - np.sign(slope), rel=1e-5)


def test_tqc_by_hand():
    algorithm = TQC(**TINY, tau=0.1, n_critics=2, n_quantiles=3, top_quantiles_to_drop_per_net=1)
    random = np.random.default_rng(0)
    theta, target = ((random.normal(size=(2, 3, 2)), random.normal(size=(2, 3))) for _ in range(2))
    before = soft_learner(algorithm, theta, target)
    after, priorities, metrics = update_of(algorithm)(before, BATCH, (BOTH_NOISES, ()), 0.0, jnp.int32(0))

    action, log_prob = sampled(PI, X_T, NEXT_NOISE)
    pooled = np.sort(q(target, X_T, action).reshape(6, 3), 0)[:4]  # the largest two of six are left out
    y = R_T + DISCOUNT_T * (pooled - ALPHA * log_prob)  # [4, N]

    def loss(weight, bias) -> float:
        total = 0.0
        for k, i, j, n in np.ndindex(2, 3, 4, 3):  # critic, quantile, target, row
            error = y[j, n] - q((weight, bias), X_TM1, A_TM1)[k, i, n]
            huber = error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5
            total += WEIGHTS[n] / 3 * abs((2 * i + 1) / 6 - (error < 0)) * huber / 4 / 3
        return total

    assert metrics["critic_loss"] == pytest.approx(loss(*theta), rel=1e-4)
    assert_all_close(gradients(after.optimiser.critics), central_differences(loss, *theta), rtol=1e-3)
    values = q(theta, X_TM1, A_TM1).mean((0, 1))
    np.testing.assert_allclose(priorities, abs(y.mean(0) - values), rtol=1e-4)
    check_actor(after, metrics, lambda action: q(theta, X_TM1, action).mean((0, 1)))


THREE = REDQ(**TINY, tau=0.1, n_critics=3, n_target_critics=2, policy_delay=2)
# The second of the targets is far below the others, and is not drawn.
THREE_Q = (np.concatenate([Q[0], [[[0.5, 0.5]]]]), np.concatenate([Q[1], [[0.1]]]))
THREE_TARGETS = (
    np.concatenate([TARGET_Q[0][:1], [[[0.0, 0.0]]], TARGET_Q[0][1:]]),
    np.concatenate([TARGET_Q[1][:1], [[-50.0]], TARGET_Q[1][1:]]),
)


def test_redqs_targets_are_the_least_of_the_critics_that_were_drawn():
    before = soft_learner(THREE, THREE_Q, THREE_TARGETS)
    drawn = jnp.array([2, 0])
    after, _, metrics = update_of(THREE)(before, BATCH, (BOTH_NOISES, drawn), 0.0, jnp.int32(1))
    q_t = q(THREE_TARGETS, X_T, sampled(PI, X_T, NEXT_NOISE)[0])[[2, 0]].min(0)
    error = soft_targets(q_t) - q(THREE_Q, X_TM1, A_TM1)  # all three learn
    assert metrics["critic_loss"] == pytest.approx(squared(error), rel=1e-4)
    assert_all_close(gradients(after.optimiser.critics), slopes_of_squared(error, INPUTS))
    check_actor(after, metrics, mean(THREE_Q), every=2)


def test_redqs_policy_waits_and_its_targets_do_not():
    before = soft_learner(THREE, THREE_Q, THREE_TARGETS)
    noise = (BOTH_NOISES, jnp.array([2, 0]))
    after, _, metrics = update_of(THREE)(before, BATCH, noise, 1.0, jnp.int32(0))
    for name in ("actor", "log_alpha"):
        for old, new in ((before.parameters, after.parameters), (before.optimiser, after.optimiser)):
            jax.tree.map(np.testing.assert_array_equal, getattr(old, name), getattr(new, name))
    assert (metrics["actor_loss"], metrics["temperature_loss"]) == (0, 0)
    assert metrics["temperature"] == pytest.approx(ALPHA, rel=1e-5)
    followed = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.target, after.parameters.critics)
    assert_all_close(jax.tree.leaves(after.target), jax.tree.leaves(followed))
    assert (abs(after.parameters.critics.layers.head.weight - THREE_Q[0]) > 0.9).all()


def test_redq_draws_every_pair_of_critics_alike():
    _, drawn = jax.vmap(method_of(THREE).noise)(jax.random.split(KEY, 3_000))
    pairs = np.sort(np.asarray(drawn), -1)
    assert drawn.shape == (3_000, 2) and (pairs[:, 0] < pairs[:, 1]).all()
    assert scipy.stats.chisquare(np.bincount(pairs.sum(-1))[1:]).pvalue > 1e-3  # sums of 1, 2 and 3


def test_droq_leaves_out_units_of_targets_and_of_critics():
    algorithm = DroQ(network=MLP(()), critic_network=MLP((2,), "tanh"), tau=0.1, dropout=0.5, policy_delay=1)
    random = np.random.default_rng(1)
    shapes = (2, 2, 2), (2, 2), (2, 1, 2), (2, 1)
    theta, target = ([random.normal(size=shape) for shape in shapes] for _ in range(2))
    masks = random.random((2, 2, 3, 2)) < 0.5  # of targets and of critics, each of two, rows, units
    noise = (BOTH_NOISES, tuple((jnp.asarray(mask),) for mask in masks))
    before = soft_learner(algorithm, theta, target)
    after, _, metrics = update_of(algorithm)(before, BATCH, noise, 0.0, jnp.int32(0))

    def values(critics, kept, x, action) -> np.ndarray:
        weight, bias, last, end = critics
        units = np.einsum("kui,ni->knu", weight, np.hstack([x, action])) + bias[:, None]
        return np.einsum("kou,knu->kn", last, np.tanh(2 * kept * units)) + end

    q_t = values(target, masks[0], X_T, sampled(PI, X_T, NEXT_NOISE)[0]).min(0)

    def loss(*critics) -> float:
        return squared(soft_targets(q_t) - values(critics, masks[1], X_TM1, A_TM1))

    assert metrics["critic_loss"] == pytest.approx(loss(*theta), rel=1e-4)
    assert_all_close(gradients(after.optimiser.critics), central_differences(loss, *theta), rtol=1e-3, atol=1e-4)
    check_actor(after, metrics, lambda action: values(theta, masks[1], X_TM1, action).mean(0))


def test_crossq_judges_both_states_in_one_pass_and_has_no_targets():
    algorithm = CrossQ(**TINY, policy_delay=1)
    ones, zeros = np.ones((2, 2)), np.zeros((2, 2))
    # scale, shift, running mean and variance of the inputs, their count; weight and bias
    running = ones, zeros, np.array([[0.1, -0.2]] * 2), np.array([[0.5, 2.0]] * 2), np.zeros(2)
    before = soft_learner(algorithm, (*running, *Q), None)
    after, _, metrics = update_of(algorithm)(before, BATCH, (BOTH_NOISES, ()), 0.0, jnp.int32(0))
    assert after.target == ()

    inputs = np.vstack([INPUTS, np.hstack([X_T, sampled(PI, X_T, NEXT_NOISE)[0]])])
    means, variances = inputs.mean(0), inputs.var(0)
    joint = (inputs - means) / np.sqrt(variances + 1e-3)
    q_tm1, q_t = np.split(q(Q, joint[:, :1], joint[:, 1:]), 2, -1)
    error = soft_targets(q_t.min(0)) - q_tm1  # no gradient goes through the target
    assert metrics["critic_loss"] == pytest.approx(squared(error), rel=1e-4)
    *others, weight, bias = gradients(after.optimiser.critics, 0.5)
    assert_all_close([weight, bias], slopes_of_squared(error, joint[:3]), rtol=1e-3)
    assert not any(slope.any() for slope in others[2:])

    (norm,) = after.parameters.critics.norms
    for found, begun, measured in ((norm.mean, running[2], means), (norm.variance, running[3], variances)):
        np.testing.assert_allclose(found, 0.99 * begun + 0.01 * measured, rtol=1e-4)
    assert norm.count.tolist() == [1, 1]

    def by_running_statistics(action) -> np.ndarray:
        given = np.hstack([X_TM1, action])
        y = (given - np.asarray(norm.mean[0])) / np.sqrt(np.asarray(norm.variance[0]) + 1e-3)
        return q(Q, y[:, :1], y[:, 1:]).min(0)

    check_actor(after, metrics, by_running_statistics, beta1=0.5)


def test_discrete_sac_by_hand():
    algorithm = DiscreteSAC(**TINY, tau=0.1, target_entropy=0.5)
    policy = np.array([[0.5], [-0.2]]), np.array([0.1, 0.4])
    theta = np.array([[[2.0], [1.0]], [[1.0], [-1.0]]]), np.array([[1.0, 0.5], [0.0, 0.2]])
    target = np.array([[[1.0], [-1.0]], [[-1.0], [0.5]]]), np.array([[-1.0, 0.5], [0.5, 0.1]])
    before = soft_learner(algorithm, theta, target, policy)
    chosen = np.array([1, 0, 1])
    batch = BATCH._replace(a_tm1=jnp.asarray(chosen))
    after, priorities, metrics = update_of(algorithm)(before, batch, (), 0.0, jnp.int32(0))

    def values(critics, x) -> np.ndarray:
        """[2, N, A]"""
        return np.einsum("kai,ni->kna", critics[0], x) + critics[1][:, None]

    def log_probs(policy, x) -> np.ndarray:
        logits = x @ policy[0].T + policy[1]
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def soft_value(lowest, policy, x) -> np.ndarray:
        logs = log_probs(policy, x)
        return (np.exp(logs) * (lowest - ALPHA * logs)).sum(-1)

    y = R_T + DISCOUNT_T * soft_value(values(target, X_T).min(0), policy, X_T)

    def loss(*critics) -> float:
        return squared(y - values(critics, X_TM1)[:, np.arange(3), chosen])

    error = y - values(theta, X_TM1)[:, np.arange(3), chosen]
    np.testing.assert_allclose(priorities, abs(error).max(0), rtol=1e-4)
    assert metrics["critic_loss"] == pytest.approx(loss(*theta), rel=1e-4)
    assert_all_close(gradients(after.optimiser.critics), central_differences(loss, *theta), rtol=1e-3)

    def actor_loss(*policy) -> float:
        return -soft_value(values(theta, X_TM1).min(0), policy, X_TM1).mean()

    assert metrics["actor_loss"] == pytest.approx(actor_loss(*policy), rel=1e-4)
    assert_all_close(gradients(after.optimiser.actor), central_differences(actor_loss, *policy), rtol=1e-3)

    logs = log_probs(policy, X_TM1)
    entropy = -(np.exp(logs) * logs).sum(-1).mean()
    assert metrics["entropy"] == pytest.approx(entropy, rel=1e-4)
    slope = entropy - 0.5 * np.log(2)  # half of that of uniform actions
    assert metrics["temperature_loss"] == pytest.approx(LOG_ALPHA * slope, rel=1e-3)
    np.testing.assert_allclose(gradients(after.optimiser.log_alpha), [slope], rtol=1e-3)
    after, metrics, moved = descended(update_of(algorithm), before, batch, ())
    expected = -soft_value(values(moved, X_TM1).min(0), policy, X_TM1).mean()
    assert metrics["actor_loss"] == pytest.approx(expected, rel=1e-4)


# ---- a policy that is tanh of normal numbers


@pytest.mark.parametrize(("mean_", "deviation"), [(0.0, 0.5), (1.2, 0.9), (-0.4, 2.0)])
def test_the_log_density_is_the_slope_of_the_distribution_function(mean_, deviation):
    """P(tanh(m + s n) < a) = Phi((artanh a - m) / s); and the density is 1 in all."""
    policy = soft_policy(SAC(), spec_of(SAC()), ActionBox.of("SAC", NUMBERS))
    action = np.linspace(-0.999, 0.999, 1_999)
    noise = (np.arctanh(action) - mean_) / deviation
    answers = jnp.broadcast_to(jnp.array([mean_, math.log(deviation)]), (len(action), 2))
    found, log_prob = policy.of_answers(answers, jnp.float32(noise)[:, None])
    np.testing.assert_allclose(found[:, 0], action, atol=1e-5)

    def share(action) -> np.ndarray:
        return scipy.stats.norm.cdf((np.arctanh(action) - mean_) / deviation)

    slope = (share(action + 1e-6) - share(action - 1e-6)) / 2e-6
    np.testing.assert_allclose(np.exp(np.float64(log_prob)), slope, rtol=1e-3, atol=1e-6)
    beyond = share(-0.999) + 1 - share(0.999)
    assert np.trapezoid(np.exp(np.float64(log_prob)), action) == pytest.approx(1 - beyond, abs=2e-3)


def test_target_entropies_are_minus_one_a_coordinate_unless_another_is_given():
    actions = ActionBox.of("SAC", Box(-1.0, 1.0, (2, 3)))
    assert soft_policy(SAC(), spec_of(SAC()), actions).target_entropy == -6.0
    assert soft_policy(SAC(target_entropy=-2.5), spec_of(SAC()), actions).target_entropy == -2.5


# ---- SAC with a memory


def drawn_like(shapes, seed: int = 0):
    """Numbers from NumPy in place of the floats of a tree, and zeros for the others."""
    random = np.random.default_rng(seed)

    def draw(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        return np.asarray(0.5 * random.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(draw, shapes)


GATED = {"network": Recurrent(MLP(()), "gru", 3), "critic_network": MLP((2,), "tanh"), "batch_size": 2, "train_freq": 1}
LENGTH, BURN_IN = 3, 2


@cache
def remembering(burn_in: int) -> RecurrentSAC:
    return RecurrentSAC(**GATED, sequence_length=LENGTH, burn_in=burn_in)


def sequences(seed: int = 3) -> Sequences:
    random = np.random.default_rng(seed)

    def numbers(*shape):
        return np.float32(random.normal(size=shape))

    first, discount_t = np.zeros((BURN_IN + LENGTH, 2), bool), np.full((LENGTH, 2), 0.9, np.float32)
    first[1, 0] = first[BURN_IN + 1, 1] = True
    discount_t[2, 0] = 0.0
    x, x_next, carry = numbers(BURN_IN + LENGTH, 2, 1), numbers(LENGTH, 2, 1), numbers(2, 3)
    a_tm1, r_t = np.tanh(numbers(LENGTH, 2, 1)), numbers(LENGTH, 2)
    return Sequences(x, x_next, a_tm1, r_t, discount_t, first, carry, np.float32([1.0, 0.5]))


def recurrent_learner() -> family.Learner:
    learner = learner_of(remembering(BURN_IN))
    parameters, target = drawn_like(learner.parameters), drawn_like(learner.target, 1)
    return family.Learner(parameters._replace(log_alpha=jnp.float32(LOG_ALPHA)), target, learner.optimiser)


step_of = jax.jit(lambda net, carry, x: net.step(carry, x))


def answers_of(net, carry, x, first) -> tuple[np.ndarray, np.ndarray]:
    """[T, N, A] one step after the other, and the memories [T, N, h] after each."""
    answers, carries = [], []
    for seen, begins in zip(x, first, strict=True):
        carry = jnp.where(begins[:, None], 0.0, carry)
        carry, answer = step_of(net, carry, seen)
        answers.append(answer)
        carries.append(carry)
    return np.float64(jnp.stack(answers)), jnp.stack(carries)


def test_recurrent_sacs_critics_and_policy_remember_the_episode_and_judge_what_follows():
    """The loss of the critics, by memories that are carried on one step after the other."""
    learner, batch = recurrent_learner(), sequences()
    noise = np.random.default_rng(5).normal(size=(2, LENGTH, 2, 1))
    _, priorities, metrics = update_of(remembering(BURN_IN))(learner, batch, jnp.float32(noise), 0.0, jnp.int32(0))

    def read(net, carry):
        """Answers to the states left, and to those reached, of the steps that are learnt from."""
        answers, carries = answers_of(net, carry, batch.x, batch.first)
        following = [
            step_of(net, memory, seen)[1] for memory, seen in zip(carries[BURN_IN:], batch.x_next, strict=True)
        ]
        return answers[BURN_IN:], np.float64(jnp.stack(following))

    _, next_answers = read(learner.parameters.actor, batch.carry)
    mean_, log_std = np.split(next_answers, 2, -1)
    a_t = np.tanh(mean_ + np.exp(log_std) * noise[0])
    log_prob = (scipy.stats.norm.logpdf(noise[0]) - log_std - np.log(1 - a_t**2))[..., 0]

    def values(both, k: int, reached: bool, action):
        one = jax.tree.map(lambda leaf: leaf[k], both)
        known = read(one.memory, jnp.zeros((2, 3)))[reached]
        return np.float64(one.layers(jnp.float32(known), jnp.float32(action))[..., 0])

    lowest = np.minimum(*(values(learner.target, k, True, a_t) for k in range(2)))
    y = np.float64(batch.r_t) + np.float64(batch.discount_t) * (lowest - ALPHA * log_prob)
    error = np.stack([y - values(learner.parameters.critics, k, False, batch.a_tm1) for k in range(2)])  # [2, L, N]
    loss = (np.array([1.0, 0.5]) * 0.5 * error**2).mean((1, 2)).sum()
    assert metrics["critic_loss"] == pytest.approx(loss, rel=1e-3)
    np.testing.assert_allclose(priorities, abs(error).max((0, 1)), rtol=1e-3)


def test_no_gradient_goes_through_the_steps_that_are_only_read():
    """The policy's is that of the same steps learnt from with the memory that it has at their beginning. Critics are
    made to look at the action alone, as their memories would begin elsewhere."""
    learner, batch = recurrent_learner(), sequences()
    critics = learner.parameters.critics
    blind = jnp.zeros_like(critics.layers.layers.torso.layers[0].weight).at[..., -1].set(0.7)
    leaves, tree = jax.tree.flatten(critics)
    leaves = [blind if leaf.shape == blind.shape else leaf for leaf in leaves]
    assert sum(leaf is blind for leaf in leaves) == 1
    learner = learner._replace(parameters=learner.parameters._replace(critics=jax.tree.unflatten(tree, leaves)))
    noise = jnp.float32(np.random.default_rng(5).normal(size=(2, LENGTH, 2, 1)))
    whole, _, _ = update_of(remembering(BURN_IN))(learner, batch, noise, 0.0, jnp.int32(0))
    _, carries = answers_of(learner.parameters.actor, batch.carry, batch.x[:BURN_IN], batch.first[:BURN_IN])
    rest = batch._replace(x=batch.x[BURN_IN:], first=batch.first[BURN_IN:], carry=carries[-1])
    alone, _, _ = update_of(remembering(0))(learner, rest, noise, 0.0, jnp.int32(0))
    found, expected = (gradients(after.optimiser.actor) for after in (whole, alone))
    assert all(abs(leaf).max() > 1e-3 for leaf in expected)
    assert_all_close(found, expected, rtol=1e-3)


def remembered_number():
    """Three steps; the first shows -1 or 1, the others 0, and the last pays 1 - 4 (action - cue / 2)^2: 1 for a policy
    with a memory, and 0 at best for one without."""

    def step(place, action):
        cue, clock = 2.0 * (place % 2) - 1.0, place // 2
        return place + 2, jnp.where(clock == 2, 1.0 - 4.0 * jnp.square(action[0] - cue / 2), 0.0), clock == 2

    def see(place):
        return jnp.where(place < 2, 2.0 * (place % 2) - 1.0, 0.0)[None]

    return _probe("remembered-number", step, see, states=2, actions=NUMBERS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "solves"), [("recurrent-sac", True), ("sac", False)])
def test_what_was_shown_is_remembered_by_a_policy_with_a_memory_alone(name, solves):
    algorithm, env, steps = small.algorithm(name, gamma=0.9), remembered_number(), 12_000
    spec = Spec(env.observation_space, env.action_space, 4, None, steps)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, steps // (4 * algorithm.block_length))
    loop, _ = engine.advance(engine.init(0), engine.chunk, True)
    agent, state = algorithm.agent(spec), loop.agent
    carry, last = agent.start(2), None
    for seen in ([[-1.0], [1.0]], [[0.0], [0.0]], [[0.0], [0.0]]):
        last, carry, _ = agent.act(state, carry, jnp.array(seen), (), False)
    if solves:
        np.testing.assert_allclose(last, [[-0.5], [0.5]], atol=0.15)
    else:
        np.testing.assert_array_equal(last[0], last[1])
        np.testing.assert_allclose(last, [[0.0], [0.0]], atol=0.25)


# ---- how they act

SMALL = {"network": MLP((4,)), "critic_network": MLP((4,)), "buffer_size": 64, "batch_size": 8}


def small_of(kind, **settings):
    """An algorithm with few numbers."""
    settings = SMALL | settings
    if kind is RecurrentSAC:
        settings |= {"network": Recurrent(MLP((4,)), "gru", 4), "burn_in": 2, "sequence_length": 2, "train_freq": 2}
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in settings.items() if name in fields})


def agent_and_state(algorithm, num_envs: int = 1, actions=None, step: int = 0):
    """An agent, and a state of it with numbers from NumPy for networks."""
    agent = algorithm.agent(spec_of(algorithm, num_envs, actions=actions))
    state = jax.eval_shape(agent.init, KEY)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    return agent, state._replace(
        parameters=drawn_like(state.parameters), target=drawn_like(state.target, 1), step=jnp.int32(step)
    )


@pytest.mark.parametrize("kind", EVERY, ids=name_of)
def test_actions_are_uniform_until_learning_starts_and_then_the_policys(kind):
    algorithm = small_of(kind, learning_starts=10)
    (agent, early), (_, late) = (
        agent_and_state(algorithm, 50, step=step, actions=None if kind is DiscreteSAC else Box(-2.0, 6.0, (1,)))
        for step in (9, 10)
    )
    obs, carry, noise = jnp.linspace(-1, 1, 50)[:, None], agent.start(50), agent.noise(KEY, (50,))
    uniform, _, _ = agent.act(early, carry, obs, noise, True)
    if kind is DiscreteSAC:
        np.testing.assert_array_equal(uniform, np.argmax(noise, -1))
    else:
        np.testing.assert_allclose(uniform, 2 + 4 * (2 * scipy.stats.norm.cdf(noise[:, :1]) - 1), atol=1e-4)
    played, _, _ = agent.act(late, carry, obs, noise, True)
    greedy, _, _ = agent.act(late, carry, obs, (), False)
    assert not np.allclose(played, uniform)
    # another policy answers otherwise, and does not while actions are uniform
    others = jax.tree.map(lambda leaf: -leaf, late.parameters)
    assert not np.allclose(agent.act(late._replace(parameters=others), carry, obs, noise, True)[0], played)
    np.testing.assert_array_equal(agent.act(early._replace(parameters=others), carry, obs, noise, True)[0], uniform)
    # greedy actions know neither noise nor warm-up
    np.testing.assert_array_equal(agent.act(early, carry, obs, (), False)[0], greedy)
    assert not np.allclose(greedy, played)
    if kind in (DDPG, TD3):
        added = algorithm.action_noise.next(algorithm.action_noise.start(50, 1), noise)[1]
        np.testing.assert_allclose(played, np.clip(greedy + 4 * added, -2, 6), atol=1e-5)


@pytest.mark.parametrize("kind", [DDPG, SAC], ids=name_of)
def test_uniform_actions_fill_the_box_alike(kind):
    space = Box(np.float32([-1.0, 3.0]), np.float32([1.0, 3.5]))
    algorithm = small_of(kind, learning_starts=1, action_noise=GaussianNoise(0.2))
    agent, state = agent_and_state(algorithm, 5_000, actions=space)
    noise = agent.noise(KEY, (5_000,))
    actions, _, _ = agent.act(state, agent.start(5_000), jnp.zeros((5_000, 1)), noise, True)
    for coordinate, low, width in zip(np.asarray(actions).T, (-1.0, 3.0), (2.0, 0.5), strict=True):
        assert scipy.stats.kstest(coordinate, "uniform", args=(low, width)).pvalue > 1e-3


def test_noise_is_added_to_what_a_soft_policy_samples():
    added = OrnsteinUhlenbeckNoise(0.5, 0.2, 1.0)
    plain, pushed = (small_of(SAC, learning_starts=0, action_noise=noise) for noise in (None, added))
    agent, state = agent_and_state(plain, 4)
    other, _ = agent_and_state(pushed, 4)
    obs, noise = jnp.linspace(-1, 1, 4)[:, None], other.noise(KEY, (4,))
    assert noise.shape == (4, 2) and other.start(4).tolist() == [[0.0]] * 4
    sample, _, _ = agent.act(state, (), obs, noise[:, :1], True)
    carry = jnp.array([[0.1], [0.0], [-0.2], [0.0]])
    action, after, before = other.act(state, carry, obs, noise, True)
    push = 0.8 * carry + 0.5 * noise[:, 1:]
    np.testing.assert_allclose(action, np.clip(sample + push, -1, 1), atol=1e-5)
    np.testing.assert_allclose(after, push, rtol=1e-5)
    np.testing.assert_array_equal(before, carry)
    greedy, kept, extras = other.act(state, carry, obs, (), False)
    np.testing.assert_array_equal(greedy, agent.act(state, (), obs, (), False)[0])
    np.testing.assert_array_equal(kept, carry)
    assert extras == ()


def test_a_push_ends_with_its_episode_and_is_each_environments_own():
    """In an engine: where 0 is seen an episode has just begun, as each ends at once there; where 1 is, none ends."""

    def step(place, action):
        return place, 0.0, place == 0

    env = _probe("ends-at-once-or-never", step, lambda place: jnp.float32(place)[None], states=2, actions=NUMBERS)
    algorithm = small_of(DDPG, learning_starts=0, action_noise=OrnsteinUhlenbeckNoise(1.0, 0.1, 1.0), train_freq=2)
    spec = Spec(env.observation_space, env.action_space, 32, None, 1_000)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 1)
    loop, _ = engine.advance(engine.init(0), 1, False)
    begins = loop.obs[:, 0] == 0
    assert 0 < begins.sum() < 32
    assert (loop.carry[begins] == 0).all()
    pushes = np.unique(loop.carry[~begins])
    assert len(pushes[pushes != 0]) > 8


# ---- what they learn from

GAMMA = 0.9
BLOCK = Step(
    jnp.zeros((4, 1, 1)),
    jnp.zeros((4, 1, 1)),
    jnp.array([[1.0], [2.0], [4.0], [8.0]]),
    terminated=jnp.array([[False], [False], [False], [True]]),
    truncated=jnp.array([[False], [True], [False], [False]]),
    next_obs=jnp.zeros((4, 1, 1)),
    extras=(),
)
FEED_FORWARD = [kind for kind in EVERY if kind is not RecurrentSAC]


@pytest.mark.parametrize("kind", [kind if kind in (DDPG, SAC) else slow(kind) for kind in FEED_FORWARD], ids=name_of)
def test_truncation_keeps_the_bootstrap_and_termination_does_not(kind):
    """With targets of 1 everywhere, values of 0 and no temperature, errors are rewards and gamma."""
    algorithm = small_of(kind, gamma=GAMMA, train_freq=4, gradient_steps=1, batch_size=512, buffer_size=4, ent_coef=0.0)
    agent, state = agent_and_state(algorithm)
    critics = state.parameters.critic if kind is DDPG else state.parameters.critics
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.zeros_like, critics))
    silent, one = jax.tree.unflatten(tree, leaves), jax.tree.unflatten(tree, [*leaves[:-1], jnp.ones_like(leaves[-1])])
    value = 0.0
    if kind is CrossQ:  # which has no targets: its own values of 1 stand on both sides
        silent, value = one, 1.0
    name = "critic" if kind is DDPG else "critics"
    target = () if kind is CrossQ else state.target._replace(**{name: one}) if kind in (DDPG, TD3) else one
    state = state._replace(parameters=state.parameters._replace(**{name: silent}), target=target)
    block = BLOCK._replace(action=jnp.zeros((4, 1), jnp.int32)) if kind is DiscreteSAC else BLOCK
    if kind is DDPG:
        block = block._replace(extras=jnp.zeros((4, 1, 1)))  # of the noise
    _, metrics = jax.jit(agent.learn)(agent.observe(state, block), block, KEY)
    targets = np.array([1 + GAMMA, 2 + GAMMA, 4 + GAMMA, 8.0])
    assert metrics["td_error"] == pytest.approx(abs(targets - value).mean(), rel=0.05)  # 512 draws of the four
    assert metrics["replay_size"] == 4


def test_of_a_sequence_truncation_keeps_the_bootstrap_and_termination_does_not():
    found = []

    def keep(hyper, spec, actions, method, memory, read_sample):
        found.append((memory, read_sample))

    algorithm = small_of(RecurrentSAC, gamma=GAMMA, burn_in=0)
    algorithm = dataclasses.replace(algorithm, burn_in=2, sequence_length=2, train_freq=4, batch_size=1)
    with mock.patch.object(family, "agent_from", keep):
        algorithm.agent(spec_of(algorithm))
    ((memory, read_sample),) = found
    block = BLOCK._replace(extras=jnp.arange(16.0).reshape(4, 1, 4))
    block = block._replace(
        terminated=jnp.array([[False], [True], [False], [True]]),
        truncated=jnp.array([[False], [False], [True], [False]]),
    )
    replay = memory.add(memory.init(), block)
    batch = read_sample(memory.sample(replay, KEY, 1, 0.0), lambda obs: obs)
    assert batch.r_t.tolist() == [[4.0], [8.0]]
    np.testing.assert_allclose(batch.discount_t, [[GAMMA], [0.0]])
    assert batch.first.tolist() == [[False], [False], [True], [True]]  # after either kind of end
    assert batch.carry.tolist() == [[0.0, 1.0, 2.0, 3.0]]  # before the first step


def moved_targets(algorithm, num_envs: int, calls: int) -> tuple[int, float]:
    """Of some calls of `learn` with a rate too small to move a network: the updates made, and what is left of the
    distance between targets, which begin as zeros, and networks."""
    agent, state = agent_and_state(algorithm, num_envs)
    state = state._replace(target=jax.tree.map(jnp.zeros_like, state.target))
    length = algorithm.block_length
    zeros, ends = jnp.zeros((length, num_envs, 1)), jnp.zeros((length, num_envs), bool)
    block = Step(zeros, zeros, ends.astype(jnp.float32), ends, ends, zeros, ())
    if isinstance(algorithm, DDPG):
        block = block._replace(extras=zeros)

    @jax.jit
    def iterate(state, key):
        return agent.learn(agent.observe(state, block), block, key)[0]

    observed = agent.observe(state, block)
    jax.tree.map(np.testing.assert_array_equal, (observed.target, observed.updates), (state.target, state.updates))
    for key in jax.random.split(KEY, calls):
        state = iterate(state, key)
    online = state.parameters if isinstance(algorithm, DDPG | TD3) else state.parameters.critics
    pairs = zip(jax.tree.leaves(online), jax.tree.leaves(state.target), strict=True)
    left = np.concatenate([np.ravel(1 - target / own) for own, target in pairs])
    np.testing.assert_allclose(left, left[0], atol=1e-4)
    return int(state.updates), float(left[0])


SLOW_RATE = {"learning_rate": 1e-30, "tau": 0.5}


@pytest.mark.parametrize(
    ("kind", "settings", "num_envs", "calls", "updates", "moves"),
    [
        (DDPG, {"train_freq": 2, "gradient_steps": -1}, 3, 1, 6, 6),  # one for each step that was made
        (DDPG, {"train_freq": 4, "gradient_steps": 1}, 2, 3, 3, 3),  # 24 steps, and 3 updates
        (TD3, {"train_freq": 2, "gradient_steps": -1}, 3, 1, 6, 3),  # every second of them
        slow(TD3, {"train_freq": 1, "gradient_steps": 1, "policy_delay": 3}, 1, 5, 5, 1),  # counted over all calls
        slow(SAC, {"train_freq": 2, "gradient_steps": -1}, 2, 1, 4, 4),
        slow(REDQ, {"train_freq": 1, "gradient_steps": 3, "policy_delay": 20}, 2, 1, 3, 3),
    ],
)
def test_targets_move_with_updates_and_not_with_steps(kind, settings, num_envs, calls, updates, moves):
    algorithm = small_of(kind, **SLOW_RATE, **settings)
    assert moved_targets(algorithm, num_envs, calls) == (updates, pytest.approx(0.5**moves, rel=1e-3))


@pytest.mark.parametrize("kind", [SAC, REDQ], ids=name_of)
def test_critics_begin_unlike_each_other_and_targets_as_their_critics(kind):
    learner = jax.jit(method_of(small_of(kind, n_critics=3)).init)(KEY)
    jax.tree.map(np.testing.assert_array_equal, learner.target, learner.parameters.critics)
    weight = np.asarray(learner.parameters.critics.layers.head.weight)
    for one, other in itertools.pairwise(weight):
        assert not np.allclose(one, other)


# ---- what they refuse


def refusal(algorithm, observations=SEEN, actions=None) -> str:
    with pytest.raises(BadSetting) as refused:
        algorithm.agent(spec_of(algorithm, observations=observations, actions=actions))
    said = str(refused.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 300
    assert said.startswith(type(algorithm).__name__)
    return said


@pytest.mark.parametrize("kind", CONTINUOUS, ids=name_of)
@pytest.mark.parametrize(
    "actions", [CHOICES, gymnasium.spaces.MultiDiscrete([2, 2]), Box(-2, 2, (1,), np.int32)], ids=str
)
def test_actions_that_are_counted_are_refused(kind, actions):
    assert "needs actions that are real numbers" in refusal(small_of(kind), actions=actions)


@pytest.mark.parametrize("kind", CONTINUOUS, ids=name_of)
def test_actions_without_bounds_are_refused(kind):
    assert "have none" in refusal(small_of(kind), actions=Box(-np.inf, np.inf, (1,)))


def test_discrete_sac_refuses_actions_that_are_numbers_and_masks():
    assert "needs discrete actions" in refusal(DiscreteSAC(), actions=NUMBERS)
    masked = gymnasium.spaces.Dict({"observation": SEEN, "action_mask": gymnasium.spaces.MultiBinary(2)})
    assert "by a mask" in refusal(DiscreteSAC(), observations=masked)


@pytest.mark.parametrize("kind", EVERY, ids=name_of)
@pytest.mark.parametrize("place", ["network", "critic_network"])
def test_noisy_networks_are_refused(kind, place):
    noisy = MLP((4,), noisy=0.5)
    if kind is RecurrentSAC and place == "network":
        noisy = Recurrent(noisy, "gru", 4)
    algorithm = dataclasses.replace(small_of(kind), **{place: noisy})
    assert "draws no noise" in refusal(algorithm)


@pytest.mark.parametrize("kind", CONTINUOUS, ids=name_of)
@pytest.mark.parametrize("place", ["network", "critic_network"])
def test_dueling_networks_are_refused_where_actions_cannot_be_counted(kind, place):
    dueling = Dueling((4,))
    if kind is RecurrentSAC and place == "network":
        dueling = Recurrent(dueling, "gru", 4)
    algorithm = dataclasses.replace(small_of(kind), **{place: dueling})
    only_mlp = kind in (DroQ, CrossQ) and place == "critic_network"
    assert ("mlp's layers alone" if only_mlp else "no dueling network") in refusal(algorithm)


@pytest.mark.parametrize("kind", [DroQ, CrossQ], ids=name_of)
def test_images_are_refused_where_critics_are_made_of_plain_layers(kind):
    algorithm = dataclasses.replace(small_of(kind), critic_network=MinAtarCNN())
    said = refusal(algorithm, observations=Box(0, 255, (10, 10, 1), np.uint8))
    assert "critic_network is minatar" in said


@pytest.mark.parametrize("dropped", [3, 4])
def test_tqc_keeps_at_least_one_quantile(dropped):
    said = refusal(TQC(n_quantiles=3, top_quantiles_to_drop_per_net=dropped))
    assert f"top_quantiles_to_drop_per_net {dropped} leaves nothing of n_quantiles 3" in said
    TQC(n_quantiles=3, top_quantiles_to_drop_per_net=2).agent(spec_of(TQC()))


def test_redq_draws_no_more_critics_than_there_are():
    assert "n_target_critics 4 are drawn from n_critics 3" in refusal(REDQ(n_critics=3, n_target_critics=4))
    REDQ(n_critics=3, n_target_critics=3).agent(spec_of(REDQ()))


def test_recurrent_sac_cuts_sequences_into_whole_blocks():
    assert "train_freq 4 does not divide" in refusal(RecurrentSAC(train_freq=4, burn_in=3, sequence_length=6))


def test_images_and_dueling_critics_suit_those_that_can_read_them():
    """What the refusals above leave: built, and no more, as that alone takes no time."""

    def critics_of(algorithm, **spaces):
        agent = algorithm.agent(spec_of(algorithm, **spaces))
        return jax.eval_shape(agent.init, KEY).parameters.critics

    images = Box(0, 255, (10, 10, 1), np.uint8)
    algorithm = SAC(network=MinAtarCNN((4,)), critic_network=MinAtarCNN((4,)), buffer_size=8)
    assert critics_of(algorithm, observations=images).torso is not None
    assert critics_of(DiscreteSAC(critic_network=Dueling((4,)), buffer_size=8)).value.weight.shape == (2, 1, 4)
