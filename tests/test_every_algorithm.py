"""What must hold of every algorithm, in a small world whose values are known and on every engine.

A new algorithm is tested here as soon as it is listed; what is its own is tested beside its equation.
"""

import copy
from functools import lru_cache
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polyak
from polyak.agent import Agent, Algorithm, Goal, Position, Spec, Step, published
from polyak.algorithms import ALGORITHMS
from polyak.divergence import OF_EPISODES, not_finite
from polyak.engines.common import drawn_together
from polyak.engines.compiled import CompiledEngine
from polyak.engines.host import HostEngine
from polyak.envs import make
from polyak.envs.base import CompiledEnv
from polyak.spaces import from_rows, has_parts
from tests import small
from tests.engines.runs import SameNoise, assert_close, assert_equal, learner_of, parameters_of, run

# One case after the other, so that its programs are compiled once and then let go.
LEARNING = [case for case in ALGORITHMS if case not in small.ONLY_PLANS]
ONES = [pytest.param(case, marks=[pytest.mark.slow] * (case in small.SLOW)) for case in LEARNING]
VARIANTS = [pytest.param(case, marks=pytest.mark.slow) for case in small.VARIANTS]
HOSTED = [one for one in (*ONES, *VARIANTS) if not small.plans(small.algorithm(one.values[0]))]
EVERY = pytest.mark.parametrize("case", ONES, scope="module")
EVERY_CASE = pytest.mark.parametrize("case", [*ONES, *VARIANTS], scope="module")
EVERY_HOSTED_CASE = pytest.mark.parametrize("case", HOSTED, scope="module")
once_a_case = lru_cache(maxsize=1)


# ---- the world: its four places as vectors, as numbers, as afterstates, as goals

LEFT, RIGHT, WAIT, LAST = range(4)
GAMMA = 0.9
WORTH = np.array([10.0, 10.0, 10.0, -4.0])  # under the best policy; were LAST cut and not over, it would be worth -40
LUCK = np.array([1.0, 1.0, 0.0, 0.0])  # less under one that chooses by chance, who earns 0 instead of 1 there
STEPS = 12_800
LONGEST = 8  # steps of an episode: were the cut taken for an end, WAIT would be worth less than 6

VECTORS = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
NUMBERS = gymnasium.spaces.Discrete(4)
AFTERSTATES = gymnasium.spaces.Dict({"afterstates": gymnasium.spaces.Box(-1, 7, (2,), np.int32)})
GOALS = gymnasium.spaces.Dict({"achieved_goal": VECTORS, "desired_goal": VECTORS})  # WAIT is desired
CHOICES, AMOUNTS = gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)


def world(observed: gymnasium.Space, acted: gymnasium.Space) -> CompiledEnv:
    """An episode begins in LEFT or RIGHT, which pay 1 for the action that fits and lead to WAIT, where 1 is paid until
    the clock cuts it; or in LAST, which pays -4 and ends it."""

    def see(place):
        if observed == NUMBERS:
            return place
        if observed == AFTERSTATES:
            return jnp.float32(2 * place + jnp.arange(2))
        vector = jnp.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])[place]
        return jnp.concatenate([vector, jnp.zeros(2)]) if observed == GOALS else vector

    def reset(noise):
        return (noise, jnp.int32(0)), see(noise)

    def step(state, action, noise):
        place, clock = state
        if acted == CHOICES:
            paid = jnp.where(action == place, 1.0, -1.0)
        else:
            paid = 1.0 - 4.0 * jnp.square(action[0] - (place - 0.5))
        last, after = place == LAST, jnp.where(place == LAST, LAST, WAIT)
        reward = jnp.where(last, -4.0, jnp.where(place == WAIT, 1.0, paid))
        return (after, clock + 1), see(after), reward, last, clock + 1 >= LONGEST

    def noise(key, shape):
        return jax.random.choice(key, jnp.array([LEFT, RIGHT, LAST]), shape)

    def reward(achieved, desired):
        return 1.0 - jnp.abs(achieved - desired).sum(-1)

    return CompiledEnv("known", observed, acted, LONGEST, noise, reset, step, Goal(reward))


PAYS = np.array([0.2, 0.8])  # with these probabilities the arms of a bandit pay 1


def two_arms() -> CompiledEnv:
    """A bandit, for what looks no further than the reward."""

    def reset(noise):
        return (), jnp.int32(0)

    def step(state, action, noise):
        return (), jnp.int32(0), jnp.float32(noise < jnp.asarray(PAYS)[action]), jnp.bool_(True), jnp.bool_(False)

    return CompiledEnv("known bandit", gymnasium.spaces.Discrete(1), CHOICES, None, jax.random.uniform, reset, step)


