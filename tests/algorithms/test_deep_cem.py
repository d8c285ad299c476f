"""The cross-entropy method with a network: which sessions are imitated, and what imitating them means."""

import dataclasses
from functools import cache

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.search.deep_cem import DeepCEM
from polyak.envs import make
from polyak.parts.networks import MLP
from tests.algorithms.test_probes import OTHER_ACTIONS, train
from tests.speeds import slow

OBS = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
CHOICES, NUMBERS = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
ONE_STEP = {"n_epochs": 1, "batch_size": 1_000, "max_grad_norm": 1e6, "network": MLP((4,), "tanh")}


def made(actions=CHOICES, num_envs=4, **settings):
    """An agent, and its state before the first step: an untrained policy of choices prefers some clearly."""
    algorithm = DeepCEM(**ONE_STEP | {"session_length": 3, "elite_share": 0.5, "keep_rounds": 0} | settings)
    agent = built(algorithm, "choices" if actions == CHOICES else "numbers", num_envs)
    state = agent.init(jax.random.key(0))
    if actions == NUMBERS:
        return agent, state
    policy = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(3), leaf.shape), state.parameters.policy)
    return agent, state._replace(parameters=state.parameters._replace(policy=policy))


@cache
def built(algorithm, actions, num_envs):
    """An agent whose `learn` is compiled once."""
    agent = algorithm.agent(Spec(OBS, CHOICES if actions == "choices" else NUMBERS, num_envs, None, 1_000))
    return agent._replace(learn=jax.jit(agent.learn))


def block_of(agent, state, reward, terminated=None, key=1) -> Step:
    """A block with rewards [T, B], played by the agent on observations that are drawn at random."""
    reward = jnp.array(reward, jnp.float32)
    obs_key, noise_key = jax.random.split(jax.random.key(key))
    obs = jax.random.uniform(obs_key, (*reward.shape, 2), minval=-1.0)
    noise = agent.noise(noise_key, reward.shape)
    action, _, sample = jax.vmap(lambda obs, noise: agent.act(state, (), obs, noise, True))(obs, noise)
    never = jnp.zeros(reward.shape, bool)
    ends = never if terminated is None else jnp.array(terminated) == 1
    return Step(obs, action, reward, ends, never, jnp.roll(obs, -1, 0), sample)


def learn(agent, state, block):
    return agent.learn(agent.observe(state, block), block, jax.random.key(2))


def log_probs(state, block) -> np.ndarray:
    """[T, B] of the choices in a block, in NumPy."""
    logits = np.asarray(state.parameters.policy(block.obs), np.float64)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(logits, np.asarray(block.action)[..., None], -1)[..., 0]


# Four sessions of up to three steps. The second ends after one step and what follows it would be the best; the fourth
# ends after two.
REWARD = [[1, 2, 0, 1], [0, 50, 0, 3], [0, 50, 3, -99]]
TERMINATED = [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
ELITE_STEPS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]]) == 1  # scores 1, 2, 3 and 4


def test_the_loss_is_the_mean_negative_log_probability_of_the_steps_of_the_best_half():
    agent, state = made()
    block = block_of(agent, state, REWARD, TERMINATED)
    _, metrics = learn(agent, state, block)
    assert metrics["loss"] == pytest.approx(-log_probs(state, block)[ELITE_STEPS].mean(), rel=1e-5)
    assert metrics["elite_return"] == 3.0
    assert metrics["session_return"] == 2.5


def test_the_gradient_is_that_of_maximum_likelihood_of_choices():
    """By the bias of the logits it is the mean of pi(. | s) - 1[. = a]; Adam's first moment is a tenth of it."""
    agent, state = made()
    block = block_of(agent, state, REWARD, TERMINATED)
    after, metrics = learn(agent, state, block)
    logits = np.asarray(state.parameters.policy(block.obs), np.float64)
    pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    gradient = (pi - np.eye(3)[np.asarray(block.action)])[ELITE_STEPS].mean(0)
    np.testing.assert_allclose(after.optimiser.first.policy.head.bias, 0.1 * gradient, rtol=1e-4, atol=1e-7)
    leaves = jax.tree.leaves(after.optimiser.first)
    assert metrics["gradient_norm"] == pytest.approx(10 * np.sqrt(sum((leaf**2).sum() for leaf in leaves)), rel=1e-5)


