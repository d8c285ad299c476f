"""The family of actor-critics: each member on a probe that asks everything, and on actions of every kind."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.policy.a2c import A2C
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.policy.reinforce import REINFORCE
from polyak.algorithms.policy.trpo import TRPO
from polyak.errors import BadSetting
from polyak.parts.networks import MLP
from polyak.parts.optimise import Adam
from tests.algorithms.test_probes import ENDLESS, GAMMA, OTHER_ACTIONS, PPO_SMALL, train

SMALL = {"learning_rate": 1e-2, "gamma": GAMMA, "network": MLP(hidden=(16,), activation="tanh")}
TRPO_SMALL = TRPO(**SMALL, n_steps=16, batch_size=64, n_epochs=8, target_kl=0.05, max_grad_norm=10.0)
PLAIN = REINFORCE(**SMALL, n_steps=16, baseline=False)
CASES = {
    "reinforce": REINFORCE(**SMALL, n_steps=16, max_grad_norm=10.0),
    "reinforce, whitened returns": dataclasses.replace(PLAIN, whiten=True),
    "a2c": A2C(**SMALL, gae_lambda=0.9, max_grad_norm=10.0),
    "a2c, adam, normalised, annealed": A2C(
        **SMALL, optimizer=Adam(), normalize_advantage=True, normalize_observation=True, anneal_learning_rate=True
    ),
    "trpo": TRPO_SMALL,
    "natural policy gradient": dataclasses.replace(TRPO_SMALL, line_search_steps=0),
    "ppo": PPO_SMALL,
}
SEEN = jnp.array([[-1.0], [1.0]])


def greedy(agent, state) -> np.ndarray:
    return np.asarray(agent.act(state, (), SEEN, (), False)[0])


@pytest.mark.parametrize("name", CASES)
def test_each_learns_the_best_action_and_a_value_that_the_clock_does_not_cut(name):
    """The value where nothing is asked any more is 1 / (1 - gamma), and that of both cues nearly so."""
    algorithm = CASES[name]
    agent, state, _ = train(algorithm, "probe/match-then-wait", steps=12_800, num_envs=8)
    np.testing.assert_array_equal(greedy(agent, state), [0, 1])
    if isinstance(algorithm, REINFORCE) and not algorithm.baseline:
        return
    x = jnp.array([[-1.0], [0.0], [1.0]])
    if algorithm.normalize_observation:
        x = state.features.standardise(x)
    np.testing.assert_allclose(state.parameters.value(x)[:, 0], ENDLESS, atol=1.0)


@pytest.mark.parametrize(
    ("name", "id", "low", "high"),
    [(name, *probe) for name, probe in zip(["trpo", "a2c", "reinforce, whitened returns"], OTHER_ACTIONS, strict=True)],
)
def test_the_best_actions_of_other_kinds_are_learnt(name, id, low, high):
    agent, state, _ = train(CASES[name], id, steps=12_800, num_envs=8)
    np.testing.assert_allclose(greedy(agent, state), [low, high], atol=0.15)


@pytest.mark.parametrize("change", [{"squash": True}, {"state_dependent_std": True, "learning_rate": 3e-3}])
def test_numbers_are_learnt_whatever_they_are_drawn_from(change):
    id, low, high = OTHER_ACTIONS[0]
    agent, state, _ = train(dataclasses.replace(PPO_SMALL, **change), id)
    np.testing.assert_allclose(greedy(agent, state), [low, high], atol=0.1)


BOX = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize("actions", [gymnasium.spaces.Discrete(4), BOX], ids=["choices", "numbers"])
def test_a_step_of_trpo_keeps_to_its_divergence_and_improves_the_objective(actions):
    """On random rewards, observations and networks; kl and improvement are measured anew after the step."""
    algorithm = TRPO(n_steps=32, batch_size=64, target_kl=0.02, network=MLP(hidden=(16,)))
    agent = algorithm.agent(Spec(BOX, actions, 4, None, 10_000))

    @jax.jit
    def step(key):
        init_key, scatter_key, obs_key, reward_key, noise_key, learn_key = jax.random.split(key, 6)
        state = agent.init(init_key)
        policy = jax.tree.map(lambda leaf: jax.random.normal(scatter_key, leaf.shape), state.parameters.policy)
        state = state._replace(parameters=state.parameters._replace(policy=policy))
        obs = jax.random.uniform(obs_key, (32, 4, 3), minval=-1.0)
        action, _, extras = jax.vmap(lambda obs, noise: agent.act(state, (), obs, noise, True))(
            obs, agent.noise(noise_key, (32, 4))
        )
        never = jnp.zeros((32, 4), bool)
        block = Step(obs, action, jax.random.normal(reward_key, (32, 4)), never, never, jnp.roll(obs, 1, 0), extras)
        return agent.learn(agent.observe(state, block), block, learn_key)[1]

    metrics = [step(jax.random.key(key)) for key in range(20)]
    kl, improvement = (np.array([found[name] for found in metrics]) for name in ("kl", "improvement"))
    assert (improvement > 0).all()
    assert (kl <= algorithm.target_kl).all()
    assert np.median(kl) > algorithm.target_kl / 10  # damping shortens the steps of policies that are nearly certain


def test_without_a_baseline_an_episode_that_the_block_does_not_see_to_its_end_teaches_nothing():
    """Four steps: an episode of two, and two of another. Only rewards of the first matter."""
    algorithm = dataclasses.replace(PLAIN, n_steps=4)
    agent = algorithm.agent(Spec(BOX, gymnasium.spaces.Discrete(2), 1, None, 1000))
    state, learn = agent.init(jax.random.key(0)), jax.jit(agent.learn)
    obs = jax.random.uniform(jax.random.key(1), (4, 1, 3))
    action, never = jnp.array([[0], [1], [1], [0]]), jnp.zeros((4, 1), bool)
    extras = agent.act(state, (), obs[:, 0], agent.noise(jax.random.key(2), (4,)), True)[2]
    extras = extras._replace(draw=action, log_prob=extras.log_prob[:, None])

    def taught(rewards) -> list[np.ndarray]:
        reward = jnp.array(rewards)[:, None]
        block = Step(obs, action, reward, never.at[1].set(True), never, obs, extras)
        after, metrics = learn(agent.observe(state, block), block, jax.random.key(3))
        # with G = (1 + gamma 2, 2) and nearly even chances the loss is log 2 times the mean of the two
        if rewards[:2] == [1.0, 2.0]:
            np.testing.assert_allclose(metrics["policy_loss"], np.log(2) * (1 + 2 * GAMMA + 2) / 2, rtol=0.05)
        return jax.tree.leaves(after.parameters)

    first, tail, head = taught([1.0, 2.0, 0.0, 0.0]), taught([1.0, 2.0, 50.0, -7.0]), taught([-1.0, 2.0, 0.0, 0.0])
    assert all((a == b).all() for a, b in zip(first, tail, strict=True))
    assert any((a != b).any() for a, b in zip(first, head, strict=True))


@pytest.mark.parametrize("kind", [REINFORCE, A2C, TRPO, PPO])
@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)]), r"of one kind so far.*Tuple"),
        (gymnasium.spaces.Box(0, 9, (1,), np.int32), r"not supported.*Box of floats"),
    ],
)
def test_actions_that_cannot_be_drawn_are_refused_in_a_sentence(kind, space, sentence):
    with pytest.raises(BadSetting, match=sentence):
        kind().agent(Spec(BOX, space, 8, None, 1000))
