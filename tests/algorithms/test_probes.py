"""DQN and PPO on the probes, one by one: environments whose values and best actions are known.

Where one fails that `test_every_algorithm.py` has found, the first of these that fails says what is broken.
"""

import dataclasses
import itertools
from functools import cache

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.value.dqn import DQN
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs import make
from polyak.envs.probes import PROBES
from polyak.errors import BadSetting
from polyak.parts.networks import MLP, Linear
from tests import small

GAMMA = 0.9
ENDLESS = 1 / (1 - GAMMA)  # 10
# Were the cut after 8 steps taken for an end, the value v of the one state there is would solve v = 1 + 7/8 gamma v.
ENDLESS_IF_CUTS_WERE_ENDS = 1 / (1 - 7 / 8 * GAMMA)  # 4.7

# What it can be combined with is in test_value.py. Nothing to fill: one program less to compile.
DQN_SMALL = small.algorithm("dqn", gamma=GAMMA, learning_starts=0)
PPO_SMALL = small.algorithm("ppo", gamma=GAMMA)
NUM_ENVS = {"dqn": 1, "ppo": 8}
STEPS = {"dqn": 4_000, "ppo": 12_800}

# What is seen, the value of each action there under the best policy, and the best action where there is one.
# A policy that still explores earns less later, but nothing here pays later for what is done now.
KNOWN = {
    "probe/constant-reward": [(0.0, (1.0, 1.0), None)],
    "probe/observed-reward": [(-1.0, (-1.0, -1.0), None), (1.0, (1.0, 1.0), None)],
    "probe/two-steps": [(-1.0, (GAMMA, GAMMA), None), (1.0, (1.0, 1.0), None)],
    "probe/rewarded-action": [(0.0, (-1.0, 1.0), 1)],
    "probe/matched-action": [(-1.0, (1.0, -1.0), 0), (1.0, (-1.0, 1.0), 1)],
    "probe/endless-reward": [(0.0, (ENDLESS, ENDLESS), None)],
}
PROBE = pytest.mark.parametrize("id", KNOWN)

# For actions of other kinds, see test_policy_gradient.py: the best where -1 is seen, and where 1 is.
OTHER_ACTIONS = [
    ("probe/matched-number", [-0.5], [0.5]),
    ("probe/matched-choices", [0, 0], [1, 2]),
    ("probe/matched-switches", [0, 1], [1, 0]),
]


def test_every_probe_is_used_here():
    others = {"probe/remembered-action", "probe/match-then-wait", "probe/matched-parts", "probe/masked-action"}
    assert KNOWN.keys() | {id for id, *_ in OTHER_ACTIONS} | others == PROBES.keys()


def train(algorithm, id: str, steps: int | None = None, engine: str = "compiled", num_envs: int | None = None):
    """A whole run: the agent, its last state, and the metrics of its last chunk."""
    num_envs, steps = num_envs or NUM_ENVS[algorithm.name], steps or STEPS[algorithm.name]
    env = make(id if engine == "compiled" else f"gymnasium:{id}", num_envs)
    spec = Spec(env.observation_space, env.action_space, num_envs, env.max_episode_steps, steps)
    agent = algorithm.agent(spec)
    iterations = steps // (algorithm.block_length * num_envs)
    fills = algorithm.learning_starts // (algorithm.block_length * num_envs)
    engine = {"compiled": CompiledEngine, "host": HostEngine}[engine](algorithm, agent, env, spec, iterations)
    loop = engine.init(0)
    if fills:
        loop, _ = engine.advance(loop, fills, False)
    loop, metrics = engine.advance(loop, iterations - fills, True)
    return agent, loop.agent, metrics


trained = cache(train)


def answers(algorithm, agent, state, seen: float):
    """[1] what is seen as a batch, the values there, and the greedy action."""
    obs = jnp.array([[seen]])
    action, _, _ = agent.act(state, (), obs, (), False)
    if algorithm.name == "dqn":
        return state.parameters(obs)[0], int(action[0])
    return state.parameters.value(obs)[0], int(action[0])