# One in place of each world of `tests/small.py`, which shows and is given the like.
KNOWN = {
    "CartPole-v1": world(VECTORS, CHOICES),
    "Pendulum-v1": world(VECTORS, AMOUNTS),
    "FrozenLake-v1": world(NUMBERS, CHOICES),
    "tic-tac-toe": world(AFTERSTATES, CHOICES),
    "bit-flipping/5": world(GOALS, CHOICES),
    "bandit/bernoulli": two_arms(),
}


# ---- what is made once, because it compiles


class Made(NamedTuple):
    """An algorithm in a world."""

    algorithm: Algorithm
    env: CompiledEnv
    spec: Spec
    agent: Agent

    @classmethod
    def of(cls, algorithm: Algorithm, env: CompiledEnv, num_envs: int) -> "Made":
        spec = Spec(env.observation_space, env.action_space, num_envs, env.max_episode_steps, STEPS, env.goal)
        if small.plans(algorithm):
            spec = spec._replace(simulator=env)
        return cls(algorithm, env, spec, algorithm.agent(spec))

    def compiled(self, batched: bool = False) -> CompiledEngine:
        return CompiledEngine(self.algorithm, self.agent, self.env, self.spec, 16, batched)

    def host(self) -> HostEngine:
        together = drawn_together(self.algorithm, self.spec)
        env = SameNoise(self.env, self.algorithm, self.spec.num_envs, together)
        return HostEngine(self.algorithm, self.agent, env, self.spec, 16)


@once_a_case
def made(case: str) -> Made:
    """In the known world, with at least two environments side by side."""
    algorithm = small.algorithm(case, gamma=GAMMA, self_play=False)
    return Made.of(algorithm, KNOWN[small.world_of(algorithm)], max(2, small.few_envs(algorithm)))


@once_a_case
def compiled(case: str) -> CompiledEngine:
    return made(case).compiled()


@once_a_case
def host(case: str) -> HostEngine:
    return made(case).host()


