"""Numbers that go wrong: the update is not made, the run stops, and a sentence says where; and values that grow."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Spec, Step
from polyak.algorithms import ALGORITHMS
from polyak.divergence import LONG, LOOKS, Divergence, Growth, Learning, not_finite
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs.base import AsGymnasium, CompiledEnv
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.errors import BadSetting, Diverged, restored
from polyak.parts.features import Raw
from polyak.parts.networks import MLP, Dueling, Recurrent

LEARNT = ("parameters", "optimiser", "q", "v", "w", "pi")
VECTOR, NUMBER = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32), gymnasium.spaces.Discrete(2)
DEEP = {"learning_starts": 0, "buffer_size": 16, "batch_size": 64, "network": MLP((4,))}
SMALL = {
    "dqn": DEEP,
    "c51": DEEP | {"n_atoms": 5},
    "qr-dqn": DEEP | {"n_quantiles": 4},
    "iqn": DEEP | {"n_quantiles": 4},
    "rainbow": DEEP | {"n_atoms": 5, "network": Dueling((4,), noisy=0.5)},
    "recurrent-dqn": {
        "learning_starts": 0, "buffer_size": 16, "batch_size": 32, "train_freq": 4, "burn_in": 4, "sequence_length": 4,
        "network": Recurrent(MLP((4,)), "gru", 4),
    },
    "pqn": {"n_steps": 8, "batch_size": 8, "network": MLP((4,), layer_norm=True)},
    "reinforce": {"n_steps": 8, "network": MLP((4,))},
    "a2c": {"n_steps": 8, "network": MLP((4,)), "normalize_reward": True},
    "trpo": {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "network": MLP((4,)), "normalize_reward": True},
    "ppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 4, "network": MLP((4,)), "normalize_reward": True},
    "linear-sarsa": {"features": Raw()},
    "linear-q-learning": {"features": Raw()},
    "tabular-cem": {"session_length": 8},
} | {
    name: {"n_steps": 8}
    for name in ("monte-carlo", "monte-carlo-prediction", "off-policy-monte-carlo", "lambda-return")
}  # fmt: skip
NETWORKS = {name for name, settings in SMALL.items() if "network" in settings}
# These make several updates of a block, or plan after a step: what they learn before the bad one, or beside it, stays.
SEVERAL = {"monte-carlo", "monte-carlo-prediction", "off-policy-monte-carlo", "lambda-return", "dyna-q"}


def leaves_of(state):
    """Numbers of what is learnt, without the count of updates."""
    learnt = [getattr(state, name) for name in LEARNT if hasattr(state, name)]
    return [leaf for leaf in jax.tree.leaves(learnt) if jnp.issubdtype(leaf.dtype, jnp.floating)]


@pytest.fixture(scope="module", params=ALGORITHMS)
def learner(request):
    """An algorithm, its state after some good blocks, and what learns from one more in which one reward is given."""
    algorithm = ALGORITHMS[request.param](**SMALL.get(request.param, {}))
    space = VECTOR if request.param in NETWORKS | {"linear-sarsa", "linear-q-learning"} else NUMBER
    afterstates = gymnasium.spaces.Box(np.int32(0), np.int32(1), (2,), np.int32)
    space = afterstates if request.param == "afterstate-td" else space
    length, num_envs = algorithm.block_length, 8 if request.param == "tabular-cem" else 1
    agent = algorithm.agent(Spec(space, gymnasium.spaces.Discrete(2), num_envs, None, 1000))

    @jax.jit
    def learn(state, key, reward):
        obs = jax.random.randint(key, (length + 1, num_envs, *space.shape), 0, 2).astype(
            jax.dtypes.canonicalize_dtype(space.dtype)
        )
        noise = agent.noise(key, (length, num_envs))
        carry, over = agent.start(num_envs), jnp.zeros((length, num_envs), bool)
        action, _, extras = jax.vmap(lambda obs, noise: agent.act(state, carry, obs, noise, True))(obs[:-1], noise)
        rewards = jnp.ones((length, num_envs)).at[-1, 0].set(reward)
        block = Step(obs[:-1], action, rewards, over, over, obs[1:], extras)
        return agent.learn(agent.observe(state, block), block, key)

    state = agent.init(jax.random.key(0))
    for k in range(4):
        state, metrics = learn(state, jax.random.key(k), 1.0 + k)
        assert not not_finite(metrics)
    return request.param, state, learn


@pytest.mark.parametrize("reward", [np.inf, -np.inf, np.nan, 3e38])
def test_an_update_that_would_spoil_what_was_learnt_is_not_made(learner, reward):
    name, before, learn = learner
    after, metrics = learn(before, jax.random.key(9), reward)
    # a reward that is large and no more: Huber's gradient, a standardised advantage and a rank are as small as ever
    refused = bool(not_finite(metrics))
    assert refused or (reward == 3e38 and name in NETWORKS | {"tabular-cem"}), "the run would go on"
    for old, new in zip(leaves_of(before), leaves_of(after), strict=True):
        assert np.isfinite(new).all()
        if refused and name not in SEVERAL:
            np.testing.assert_array_equal(new, old)


def test_a_good_update_is_made(learner):
    _, before, learn = learner
    moved = []
    for key in range(20):  # of the chosen actions some teach nothing new
        after, metrics = learn(before, jax.random.key(key), 5.0)
        assert not not_finite(metrics)
        moved.append(any((old != new).any() for old, new in zip(leaves_of(before), leaves_of(after), strict=True)))
    assert any(moved)


# The engines


def pays(reward_at, kind: str = "vector", limit: int | None = None) -> CompiledEnv:
    """Episodes cut by the clock, or a single one without end; the reward of step t is reward_at(t)."""
    space = {"vector": VECTOR, "number": NUMBER}[kind]

    def see(t):
        return (t % 2)[None].astype(jnp.float32) if kind == "vector" else t % 2

    def step(t, action, noise):
        return t + 1, see(t + 1), jnp.float32(reward_at(t)), jnp.bool_(False), t + 1 == (limit or -1)

    def reset(noise):
        return jnp.int32(0), see(jnp.int32(0))

    return CompiledEnv(
        "pays", space, gymnasium.spaces.Discrete(2), limit, lambda key, shape: jnp.zeros(shape), reset, step
    )


def poisoned(t):
    return jnp.where(t == 41, 3e38, 1.0)


def engine_of(kind: str, algorithm, env: CompiledEnv, chunk: int, batched: bool = False):
    spec = Spec(env.observation_space, env.action_space, 1, None, 1000)
    agent = algorithm.agent(spec)
    if kind == "compiled":
        return CompiledEngine(algorithm, agent, env, spec, chunk, batched)
    return HostEngine(algorithm, agent, GymnasiumVector(lambda: AsGymnasium(env), 1), spec, chunk)


@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_the_engine_tells_in_which_step_it_happened(kind):
    engine = engine_of(kind, polyak.QLearning(), pays(poisoned, "number"), 100)
    loop, metrics = engine.advance(engine.init(0), 100, True)
    engine.close()
    assert int(loop.iteration) == 42
    assert not_finite(metrics) == ["td_error"]
    assert np.isfinite(loop.agent.q).all()
    with pytest.raises(Diverged, match=r"seed 5 .* td_error .* between steps 41 and 42; .*no checkpoint was written"):
        Divergence([5], print).look(metrics, 0, 1, loop.iteration, lambda seed: None)
    if kind == "compiled":  # nothing was learnt after it
        clean, _ = engine.advance(engine.init(0), 41, True)
        np.testing.assert_array_equal(clean.agent.q, loop.agent.q)


def test_seeds_that_share_a_program_are_named_one_by_one():
    engine = engine_of("compiled", polyak.QLearning(), pays(poisoned, "number"), 100, batched=True)
    loop = engine.init(np.array([3, 4]))
    loop = loop._replace(env=loop.env.at[0].set(50))  # the first has it behind it
    loop, metrics = engine.advance(loop, 100, True)
    assert np.isfinite(loop.agent.q).all()
    with pytest.raises(Diverged, match=r"seed 4 .* between steps 0 and 100; the last good checkpoint is runs/x/4;"):
        Divergence([3, 4], print).look(metrics, 0, 1, loop.iteration, lambda seed: f"runs/x/{seed}")


# Whole runs


@pytest.mark.parametrize("processes", [0, 1])
def test_a_run_stops_and_saves_nothing_that_is_bad(processes, tmp_path):
    with pytest.raises(Diverged, match=r"seed 7 stopped because td_error became .* between steps 41 and 42"):
        polyak.train(
            polyak.QLearning(), pays(poisoned, "number"), steps=200, seed=7, out=tmp_path, processes=processes,
            progress=False,
        )  # fmt: skip
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_error_survives_the_way_from_another_process():
    error = Diverged(["loss", "gradient_norm"], 3, 1000, 1004, None)
    assert "loss and gradient_norm" in str(error) and "1,000 and 1,004" in str(error)
    again = restored("Diverged", str(error))
    assert type(again) is Diverged and str(again) == str(error)


def test_what_was_not_measured_is_no_fault_and_a_sum_that_overflowed_is():
    nothing = {"episodes": 0.0, "episode_return": np.nan, "episode_length": np.nan, "loss": 1.0}
    assert not_finite(nothing) == []
    assert not_finite(nothing | {"loss": np.nan}) == ["loss"]
    assert not_finite(nothing | {"episodes": 2.0, "episode_length": 3.0}) == ["episode_return"]


def test_a_parameter_that_is_not_finite_is_named():
    metrics = {"episodes": 0.0, "loss": 1.0, "largest_parameter": np.nan}
    with pytest.raises(Diverged, match=r"largest_parameter .* between steps 100 and 200"):
        Divergence([0], print).look(metrics, 100, 2, np.int32(100), lambda seed: None)


# Values that grow


def notices(history) -> list[str]:
    growth = Growth()
    return [text for metrics in history if (text := growth.look(metrics))]


def looks(values, earned: float = 10.0, episodes: float = 4.0):
    return [{"episodes": episodes, "episode_return": earned, "q_mean": value, "loss": 1.0} for value in values]


def test_values_that_leave_returns_behind_are_told_of_once():
    told = notices(looks(2.0 ** np.arange(30)))
    assert len(told) == 1 and "q_mean has grown to" in told[0] and "returns stayed near 20" in told[0]


def test_one_look_is_not_enough():
    assert LOOKS > 1 and notices(looks([1.0, 1e9, 1.0] * 10)) == []


@pytest.mark.parametrize("values", [[1e5] * 20, 1e6 * 0.9 ** np.arange(50)], ids=["optimistic", "falling"])
def test_values_that_do_not_grow_are_no_reason(values):
    assert notices(looks(values)) == []


def test_rare_rewards_are_no_reason():
    """One episode of a thousand pays, and its value becomes known."""
    assert notices(looks(np.linspace(0, 1, 30), earned=1e-3, episodes=1000.0)) == []


def test_without_returns_a_millionfold_growth_tells():
    history = [{"episodes": 0.0, "episode_return": np.nan, "td_error": 4.0**k} for k in range(20)]
    assert len(notices(history)) == 1
    assert notices(history[:8]) == []


def test_linear_q_learning_with_too_large_a_step_is_told_of(tmp_path, capfd):
    algorithm = polyak.LinearQLearning(features=Raw(), learning_rate=2.5, gamma=1.0, trace_lambda=0.0)
    with pytest.raises(Diverged, match="td_error"):
        polyak.train(algorithm, pays(lambda t: 1.0, limit=20), steps=3_000, out=tmp_path, processes=0, progress=True)
    assert capfd.readouterr().err.count("so the values may be diverging") == 1


def told(*history) -> list[str]:
    """What `Learning` tells of chunks, each given as (return, entropy, kl, explained variance)."""
    learning = Learning()
    names = ("episode_return", "entropy", "kl", "explained_variance")
    looks = ({"episodes": 4.0, **dict(zip(names, values, strict=True))} for values in history)
    return [text for metrics in looks if (text := learning.look(metrics))]


GOOD = (20.0, 0.69, 0.01, 0.1)


def test_a_policy_that_grows_certain_without_growing_good_is_told_of_once():
    collapsed = (20.5, 0.01, 0.01, 0.1)
    assert told(GOOD, *[collapsed] * (LOOKS - 1), GOOD, *[collapsed] * (LOOKS - 1)) == []
    (text,) = told(GOOD, *[collapsed] * 50, GOOD, *[collapsed] * 50)
    assert text.startswith("entropy has fallen from 0.69 to 0.01 while returns stayed near 20.5")


def test_a_policy_that_is_good_may_be_certain_and_its_value_have_nothing_to_explain():
    assert told(GOOD, *[(500.0, 0.001, 0.01, -0.5)] * 50) == []
    assert told((-200.0, 1.1, 0.01, 0.1), *[(-110.0, 0.01, 0.01, 0.9)] * 50) == []


def test_the_entropy_of_numbers_may_be_negative():
    assert told((-1500.0, 1.4, 0.01, 0.1), *[(-1500.0, -3.0, 0.01, 0.1)] * 50) == []


def test_a_policy_that_moves_far_and_a_value_that_explains_nothing_are_told_of():
    (text,) = told(*[(20.0, 0.69, 1.5, 0.1)] * 50)
    assert text.startswith("kl is 1.5 nats")
    unexplained = (20.0, 0.69, 0.01, -0.2)
    assert told(*[unexplained] * (LONG - 1), GOOD) == []
    (text,) = told(*[unexplained] * 50)
    assert text.startswith("explained_variance has stayed below zero (-0.2)")


def test_learners_without_these_metrics_are_not_judged_by_them():
    learning = Learning()
    assert not any(learning.look({"episodes": 1.0, "episode_return": 1.0, "loss": 0.1}) for _ in range(50))


def test_a_replay_that_was_given_no_stacks_says_so_instead_of_diverged():
    divergence = Divergence([7], lambda event: None)
    with pytest.raises(BadSetting, match=r"observations of seed 7 are not stacks .* set frame_stack to 1"):
        divergence.look({"loss": np.nan, "replay_size": np.nan}, 0, 4, 1, lambda seed: None)