@pytest.mark.slow
@PROBE
def test_dqn_learns_the_known_values(id):
    algorithm = DQN_SMALL
    agent, state, _ = trained(algorithm, id)
    for seen, values, best in KNOWN[id]:
        q, action = answers(algorithm, agent, state, seen)
        np.testing.assert_allclose(q, values, atol=0.05 * max(np.abs(values)))
        assert best is None or action == best


@pytest.mark.slow
@PROBE
def test_ppo_learns_the_known_values_and_the_best_action(id):
    agent, state, _ = trained(PPO_SMALL, id)
    for seen, values, best in KNOWN[id]:
        value, action = answers(PPO_SMALL, agent, state, seen)
        np.testing.assert_allclose(value, max(values), atol=0.05 * max(np.abs(values)))
        assert best is None or action == best


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [DQN_SMALL, PPO_SMALL], ids=["dqn", "ppo"])
def test_a_cut_by_the_clock_is_not_taken_for_an_end(algorithm):
    agent, state, _ = trained(algorithm, "probe/endless-reward")
    values, _ = answers(algorithm, agent, state, 0.0)
    assert (np.abs(values - ENDLESS) < 0.5).all()
    assert (np.abs(values - ENDLESS_IF_CUTS_WERE_ENDS) > 4).all()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [DQN_SMALL, PPO_SMALL], ids=["dqn", "ppo"])
def test_the_host_engine_learns_them_too(algorithm):
    id, steps = "probe/endless-reward", 2_000 if algorithm.name == "dqn" else 6_400
    agent, state, _ = train(algorithm, id, steps=steps, engine="host")
    for seen, values, best in KNOWN[id]:
        answer, action = answers(algorithm, agent, state, seen)
        expected = values if algorithm.name == "dqn" else max(values)
        np.testing.assert_allclose(answer, expected, atol=0.15 * max(np.abs(values)))
        assert best is None or action == best


@pytest.mark.slow
def test_without_memory_what_was_shown_is_lost():
    """No policy without memory earns anything on average; the mean of n episodes errs by 1 / sqrt(n)."""
    _, _, metrics = train(PPO_SMALL, "probe/remembered-action", steps=12_800)
    assert metrics["episodes"] > 4_000
    assert abs(metrics["episode_return"]) < 4 / metrics["episodes"] ** 0.5


def spec_of(num_envs: int = 4, start: int = 0, total_steps: int = 1000) -> Spec:
    box = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    return Spec(box, gymnasium.spaces.Discrete(2, start=start), num_envs, None, total_steps)


@pytest.mark.parametrize("algorithm", [DQN_SMALL, PPO_SMALL], ids=["dqn", "ppo"])
def test_actions_begin_at_the_start_of_their_space(algorithm):
    obs = jnp.linspace(-1, 1, 20)[:, None]
    agents = [algorithm.agent(spec_of(20, start=start)) for start in (0, 5)]
    state = agents[0].init(jax.random.key(0))
    noise = agents[0].noise(jax.random.key(1), (20,))
    for explore in (False, True):
        plain, shifted = (agent.act(state, (), obs, noise, explore)[0] for agent in agents)
        np.testing.assert_array_equal(shifted, plain + 5)


# DQN's own


def test_the_target_network_is_renewed_when_its_interval_has_passed():
    algorithm = DQN(buffer_size=64, batch_size=8, train_freq=4, target_update_interval=12, network=MLP(hidden=(4,)))
    env = make("probe/matched-action")
    spec = Spec(env.observation_space, env.action_space, 1, None, 1000)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 1)
    loop, renewed = engine.init(0), []
    for _ in range(9):
        before = jax.device_get(loop.agent)  # donated by advance
        loop, _ = engine.advance(loop, 1, True)
        leaves = [jax.tree.leaves(tree) for tree in (loop.agent.target, before.target, before.parameters)]
        same = all((new == old).all() for new, old in zip(leaves[0], leaves[1], strict=True))
        copied = all((new == online).all() for new, online in zip(leaves[0], leaves[2], strict=True))
        assert same or copied
        renewed.append(copied and not same)
    # blocks of 4 steps: steps 12, 24 and 36 are reached by the third, sixth and ninth
    assert [i for i, yes in enumerate(renewed, 1) if yes] == [3, 6, 9]


