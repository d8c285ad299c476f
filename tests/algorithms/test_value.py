"""The family of deep Q-learning: each member, and what they can be combined with, on a probe that asks everything."""

import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak.agent import Spec, Step
from polyak.algorithms.value.c51 import C51
from polyak.algorithms.value.dqn import DQN
from polyak.algorithms.value.iqn import IQN
from polyak.algorithms.value.pqn import PQN
from polyak.algorithms.value.qr_dqn import QRDQN
from polyak.algorithms.value.rainbow import Rainbow
from polyak.algorithms.value.recurrent_dqn import RecurrentDQN
from polyak.engines.compiled import CompiledEngine
from polyak.envs import make
from polyak.errors import BadSetting
from polyak.ops import transforms
from polyak.parts.exploration import UCB, Boltzmann, EpsilonLadder, Greedy
from polyak.parts.networks import MLP, Dueling, Recurrent
from polyak.parts.optimise import Adam, RAdam, RMSProp
from polyak.parts.replay import Prioritised, Uniform
from tests.algorithms.test_probes import ENDLESS, GAMMA, spec_of, train
from tests.speeds import slow

PROBE = "probe/match-then-wait"
# What is seen, and the value of each action there.
KNOWN = {-1.0: (ENDLESS, ENDLESS - 2), 1.0: (ENDLESS - 2, ENDLESS), 0.0: (ENDLESS, ENDLESS)}

EPSILON = {"exploration_final_eps": 0.3}  # every action is tried for ever, so that every Q-value is learnt
SHARED = {
    "learning_rate": 1e-2, "gamma": GAMMA, "buffer_size": 1_000, "learning_starts": 0, "batch_size": 32,
    "target_update_interval": 16, "anneal_learning_rate": True, "network": MLP((16,)), **EPSILON,
}  # fmt: skip
FRESH = {"learning_rate": 1e-2, "gamma": GAMMA, "n_steps": 8, "batch_size": 32, "anneal_learning_rate": True, **EPSILON}
ATOMS = {"n_atoms": 31, "v_min": 0.0, "v_max": 12.0}
NOISY_DUELING = Dueling((16,), noisy=0.5)

# Every two of these meet in one: double, n steps, prioritised, dueling, noisy, the other optimizers, the ways to
# explore, several environments, normalised observations, soft targets, many gradient steps.
CASES = {
    "double, n-step, prioritised, dueling, ladder": (
        DQN, {"double": True, "n_steps": 3, "replay": Prioritised(), "network": Dueling((16,)),
              "exploration": EpsilonLadder(1.0, 1.0)}, 2),
    "n-step, prioritised, noisy, rmsprop": (
        DQN, {"n_steps": 3, "replay": Prioritised(), "network": MLP((16,), noisy=0.5),
              "optimizer": RMSProp(0.9, 1e-4), "anneal_learning_rate": False}, 1),
    "double, prioritised, radam, boltzmann, normalised, soft": (
        DQN, {"double": True, "replay": Prioritised(alpha=1.0), "optimizer": RAdam(), "exploration": Boltzmann(2.0),
              "normalize_observation": True, "tau": 0.5, "target_update_interval": 4, "gradient_steps": 4,
              "network": MLP((16,), layer_norm=True)}, 2),
    "double, noisy, dueling, many steps, squared": (
        DQN, {"double": True, "huber_delta": 1e9, "gradient_steps": -1, "network": NOISY_DUELING}, 2),
    "c51": (C51, ATOMS, 1),
    "rainbow": (Rainbow, {**ATOMS, "network": NOISY_DUELING, "exploration": None}, 2),
    "qr-dqn, double, prioritised, dueling": (
        QRDQN, {"n_quantiles": 8, "replay": Prioritised(), "double": True, "network": Dueling((16,))}, 1),
    "iqn, n-step, prioritised, noisy": (
        IQN, {"n_quantiles": 8, "n_steps": 3, "replay": Prioritised(), "network": MLP((16,), noisy=0.5),
              "gradient_steps": 4}, 2),
    "pqn": (PQN, FRESH | {"n_epochs": 4, "exploration_final_eps": 0.6, "network": MLP((16,), layer_norm=True)}, 4),
    "pqn, dueling, adam, normalised, ladder": (
        PQN, FRESH | {"network": Dueling((16,), layer_norm=True), "optimizer": Adam(), "trace_lambda": 0.9,
                      "exploration": EpsilonLadder(1.0, 1.0), "normalize_observation": True}, 4),
}  # fmt: skip


FAST = ("double, n-step, prioritised, dueling, ladder", "iqn, n-step, prioritised, noisy")


