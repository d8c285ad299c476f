"""IMPALA, asynchronous PPO and asynchronous Q-learning: losses and targets worked by hand, and what V-trace is for."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.policy.appo import APPO
from polyak.algorithms.policy.impala import IMPALA
from polyak.algorithms.value.async_q_learning import AsyncQLearning
from polyak.engines.compiled import CompiledEngine
from polyak.envs.base import CompiledEnv
from polyak.parts.actor_critic import Extras
from polyak.parts.networks import MLP, Linear
from polyak.parts.policy_and_value import Parameters

LINEAR = MLP(())
CHOICES = gymnasium.spaces.Discrete(2)
LOG8, LOG2, LOG5 = np.log(0.8), np.log(0.2), np.log(0.5)


def spec_of(inputs: int) -> Spec:
    return Spec(gymnasium.spaces.Box(-10.0, 10.0, (inputs,), np.float32), CHOICES, 1, None, 1_000)


def linear(like, weight, bias):
    """A network without hidden layers that answers weight x + bias."""
    return dataclasses.replace(like, head=Linear(jnp.array(weight), jnp.array(bias)))


def policy_and_value(like: Parameters, log_probs, slope: float) -> Parameters:
    """The policy with these log-probabilities wherever it is, and V(x) = slope x."""
    policy = linear(like.policy, [[0.0], [0.0]], log_probs)
    return like._replace(policy=policy, value=linear(like.value, [[slope]], [0.0]))


# Two steps: 1 is seen, action 0 pays 1; 2 is seen, action 1 pays 2; 4 is seen. pi(0) = 0.8 and pi(1) = 0.2, gamma is
# 0.5, and V(x) = x.


def two_steps(mu: tuple[float, float]) -> Step:
    """Those, and the probability of each action under the policy that acted."""
    obs, next_obs = jnp.array([1.0, 2.0])[:, None, None], jnp.array([2.0, 4.0])[:, None, None]
    action, never = jnp.array([[0], [1]]), jnp.zeros((2, 1), bool)
    extras = Extras(action, jnp.log(jnp.array(mu))[:, None], ())
    return Step(obs, action, jnp.array([[1.0], [2.0]]), never, never, next_obs, extras)


@pytest.mark.parametrize(
    ("settings", "vs", "advantage"),
    [
        # ratios are 0.8 / 0.4 = 2 and 0.2 / 0.4 = 0.5, TD errors 1 + 0.5 2 - 1 = 1 and 2 + 0.5 4 - 2 = 2
        # rho = 1, 0.5, c = 1: vs_1 = 2 + 0.5 2, vs_0 = 1 + 1 + 0.5 1 (3 - 2); A_0 = 1 + 0.5 3 - 1, A_1 = 0.5 2
        ({}, (2.5, 3.0), (1.5, 1.0)),
        # rho = 2, 0.5, c = 1: vs_0 = 1 + 2 + 0.5 1 (3 - 2); A_0 = 2 (1 + 0.5 3 - 1)
        ({"clip_rho": 2.0}, (3.5, 3.0), (3.0, 1.0)),
        # rho = 2, 0.5, c = 2: vs_0 = 1 + 2 + 0.5 2 (3 - 2)
        ({"clip_rho": 4.0, "clip_c": 4.0}, (4.0, 3.0), (3.0, 1.0)),
        # rho = 0.25, c = 1: vs_1 = 2 + 0.25 2, vs_0 = 1 + 0.25 + 0.5 1 (2.5 - 2); A_0 = 0.25 (1 + 0.5 2.5 - 1)
        ({"clip_rho": 0.25}, (1.5, 2.5), (0.3125, 0.5)),
        # as if pi had acted: vs_1 = 2 + 2, vs_0 = 1 + 1 + 0.5 (4 - 2)
        ({"correct_lag": False}, (3.0, 4.0), (2.0, 2.0)),
    ],
    ids=["both bind", "rho does not bind", "neither binds", "rho binds both", "not corrected"],
)
def test_impalas_loss_and_gradient_are_those_worked_by_hand(settings, vs, advantage):
    agent = IMPALA(n_steps=2, gamma=0.5, policy_lag=0, ent_coef=0.1, vf_coef=0.5, network=LINEAR, **settings).agent(
        spec_of(1)
    )
    state = agent.init(jax.random.key(0))
    state = state._replace(parameters=policy_and_value(state.parameters, [LOG8, LOG2], 1.0))
    found = agent.gradient(state, two_steps((0.4, 0.4)), jax.random.key(0))
    entropy = -(0.8 * LOG8 + 0.2 * LOG2)
    policy_loss = -(advantage[0] * LOG8 + advantage[1] * LOG2) / 2
    value_loss = ((1 - vs[0]) ** 2 + (2 - vs[1]) ** 2) / 4
    np.testing.assert_allclose(found.metrics["policy_loss"], policy_loss, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["value_loss"], value_loss, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["entropy"], entropy, rtol=1e-5)
    np.testing.assert_allclose(found.loss, policy_loss + 0.5 * value_loss - 0.1 * entropy, rtol=1e-5)
    # d/dlogit_0 of log pi(0) is 1 - 0.8, of log pi(1) it is -0.8, of H it is -0.8 (log 0.8 + H); that of logit_1 is the
    # opposite, as only the difference counts; a weight's is x times that
    of_entropy = 0.1 * 0.8 * (LOG8 + entropy)
    bias = -(0.2 * advantage[0] - 0.8 * advantage[1]) / 2 + of_entropy
    weight = -(0.2 * advantage[0] - 2 * 0.8 * advantage[1]) / 2 + 1.5 * of_entropy
    policy, value = found.parameters.policy.head, found.parameters.value.head
    np.testing.assert_allclose(policy.bias, [bias, -bias], rtol=1e-4)
    np.testing.assert_allclose(policy.weight[:, 0], [weight, -weight], rtol=1e-4)
    np.testing.assert_allclose(value.bias, [0.5 * ((1 - vs[0]) + (2 - vs[1])) / 2], rtol=1e-5)
    np.testing.assert_allclose(value.weight, [[0.5 * ((1 - vs[0]) + 2 * (2 - vs[1])) / 2]], rtol=1e-5)


@pytest.mark.parametrize(
    ("clip_behaviour", "ratio_1"),
    [(2.0, 0.4), (1.0, 0.25)],
    ids=["clip_behaviour does not bind", "clip_behaviour binds"],
)
def test_appos_surrogate_is_that_worked_by_hand_and_its_estimates_are_the_target_networks(clip_behaviour, ratio_1):
    """pi_target(a) = 0.5 for both actions; V = 0 by now, and V(x) = x by the target network."""
    settings = {"n_steps": 2, "batch_size": 2, "n_epochs": 1, "gamma": 0.5, "policy_lag": 0, "network": LINEAR}
    agent = APPO(clip_behaviour=clip_behaviour, normalize_advantage=False, ent_coef=0.1, **settings).agent(spec_of(1))
    state = agent.init(jax.random.key(0))
    older = policy_and_value(state.parameters, [LOG5, LOG5], 1.0)
    state = state._replace(
        parameters=policy_and_value(state.parameters, [LOG8, LOG2], 0.0),
        optimiser=state.optimiser._replace(target=older),
    )
    after, metrics = agent.learn(state, two_steps((0.4, 0.8)), jax.random.key(0))
    # of the target network: ratios 0.5 / 0.4, 0.5 / 0.8; rho = 1, 0.625; TD errors 1 and 2
    vs_1 = 2 + 0.625 * 2
    vs_0, a_0, a_1 = 1 + 1 + 0.5 * 1 * (vs_1 - 2), 1 + 0.5 * vs_1 - 1, 0.625 * 2
    # mu / pi_target = 0.8, 1.6, and pi / mu = 2, 0.25; their products are 1.6, which is cut at 1.2, and 0.4; with a
    # clip_behaviour of 1 the second is 1 x 0.25
    policy_loss = -(1.2 * a_0 + ratio_1 * a_1) / 2
    value_loss = (vs_0**2 + vs_1**2) / 4
    entropy = -(0.8 * LOG8 + 0.2 * LOG2)
    np.testing.assert_allclose(metrics["policy_loss"], policy_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["value_loss"], value_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], policy_loss + 0.5 * value_loss - 0.1 * entropy, rtol=1e-5)
    assert metrics["clip_fraction"] == 1.0
    # the gradient of the first is cut; that of the second pushes logit_1 up by ratio (1 - 0.2) A / 2: Adam moves by its
    # sign, and entropy pulls logit_1 up as well
    moved = after.parameters.policy.head.bias - jnp.array([LOG8, LOG2])
    assert moved[0] < 0 < moved[1]


def test_the_target_network_of_appo_is_renewed_after_some_blocks():
    settings = {"n_steps": 2, "batch_size": 2, "n_epochs": 2, "policy_lag": 0, "network": LINEAR}
    agent = APPO(target_update_blocks=3, anneal_learning_rate=False, **settings).agent(spec_of(1))
    state, learn = agent.init(jax.random.key(0)), jax.jit(agent.learn)
    targets = [state.parameters]  # what the target network should be after each block
    for block in range(1, 8):
        state, _ = learn(agent.observe(state, two_steps((0.5, 0.5))), two_steps((0.5, 0.5)), jax.random.key(block))
        targets.append(state.parameters if block % 3 == 0 else targets[-1])
        jax.tree.map(np.testing.assert_array_equal, state.optimiser.target, targets[-1])
        assert (state.parameters.policy.head.bias != state.optimiser.target.policy.head.bias).any() == (block % 3 != 0)


# Five steps, the second cut by the clock and the fourth an end; gamma is 0.5. What each of them leads to is worth 2, 3,
# 3, 2 and 3 by the target network's better action.
NEXT_VALUES = (2.0, 3.0, 3.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("trace_lambda", "targets"),
    [
        # r + 0.5 v, or r at the end
        (0.0, (1 + 1.0, 2 + 1.5, 4 + 1.5, 8.0, 16 + 1.5)),
        # sums of rewards up to the cut, the end and the last of the block
        (1.0, (1 + 0.5 * 3.5, 2 + 1.5, 4 + 0.5 * 8, 8.0, 16 + 1.5)),
        # half of each
        (0.5, (1 + 0.5 * (0.5 * 2 + 0.5 * 3.5), 2 + 1.5, 4 + 0.5 * (0.5 * 3 + 0.5 * 8), 8.0, 16 + 1.5)),
    ],
    ids=["one step", "n steps", "between"],
)
def test_the_targets_of_asynchronous_q_learning_are_those_worked_by_hand(trace_lambda, targets):
    """Q is 0 and each step has an input of its own, so that the gradient of its weight is its target's share."""
    agent = AsyncQLearning(n_steps=5, gamma=0.5, trace_lambda=trace_lambda, network=LINEAR).agent(spec_of(10))
    state = agent.publish(agent.init(jax.random.key(0)))
    zeros = np.zeros((2, 10), np.float32)
    values = zeros.copy()
    values[[0, 1, 0, 1, 0], range(5, 10)] = NEXT_VALUES  # the larger of two: of the other action it is 0
    state = state._replace(
        parameters=linear(state.parameters, zeros, np.zeros(2, np.float32)),
        target=linear(state.target, values, np.zeros(2, np.float32)),
    )
    seen = jnp.eye(10)[:, None]
    action = jnp.array([[0], [1], [1], [0], [1]])
    reward = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])[:, None]
    terminated, truncated = (jnp.arange(5) == which for which in (3, 1))
    block = Step(seen[:5], action, reward, terminated[:, None], truncated[:, None], seen[5:], ())
    (found, steps) = agent.gradient(state, block, jax.random.key(0))
    assert steps is block  # whoever applies the gradient observes them
    weight = np.asarray(found.parameters.head.weight)
    np.testing.assert_allclose(-5 * weight[action[:, 0], range(5)], targets, rtol=1e-6)
    np.testing.assert_allclose(weight[1 - action[:, 0], range(5)], 0.0)
    np.testing.assert_allclose(found.loss, 0.5 * np.mean(np.square(targets)), rtol=1e-6)
    np.testing.assert_allclose(found.metrics["td_error"], np.mean(targets), rtol=1e-6)


