"""A store of steps that are read as if their goal had been another (Andrychowicz et al., 2017, "Hindsight experience
replay").

Observations have the parts `achieved_goal` and `desired_goal`. With probability k / (k + 1) a step that is read gets a
new desired goal: what was achieved after a step drawn uniformly from itself and those that follow in its episode, as
far as the episode is known (the paper's strategy "future"). So a policy that never reaches what it should learns from
what it reaches instead. With n-step returns all n rewards and ends are computed for the new goal:

    g ~ uniform(achieved_{t+1}, ..., achieved_T)        r_{t+i} = reward(achieved_{t+i+1}, g),  i < n

Nothing is changed in the memory. Each step has the number of its episode, and the steps of an environment follow each
other, so the last one with the same number is found by halving.

Deviations: the paper keeps k more copies of each step, whose goals stay; here a step gets another goal each time.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Goal, Key, Spec, Step
from polyak.errors import BadSetting
from polyak.ops import returns
from polyak.parts.ring import Replay, take
from polyak.parts.sampling import Drawable
from polyak.parts.transitions import NStepTransitions, transition_of
from polyak.spaces import ACHIEVED, DESIRED, Part, goals_of


class GoalStep(NamedTuple):
    """A step as it is kept; leaves [...] alone, [capacity, ...] in a memory."""

    obs: Array  # a row of parts
    action: Array
    reward: Array  # float32
    terminated: Array  # bool
    truncated: Array  # bool
    next_obs: Array
    episode: Array  # int32, how many episodes of its environment had ended before this step


class Kept(NamedTuple):
    """The state of the store."""

    steps: Replay  # of GoalStep
    episodes: Array  # [B] int32, how many episodes of each environment have ended


@dataclasses.dataclass(frozen=True)
class HindsightStore:
    """Keeps each step with the observations on both sides of it, and reads it with a goal that was achieved later."""

    draws: ClassVar[bool] = True

    drawable: Drawable
    spec: Spec
    n_steps: int
    gamma: float
    relabelled: int  # k
    achieved: Part
    desired: Part

    @staticmethod
    def of(drawable: Drawable, spec: Spec, n_steps: int, gamma: float, relabelled: int) -> "HindsightStore":
        """For the goals of a task; raises `BadSetting` unless observations have them, alike in shape."""
        goals = goals_of(spec.observation_space)
        if goals is None:
            raise BadSetting(
                f"Hindsight replay needs observations that are a Dict with the arrays {ACHIEVED} and {DESIRED}, and "
                f"this environment's are {spec.observation_space}; choose another replay, such as uniform."
            )
        achieved, desired = goals
        if achieved.space.shape != desired.space.shape:
            raise BadSetting(
                f"Hindsight replay puts achieved goals in the place of desired ones, and here {ACHIEVED} has shape "
                f"{achieved.space.shape} and {DESIRED} {desired.space.shape}; choose another replay, such as uniform."
            )
        return HindsightStore(drawable, spec, n_steps, gamma, relabelled, achieved, desired)

    def init(self) -> Kept:
        step = GoalStep(*transition_of(self.spec), episode=jnp.int32(0))
        return Kept(self.drawable.ring.init(step), jnp.zeros(self.spec.num_envs, jnp.int32))

    def add(self, state: Kept, block: Step) -> Kept:
        """Keeps a block; raises `BadSetting` where the task does not say what other goals are worth.

        It is asked here, as the agents of policy files, which never add a step, do not know it.
        """
        self._goal()
        over = (block.terminated | block.truncated).astype(jnp.int32)
        ended = jnp.cumsum(over, 0)
        rows = GoalStep(*block[:6], episode=state.episodes + ended - over)
        return Kept(self.drawable.ring.add(state.steps, rows), state.episodes + ended[-1])

    def cut(self, state: Kept, which: Array) -> Kept:
        newest, before = self.drawable.ring.newest(state.steps, which.shape[0]), state.steps.storage.truncated
        steps = self.drawable.ring.cut(state.steps, which)
        lost = steps.storage.truncated[newest] & ~before[newest]
        return Kept(steps, state.episodes + lost)

    def steps(self, state: Kept) -> Replay:
        return state.steps

    def sound(self, state: Kept) -> bool:
        return True

    def read(self, state: Kept, indices: Array, key: Key) -> tuple[NStepTransitions, float]:
        ring, storage, num_envs = self.drawable.ring, state.steps.storage, self.spec.num_envs
        which_key, later_key = jax.random.split(key)
        new = jax.random.bernoulli(which_key, self.relabelled / (self.relabelled + 1), indices.shape)
        # The remainder of 32 random bits, as in `UniformSampler.draw`.
        later = jax.random.bits(later_key, indices.shape) % (self.following(state, indices) + 1).astype(jnp.uint32)
        source = (indices + num_envs * later.astype(jnp.int32)) % ring.capacity
        obs, action = take((storage.obs, storage.action), indices)
        achieved = self.achieved.of(take(storage.next_obs, source))
        goal = jnp.where(_as_wide(new, achieved), achieved, self.desired.of(obs))

        ahead, newest = ring.ahead(state.steps, indices, self.n_steps, num_envs)  # [N, n]
        kept = take((storage.reward, storage.terminated, storage.truncated), ahead)
        reward, terminated = self._judged(take(storage.next_obs, ahead), goal, new, *kept[:2])
        over = terminated | kept[1] | kept[2] | newest  # an episode that ended does not go on under another goal
        r_t, discount_t, last = jax.vmap(returns.n_step, (0, 0, 0, None))(reward, terminated, over, self.gamma)
        next_obs = take(storage.next_obs, jax.vmap(jnp.take)(ahead, last))
        obs, next_obs = self._with_goal(obs, goal), self._with_goal(next_obs, goal)
        return NStepTransitions(obs, action, r_t, discount_t, next_obs), 1.0

    def following(self, state: Kept, indices: Array) -> Array:
        """[N] int32, how many steps are known that follow each of `indices` [N] in its episode."""
        ring, episode, num_envs = self.drawable.ring, state.steps.storage.episode, self.spec.num_envs
        own = take(episode, indices)
        most = min(ring.capacity // num_envs, self.spec.max_episode_steps or ring.capacity) - 1

        def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds  # the answer lies between them, both included
            middle = (low + high + 1) // 2
            same = take(episode, (indices + num_envs * middle) % ring.capacity) == own
            return jnp.where(same, middle, low), jnp.where(same, high, middle - 1)

        known = jnp.minimum(ring.age(state.steps, indices) // num_envs, most)
        return jax.lax.fori_loop(0, most.bit_length(), halve, (jnp.zeros_like(known), known))[0]

    def _judged(
        self, next_obs: Array, goal: Array, new: Array, reward: Array, terminated: Array
    ) -> tuple[Array, Array]:
        """Rewards and ends [N, n] of the steps to `next_obs` [N, n, ...], computed anew where the goal [N] is `new`."""
        judge, achieved = self._goal(), self.achieved.of(next_obs)
        desired = jnp.broadcast_to(goal[:, None], achieved.shape)
        answer = _answer("reward", judge.reward(achieved, desired), reward)
        reward = jnp.where(new[:, None], answer, reward)
        if judge.terminated is None:
            return reward, terminated
        answer = _answer("terminated", judge.terminated(achieved, desired), terminated)
        return reward, jnp.where(new[:, None], answer, terminated)

    def _with_goal(self, rows: Array, goal: Array) -> Array:
        """The rows [N, ...] with `goal` [N, *goal] in the place of the desired one."""
        return rows.at[:, self.desired.begin : self.desired.end].set(goal.reshape(len(goal), -1))

    def _goal(self) -> Goal:
        if self.spec.goal is None:
            raise BadSetting(
                "Hindsight replay asks what a step is worth under another goal, and this environment does not tell; "
                "give it a method compute_reward(achieved_goal, desired_goal, info), or a CompiledEnv its `goal`; or "
                "choose another replay, such as uniform."
            )
        return self.spec.goal


def _answer(name: str, answer: Array, like: Array) -> Array:
    """What a function of the task's goal returned; raises `BadSetting` unless there is one answer a step."""
    answer = jnp.asarray(answer, like.dtype)
    if answer.shape != like.shape:
        raise BadSetting(
            f"The environment's goal.{name} returned shape {answer.shape} for goals of leading axes {like.shape}; it "
            "must have just these axes."
        )
    return answer


def _as_wide(mask: Array, goals: Array) -> Array:
    """A mask [N] with the dimensions of what it selects from."""
    return mask.reshape(*mask.shape, *[1] * (goals.ndim - mask.ndim))
