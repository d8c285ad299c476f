"""Hindsight replay against a plain list of episodes."""

from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

import polyak
from polyak.agent import Goal, Spec, Step
from polyak.errors import BadSetting
from polyak.parts import replay
from polyak.parts.replay import Hindsight
from tests.speeds import slow

GAMMA = 0.5  # powers of it and sums of small whole numbers are exact
LENGTH = 2  # time steps of a block
TIMES = 12  # time steps that are held
DRAWS = 512
SPACE = Dict(
    {"achieved_goal": Box(-1e6, 1e6, (2,)), "desired_goal": Box(-1e6, 1e6, (2,)), "observation": Box(-1e6, 1e6, (1,))}
)


def paid(achieved, desired):
    """A whole number that depends on all numbers of both goals."""
    return (3 * achieved[..., 0] + 5 * achieved[..., 1] + 2 * desired[..., 0] + desired[..., 1]) % 7 - 3


def met(achieved, desired):
    return (achieved == desired).all(-1)


def never(achieved, desired):
    """Goals do not end an episode that other things end."""
    return (achieved != achieved).any(-1)


class Seen(NamedTuple):
    """One step of one environment."""

    number: int  # what was observed; no two steps share it
    achieved: np.ndarray  # [2] after the step; no two steps share it
    desired: np.ndarray  # [2] of the episode, below 0, unlike any achieved one
    episode: int
    reward: float  # any number, not what the goal would pay
    terminated: bool
    truncated: bool
    after: int  # what was observed after it


class World:
    """B environments whose episodes end at random, or after `limit` steps."""

    def __init__(self, num_envs: int, seed: int, limit: int | None, terminated=met, end: float = 0.2):
        self.num_envs, self.limit, self.end = num_envs, limit, end
        self.rng = np.random.default_rng(seed)
        self.count = 0
        self.episode, self.clock = [0] * num_envs, [0] * num_envs
        self.number = [self.next() for _ in range(num_envs)]
        self.steps: list[list[Seen]] = []  # [t][b]
        self.spec = Spec(SPACE, Discrete(5), num_envs, limit, 1_000, Goal(paid, terminated))

    def next(self) -> int:
        self.count += 1
        return self.count

    def goal(self, b: int) -> np.ndarray:
        return np.array([-1.0 - b, -1.0 - self.episode[b]])

    def begin(self, b: int) -> None:
        self.episode[b], self.clock[b], self.number[b] = self.episode[b] + 1, 0, self.next()

    def step(self, b: int) -> Seen:
        self.clock[b] += 1
        after, number = self.next(), self.number[b]
        over, kind = self.rng.random(2) < (self.end, 0.5)
        late = self.clock[b] == self.limit
        achieved = np.array([after, 2.0 * after])
        reward = float(self.rng.integers(10, 20))
        flags = bool(over and kind), bool(late or (over and not kind))
        seen = Seen(number, achieved, self.goal(b), self.episode[b], reward, *flags, after)
        self.number[b] = after
        if any(flags):
            self.begin(b)
        return seen

    def block(self) -> Step:
        """The next steps [T, B] of all environments."""
        rows = [[self.step(b) for b in range(self.num_envs)] for _ in range(LENGTH)]
        self.steps += rows

        def of(read):
            return np.array([[read(step) for step in row] for row in rows], np.float32)

        obs = of(lambda step: row(step.number - 1, step.desired, step.number))
        next_obs = of(lambda step: row(step.achieved[0], step.desired, step.after))
        action = of(lambda step: step.number % 5).astype(np.int32)
        flags = (of(lambda step, name=name: getattr(step, name)) > 0 for name in ("terminated", "truncated"))
        return Step(obs, action, of(lambda step: step.reward), *flags, next_obs, ())

    def cut(self, which: np.ndarray) -> None:
        """The present episodes of those environments are lost."""
        for b in np.flatnonzero(which):
            last = self.steps[-1][b]
            if not (last.terminated or last.truncated):
                self.steps[-1][b] = last._replace(truncated=True)
                self.begin(b)

    def future(self, t: int, b: int) -> list[np.ndarray]:
        """What was achieved after a step and after those that follow in its episode."""
        steps = (row[b] for row in self.steps[t:])
        return [step.achieved for step in steps if step.episode == self.steps[t][b].episode]

    def expected(self, t: int, b: int, goal: np.ndarray, n_steps: int) -> tuple[float, float, np.ndarray]:
        """The sum of up to n rewards under a goal, the discount of what follows, and the observation there."""
        total, discount, own = 0.0, 1.0, bool((goal < 0).all())
        for row_of_steps in self.steps[t : t + n_steps]:
            step = row_of_steps[b]
            reward, ends = step.reward, step.terminated
            if not own:
                reward = paid(step.achieved, goal)
                ends = bool(self.spec.goal.terminated(step.achieved, goal)) if self.spec.goal.terminated else ends
            total, discount = total + discount * reward, discount * GAMMA
            if ends or step.terminated or step.truncated:
                break
        return total, discount * (not ends), row(step.achieved[0], goal, step.after)