@once_a_case
def learnt(case: str):
    """The agent's state and the last metrics of a whole run."""
    engine = compiled(case)
    loop = engine.init(0)
    for _ in range(STEPS // (engine.block_size * engine.chunk)):
        loop, metrics = engine.advance(loop, engine.chunk, True)
    return loop.agent, metrics


def places(env: CompiledEnv):
    """What is seen in each of the four."""
    return jnp.stack([env.reset(jnp.int32(place))[1] for place in range(4)])


def shown(algorithm: Algorithm, env: CompiledEnv, obs):
    """What an agent is shown in each of the four: observations, or positions if it plans."""
    if not small.plans(algorithm):
        return obs
    return Position(obs, jax.vmap(env.reset)(jnp.arange(4, dtype=jnp.int32))[0])


def members(env: CompiledEnv, obs):
    """Observations as users give them."""
    space = env.observation_space
    return from_rows(space, np.asarray(obs)) if has_parts(space) else np.asarray(obs)


# ---- what must hold


@EVERY
def test_the_known_values_and_the_best_actions_are_learnt(case):
    algorithm, env, _, agent = made(case)
    state, metrics = learnt(case)
    prediction = hasattr(algorithm, "policy")  # that of chance
    noise = agent.noise(jax.random.key(0), (4,))
    action = np.asarray(agent.act(state, agent.start(4), shown(algorithm, env, places(env)), noise, False)[0])
    if env.id == "known bandit":
        assert action.tolist() == [1] * 4
        if hasattr(state, "q"):
            np.testing.assert_allclose(state.q[0], PAYS, atol=0.1)
        return
    if not prediction:
        best = [0, 1] if env.action_space == CHOICES else [[-0.5], [0.5]]
        np.testing.assert_allclose(action[:2], best, atol=0.15)
    values = values_of(algorithm, learner_of(state), env)
    if values is not None:
        np.testing.assert_allclose(values, WORTH - prediction * LUCK, atol=1.0)
    if "q_mean" in metrics:  # of the last steps: about 2 of 17 are made in LEFT or RIGHT, 14 in WAIT, 1 in LAST
        assert metrics["q_mean"] == pytest.approx(8.84, abs=0.4)


def values_of(algorithm, state, env):
    """[4] what the best action is worth in each place, where a table, linear values or a critic tell it; else None."""
    if hasattr(state, "q"):
        return state.q.reshape(-1, 4, 2).mean(0).max(-1)
    if hasattr(state, "v"):
        return state.v.reshape(4, -1).max(-1)
    if hasattr(state, "w"):
        features = algorithm.features.map(env.observation_space)
        return (jax.vmap(features.of)(places(env)) @ state.w.T).max(-1)
    if hasattr(state, "parameters") and hasattr(state.parameters, "policy") and state.parameters.value:
        return state.parameters.value(places(env))[:, 0]
    return None


@EVERY_HOSTED_CASE
def test_both_engines_make_the_same_run(case):
    assert assert_same_run(compiled(case), host(case)) > 0  # an end of an episode was among the steps


def assert_same_run(compiled, host):
    """Returns how many episodes ended."""
    trains = (4, 4, 4) if compiled.block_size > compiled.num_envs else (4, 4, 16, 16)  # an episode of CartPole fits in
    runs = [run(engine, 3, fills=(), trains=trains) for engine in (compiled, host)]
    (first, first_metrics), (second, second_metrics) = runs
    assert_close(first.agent, second.agent, 1e-4)  # parameters, optimiser, replay or moments, step
    assert_close((first.obs, first.episodes, first.iteration), (second.obs, second.episodes, second.iteration), 1e-4)
    assert_equal(first.key, second.key)
    for one, other in zip(first_metrics, second_metrics, strict=True):
        assert one.keys() == other.keys()
        for metric in one:
            np.testing.assert_allclose(one[metric], other[metric], rtol=1e-3, atol=1e-3, err_msg=metric)
    return sum(metrics["episodes"] for metrics in first_metrics)


@EVERY_CASE
@pytest.mark.parametrize("engine", [compiled, host], ids=["compiled", "host"])
def test_a_run_depends_on_its_seed_and_not_on_the_size_of_its_chunks(engine, case):
    if engine is host and small.plans(made(case).algorithm):
        pytest.skip("it plans, which takes a compiled environment")
    whole, pieces, other = (
        run(engine(case), seed, fills=(), trains=trains)[0]
        for seed, trains in ((5, (4, 3)), (5, (1, 2, 4)), (6, (4, 3)))
    )
    assert_equal(whole.agent, pieces.agent)
    assert_equal((whole.obs, whole.iteration), (pieces.obs, pieces.iteration))
    learnt = zip(*(jax.tree.leaves(parameters_of(loop.agent)) for loop in (whole, other)), strict=True)
    assert any((a != b).any() for a, b in learnt)


@EVERY_HOSTED_CASE
def test_no_program_is_compiled_twice(case):
    for engine in (compiled(case), host(case)):
        run(engine, 0, fills=(), trains=(4, 1, 3))
        run(engine, 1, fills=(), trains=(2,))
    programs = {name: getattr(compiled(case), name) for name in ("_init", "_train")}
    collector, learner = host(case).collector, host(case).learner
    programs |= {"noise": host(case)._noise, "act": collector._act}
    programs |= {"init": learner._init, "update": learner._update[True]}
    assert {name: program._cache_size() for name, program in programs.items()} == dict.fromkeys(programs, 1)


@EVERY_CASE
def test_a_saved_policy_acts_as_the_agent_does_and_holds_no_more_than_acting_needs(case, tmp_path):
    algorithm, env, spec, agent = made(case)
    state = run(compiled(case), 0, fills=(), trains=(4,))[0].agent
    policy = polyak.Policy(algorithm, spec, agent.policy(state), env.id)
    policy.save(tmp_path / "p")
    loaded = polyak.load(tmp_path / "p", env if policy.plans else None)
    assert loaded.algorithm == algorithm and loaded.spec == spec._replace(goal=None)
    obs = places(env)
    seen = shown(algorithm, env, members(env, obs))
    np.testing.assert_array_equal(loaded(seen), policy(seen))
    noise = agent.noise(jax.random.key(0), (4,))
    action = agent.act(state, agent.start(4), shown(algorithm, env, obs), noise, False)[
        0
    ]  # uncompiled, one operation after the other
    np.testing.assert_allclose(loaded(seen), action, rtol=1e-5, atol=1e-7)
    assert not {"optimiser", "replay", "target", "rewards"} & {
        name for name in type(loaded.state)._fields if jax.tree.leaves(getattr(loaded.state, name))
    }


@EVERY_CASE
def test_what_is_published_acts_and_computes_gradients_as_the_whole_state_does(case):
    """Bit for bit; of agents that act with copies of a learner, as the learner does, which is what they publish."""
    _, _, spec, agent = made(case)
    loop = run(compiled(case), 0, fills=(), trains=(4,))[0]
    state, public = learner_of(loop.agent), published(agent, loop.agent)
    noise = agent.noise(jax.random.key(1), (spec.num_envs,))
    inputs = loop.carry, Position(loop.obs, loop.env) if small.plans(made(case).algorithm) else loop.obs, noise
    act = jax.jit(lambda state, *inputs: agent.act(state, *inputs, True))
    chosen = action, _, extras = act(state, *inputs)
    assert_equal(act(public, *inputs), chosen)
    assert not jax.tree.leaves([getattr(public, name, ()) for name in ("optimiser", "replay", "search")])
    if agent.gradient is not None:
        paid, never = jnp.ones(spec.num_envs), jnp.zeros(spec.num_envs, bool)
        step = Step(loop.obs, action, paid, never, never, loop.obs, extras)
        length, key = made(case).algorithm.block_length, jax.random.key(2)
        block = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (length, *leaf.shape)), step)
        gradient = jax.jit(agent.gradient)
        assert_equal(gradient(public, block, key), gradient(state, block, key))


