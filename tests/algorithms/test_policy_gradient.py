"""The family of actor-critics: each member on a probe that asks everything, and on actions of every kind."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polyak import settings
from polyak.agent import Spec, Step
from polyak.algorithms.policy.a2c import A2C
from polyak.algorithms.policy.a3c import A3C
from polyak.algorithms.policy.appo import APPO
from polyak.algorithms.policy.impala import IMPALA
from polyak.algorithms.policy.ppo import PPO
from polyak.algorithms.policy.reinforce import REINFORCE
from polyak.algorithms.policy.trpo import TRPO
from polyak.envs import make
from polyak.errors import BadSetting, Error
from polyak.parts.actor_critic import cut_up
from polyak.parts.networks import MLP, Recurrent
from polyak.parts.optimise import Adam
from tests.algorithms.test_probes import ENDLESS, GAMMA, OTHER_ACTIONS, PPO_SMALL, learnt, train
from tests.engines.runs import learner_of
from tests.speeds import slow

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
    "a2c, weighed by returns": A2C(**SMALL, weight="return", max_grad_norm=10.0, normalize_advantage=True),
    "a2c, weighed by td errors": A2C(**SMALL, weight="td_error", gae_lambda=0.9, max_grad_norm=10.0),
    "a2c, weighed by a critic of actions": A2C(**SMALL, weight="q", gae_lambda=0.9, max_grad_norm=10.0),
    "trpo": TRPO_SMALL,
    "natural policy gradient": dataclasses.replace(TRPO_SMALL, line_search_steps=0),
    "ppo": PPO_SMALL,
    "ppo, penalised": dataclasses.replace(PPO_SMALL, kl_coef=1.0, target_kl=0.01),
    "a3c": A3C(**SMALL, n_steps=5, max_grad_norm=10.0),
    "impala": IMPALA(**SMALL, max_grad_norm=10.0),
    "impala, far behind": IMPALA(**SMALL, n_steps=5, policy_lag=16, max_grad_norm=10.0),
    "appo": APPO(**SMALL, n_steps=16, batch_size=32, max_grad_norm=10.0),
    "appo, far behind": APPO(**SMALL, n_steps=8, batch_size=32, policy_lag=16, max_grad_norm=10.0),
}
FAMILY = (REINFORCE, A2C, A3C, IMPALA, TRPO, PPO, APPO)
FAST = ("reinforce, whitened returns", "a2c, weighed by a critic of actions", "ppo, penalised", "impala, far behind")
SEEN = jnp.array([[-1.0], [1.0]])


def greedy(agent, state) -> np.ndarray:
    return np.asarray(agent.act(state, (), SEEN, (), False)[0])


@pytest.mark.parametrize("name", [name if name in FAST else slow(name) for name in CASES])
def test_each_learns_the_best_action_and_a_value_that_the_clock_does_not_cut(name):
    """The value where nothing is asked any more is 1 / (1 - gamma), and that of both cues nearly so."""
    algorithm = CASES[name]
    agent, state, _ = train(algorithm, "probe/match-then-wait", steps=12_800, num_envs=8)
    np.testing.assert_array_equal(greedy(agent, state), [0, 1])
    if isinstance(algorithm, REINFORCE) and not algorithm.baseline:
        return
    state = learner_of(state)
    x = jnp.array([[-1.0], [0.0], [1.0]])
    if algorithm.normalize_observation:
        x = state.features.standardise(x)
    np.testing.assert_allclose(state.parameters.value(x).max(-1), ENDLESS, atol=1.0)  # of actions, the best one's


@pytest.mark.parametrize(
    ("name", "id", "low", "high"),
    [
        ("trpo", *OTHER_ACTIONS[0]),
        slow("a2c", *OTHER_ACTIONS[1]),
        slow("reinforce, whitened returns", *OTHER_ACTIONS[2]),
    ],
)
def test_the_best_actions_of_other_kinds_are_learnt(name, id, low, high):
    agent, state, _ = train(CASES[name], id, steps=12_800, num_envs=8)
    np.testing.assert_allclose(greedy(agent, state), [low, high], atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"squash": True}, {"state_dependent_std": True, "learning_rate": 3e-3}])
def test_numbers_are_learnt_whatever_they_are_drawn_from(change):
    id, low, high = OTHER_ACTIONS[0]
    agent, state, _ = train(dataclasses.replace(PPO_SMALL, **change), id)
    np.testing.assert_allclose(greedy(agent, state), [low, high], atol=0.1)


@pytest.mark.slow
def test_the_best_actions_of_several_parts_are_learnt_from_several_parts():
    """Rows: a cue for the choice, 0 or 1, and one for the number, -1 or 1."""
    agent, state, _ = train(PPO_SMALL, "probe/matched-parts", steps=12_800)
    seen = jnp.array([[0.0, -1.0], [1.0, -1.0], [0.0, 1.0], [1.0, 1.0]])
    best = [[0.0, -0.5], [1.0, -0.5], [0.0, 0.5], [1.0, 0.5]]
    np.testing.assert_allclose(agent.act(state, (), seen, (), False)[0], best, atol=0.15)


def test_an_action_that_is_not_there_is_never_drawn_and_the_best_of_those_that_are_is_learnt():
    agent, state, _ = train(TRPO_SMALL, "probe/masked-action", steps=12_800, num_envs=8)
    there = jnp.repeat(jnp.eye(10), 2, 1)
    rows = {"observation": jnp.arange(10.0)[:, None], "action_mask": there}
    order = make("probe/masked-action").observation_space
    seen = jnp.concatenate([rows[part] for part in order], 1)
    assert agent.act(state, (), seen, (), False)[0].tolist() == list(range(1, 20, 2))
    for knows in (agent.init(jax.random.key(0)), state):  # in a mean of returns a single illegal draw would be lost
        many, noise = jnp.repeat(seen, 1000, 0), agent.noise(jax.random.key(1), (10_000,))
        drawn = agent.act(knows, (), many, noise, True)[0]
        np.testing.assert_array_equal(drawn // 2, np.repeat(np.arange(10), 1000))


ONE_STEP = {"learning_rate": 1e-2, "gamma": GAMMA, "max_grad_norm": 10.0}  # a block
REMEMBERING = PPO(**ONE_STEP, n_steps=12, batch_size=96, n_epochs=1, sequence_length=4)


@pytest.mark.parametrize(
    ("algorithm", "core"),
    [slow(REMEMBERING, "lstm"), slow(REMEMBERING, "transformer"), (A2C(**ONE_STEP, n_steps=6), "gru")],
    ids=["ppo lstm", "ppo transformer", "a2c gru"],
)
def test_with_a_memory_what_was_shown_is_not_lost(algorithm, core):
    """Episodes of three steps end within sequences of four and go on from one to the next."""
    algorithm = dataclasses.replace(algorithm, network=Recurrent(MLP((8,), "tanh"), core, 8, 3))
    agent, state, metrics = train(algorithm, "probe/remembered-action", steps=19_200, num_envs=8)
    if algorithm.name == "ppo":  # learning read the same memory that acting had, or its policy would be another one
        assert abs(metrics["kl"]) < 1e-7
        assert metrics["clip_fraction"] == 0.0
    carry, chosen = agent.start(2), []
    for seen in ([-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]):
        action, carry, _ = agent.act(state, carry, jnp.array(seen)[:, None], (), False)
        chosen.append(action.tolist())
    assert chosen[2] == [0, 1]
    assert metrics["episode_return"] > 0.5  # from the very first one on


def test_a_block_is_cut_into_sequences_in_their_order():
    block = jnp.arange(4)[:, None] + jnp.array([0, 100])  # 4 steps of 2 environments
    assert cut_up(block, 2).tolist() == [[0, 1], [100, 101], [2, 3], [102, 103]]


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
    extras = extras._replace(sample=action, log_prob=extras.log_prob[:, None])

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


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (gymnasium.spaces.Tuple([gymnasium.spaces.Text(3)]), r"Text.*not supported"),
        (gymnasium.spaces.Box(0, 9, (1,), np.int32), r"not supported.*Box of floats"),
    ],
)
def test_actions_that_cannot_be_drawn_are_refused_in_a_sentence(kind, space, sentence):
    with pytest.raises(BadSetting, match=sentence):
        kind().agent(Spec(BOX, space, 8, None, 1000))


NUMBERS = {"normalize_observation": True, "ent_coef": 0.1, "network": MLP((8,), "tanh")}


@pytest.mark.parametrize(
    ("algorithm", "actions"),
    [
        slow(REINFORCE(n_steps=8, whiten=True, **NUMBERS), "numbers"),
        slow(A2C(n_steps=8, weight="q", **NUMBERS), "choices"),
        (PPO(n_steps=8, batch_size=16, n_epochs=1, clip_range_vf=0.2, **NUMBERS), "numbers"),
        slow(PPO(n_steps=8, batch_size=16, n_epochs=1, kl_coef=2.0, target_kl=0.1, **NUMBERS), "choices"),
        (TRPO(n_steps=8, batch_size=16, n_epochs=1, cg_iterations=1, network=MLP((8,), "tanh")), "numbers"),
    ],
    ids=["reinforce", "a2c by q", "ppo clipped", "ppo penalised", "trpo"],
)
def test_the_gradient_of_each_loss_is_its_difference_quotient(algorithm, actions, monkeypatch):
    """Along random directions, away from where the round began, so that ratios are not 1."""
    space = BOX if actions == "numbers" else gymnasium.spaces.Discrete(4)
    agent = algorithm.agent(Spec(BOX, space, 2, None, 10_000))
    keys = iter(jax.random.split(jax.random.key(0), 100))

    def drawn_like(tree, scale):
        return jax.tree.map(lambda leaf: scale * jax.random.normal(next(keys), leaf.shape), tree)

    def moved(tree, direction, length):
        return jax.tree.map(lambda leaf, along: leaf + length * along, tree, direction)

    state = agent.init(next(keys))
    state = state._replace(parameters=moved(state.parameters, drawn_like(state.parameters, 0.3), 1.0))
    obs = jax.random.uniform(next(keys), (8, 2, 3), minval=-1.0)
    noise = agent.noise(next(keys), (8, 2))
    action, _, extras = jax.vmap(lambda obs, noise: agent.act(state, (), obs, noise, True))(obs, noise)
    ends = jax.random.bernoulli(next(keys), 0.2, (8, 2))
    reward = jax.random.normal(next(keys), (8, 2))
    block = Step(obs, action, reward, ends, ~ends & (reward > 1.0), jnp.roll(obs, 1, 0), extras)

    losses, value_and_grad = [], jax.value_and_grad

    def recording(loss, has_aux=False):
        losses.append([lambda *args: loss(*args)[0] if has_aux else loss(*args), None])

        def call(*args):
            losses[-1][1] = args
            return value_and_grad(loss, has_aux=has_aux)(*args)

        return call

    with jax.disable_jit(), monkeypatch.context() as patched:
        patched.setattr(jax, "value_and_grad", recording)
        agent.learn(agent.observe(state, block), block, next(keys))
    assert len(losses) == (2 if algorithm.name == "trpo" else 1)
    for loss, (parameters, *others) in losses:
        along = jax.jit(lambda at, length, way, loss=loss, others=others: loss(moved(at, way, length), *others))
        here = moved(parameters, drawn_like(parameters, 0.1), 1.0)
        gradient = jax.jit(jax.grad(lambda at, loss=loss, others=others: loss(at, *others)))(here)
        for _ in range(5):
            way = drawn_like(here, 1.0)
            slope = sum(jax.tree.leaves(jax.tree.map(lambda g, along: (g * along).sum(), gradient, way)))
            quotient = (along(here, 1e-3, way) - along(here, -1e-3, way)) / 2e-3
            np.testing.assert_allclose(quotient, slope, rtol=0.02, atol=0.02)


def test_a_penalty_is_halved_while_the_policy_hardly_moves():
    states, history = learnt(blocks=3, learning_rate=1e-8, kl_coef=1.0, target_kl=0.01)
    assert [float(state.optimiser[1]) for state in states] == [1.0, 0.5, 0.25, 0.125]
    assert [float(metrics["kl_coef"]) for metrics in history] == [1.0, 0.5, 0.25]
    assert "clip_fraction" not in history[0]


@pytest.mark.parametrize(
    ("algorithm", "error", "says"),
    [
        (PPO(kl_coef=1.0), BadSetting, "adapted to target_kl, which is not given"),
        (PPO(network=Recurrent(MLP((8,)), "gru", 8), sequence_length=48), BadSetting, "does not divide n_steps 128"),
        (PPO(network=Recurrent(MLP((8,)), "gru", 8), sequence_length=128, n_steps=128, batch_size=64), BadSetting,
         "does not divide batch_size 64; it must divide n_steps and batch_size, as 64 does"),
        (A2C(weight="q"), BadSetting, "A2C gives each action a value, and this environment's cannot be counted"),
    ],
)  # fmt: skip
def test_settings_that_do_not_suit_the_task_are_told_in_a_sentence(algorithm, error, says):
    with pytest.raises(error, match=says):
        algorithm.agent(Spec(BOX, BOX, 8, None, 1000))


@pytest.mark.parametrize("kind", FAMILY)
def test_a_noisy_network_whose_noise_would_never_be_drawn_is_refused_in_a_sentence(kind):
    algorithm = kind(network=MLP((8,), noisy=0.5))
    with pytest.raises(BadSetting, match=f"{kind.__name__} draws no noise for its network, so that noisy=0.5 would do"):
        algorithm.agent(Spec(BOX, BOX, 8, None, 1000))


def test_a_noisy_network_with_a_memory_is_refused_too():
    with pytest.raises(BadSetting, match="PPO draws no noise for its network"):
        PPO(network=Recurrent(MLP((8,), noisy=0.5), "gru", 8)).agent(Spec(BOX, BOX, 8, None, 1000))


@pytest.mark.parametrize(
    ("algorithm", "says"),
    [
        (
            TRPO(network=Recurrent(MLP((8,)), "gru", 8)),
            r"trpo's network takes networks without a memory, not mlp:8:relu\+gru:8",
        ),
        (PPO(kl_coef=-1.0, target_kl=0.01), "ppo's kl_coef is -1.0; it must be more than 0"),
        (A2C(weight="qq"), "There is no weight named 'qq'; did you mean q"),
    ],
)
def test_settings_that_never_work_are_told_in_a_sentence(algorithm, says):
    with pytest.raises(Error, match=says):
        settings.check(algorithm)


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        (("rnn", 8), "no memory named 'rnn'"),
        (("gru", 0), "units is 0; it must be at least 1 and at most 65,536"),
        (("transformer", 8, 1), "window is 1; it must be at least 2 and at most 4,096"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(memory, says):
    with pytest.raises(Error, match=says):
        settings.check(PPO(network=Recurrent(MLP((8,)), *memory)))
