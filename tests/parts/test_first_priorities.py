"""The priorities with which steps enter a memory."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Spec, Step
from polyak.errors import BadSetting
from polyak.parts import replay
from polyak.parts.replay import Prioritised, Uniform
from polyak.parts.ring import Ring
from polyak.parts.sampling import LEAST, Drawable
from polyak.parts.transitions import transitions_of
from polyak.settings import build
from tests.parts.worlds import World
from tests.speeds import slow

LENGTH, ENVS, N_STEPS, GAMMA = 5, 3, 3, 0.9
APPRAISED = Prioritised(alpha=1.0, appraised=True)
NUMBERS, CHOICES = gymnasium.spaces.Box(-1.0, 1.0, (2,)), gymnasium.spaces.Discrete(3, start=1)


def steps_of(reward, terminated=(), truncated=()) -> Step:
    """A block of one environment whose observations are the numbers of the steps."""
    times = np.arange(len(reward))
    over = (np.isin(times, ends)[:, None] for ends in (terminated, truncated))
    obs = times[:, None, None].astype(np.float32)
    return Step(obs, np.zeros((len(reward), 1), np.int32), np.float32(reward)[:, None], *over, obs + 1, ())


def test_the_transitions_of_a_block_end_with_it():
    """Rewards 1, 2, 4, 8 and a discount of a half: 1 + 2/2 + 4/4, 2 + 4/2 + 8/4, 4 + 8/2, 8."""
    found = transitions_of(steps_of([1, 2, 4, 8]), 3, 0.5)
    assert found.r_t.tolist() == [3, 6, 8, 8]
    assert found.discount_t.tolist() == [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    assert found.next_obs.ravel().tolist() == [3, 4, 4, 4]


def test_the_transitions_of_a_block_end_with_episodes():
    found = transitions_of(steps_of([1, 2, 4, 8], terminated=[1], truncated=[2]), 3, 0.5)
    assert found.r_t.tolist() == [2, 2, 4, 8]
    assert found.discount_t.tolist() == [0, 0, 1 / 2, 1 / 2]
    assert found.next_obs.ravel().tolist() == [2, 2, 3, 4]


@pytest.mark.parametrize("n_steps", [1, slow(2), 4, slow(9)])
def test_the_transitions_of_a_block_are_those_that_a_memory_reads_of_it(n_steps):
    world = World(ENVS, 2, seed=n_steps)
    memory = replay.memory(Uniform(), capacity=30, spec=world.spec, block_length=LENGTH, n_steps=n_steps, gamma=GAMMA)
    block, rows = world.block(LENGTH), jnp.arange(LENGTH * ENVS)
    state = memory.cut(memory.add(memory.init(), block), jnp.ones(ENVS, bool))
    read, _ = memory.store.read(state.store, rows, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, transitions_of(block, n_steps, GAMMA), read)


def test_rows_that_come_with_priorities_have_them_and_later_ones_the_highest_of_them():
    ring = Ring(8, 4)
    sampler = Prioritised(alpha=0.5).sampler(Drawable(ring))
    rows = ring.add(ring.init({"number": jnp.int32(0)}), {"number": jnp.zeros((2, 2), jnp.int32)})
    state = sampler.added(sampler.init(), rows, jnp.array([4.0, 9.0, jnp.nan, 0.25]))
    leaves = np.asarray(state.tree[-1]).ravel()[:8]
    np.testing.assert_allclose(leaves, [2, 3, 1, 0.5, 0, 0, 0, 0], rtol=1e-5)  # no number: the highest so far, 1
    rows = ring.add(rows, {"number": jnp.zeros((2, 2), jnp.int32)})
    state = sampler.added(state, rows)
    np.testing.assert_allclose(np.asarray(state.tree[-1]).ravel()[:8], [2, 3, 1, 0.5, 3, 3, 3, 3], rtol=1e-5)


def made(name: str, **changes):
    """An agent whose new steps come with a priority, its state, and a block for it."""
    own = {"network": "mlp:8"} | ({"critic_network": "mlp:8"} if name in ("ddpg", "td3") else {})
    settings = {"replay": APPRAISED, "n_steps": N_STEPS, "gamma": GAMMA, "train_freq": LENGTH, "learning_starts": 0}
    sizes = {"buffer_size": LENGTH * ENVS, "batch_size": 256, "gradient_steps": 1}
    algorithm = build(name, own | settings | sizes | changes)
    actions = NUMBERS if "critic_network" in own else CHOICES
    agent = algorithm.agent(Spec(NUMBERS, actions, ENVS, None, 1000, streamed=True))
    state, rng = agent.init(jax.random.key(0)), np.random.default_rng(0)
    obs, next_obs = rng.uniform(-1, 1, (2, LENGTH, ENVS, 2)).astype(np.float32)
    chosen = rng.uniform(-1, 1, (LENGTH, ENVS, 2)) if actions is NUMBERS else rng.integers(1, 4, (LENGTH, ENVS))
    ends = rng.random((2, LENGTH, ENVS)) < 0.15
    reward = rng.normal(size=(LENGTH, ENVS)).astype(np.float32)
    block = Step(obs, chosen.astype(np.float32 if actions is NUMBERS else np.int32), reward, *ends, next_obs, ())
    return agent, state, block


def test_first_priorities_of_dqn_are_its_errors_step_by_step():
    """Against a plain loop over the block; the online network is its own target."""
    agent, state, block = made("dqn", double=False)
    expected = np.zeros((LENGTH, ENVS))
    for t in range(LENGTH):
        for b in range(ENVS):
            total, discount = 0.0, 1.0
            for last in range(t, min(t + N_STEPS, LENGTH)):
                total, discount = total + discount * block.reward[last, b], discount * GAMMA
                if block.terminated[last, b] or block.truncated[last, b]:
                    break
            best = 0.0 if block.terminated[last, b] else float(state.parameters(block.next_obs[last, b]).max())
            now = float(state.parameters(block.obs[t, b])[block.action[t, b] - 1])
            expected[t, b] = abs(total + discount * best - now)
    assert block.terminated.any() and block.truncated.any()
    np.testing.assert_allclose(jax.jit(agent.appraise)(state, block), expected, rtol=1e-4)


def priorities_in(memory) -> np.ndarray:
    """[T, B] the priorities of a memory with alpha 1 that holds one block."""
    return np.asarray(memory.sampler.tree[-1]).ravel()[: LENGTH * ENVS].reshape(LENGTH, ENVS) - LEAST


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dqn", {"double": True}),
        slow("c51", {"v_min": -3.0, "v_max": 3.0}),
        slow("qr-dqn", {}),
        slow("rainbow", {"network": "dueling:8", "exploration": None, "v_min": -3.0, "v_max": 3.0}),
        ("ddpg", {}),
        slow("td3", {"target_policy_noise": 0.0, "normalize_observation": True}),
    ],
)
def test_first_priorities_are_the_learners_where_its_parameters_are_equal(name, changes):
    """After a gradient step of no length on all rows of the memory, they are what they were."""
    agent, state, block = made(name, learning_rate=1e-30, **changes)
    actors = agent.appraise((agent.publish or agent.policy)(agent.observe(state, block)), block)
    given = agent.observe(state, block._replace(priority=2 * actors))
    np.testing.assert_allclose(priorities_in(given.replay), 2 * actors, rtol=1e-4)  # it takes what it is given
    learnt, _ = jax.jit(agent.learn)(given, block, jax.random.key(1))
    np.testing.assert_allclose(priorities_in(learnt.replay), actors, rtol=1e-3, atol=1e-5)
    if "normalize_observation" not in changes:  # else it has seen the block itself
        own = agent.observe(state, block)
        np.testing.assert_allclose(priorities_in(own.replay), actors, rtol=1e-4, atol=1e-5)


def test_by_default_new_steps_have_the_highest_priority():
    agent, state, block = made("dqn", replay=Prioritised(alpha=1.0))
    assert agent.appraise is None
    np.testing.assert_array_equal(priorities_in(agent.observe(state, block).replay), np.float32(1) - np.float32(LEAST))


@pytest.mark.parametrize("name", ["sac", "recurrent-dqn"])
def test_what_has_no_first_priorities_says_so(name):
    space = NUMBERS if name == "sac" else CHOICES
    with pytest.raises(BadSetting, match="leave `appraised` out of the replay's setting"):
        build(name, {"replay": "prioritised:0.6:0.4:1.0:appraised"}).agent(Spec(NUMBERS, space, 1, None, 1000))


def test_the_setting_is_read_in_one_form_alone():
    assert replay.replay_from_text("prioritised:0.6:0.4:1.0:appraised") == polyak.Prioritised(appraised=True)
    with pytest.raises(BadSetting, match="form prioritised:alpha:beta:final_beta:appraised, not"):
        replay.replay_from_text("prioritised:0.6:0.4:1.0:True")