@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_targets_are_those_worked_out_from_the_stored_episode(n_steps):
    """Two steps, cut; two steps, ended: with the target network silent, errors are returns and the loss tells them."""
    algorithm = DQN(
        buffer_size=4, batch_size=512, train_freq=4, n_steps=n_steps, gamma=GAMMA, huber_delta=1e6, network=MLP((1,))
    )
    agent = algorithm.agent(spec_of(1))
    state = agent.init(jax.random.key(0))
    state = state._replace(parameters=jax.tree.map(jnp.zeros_like, state.parameters))
    state = state._replace(target=jax.tree.map(jnp.zeros_like, state.target))
    ones = state.target.head.bias + 1.0  # Q_target is 1 everywhere, Q_theta 0
    state = state._replace(target=dataclasses.replace(state.target, head=Linear(state.target.head.weight, ones)))
    reward = jnp.array([[1.0], [2.0], [4.0], [8.0]])
    terminated, truncated = jnp.array([[0], [0], [0], [1]]) == 1, jnp.array([[0], [1], [0], [0]]) == 1
    obs = jnp.zeros((4, 1, 1))
    block = Step(obs, jnp.zeros((4, 1), jnp.int32), reward, terminated, truncated, obs, ())
    _, metrics = jax.jit(agent.learn)(agent.observe(state, block), block, jax.random.key(1))
    g = GAMMA
    targets = {1: (1 + g, 2 + g, 4 + g, 8.0), 3: (1 + g * 2 + g**2, 2 + g, 4 + g * 8, 8.0)}[n_steps]
    assert float(metrics["td_error"]) == pytest.approx(np.mean(targets), rel=0.05)  # 512 draws of the four


@pytest.mark.parametrize(("step", "epsilon"), [(0, 1.0), (50, 0.525), (100, 0.05), (900, 0.05)])
def test_epsilon_falls_over_its_share_of_the_run(step, epsilon):
    algorithm = DQN(exploration_fraction=0.1, exploration_final_eps=0.05, buffer_size=100, network=MLP(hidden=(4,)))
    agent = algorithm.agent(spec_of(10_000, total_steps=1000))
    state = algorithm.agent(spec_of(1)).init(jax.random.key(0))._replace(step=jnp.int32(step))
    obs = jnp.zeros((10_000, 1))
    action, _, _ = agent.act(state, (), obs, agent.noise(jax.random.key(1), (10_000,)), True)
    greedy, _, _ = agent.act(state, (), obs, (), False)
    # half of what explores is greedy by chance
    assert float((action != greedy).mean()) == pytest.approx(epsilon / 2, abs=0.02)


# PPO's own


def block_for(agent, state, key, length: int = 16, num_envs: int = 4):
    """A block of `matched-action`, played by the agent."""
    obs = jnp.sign(jax.random.normal(key, (length, num_envs, 1)))
    noise = agent.noise(key, (length, num_envs))
    action, _, extras = jax.vmap(lambda obs, noise: agent.act(state, (), obs, noise, True))(obs, noise)
    reward = jnp.where(action == (obs[..., 0] > 0), 1.0, -1.0)
    over = jnp.ones((length, num_envs), bool)
    return Step(obs, action, reward, over, ~over, obs, extras)


