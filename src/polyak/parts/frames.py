"""A store of steps whose observations are stacks of frames: each frame is kept once, and stacks are rebuilt when read.

A stack [k, ...] holds the k newest frames, newest last. The newest frame of each step is kept in a ring of steps; the
other frames of its stack are those of the steps before. Stacks of k = 3 frames of one environment, whose first episode
ends with step 4:

    step                0         1         2         3         4      |     5         6
    observation       a a a     a a b     a b c     b c d     c d e    |   g g g     g g h
    next              a a b     a b c     b c d     c d e     d e f    |   g g h      ...
                                                                       |
    ring of steps       a         b         c         d         e      |     g         h
      start          REPEATED  FOLLOWS   FOLLOWS   FOLLOWS   FOLLOWS   |  REPEATED  FOLLOWS
      finals            0         0         0         0         0      |     1         1
    ring of finals                                              f      |

The chain breaks at the end of an episode, in two ways. The frame after a last step, f, is in no observation: such final
frames have a ring of their own, and a step counts in `finals` how many came before it, so that the one after it is
found. And environments fill up a first stack in different ways, so each first step tells in `start` what stands before
its frame:

    REPEATED   g g g   copies of it
    BLANK      0 0 g   blank frames
    PUSHED     e f g   the last frames of the episode before (EnvPool, after a lost life)

Where actors take turns, no block goes on where the one before ended: it may begin in mid-episode, and the frames before
its first ones are elsewhere, or nowhere any more. There each block brings the k - 1 older frames of its first stacks,
which have a ring of their own, the heads, and the fifth kind of beginning:

    CARRIED    e f g   frames that came with the block
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.errors import BadSetting
from polyak.parts.ring import Replay, Ring, take
from polyak.parts.sampling import Drawable
from polyak.parts.transitions import NStepTransitions, transition_of

FOLLOWS, REPEATED, BLANK, PUSHED, CARRIED = range(5)  # what stands before a step's newest frame
STEPS_A_FINAL = 50  # the length of episodes for which all final frames find room


class Frame(NamedTuple):
    """A step as it is kept; leaves [...] alone, [capacity, ...] in a memory."""

    frame: Array  # [...] the newest of its observation
    action: Array
    reward: Array  # float32
    terminated: Array  # bool
    truncated: Array  # bool
    start: Array  # uint8: FOLLOWS, REPEATED, BLANK, PUSHED, CARRIED
    finals: Array  # int32, how many final frames there were before this step


class Final(NamedTuple):
    """The last frame of an episode."""

    frame: Array


class Head(NamedTuple):
    """A frame before the newest one of the first stack of a block."""

    frame: Array


class Kept(NamedTuple):
    """The state of the store."""

    steps: Replay  # of Frame
    finals: Replay  # of Final
    last: Array  # [B, k, ...] what followed each environment's newest step
    sound: Array  # [] bool, whether all observations were stacks
    heads: PyTree = ()  # Replay of Head, k - 1 of each environment of each block; () where blocks go on


class Place(NamedTuple):
    """Where a frame is; leaves [N]."""

    row: Array  # int32, of a step
    final: Array  # bool, whether it is the frame after that step
    blank: Array  # bool, whether it is no frame at all
    head: Array  # int32, how many frames before that step it is in the heads of its block; 0 where it is not there


@dataclasses.dataclass(frozen=True)
class FrameStore:
    """Keeps every frame once. A million of 84 x 84 take 7.06 GB, and their final frames 0.14 GB.

    Where blocks of T steps are streamed, each brings k - 1 frames of each environment, and all of them end with a final
    frame: k / T frames a step more, so 2 instead of 1 of blocks of 4 with stacks of 4, where whole observations on both
    sides of a step are 8.

    Where episodes are shorter than 50 steps, final frames run out of room before the steps do. Old steps that would
    need one that is gone get a factor of 0, unless they ended: the value after an end is not asked for.
    """

    draws: ClassVar[bool] = False

    drawable: Drawable
    spec: Spec
    n_steps: int
    gamma: float
    stack: int
    finals: Ring
    heads: Ring | None = None  # None where each block goes on where the one before ended

    @staticmethod
    def of(capacity: int, spec: Spec, block_length: int, n_steps: int, gamma: float, stack: int) -> "FrameStore":
        """For `capacity` steps, rounded up to whole blocks; raises `BadSetting` where observations are no stacks."""
        shape = spec.observation_space.shape or ()
        if len(shape) < 2 or shape[0] != stack:
            raise BadSetting(
                f"frame_stack is {stack}, but observations of {spec.observation_space} are not stacks "
                f"[{stack}, height, width]; set frame_stack to 1 to keep each observation whole."
            )
        block = block_length * spec.num_envs
        oldest = 0 if spec.streamed else (stack - 1) * spec.num_envs  # whose older frames are overwritten
        ring = Ring.of(max(capacity, block + oldest), block)
        finals, heads = max(ring.capacity // STEPS_A_FINAL, block), None
        if spec.streamed:
            columns = ring.capacity // block_length  # of all blocks, each of one environment
            finals, heads = finals + columns, Ring((stack - 1) * columns, (stack - 1) * spec.num_envs)
        return FrameStore(Drawable(ring, oldest=oldest), spec, n_steps, gamma, stack, Ring(finals, block), heads)

    def init(self) -> Kept:
        obs, action, reward, terminated, truncated, _ = transition_of(self.spec)
        step = Frame(obs[0], action, reward, terminated, truncated, jnp.uint8(FOLLOWS), jnp.int32(0))
        last = jnp.zeros((self.spec.num_envs, *obs.shape), obs.dtype)
        heads = self.heads.init(Head(obs[0])) if self.heads else ()
        return Kept(self.drawable.ring.init(step), self.finals.init(Final(obs[0])), last, jnp.bool_(True), heads)

    def steps(self, state: Kept) -> Replay:
        return state.steps

    def add(self, state: Kept, block: Step) -> Kept:
        obs, next_obs = block.obs, block.next_obs
        over = block.terminated | block.truncated
        start, sound = self._starts(state, obs, next_obs, over)
        finals = self._final_count(state) + (jnp.cumsum(over.reshape(-1)) - over.reshape(-1)).reshape(over.shape)
        rows = Frame(obs[:, :, -1], block.action, block.reward, block.terminated, block.truncated, start, finals)
        ended = Final(next_obs[:, :, -1].reshape(-1, *next_obs.shape[3:]))
        return Kept(
            self.drawable.ring.add(state.steps, rows),
            self.finals.add_some(state.finals, ended, over.reshape(-1)),
            next_obs[-1],
            state.sound & sound,
            self.heads.add(state.heads, Head(obs[0, :, :-1])) if self.heads else (),
        )

    def _starts(self, state: Kept, obs: Array, next_obs: Array, over: Array) -> tuple[Array, Array]:
        """[T, B] what stands before each step's newest frame, and [] whether all of them are stacks."""
        newest = take(state.steps.storage._replace(frame=()), self.drawable.ring.newest(state.steps, over.shape[1]))
        empty = state.steps.size == 0
        first = jnp.concatenate([(newest.terminated | newest.truncated | empty)[None], over[:-1]])
        before = jnp.concatenate([state.last[None], next_obs[:-1]])
        has_before = jnp.arange(over.shape[0])[:, None] + state.steps.size > 0
        older = obs[:, :, :-1]
        repeated, blank = _alike(older, obs[:, :, -1:]), _alike(older, jnp.zeros_like(older))
        pushed = _alike(older, before[:, :, 1:]) & has_before
        start = jnp.where(repeated, REPEATED, jnp.where(blank, BLANK, PUSHED))
        begins_well, goes_on_well = repeated | blank | pushed, _alike(obs, before)
        if self.heads:
            first, start, begins_well = first.at[0].set(True), start.at[0].set(CARRIED), begins_well.at[0].set(True)
        sound = jnp.all(jnp.where(first, begins_well, goes_on_well) & _alike(next_obs[:, :, :-1], obs[:, :, 1:]))
        return jnp.where(first, start, FOLLOWS), sound

    def cut(self, state: Kept, which: Array) -> Kept:
        newest = self.drawable.ring.newest(state.steps, which.shape[0])
        steps = self.drawable.ring.cut(state.steps, which)
        storage = steps.storage
        lost = storage.truncated[newest] & ~state.steps.storage.truncated[newest]
        numbers = jnp.where(lost, self._final_count(state) + jnp.cumsum(lost) - 1, storage.finals[newest])
        steps = steps._replace(storage=storage._replace(finals=storage.finals.at[newest].set(numbers)))
        finals = self.finals.add_some(state.finals, Final(state.last[:, -1]), lost)
        return state._replace(steps=steps, finals=finals)

    def _final_count(self, state: Kept) -> Array:
        """[] how many final frames were ever kept."""
        return state.finals.laps * self.finals.capacity + state.finals.position

    def sound(self, state: Kept) -> Array:
        return state.sound

    def read(self, state: Kept, indices: Array, key: Key) -> tuple[NStepTransitions, Array]:
        ring, storage, num_envs = self.drawable.ring, state.steps.storage, self.spec.num_envs
        r_t, discount_t, last = ring.n_step(state.steps, indices, self.n_steps, num_envs, self.gamma)
        no = jnp.zeros_like(indices, bool)
        none = jnp.zeros_like(indices)
        obs, known = self._stacks(state, Place(indices, no, no, none))
        over = take(storage.terminated, last) | take(storage.truncated, last)
        after = Place(jnp.where(over, last, (last + num_envs) % ring.capacity), over, no, none)
        next_obs, next_known = self._stacks(state, after)
        newest = ~over & (ring.age(state.steps, last) < num_envs)
        next_obs = jnp.where(_as_wide(newest, next_obs), take(state.last, last % num_envs), next_obs)
        known &= next_known | newest | (discount_t == 0)
        # Else XLA chooses between frames anew wherever the first layer of a network reads a pixel.
        obs, next_obs = jax.lax.optimization_barrier((obs, next_obs))
        factor = jnp.where(state.sound, known.astype(jnp.float32), jnp.nan)
        return NStepTransitions(obs, take(storage.action, indices), r_t, discount_t, next_obs), factor

    def _stacks(self, state: Kept, place: Place) -> tuple[Array, Array]:
        """The stacks [N, k, ...] that end with the frames at `place`, and [N] whether nothing they need is gone."""
        places = [place]
        for _ in range(self.stack - 1):
            places.append(self._before(state, places[-1]))
        row, final, blank, head = (
            jnp.stack(leaf[::-1], -1) for leaf in zip(*places, strict=True)
        )  # [N, k], newest last
        number = take(state.steps.storage.finals, row)
        here = take(state.steps.storage.frame, row)
        there = take(state.finals.storage.frame, jnp.where(final, number % self.finals.capacity, 0))
        frames = jnp.where(_as_wide(final, here), there, here)
        if self.heads:
            carried = take(state.heads.storage.frame, jnp.where(head > 0, self._head_index(row, head), 0))
            frames = jnp.where(_as_wide(head > 0, frames), carried, frames)
        gone = final & (self._final_count(state) - number > self.finals.capacity)
        return jnp.where(_as_wide(blank, frames), jnp.zeros_like(frames), frames), ~gone.any(-1)

    def _before(self, state: Kept, place: Place) -> Place:
        """Where the next older frame of the same stack is."""
        start = take(state.steps.storage.start, place.row)
        inner = ~place.final  # the frame of a step; what is before a final frame is that of its own step
        carried = inner & (start == CARRIED)
        stays = place.final | (start == REPEATED) | place.blank | carried
        row = jnp.where(stays, place.row, (place.row - self.spec.num_envs) % self.drawable.ring.capacity)
        final, blank = inner & (start == PUSHED) & ~place.blank, place.blank | (inner & (start == BLANK))
        return Place(row, final, blank, jnp.where(carried, place.head + 1, 0))

    def _head_index(self, row: Array, head: Array) -> Array:
        """[N, k] where in the heads a frame is that is so many before the newest of a first step."""
        block, num_envs, older = self.drawable.ring.block_size, self.spec.num_envs, self.stack - 1
        return (row // block * num_envs + row % num_envs) * older + older - head


def _alike(first: Array, second: Array) -> Array:
    """[T, B] whether all of [T, B, ...] is equal."""
    return jnp.all(first == second, axis=tuple(range(2, first.ndim)))


def _as_wide(mask: Array, frames: Array) -> Array:
    """A mask [N] or [N, k] with the dimensions of what it selects from."""
    return mask.reshape(*mask.shape, *[1] * (frames.ndim - mask.ndim))