def values_of(algorithm, state, seen) -> np.ndarray:
    """[B, A] action values of what is seen [B]."""
    obs = jnp.array(seen)[:, None]
    if algorithm.normalize_observation:
        obs = state.features.standardise(obs)
    answer = state.parameters(obs)
    if isinstance(algorithm, C51 | Rainbow):
        return np.asarray(jax.nn.softmax(answer) @ jnp.linspace(algorithm.v_min, algorithm.v_max, algorithm.n_atoms))
    if isinstance(algorithm, IQN):
        return np.asarray(answer.quantiles.mean(-1))
    return np.asarray(answer.mean(-1) if isinstance(algorithm, QRDQN) else answer)


@pytest.mark.parametrize("name", [name if name in FAST else slow(name) for name in CASES])
def test_each_learns_the_known_values_and_says_how_it_goes(name):
    kind, settings, num_envs = CASES[name]
    algorithm = kind(**settings) if kind is PQN else kind(**(SHARED | settings))
    agent, state, metrics = train(algorithm, PROBE, steps=12_800 if kind is PQN else 3_200, num_envs=num_envs)
    seen = list(KNOWN)
    np.testing.assert_allclose(values_of(algorithm, state, seen), list(KNOWN.values()), atol=0.5)
    action, _, _ = agent.act(state, (), jnp.array(seen)[:, None], (), False)
    assert action[:2].tolist() == [0, 1]
    told = {"loss", "td_error", "q_mean", "q_max", "gradient_norm"}
    told |= set() if algorithm.exploration else {"epsilon"}
    told |= {"learning_rate"} if kind is PQN else {"replay_size"}
    if isinstance(getattr(algorithm, "replay", None), Prioritised):
        told |= {"priority_mean", "priority_max"}
        assert metrics["priority_max"] != 1  # which it begins with
    assert told == metrics.keys() - {"episodes", "episode_return", "episode_length", "largest_parameter"}
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["q_mean"] <= metrics["q_max"]


KEY = jax.random.key(3)
MEMBERS = [DQN(), C51(), QRDQN(), IQN(), Rainbow(), RecurrentDQN(), PQN()]
EVERY = pytest.mark.parametrize("algorithm", MEMBERS, ids=lambda algorithm: algorithm.name)


@EVERY
def test_actions_that_are_not_discrete_are_refused_in_a_sentence(algorithm):
    box = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    with pytest.raises(BadSetting, match=r"needs discrete actions.*Box"):
        algorithm.agent(Spec(box, box, 8, None, 1000))


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        (DQN(exploration=UCB()), "ucb counts visits"),
        (C51(v_min=3.0, v_max=3.0), "v_min 3.0 is not below its v_max 3.0"),
        (Rainbow(v_min=3.0, v_max=2.0), "Rainbow's v_min"),
        (RecurrentDQN(train_freq=7, burn_in=6, sequence_length=7), "train_freq 7 does not divide burn_in 6"),
        (PQN(n_steps=8, batch_size=30), "batch_size 30 does not divide n_steps x num_envs = 32; 32 does"),
        (DQN(exploration=Greedy()), "DQN's exploration is greedy, which never tries another action unless"),
        (IQN(exploration=Greedy()), "IQN's exploration is greedy"),
        (Rainbow(network=Dueling((8,))), "Rainbow's exploration is greedy"),
        (RecurrentDQN(exploration=Greedy()), "RecurrentDQN's exploration is greedy"),
        (PQN(exploration=Greedy()), "PQN's exploration is greedy"),
        (PQN(network=MLP((8,), noisy=0.5)), "PQN draws no noise for its network, so that noisy=0.5 would do nothing"),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(algorithm, said):
    with pytest.raises(BadSetting, match=said):
        algorithm.agent(spec_of(4))


def test_the_ends_of_a_distribution_may_be_traced():
    obs = jnp.linspace(-1, 1, 20)[:, None]

    def chosen(v_min, v_max):
        agent = C51(network=MLP((4,)), n_atoms=5, buffer_size=20, v_min=v_min, v_max=v_max).agent(spec_of(20))
        return agent.act(agent.init(KEY), (), obs, agent.noise(KEY, (20,)), False)[0]

    lows, highs = jnp.array([-10.0, -1.0]), jnp.array([10.0, 30.0])
    actions = jax.jit(jax.vmap(chosen))(lows, highs)
    np.testing.assert_array_equal(actions, [chosen(*ends) for ends in zip(lows.tolist(), highs.tolist(), strict=True)])