def test_the_gradient_is_that_of_maximum_likelihood_of_numbers_that_were_not_clipped():
    """By the bias of the mean it is -(x - mu) / sigma^2, by log sigma 1 - (x - mu)^2 / sigma^2; x is the sample."""
    agent, state = made(NUMBERS, log_std_init=1.0)
    block = block_of(agent, state, REWARD, TERMINATED)
    assert (np.abs(block.extras) > 1).any() and (np.abs(block.action) <= 1).all()
    after, _ = learn(agent, state, block)
    error = (np.asarray(block.extras) - np.asarray(state.parameters.policy(block.obs)))[ELITE_STEPS]
    first = after.optimiser.first
    np.testing.assert_allclose(first.policy.head.bias, 0.1 * (-error / np.e**2).mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(first.free, 0.1 * (1 - (error / np.e) ** 2).mean(0), rtol=1e-4, atol=1e-7)


def test_an_epoch_of_minibatches_takes_every_elite_step_once():
    """At a rate that changes nothing, the mean over minibatches of one step is the mean over all."""
    agent, state = made(batch_size=1, n_epochs=2, learning_rate=1e-12)
    block = block_of(agent, state, REWARD, TERMINATED)
    after, metrics = learn(agent, state, block)
    assert metrics["loss"] == pytest.approx(-log_probs(state, block)[ELITE_STEPS].mean(), rel=1e-5)
    assert after.optimiser.updates == 2 * ELITE_STEPS.sum()


@pytest.mark.parametrize(("gamma", "best"), [(1.0, 0), (0.9, 1)])
def test_a_discount_prefers_the_shorter_of_two_sessions_that_arrive(gamma, best):
    """Without one they are equal, and the first is taken."""
    agent, state = made(num_envs=3, elite_share=0.3, gamma=gamma)
    block = block_of(agent, state, [[0, 0, 0], [0, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0], [1, 0, 0]])
    _, metrics = learn(agent, state, block)
    lengths = [3, 2]
    loss = -log_probs(state, block)[: lengths[best], best].mean()
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["elite_return"] == pytest.approx([1.0, 0.9][best])


def test_of_sessions_that_are_equally_good_no_more_are_imitated_than_the_share():
    """Three of four earn 1, and two are taken: were all whose score reaches the quantile, it would be three."""
    agent, state = made()
    block = block_of(agent, state, [[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    _, metrics = learn(agent, state, block)
    assert metrics["loss"] == pytest.approx(-log_probs(state, block)[:, 1:3].mean(), rel=1e-5)


def test_no_session_is_imitated_that_is_no_better_than_the_worst():
    """One of four earns something; the share would take two."""
    agent, state = made()
    block = block_of(agent, state, [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    _, metrics = learn(agent, state, block)
    assert metrics["loss"] == pytest.approx(-log_probs(state, block)[:, 3].mean(), rel=1e-5)
    assert metrics["elite_return"] == 0.0


def test_where_all_sessions_are_alike_nothing_is_learnt_and_the_policy_is_measured():
    agent, state = made(ent_coef=0.1, n_epochs=3)
    state, _ = learn(agent, state, block_of(agent, state, REWARD))  # so that the optimizer has a momentum
    after, metrics = learn(agent, state, block_of(agent, state, np.full((3, 4), 7.0)))
    jax.tree.map(np.testing.assert_array_equal, after.parameters, state.parameters)
    assert metrics["entropy"] > 0.5


def test_an_elite_session_is_imitated_again_until_it_is_too_old_or_others_are_as_good():
    agent, state = made(keep_rounds=2, elite_share=0.25, learning_rate=1e-12)
    good = block_of(agent, state, [[0, 0, 5, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    equal = block_of(agent, state, [[0, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], key=2)
    worse = block_of(agent, state, [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], key=3)
    losses = {
        name: -log_probs(state, block)[:, column].mean()
        for name, block, column in (("good", good, 2), ("equal", equal, 1), ("worse", worse, 3))
    }

    def measured(*blocks):
        now, history = state, []
        for block in blocks:
            now, metrics = learn(agent, now, block)
            history.append(float(metrics["loss"]))
        return history

    found = measured(good, worse, worse, worse)
    np.testing.assert_allclose(found, [losses[name] for name in ("good", "good", "good", "worse")], rtol=1e-5)
    found = measured(good, equal, worse)
    np.testing.assert_allclose(found, [losses[name] for name in ("good", "equal", "equal")], rtol=1e-5)


def test_kept_sessions_share_the_elite_with_fresh_ones_and_are_held_against_the_present_policy():
    """Two of four: of 5 and 4 the first time, the 5 and a fresh 6 the second. The third time all earn 6: no session is
    better than the worst, and nothing is imitated."""
    agent, state = made(keep_rounds=5)
    nothing = np.zeros((2, 4))
    state, metrics = learn(agent, state, block_of(agent, state, [[5, 4, 0, 1], *nothing]))
    assert metrics["elite_return"] == 4.0
    state, metrics = learn(agent, state, block_of(agent, state, [[0, 4, 6, 0], *nothing], key=2))
    assert metrics["elite_return"] == 5.0
    np.testing.assert_array_equal(state.elites.score, [6.0, 5.0])
    np.testing.assert_array_equal(state.elites.age, [0, 1])
    after, metrics = learn(agent, state, block_of(agent, state, [[6, 6, 6, 6], *nothing], key=3))
    assert metrics["elite_return"] == 6.0
    np.testing.assert_array_equal(after.elites.age, [0, 0])
    jax.tree.map(np.testing.assert_array_equal, after.parameters, state.parameters)


@pytest.mark.slow
@pytest.mark.parametrize("ent_coef", [0.0, 0.3])
def test_the_variance_that_is_fitted_to_numbers_is_that_of_the_elite_over_one_minus_the_bonus(ent_coef):
    settings = {"n_epochs": 2_000, "learning_rate": 1e-2, "ent_coef": ent_coef}
    agent, state = made(NUMBERS, num_envs=64, **settings)
    reward = np.zeros((3, 64))
    reward[0] = np.arange(64)
    block = block_of(agent, state, reward)
    block = block._replace(obs=jnp.zeros_like(block.obs))
    after, _ = learn(agent, state, block)
    sample = np.asarray(block.extras)[:, 32:].reshape(-1, 2)
    np.testing.assert_allclose(after.parameters.policy(jnp.zeros(2)), sample.mean(0), atol=0.01)
    np.testing.assert_allclose(np.exp(2 * after.parameters.free), sample.var(0) / (1 - ent_coef), rtol=0.02)


SMALL = DeepCEM(session_length=1, elite_share=0.25, n_epochs=4, network=MLP((16,), "tanh"), max_grad_norm=10.0)
SEEN = jnp.array([[-1.0], [1.0]])


@pytest.mark.parametrize(
    ("id", "low", "high"), [OTHER_ACTIONS[0], *(slow(*row) for row in OTHER_ACTIONS[1:])], ids=lambda value: str(value)
)
def test_the_best_actions_of_other_kinds_are_learnt(id, low, high):
    agent, state, _ = train(SMALL, id, steps=12_800, num_envs=32)
    np.testing.assert_allclose(agent.act(state, (), SEEN, (), False)[0], [low, high], atol=0.15)


@pytest.mark.slow
def test_the_best_actions_of_several_parts_are_learnt_from_several_parts():
    algorithm = dataclasses.replace(
        SMALL, elite_share=0.5
    )  # a quarter are soon those of two cues alone, which are known
    agent, state, _ = train(algorithm, "probe/matched-parts", steps=25_600, num_envs=32)
    seen = jnp.array([[0.0, -1.0], [1.0, -1.0], [0.0, 1.0], [1.0, 1.0]])
    best = [[0.0, -0.5], [1.0, -0.5], [0.0, 0.5], [1.0, 0.5]]
    np.testing.assert_allclose(agent.act(state, (), seen, (), False)[0], best, atol=0.15)


@pytest.mark.slow
def test_an_action_that_is_not_there_is_never_drawn_and_the_best_of_those_that_are_is_learnt():
    agent, state, metrics = train(SMALL, "probe/masked-action", steps=25_600, num_envs=32)
    there = jnp.repeat(jnp.eye(10), 2, 1)
    rows = {"observation": jnp.arange(10.0)[:, None], "action_mask": there}
    seen = jnp.concatenate([rows[part] for part in make("probe/masked-action").observation_space], 1)
    assert agent.act(state, (), seen, (), False)[0].tolist() == list(range(1, 20, 2))
    assert metrics["episode_return"] >= -1.0  # an action that is not there pays -100, and is never drawn