# ---- what V-trace is for


def safe_or_skilled() -> CompiledEnv:
    """An episode begins in either of two places. In the first, action 1 ends it and pays nothing, and action 0 leads to
    the second, where action 1 pays 1 and action 0 pays -5, and which is the last.

    To whoever chooses by chance in the second place it is worth -2, so that it is better not to go there; to whoever
    has learnt what to do there, 1. What an older policy earned there says the opposite of what is true by now.
    """

    def see(place):
        return jax.nn.one_hot(place, 2)

    def reset(noise):
        return noise, see(noise)

    def step(place, action, noise):
        reward = jnp.where(place == 1, jnp.where(action == 1, 1.0, -5.0), 0.0)
        return jnp.int32(1), see(1), reward, (place == 1) | (action == 1), jnp.bool_(False)

    def noise(key, shape):
        return jax.random.randint(key, shape, 0, 2)

    return CompiledEnv("safe or skilled", gymnasium.spaces.Box(0.0, 1.0, (2,)), CHOICES, None, noise, reset, step)


SEEDS, UPDATES, GAMMA = 16, 200, 0.9


@pytest.mark.parametrize("correct_lag", [True, False], ids=["corrected", "not corrected"])
def test_far_behind_v_trace_finds_what_is_best_and_without_it_the_opposite_is_learnt(correct_lag):
    """With every seed, 16 updates behind: in the first place the probability of action 0 should be 1, and V 0.9.

    By then the second place has been learnt for long. But without V-trace what was earned there by chance has closed
    the way to it meanwhile, update after update, however unlikely the way had become already. Measured with 16 seeds: a
    probability of 0.98 to 0.99 and V from 0.84 to 0.89 with V-trace, at most 0.02 and V at most 0.01 without it.
    """
    env = safe_or_skilled()
    algorithm = IMPALA(
        learning_rate=0.03, gamma=GAMMA, n_steps=8, policy_lag=16, correct_lag=correct_lag, network=LINEAR
    )
    spec = Spec(env.observation_space, env.action_space, 8, None, UPDATES * 8 * 8)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, UPDATES, batched=True)
    loop, _ = engine.advance(engine.init(np.arange(SEEDS)), UPDATES, True)

    def look(parameters):
        seen = jnp.eye(2)
        return jax.nn.softmax(parameters.policy(seen)), parameters.value(seen)[:, 0]

    pi, value = map(np.asarray, jax.vmap(look)(loop.agent.learner.parameters))
    goes, worth = (0.98, GAMMA) if correct_lag else (0.0, 0.0)
    np.testing.assert_allclose(pi[:, 0, 0], goes, atol=0.03)
    np.testing.assert_allclose(value[:, 0], worth, atol=0.1)
    assert (pi[:, 1, 1] > 0.95).all()  # the second place was learnt in any case
