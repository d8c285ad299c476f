"""A store of steps with the observations on both sides of each."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, Spec, Step
from polyak.ops import returns
from polyak.parts.ring import Replay, take
from polyak.parts.sampling import Drawable
from polyak.spaces import row_shape, storage_type


class NStepTransitions(NamedTuple):
    """Steps and what follows them, up to n steps later."""

    obs: Array  # [N, ...]
    action: Array  # [N, ...] counted from 0
    r_t: Array  # [N] the discounted sum of the rewards
    discount_t: Array  # [N] of the value of next_obs: gamma^m after m steps, 0 after an end
    next_obs: Array  # [N, ...] the true successor of the last of those steps


class Transition(NamedTuple):
    """A step as it is kept; leaves [...] alone, [capacity, ...] in a memory."""

    obs: Array
    action: Array
    reward: Array  # float32
    terminated: Array  # bool
    truncated: Array  # bool
    next_obs: Array


def transition_of(spec: Spec) -> Transition:
    """One step of the task, for shapes and types; all zeros."""
    obs, action = (
        jnp.zeros(row_shape(space), storage_type(space)) for space in (spec.observation_space, spec.action_space)
    )
    return Transition(obs, action, jnp.float32(0), jnp.bool_(False), jnp.bool_(False), obs)


def transitions_of(block: Step, n_steps: int, gamma: float) -> NStepTransitions:
    """The transitions of a block [T, B, ...], in the order in which a memory keeps them; leaves [T B, ...].

    Those of its last n - 1 steps have shorter returns, up to the last step of the block.
    """
    length, num_envs = block.reward.shape
    ahead = jnp.minimum(jnp.arange(length)[:, None] + jnp.arange(n_steps), length - 1)  # [T, n]
    over = jnp.asarray(block.terminated | block.truncated).at[-1].set(True)
    reward, terminated, over = (
        jnp.moveaxis(jnp.asarray(leaf)[ahead], 1, -1) for leaf in (block.reward, block.terminated, over)
    )  # [T, B, n] each
    sums = jax.vmap(jax.vmap(returns.n_step, (0, 0, 0, None)), (0, 0, 0, None))
    r_t, discount_t, last = sums(reward, terminated, over, gamma)
    successor = jnp.asarray(block.next_obs)[jnp.arange(length)[:, None] + last, jnp.arange(num_envs)]
    steps = NStepTransitions(block.obs, block.action, r_t, discount_t, successor)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)


@dataclasses.dataclass(frozen=True)
class TransitionStore:
    """Keeps each step with the observations on both sides of it."""

    draws: ClassVar[bool] = False

    drawable: Drawable
    spec: Spec
    n_steps: int
    gamma: float

    def init(self) -> Replay:
        return self.drawable.ring.init(transition_of(self.spec))

    def add(self, state: Replay, block: Step) -> Replay:
        return self.drawable.ring.add(state, Transition(*block[:6]))

    def cut(self, state: Replay, which: Array) -> Replay:
        return self.drawable.ring.cut(state, which)

    def steps(self, state: Replay) -> Replay:
        return state

    def sound(self, state: Replay) -> bool:
        return True

    def read(self, state: Replay, indices: Array, key: Key) -> tuple[NStepTransitions, float]:
        r_t, discount_t, last = self.drawable.ring.n_step(state, indices, self.n_steps, self.spec.num_envs, self.gamma)
        obs, action = take((state.storage.obs, state.storage.action), indices)
        return NStepTransitions(obs, action, r_t, discount_t, take(state.storage.next_obs, last)), 1.0