def row(achieved: float, desired: np.ndarray, number: int) -> np.ndarray:
    """An observation, in the order of the space."""
    return np.array([achieved, 2 * achieved, *desired, number], np.float32)


def memory_of(world: World, n_steps: int = 1, relabelled: int = 4):
    return replay.memory(
        Hindsight(relabelled),
        capacity=TIMES * world.num_envs,
        spec=world.spec,
        block_length=LENGTH,
        n_steps=n_steps,
        gamma=GAMMA,
    )


def go_on(memory):
    """Adds a block, cuts some episodes, and draws."""

    @jax.jit
    def function(state, block, which, key):
        state = memory.cut(memory.add(state, block), which)
        return state, memory.sample(state, key, DRAWS, 0.0)

    return function


FAST = [(1, 1, None), (3, 3, None), (3, 3, 5)]
SLOW = [(1, 3, None), (3, 1, None), (2, 1, 4), (2, 3, 4)]


@pytest.mark.parametrize("terminated", [met, never, slow(None)], ids=["goals end", "goals never end", "flags are kept"])
@pytest.mark.parametrize(("num_envs", "n_steps", "limit"), [*FAST, *(slow(*row) for row in SLOW)])
def test_samples_are_what_a_plain_list_tells(num_envs, n_steps, limit, terminated):
    world = World(num_envs, n_steps, limit, terminated)
    memory = memory_of(world, n_steps)
    advance, state = go_on(memory), memory.init()
    for number in range(20):  # the ring is full after 6
        block = world.block()
        which = world.rng.random(num_envs) < 0.5 * (number % 3 == 2)
        world.cut(which)
        state, drawn = advance(state, block, jnp.asarray(which), jax.random.key(number))
        read = check(world, jax.device_get(drawn), n_steps)
        now = len(world.steps)
        held = {(t, b) for t in range(max(0, now - TIMES), now) for b in range(num_envs)}
        assert read.keys() == held


def check(world: World, drawn: replay.Sample, n_steps: int) -> dict[tuple[int, int], set[bytes]]:
    """Compares a sample with the list; returns the steps [t, b] that were drawn, with the goals they were given."""
    places = {step.number: (t, b) for t, row in enumerate(world.steps) for b, step in enumerate(row)}
    read: dict[tuple[int, int], set[bytes]] = {}
    for obs, action, r_t, discount_t, next_obs in zip(*drawn.steps, strict=True):
        t, b = places[int(obs[-1])]
        step, goal = world.steps[t][b], obs[2:4]
        np.testing.assert_array_equal(obs, row(step.number - 1, goal, step.number))
        if (goal < 0).all():
            np.testing.assert_array_equal(goal, step.desired)
        else:
            assert goal.tolist() in [later.tolist() for later in world.future(t, b)]
        total, discount, successor = world.expected(t, b, goal, n_steps)
        assert (action, r_t, discount_t) == (step.number % 5, total, discount)
        np.testing.assert_array_equal(next_obs, successor)
        read.setdefault((t, b), set()).add(goal.tobytes())
    np.testing.assert_array_equal(drawn.weights, 1.0)
    return read


@pytest.mark.parametrize(
    ("limit", "end"), [(None, 0.0), (None, 0.1), (5, 0.1), (7, 0.0), (TIMES, 0.0), (2 * TIMES, 0.0)]
)
def test_the_steps_that_follow_in_an_episode_are_all_found(limit, end):
    world = World(2, seed=0, limit=limit, end=end)
    memory = memory_of(world)
    state = memory.init()
    add, following = jax.jit(memory.add), jax.jit(memory.store.following)
    for _ in range(20):
        state = add(state, world.block())
        now = len(world.steps)
        held = [(t, b) for t in range(max(0, now - TIMES), now) for b in range(2)]
        indices = jnp.array([(2 * t + b) % (2 * TIMES) for t, b in held])
        assert following(state.store, indices).tolist() == [len(world.future(*place)) - 1 for place in held]


