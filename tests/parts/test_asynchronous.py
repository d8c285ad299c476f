"""Agents that act with copies of a learner, against plain Python lists and dictionaries of copies."""

from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Agent, Array, Spec, Step, no_memory
from polyak.algorithms.policy.a2c import A2C
from polyak.algorithms.policy.a3c import A3C
from polyak.engines.compiled import CompiledEngine
from polyak.envs import make
from polyak.parts.asynchronous import asynchronous, lagging
from polyak.parts.networks import MLP
from tests.engines.runs import assert_close, assert_equal


class Counter(NamedTuple):
    """The state of an agent whose parameter is the number of updates that were made."""

    updates: Array  # [] int32; what it acts with, too
    observed: Array  # [] float32, the sum of all rewards
    late: Array  # [] int32, the sum of the updates by which gradients came late
    latest: Array  # [] int32, the most of them


def counter() -> Agent:
    """An agent that answers with its number of updates, and counts by how many of them its gradients come late."""

    def init(key) -> Counter:
        return Counter(jnp.int32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0))

    def act(state, carry, obs, noise, explore):
        return jnp.full(len(obs), state.updates), carry, ()

    def observe(state, block):
        return state._replace(observed=state.observed + block.reward.sum())

    def gradient(state, block, key):
        return state.updates

    def apply(state, gradient):
        late = state.updates - gradient
        state = state._replace(late=state.late + late, latest=jnp.maximum(state.latest, late))
        return state._replace(updates=state.updates + 1), {"late": late}

    def learn(state, block, key):
        return apply(state, gradient(state, block, key))

    def policy(state):
        return Counter(state.updates, (), (), ())

    return Agent(init, no_memory, lambda key, shape: (), act, observe, learn, policy, gradient=gradient, apply=apply)


def block_of(reward: float, num_envs: int = 1) -> Step:
    """One step of each environment."""
    obs, paid, never = jnp.zeros((1, num_envs, 1)), jnp.full((1, num_envs), reward), jnp.zeros((1, num_envs), bool)
    return Step(obs, jnp.zeros((1, num_envs), jnp.int32), paid, never, never, obs, ())


@pytest.mark.parametrize("lag", [1, 3])
def test_the_policy_that_explores_is_that_of_some_updates_ago_and_the_greedy_one_is_the_newest(lag):
    agent = lagging(counter(), lag)
    state, learn = agent.init(jax.random.key(0)), jax.jit(agent.learn)
    waiting = [0] * lag  # what was published and does not act yet, the oldest first
    acting = 0
    for update in range(8):
        explored, _, _ = agent.act(state, (), jnp.zeros((2, 1)), (), True)
        greedy, _, _ = agent.act(state, (), jnp.zeros((2, 1)), (), False)
        assert explored.tolist() == [acting] * 2 == [max(0, update - lag)] * 2
        assert greedy.tolist() == [update] * 2
        assert agent.act(agent.publish(state), (), jnp.zeros((2, 1)), (), True)[0].tolist() == [update] * 2
        assert agent.policy(state).updates == update
        state = agent.observe(state, block_of(1.0))
        state, _ = learn(state, block_of(1.0), jax.random.key(update))
        waiting.append(update + 1)
        acting = waiting.pop(0)
    assert float(state.learner.observed) == 8.0


def test_without_a_lag_the_agent_is_the_one_that_it_was():
    agent = counter()
    assert lagging(agent, 0) is agent


def orders(key, num_workers: int) -> list[int]:
    """In which the workers take turns in a block that is learnt from with a key."""
    return jax.random.permutation(jax.random.split(key)[0], num_workers).tolist()


def test_a_gradient_comes_as_many_updates_late_as_other_workers_made_since_its_copy():
    """In the order of the turns; on average it is W - 1 updates late, at most 2 W - 2."""
    num_workers, blocks = 4, 200
    agent = asynchronous(counter(), num_workers)
    state, learn = agent.init(jax.random.key(0)), jax.jit(agent.learn)
    copied, late, total = dict.fromkeys(range(num_workers), 0), [], 0
    for i in range(blocks):
        action, _, _ = agent.act(state, (), jnp.zeros((num_workers, 1)), (), True)
        assert action.tolist() == list(copied.values())
        state, metrics = learn(
            agent.observe(state, block_of(0.5, num_workers)), block_of(0.5, num_workers), jax.random.key(i)
        )
        for worker in orders(jax.random.key(i), num_workers):
            late.append(total - copied[worker])
            total += 1
            copied[worker] = total
        assert metrics["late"] == np.mean(late[-num_workers:])
    assert (int(state.learner.late), int(state.learner.latest)) == (sum(late), max(late))
    assert max(late) == 2 * num_workers - 2
    # W - 1, less half of it once, as the first copies of all were made before the first turn
    assert sum(late) == num_workers * (num_workers - 1) * (blocks - 0.5)
    assert float(state.learner.observed) == 0.5 * num_workers * blocks


