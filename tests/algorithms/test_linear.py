"""Learners with linear values: against the loop of the textbook, against tables, and on CartPole."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Spec, Step
from polyak.algorithms.linear.linear_q_learning import LinearQLearning
from polyak.algorithms.linear.linear_sarsa import LinearSARSA
from polyak.errors import BadSetting
from polyak.parts.exploration import UCB, EpsilonGreedy
from polyak.parts.features import Fourier, Raw, Tiles
from polyak.parts.schedules import StepSize

GAMMA, LAMBDA, ALPHA = 0.9, 0.8, 0.1
SPACE = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
SPEC = Spec(SPACE, gymnasium.spaces.Discrete(3), 1, None, 300)
every_kind = pytest.mark.parametrize("kind", [LinearSARSA, LinearQLearning])


@every_kind
@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("features", [Raw(), Fourier(2), Tiles(3, 2)], ids=lambda features: features.name)
def test_it_is_the_loop_of_the_textbook(kind, replacing, features):
    rng, x = np.random.default_rng(0), features.map(SPACE)
    told = rng.integers(3, size=300)  # what one who always explores takes next
    w, z = np.zeros((3, x.size)), np.zeros((3, x.size))
    settings = {"gamma": GAMMA, "trace_lambda": LAMBDA, "replacing_traces": replacing, "learning_rate": ALPHA}
    agent = kind(**settings, features=features, exploration=EpsilonGreedy(1.0)).agent(SPEC)
    state, learn, of = agent.init(jax.random.key(0)), jax.jit(agent.learn), jax.jit(x.of)
    obs = rng.random(2, np.float32)
    for t in range(300):
        a, r, terminated, truncated = int(rng.integers(3)), np.float32(rng.normal()), t % 20 == 19, t % 50 == 49
        obs_next = rng.random(2, np.float32)
        q, q_next, a_next = w @ of(obs), w @ of(obs_next), told[t]
        follows = q_next.max() if kind is LinearQLearning else q_next[a_next]
        z[a] += of(obs)
        z = np.minimum(z, 1) if replacing else z
        w += ALPHA * (r + GAMMA * (1 - terminated) * follows - q[a]) * x.scale * z
        z *= GAMMA * LAMBDA
        if terminated or truncated or (kind is LinearQLearning and q_next[a_next] < q_next.max()):
            z[:] = 0.0
        extras = (np.zeros((1, 1), np.float32), np.array([[(a_next + 0.5) / 3]], np.float32))
        block = Step(*(np.array(v)[None, None] for v in (obs, a, r, terminated, truncated, obs_next)), extras)
        state, _ = learn(state, block, jax.random.key(t))
        obs = obs_next
    np.testing.assert_allclose(state.w, w, atol=1e-3)


@every_kind
def test_an_observation_that_is_no_number_leaves_no_trace(kind):
    agent = kind(features=Raw(), exploration=EpsilonGreedy(0.0)).agent(SPEC)
    learn, state = jax.jit(agent.learn), agent.init(jax.random.key(0))
    extras = jax.tree.map(lambda leaf: leaf[None], agent.noise(jax.random.key(0), (1,)).next)
    errors = []
    for obs in (0.5, np.nan, 0.5):
        leaves = (np.full(2, obs, np.float32), 1, np.float32(1.0), False, False, np.full(2, 0.5, np.float32))
        block = Step(*(np.array(leaf)[None, None] for leaf in leaves), extras)
        state, metrics = learn(state, block, jax.random.key(0))
        errors.append(float(metrics["td_error"]))
    assert np.isfinite(errors).tolist() == [True, False, True]
    assert jnp.isfinite(state.w).all()


@every_kind
def test_what_counts_visits_is_refused(kind):
    for change in ({"exploration": UCB()}, {"learning_rate": StepSize(1.0, power=1.0)}):
        with pytest.raises(BadSetting, match="counts no visits"):
            dataclasses.replace(kind(), **change).agent(SPEC)
    with pytest.raises(BadSetting, match="reads vectors"):
        kind().agent(SPEC._replace(observation_space=gymnasium.spaces.Discrete(3)))
    with pytest.raises(BadSetting, match="needs discrete actions"):
        kind().agent(SPEC._replace(action_space=SPACE))


@pytest.mark.slow
def test_linear_values_learn_to_balance_the_pole(tmp_path):
    """Far from solved, and far above the 9 of one who always pushes to one side, or the 22 of chance."""
    algorithm = LinearSARSA(features=Fourier(2), learning_rate=0.002, gamma=0.99, exploration=EpsilonGreedy(0.05))
    run = polyak.train(algorithm, "CartPole-v1", steps=20_000, seeds=2, out=tmp_path, progress=False, processes=0)
    assert run.scores.returns.mean(1).min() > 60
    assert jnp.isfinite(run.policy().state.w).all()