@pytest.mark.parametrize(
    "algorithm",
    [
        Rainbow(buffer_size=100, network=Dueling((8,), noisy=0.5), n_atoms=5),
        RecurrentDQN(exploration=Greedy(), network=Recurrent(MLP((8,), noisy=0.5), "gru", 8)),
    ],
    ids=lambda algorithm: algorithm.name,
)
def test_noisy_networks_explore_without_an_epsilon_and_not_at_all_in_evaluation(algorithm):
    agent = algorithm.agent(spec_of(500))
    state, carry, obs = agent.init(jax.random.key(0)), agent.start(500), jnp.zeros((500, 1))
    exploring, _, _ = agent.act(state, carry, obs, agent.noise(jax.random.key(1), (500,)), True)
    greedy, _, _ = agent.act(state, carry, obs, agent.noise(jax.random.key(1), (500,)), False)
    assert len(np.unique(exploring)) == 2
    assert len(np.unique(greedy)) == 1


def test_a_prioritised_memory_draws_by_the_errors_and_the_loss_makes_up_for_it():
    """Errors of 1, 2, 4 and 8, Huber losses of 0.5, 1.5, 3.5 and 7.5."""
    algorithm = DQN(
        buffer_size=4, batch_size=4_000, train_freq=4, learning_rate=0.0, network=MLP((1,)),
        replay=Prioritised(alpha=1.0, beta=1.0),
    )  # fmt: skip
    agent = algorithm.agent(spec_of(1))
    state = jax.tree.map(jnp.zeros_like, agent.init(jax.random.key(0)))._replace(replay=agent.init(KEY).replay)
    obs, over = jnp.zeros((4, 1, 1)), jnp.zeros((4, 1), bool)
    reward = jnp.array([[1.0], [2.0], [4.0], [8.0]])
    block = Step(obs, jnp.zeros((4, 1), jnp.int32), reward, ~over, over, obs, ())
    learn = jax.jit(agent.learn)
    state, metrics = learn(agent.observe(state, block), block, KEY)
    assert float(metrics["td_error"]) == pytest.approx(15 / 4, rel=0.05)  # all are as likely before they are known
    assert float(metrics["loss"]) == pytest.approx(13 / 4, rel=0.05)
    _, metrics = learn(state, block, KEY)
    assert float(metrics["td_error"]) == pytest.approx((1 + 4 + 16 + 64) / 15, rel=0.05)
    assert float(metrics["loss"]) == pytest.approx(13 / 15, rel=0.05)  # each loss is divided by its error


# The target network


def renewals(states) -> list[int]:
    """The rounds, counted from 1, in which the target becomes a copy; `states` yields the state before and after."""
    found = []
    for number, (before, after) in enumerate(states, 1):
        old, new, online = (jax.tree.leaves(tree) for tree in (before.target, after.target, before.parameters))
        same, copied = (all((x == y).all() for x, y in zip(new, leaves, strict=True)) for leaves in (old, online))
        assert same or copied
        found += [number] if copied and not same else []
    return found


def test_the_target_is_renewed_by_whoever_learns_without_stepping():
    """2,000 steps are observed once and learnt from 30 times: 60,000 of them, 12 times 5,000."""
    algorithm = DQN(
        buffer_size=2_000, batch_size=8, train_freq=40, learning_starts=0, target_update_interval=5_000,
        learning_rate=0.1, network=MLP((4,)),
    )  # fmt: skip
    agent = algorithm.agent(spec_of(50))
    obs, reward = jax.random.normal(KEY, (40, 50, 1)), jax.random.normal(KEY, (40, 50))
    never = jnp.zeros((40, 50), bool)
    block = Step(obs, (reward > 0).astype(jnp.int32), reward, never, never, obs, ())
    learn = jax.jit(agent.learn)

    def states(state):
        for key in jax.random.split(KEY, 30):
            yield state, (state := learn(state, block, key)[0])

    filled = agent.observe(agent.init(KEY), block)
    assert int(filled.step) == 2_000
    found = renewals(states(filled))
    assert found == [3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30]  # 6,000 are past 5,000; 10,000 reach 10,000; ...


def test_steps_that_were_only_observed_count_as_if_they_had_been_learnt_from():
    """Online the count is that of the steps: blocks of 4, five of them to fill the memory, then renewed at 24, 36, 48;
    at 24 nothing has been learnt that the target does not know."""
    algorithm = DQN(buffer_size=64, batch_size=8, train_freq=4, target_update_interval=12, network=MLP((4,)))
    env = make("probe/matched-action")
    spec = Spec(env.observation_space, env.action_space, 1, None, 1000)
    engine = CompiledEngine(algorithm, algorithm.agent(spec), env, spec, 5)
    loop, _ = engine.advance(engine.init(0), 5, False)
    assert int(loop.agent.step) == 20 and int(loop.agent.learnt) == 0

    def states(loop):
        for _ in range(9):
            before = jax.device_get(loop.agent)  # `advance` takes its arrays
            loop, _ = engine.advance(loop, 1, True)
            assert int(loop.agent.learnt) == int(loop.agent.step)
            yield before, loop.agent

    assert renewals(states(loop)) == [4, 7]