BOX, CHOICES = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32), gymnasium.spaces.Discrete(3)
SETTINGS = {"learning_rate": 1e-2, "n_steps": 3, "ent_coef": 0.01, "anneal_learning_rate": True, "network": MLP((8,))}


def test_workers_move_shared_parameters_as_a_loop_over_a_dictionary_of_copies_does():
    """A3C beside the gradients of A2C with one environment, which are given and taken by hand."""
    num_workers, length = 3, SETTINGS["n_steps"]
    agent = A3C(**SETTINGS).agent(Spec(BOX, CHOICES, num_workers, None, 1_000))
    alone = A2C(**SETTINGS).agent(Spec(BOX, CHOICES, 1, None, 1_000))
    act, act_alone = (jax.jit(lambda *inputs, a=a: a.act(*inputs, True)) for a in (agent, alone))
    gradient, apply, learn = jax.jit(alone.gradient), jax.jit(alone.apply), jax.jit(agent.learn)
    state = agent.init(jax.random.key(0))
    shared = alone.init(jax.random.key(0))
    copies = dict.fromkeys(range(num_workers), shared)
    for i in range(4):
        obs_key, reward_key, end_key, noise_key, learn_key = jax.random.split(jax.random.key(i), 5)
        obs = jax.random.uniform(obs_key, (length + 1, num_workers, 2))
        noise = agent.noise(noise_key, (length, num_workers))
        steps = [act(state, (), obs[t], jax.tree.map(lambda leaf: leaf[t], noise)) for t in range(length)]  # noqa: B023
        action, _, extras = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
        over = jax.random.bernoulli(end_key, 0.3, (length, num_workers))
        reward = jax.random.normal(reward_key, (length, num_workers))
        block = Step(obs[:-1], action, reward, over, over & False, obs[1:], extras)
        for worker, copy in copies.items():
            for t in range(length):
                mine = jax.tree.map(lambda leaf: leaf[t, worker : worker + 1], noise)  # noqa: B023
                chosen, _, found = act_alone(copy, (), obs[t, worker : worker + 1], mine)
                assert chosen == action[t, worker]
                np.testing.assert_allclose(found.log_prob[0], extras.log_prob[t, worker], rtol=1e-5)
        for worker in orders(learn_key, num_workers):
            mine = jax.tree.map(lambda leaf: leaf[:, worker : worker + 1], block)  # noqa: B023
            found = gradient(copies[worker], mine, learn_key)
            shared, _ = apply(alone.observe(shared, mine), found)
            copies[worker] = shared
        state, _ = learn(agent.observe(state, block), block, learn_key)
        assert_close(state.learner, shared, 1e-5)
        for worker, copy in copies.items():
            row = jax.tree.map(lambda leaf: leaf[worker], state.workers)  # noqa: B023
            assert_close(row.parameters, copy.parameters, 1e-5)
    assert int(shared.step) == 4 * length * num_workers


def test_with_one_worker_a3c_is_a2c_with_one_environment():
    env, spaces, blocks = make("probe/match-then-wait"), ("observation_space", "action_space"), 40
    ends = []
    for algorithm in (A3C(**SETTINGS), A2C(**SETTINGS)):
        spec = Spec(*(getattr(env, name) for name in spaces), 1, env.max_episode_steps, blocks * SETTINGS["n_steps"])
        engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, blocks)
        loop, metrics = engine.advance(engine.init(0), blocks, True)
        ends.append((loop, metrics))
    (first, metrics), (second, others) = ends
    assert_close(first.agent.learner, second.agent, 1e-4)
    assert_equal(first.agent.learner.parameters, jax.tree.map(lambda leaf: leaf[0], first.agent.workers.parameters))
    assert metrics.keys() == others.keys()
    for name, value in others.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