def learnt(total_steps: int = 1000, blocks: int = 1, **settings):
    """States before and after each of some blocks, and the metrics of each."""
    algorithm = PPO(n_steps=16, batch_size=16, n_epochs=8, gamma=GAMMA, network=MLP(hidden=(8,)), **settings)
    agent = algorithm.agent(spec_of(total_steps=total_steps))
    states, history = [agent.init(jax.random.key(0))], []
    update = jax.jit(lambda state, block, key: agent.learn(agent.observe(state, block), block, key))
    for i in range(blocks):
        key = jax.random.key(i + 1)
        state, metrics = update(states[-1], block_for(agent, states[-1], key), key)
        states.append(state)
        history.append(metrics)
    return states, history


def distance(first, second) -> float:
    differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), first.parameters, second.parameters)
    return float(max(jax.tree.leaves(differences)))


def test_target_kl_ends_a_round_of_updates():
    rate = 0.05
    (start, free), _ = learnt(learning_rate=rate)
    (_, held), _ = learnt(learning_rate=rate, target_kl=1e-6)
    # one step of Adam is at most one learning rate long; 32 of them, unheld, go much further
    assert 0 < distance(start, held) <= 1.01 * rate
    assert distance(start, free) > 3 * rate


@pytest.mark.parametrize("what", ["anneal_learning_rate", "anneal_clip_range"])
def test_annealing_reaches_zero_when_the_budget_is_spent(what):
    # blocks of 64 steps and a budget of 128: shares 1, 1/2, 0
    states, history = learnt(total_steps=128, blocks=3, learning_rate=1e-2, vf_coef=0.0, **{what: True})
    moves = [distance(old, new) for old, new in itertools.pairwise(states)]
    assert moves[0] > 0 and moves[1] > 0
    if what == "anneal_learning_rate":
        np.testing.assert_allclose([metrics["learning_rate"] for metrics in history], [1e-2, 5e-3, 0.0], atol=1e-8)
        assert moves[2] == 0.0
    else:
        # with a range of zero every policy that has moved at all is outside of it
        assert history[0]["clip_fraction"] < history[2]["clip_fraction"]


def test_observations_are_standardised_by_what_was_seen():
    (start, after), _ = learnt(normalize_observation=True)
    np.testing.assert_allclose(start.features.mean, 0.0)
    block = block_for(
        PPO(n_steps=16, batch_size=16, network=MLP(hidden=(8,))).agent(spec_of()), start, jax.random.key(1)
    )
    assert float(after.features.weight) == pytest.approx(64, rel=1e-4)
    np.testing.assert_allclose(after.features.mean, block.obs.mean((0, 1)), atol=1e-4)
    np.testing.assert_allclose(after.features.variance, block.obs.var((0, 1)), rtol=1e-3)


def test_rewards_are_measured_by_their_discounted_sums():
    (_, after), _ = learnt(normalize_reward=True)
    assert float(after.rewards.moments.weight) == pytest.approx(64, rel=1e-4)
    assert float(after.rewards.moments.variance) == pytest.approx(1.0, abs=0.3)  # one-step episodes that pay -1 or 1
    np.testing.assert_array_equal(after.rewards.total, jnp.zeros(4))  # every episode was over


@pytest.mark.slow
def test_normalising_does_not_change_the_best_action():
    algorithm = dataclasses.replace(PPO_SMALL, normalize_observation=True, normalize_reward=True)
    agent, state, _ = train(algorithm, "probe/matched-action")
    for seen, _, best in KNOWN["probe/matched-action"]:
        assert answers(algorithm, agent, state, seen)[1] == best


@pytest.mark.parametrize(("batch_size", "nearest"), [(50, 64), (30, 32), (1000, 64)])
def test_a_batch_that_does_not_divide_the_block_is_refused_with_one_that_does(batch_size, nearest):
    with pytest.raises(
        BadSetting, match=f"batch_size {batch_size} does not divide n_steps x num_envs = 64; {nearest} does"
    ):
        PPO(n_steps=16, batch_size=batch_size).agent(spec_of(4))