# Recurrent DQN


def small(**settings) -> RecurrentDQN:
    shared = {
        "learning_rate": 1e-2, "gamma": GAMMA, "buffer_size": 2_000, "learning_starts": 0, "batch_size": 16,
        "train_freq": 4, "sequence_length": 4, "burn_in": 4, "target_update_interval": 64, "n_steps": 2,
        "exploration_final_eps": 0.1, "optimizer": Adam(), "network": Recurrent(MLP((8,)), "gru", 8),
    }  # fmt: skip
    return RecurrentDQN(**(shared | settings))


def test_with_a_memory_what_was_shown_is_not_lost():
    agent, state, metrics = train(small(), "probe/remembered-action", steps=9_600, num_envs=4)
    carry, chosen = agent.start(2), []
    for seen in ([-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]):
        action, carry, _ = agent.act(state, carry, jnp.array(seen)[:, None], (), False)
        chosen.append(action.tolist())
    assert chosen[2] == [0, 1]  # the one that matches what was seen two steps before
    assert metrics["episode_return"] > 0.6  # 4 of 5 explore at the last step too, and half of those err
    assert {"replay_size", "priority_mean", "priority_max", "epsilon", "q_max"} <= metrics.keys()


def test_without_a_memory_it_is():
    """See `test_without_memory_what_was_shown_is_lost`: of policies without memory none earns anything."""
    algorithm = DQN(**(SHARED | {"exploration_final_eps": 0.1}))
    _, _, metrics = train(algorithm, "probe/remembered-action", steps=3_200, num_envs=4)
    assert abs(metrics["episode_return"]) < 4 / metrics["episodes"] ** 0.5


def blocks_of(agent, state, count: int):
    """Blocks of 4 steps by one environment, and what the agent remembered; every 3 steps an episode ends or is cut."""
    key, carry, blocks, t = jax.random.key(5), agent.start(1), [], 0
    draws = np.asarray(jax.random.normal(key, (4 * count, 3)))
    for _ in range(count):
        steps = []
        for _ in range(4):
            obs, next_obs, reward = (jnp.full((1, 1), number) for number in draws[t])
            action, after, before = agent.act(state, carry, obs, agent.noise(jax.random.fold_in(key, t), (1,)), True)
            terminated, truncated = jnp.array([t % 6 == 2]), jnp.array([t % 6 == 5])
            steps.append(Step(obs, action, reward[:, 0], terminated, truncated, next_obs, before))
            carry = agent.start(1) if t % 3 == 2 else after
            t += 1
        blocks.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps))
    return blocks


@pytest.mark.parametrize("rescale", [False, True])
def test_the_errors_of_a_sequence_are_those_of_a_plain_loop(rescale):
    """Two blocks are remembered, 4 steps to burn in and 4 to learn from; the network has changed in between."""
    algorithm = small(n_steps=3, rescale_values=rescale, replay=Uniform(), learning_rate=0.0, batch_size=2)
    agent = algorithm.agent(spec_of(1))
    old, new = agent.init(jax.random.key(0)), agent.init(jax.random.key(1))
    first, second = blocks_of(agent, old, 2)
    # not from the beginning of an episode, so that there is something in the memory that is stored
    stored = jax.tree.map(lambda leaf: leaf + 0.3, first.extras)
    state = agent.observe(agent.observe(new, first._replace(extras=stored)), second)
    _, metrics = jax.jit(agent.learn)(state._replace(target=old.parameters), second, jax.random.key(2))

    steps = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:, 0], first[:6], second[:6])
    obs, action, reward, terminated, truncated, next_obs = steps
    before, after = {"online": [], "target": []}, {"online": [], "target": []}
    for name, module in (("online", new.parameters), ("target", old.parameters)):
        carry = jax.tree.map(lambda leaf: leaf[0], stored)
        for t in range(8):
            if t and (terminated | truncated)[t - 1]:
                carry = agent.start(1)
            carry, q = module.step(carry, obs[t][None])
            before[name].append(q[0])
            after[name].append(module.step(carry, next_obs[t][None])[1][0])
    h, inverse = (transforms.squash, transforms.unsquash) if rescale else (lambda x: x, lambda x: x)
    errors = []
    for t in range(4, 8):
        total, discount = 0.0, 1.0
        for last in range(t, min(t + 3, 8)):
            total, discount = total + discount * reward[last], discount * GAMMA
            if (terminated | truncated)[last]:
                break
        best = after["target"][last][np.argmax(after["online"][last])]
        target = h(total + discount * (1 - terminated[last]) * inverse(best))
        errors.append(abs(target - before["online"][t][action[t]]))
    assert float(metrics["td_error"]) == pytest.approx(float(np.mean(errors)), rel=1e-4)