# What else than the bad reward moves on: planning does, and the weight of a penalty on a policy that stands still.
GOES_ON = {"dyna-q", "ppo, penalised"}


class Poisoned:
    """An environment whose rewards are changed, once `armed`, in the first of its copies or in all of them."""

    def __init__(self, env: SameNoise, reward: float, all_of_them: bool):
        self.env, self.reward, self.which, self.armed = env, reward, slice(None if all_of_them else 1), False
        self.reset = env.reset

    def step(self, action):
        outcome = self.env.step(action)
        reward = outcome.reward.copy()
        if self.armed:
            reward[self.which] = self.reward
        return outcome._replace(reward=reward)


@EVERY_HOSTED_CASE
@pytest.mark.parametrize("reward", [np.inf, -np.inf, np.nan, 3e38])
def test_an_update_that_would_spoil_what_was_learnt_is_not_made(reward, case):
    for all_of_them in (False, True):
        engine = copy.copy(host(case))
        engine.collector = copy.copy(engine.collector)
        engine.collector.env = poisoned = Poisoned(engine.collector.env, reward, all_of_them)
        loop, metrics = engine.advance(engine.init(0), 8, True)
        assert not not_finite(metrics)
        poisoned.armed = True
        for _ in range(20):  # of a memory the bad reward may not be drawn at once
            before = jax.device_get(loop.agent)  # `advance` takes its arrays
            loop, metrics = engine.advance(loop, 1, True)
            wrong = set(not_finite(metrics))
            # Returns tell of a bad reward that was not drawn, or that hindsight has computed anew.
            refused, updated = bool(wrong), wrong <= set(OF_EPISODES)
            for old, new in zip(numbers(before), numbers(loop.agent), strict=True):
                assert np.isfinite(new).all()
                if not updated and all_of_them and case not in GOES_ON:
                    np.testing.assert_array_equal(new, old)
            if refused:
                break
        # a reward that is large and no more: a gradient, a standardised advantage and a rank may be as small as ever
        assert refused or (reward == 3e38 and not TABLES & set(type(loop.agent)._fields)), "the run would go on"


TABLES = {"q", "v", "w", "preferences", "log_weights", "posterior"}


def numbers(state):
    """Those that are learnt, without counts of updates."""
    state = learner_of(state)
    learnt = [getattr(state, name) for name in ("parameters", "optimiser", *TABLES, "pi") if hasattr(state, name)]
    return [leaf for leaf in jax.tree.leaves(learnt) if jnp.issubdtype(leaf.dtype, jnp.floating)]


# ---- every combination, in worlds that the presets know


@pytest.mark.slow
@EVERY_CASE
def test_seeds_side_by_side_are_the_seeds_alone(case):
    engine = made(case).compiled(batched=True)
    together, metrics = run(engine, np.array([0, 1, 2]), fills=())
    assert all(np.shape(value) == (3,) for value in metrics[-1].values())
    assert engine._train._cache_size() == 1
    for i in range(3):
        alone, alone_metrics = run(compiled(case), i, fills=())
        this_one = jax.tree.map(lambda leaf: leaf[i], parameters_of(together.agent))  # noqa: B023
        if made(case).algorithm.vmap_seeds:
            assert_equal(this_one, parameters_of(alone.agent))
        assert_close(this_one, parameters_of(alone.agent), 1e-4)
        for name, value in alone_metrics[-1].items():
            np.testing.assert_allclose(metrics[-1][name][i], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
@EVERY_CASE
def test_learning_moves_what_is_learnt_and_filling_does_not(case):
    engine = compiled(case)
    start, (filled, _), (trained, _) = engine.init(0), run(engine, 0, fills=(3,), trains=()), run(engine, 0)
    assert_equal(parameters_of(start.agent), parameters_of(filled.agent))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), parameters_of(filled.agent), parameters_of(trained.agent))
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
@EVERY_HOSTED_CASE
def test_both_engines_make_the_same_run_in_a_world_of_gymnasiums(case):
    # so that tables change before the first reward, and episodes end within a session
    algorithm = small.algorithm(case, initial_value=1.0, session_length=16)
    real = Made.of(algorithm, make(small.world_of(algorithm)), small.few_envs(algorithm))
    episodes = assert_same_run(real.compiled(), real.host())
    assert episodes > 0 or real.env.id == "Pendulum-v1"  # whose episodes are longer than these runs