@pytest.mark.parametrize("relabelled", [1, 4])
def test_k_of_k_plus_one_steps_get_another_goal_and_every_later_one_is_as_likely(relabelled):
    world = World(2, seed=1, limit=None)
    memory = memory_of(world, relabelled=relabelled)
    advance, state = go_on(memory), memory.init()
    for number in range(10):
        state, _ = advance(state, world.block(), jnp.zeros(2, bool), jax.random.key(number))
    obs = np.asarray(jax.jit(memory.sample, static_argnums=2)(state, jax.random.key(0), 100_000, 0.0).steps.obs)
    new = obs[:, 2] >= 0
    share = relabelled / (relabelled + 1)
    assert abs(new.mean() - share) < 5 * np.sqrt(share * (1 - share) / len(obs))
    longest, tested = 0, 0
    for t in range(len(world.steps) - TIMES, len(world.steps)):
        for b in range(2):
            future = world.future(t, b)
            goals = obs[new & (obs[:, -1] == world.steps[t][b].number), 2]
            counts = [int((goals == later[0]).sum()) for later in future]
            assert sum(counts) == len(goals)
            longest = max(longest, len(future))
            if len(future) > 1:
                tested += 1
                assert scipy.stats.chisquare(counts).pvalue > 1e-4
    assert longest > 4 and tested > 10


def test_goals_of_any_shape_take_the_place_of_the_desired_one():
    for part, achieved, desired in ((Discrete(7), [3.0], [5.0]), (MultiBinary((2, 2)), [1, 0, 1, 1], [0, 0, 0, 1])):
        space = Dict({"achieved_goal": part, "desired_goal": part})

        def reward(a, d, part=part):
            assert a.shape == d.shape == (DRAWS, 1, *part.shape)
            return (a - d).reshape(DRAWS, 1, -1).sum(-1)

        spec = Spec(space, Discrete(2), 1, None, 100, Goal(reward))
        memory = replay.memory(Hindsight(), capacity=4, spec=spec, block_length=1)
        rows = jnp.array([*achieved, *desired], jnp.float32)[None, None]
        flag = jnp.zeros((1, 1), bool)
        state = memory.add(
            memory.init(), Step(rows, jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1)), flag, flag, rows, ())
        )
        obs, _, r_t, _, next_obs = memory.sample(state, jax.random.key(0), DRAWS, 0.0).steps
        kinds = {
            (tuple(seen.tolist()), float(r), tuple(then.tolist()))
            for seen, r, then in zip(obs, r_t, next_obs, strict=True)
        }
        own, new = (*achieved, *desired), (*achieved, *achieved)
        assert kinds == {(own, 1.0, own), (new, 0.0, new)}


# ---- what cannot work


def spec_of(space: gymnasium.Space, goal: Goal | None = None) -> Spec:
    return Spec(space, Discrete(2), 1, None, 1_000, goal)


DQN = polyak.DQN(replay=Hindsight())


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (3,)),
        Dict({"observation": Box(-1, 1, (3,)), "achieved_goal": Box(-1, 1, (3,))}),
        Dict({"desired_goal": Dict({"x": Box(-1, 1)}), "achieved_goal": Dict({"x": Box(-1, 1)})}),
    ],
    ids=["no parts", "no desired goal", "goals of parts"],
)
def test_observations_without_goals_are_refused_in_a_sentence(space):
    with pytest.raises(BadSetting, match="a Dict with the arrays achieved_goal and desired_goal"):
        DQN.agent(spec_of(space))


def test_goals_of_different_shapes_are_refused_in_a_sentence():
    space = Dict({"achieved_goal": Box(-1, 1, (3,)), "desired_goal": Box(-1, 1, (2,))})
    with pytest.raises(BadSetting, match=r"achieved_goal has shape \(3,\) and desired_goal \(2,\)"):
        DQN.agent(spec_of(space))


def test_stacks_of_frames_and_sequences_are_refused_in_a_sentence():
    with pytest.raises(BadSetting, match="frame_stack is 4, set it to 1"):
        polyak.DQN(replay=Hindsight(), frame_stack=4).agent(spec_of(SPACE))
    with pytest.raises(BadSetting, match="recurrent agents learn from sequences"):
        polyak.RecurrentDQN(replay=Hindsight()).agent(spec_of(SPACE))


def test_what_goals_are_worth_is_asked_for_where_steps_are_added_and_not_before():
    agent = DQN.agent(spec_of(SPACE))  # as for a policy that was loaded
    state = agent.init(jax.random.key(0))
    block = World(1, seed=0, limit=None).block()
    with pytest.raises(BadSetting, match="does not tell; give it a method compute_reward"):
        agent.observe(state, block)


def test_a_function_of_goals_that_answers_in_another_shape_is_told_of_in_a_sentence():
    world = World(1, seed=0, limit=None)
    for goal, name in ((Goal(lambda a, d: a - d), "reward"), (Goal(paid, lambda a, d: a == d), "terminated")):
        world.spec = world.spec._replace(goal=goal)
        memory = memory_of(world)
        state = memory.add(memory.init(), world.block())
        with pytest.raises(BadSetting, match=rf"goal.{name} returned shape \(4, 1, 2\)"):
            memory.sample(state, jax.random.key(0), 4, 0.0)
