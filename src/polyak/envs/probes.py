"""Probe environments: each tests one ability of an agent, and its answer is known.

They are in order: the first one that an agent fails says what is broken.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key
from polyak.envs.base import CompiledEnv
from polyak.spaces import MASK

CHOICES = 20  # of `masked_action`, of which two are there
NEVER = np.iinfo(np.int32).max


def _probe(
    id: str,
    step: Callable[[Array, Array], tuple[Any, Any, Any]],
    see: Callable[[Array], Array],
    states: int,
    limit: int | None = None,
    actions: gymnasium.Space | None = None,
    observations: gymnasium.Space | None = None,
) -> CompiledEnv:
    """A probe on the integers 0 .. states - 1, started uniformly on those for which that matters.

    `step(state, action)` returns the next state, the reward and whether the MDP ended; `see` makes an observation [1].
    There are two actions, unless others are given; the same holds for observations.
    """
    space = observations or gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def noise(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.randint(key, shape, 0, states)

    def reset(noise: Array) -> tuple[tuple[Array, Array], Array]:
        return (noise, jnp.int32(0)), see(noise)

    def advance(state: tuple[Array, Array], action: Array, noise: Array):
        place, clock = state
        place, reward, terminated = step(place, action)
        clock = clock + 1
        truncated = clock >= (NEVER if limit is None else limit)
        return (place, clock), see(place), jnp.float32(reward), jnp.bool_(terminated), jnp.bool_(truncated)

    return CompiledEnv(id, space, actions or gymnasium.spaces.Discrete(2), limit, noise, reset, advance)


def _nothing(place: Array) -> Array:
    return jnp.zeros(1)


def _sign(place: Array) -> Array:
    return jnp.float32(2 * (place % 2) - 1)[None]


def constant_reward() -> CompiledEnv:
    """One step, reward 1 for any action: V = Q = 1. Fails where the value is not learnt at all."""
    return _probe("probe/constant-reward", lambda place, action: (place, 1.0, True), _nothing, states=1)


def observed_reward() -> CompiledEnv:
    """One step, reward equal to the observation, -1 or 1: V(o) = o. Fails where observations do not reach the value."""
    return _probe("probe/observed-reward", lambda place, action: (place, 2.0 * place - 1.0, True), _sign, states=2)


def two_steps() -> CompiledEnv:
    """Two steps, reward 1 at the end: V = gamma, then 1. Fails where values are not discounted or carried back."""

    def step(place: Array, action: Array):
        return jnp.int32(1), place == 1, place == 1

    return _probe("probe/two-steps", step, _sign, states=1)


def rewarded_action() -> CompiledEnv:
    """One step, reward 1 for action 1 and -1 for action 0: Q = (-1, 1). Fails where the policy does not improve."""
    return _probe("probe/rewarded-action", lambda place, action: (place, 2.0 * action - 1.0, True), _nothing, states=1)


def matched_action() -> CompiledEnv:
    """One step, reward 1 for the action that matches the observation, else -1: policy and value must both read it."""

    def step(place: Array, action: Array):
        return place, jnp.where(action == place, 1.0, -1.0), True

    return _probe("probe/matched-action", step, _sign, states=2)


def matched_number() -> CompiledEnv:
    """One step, reward 1 - (action - o / 2)^2: for actions that are numbers from -1 to 1; the best is half of what is
    seen, and pays 1."""

    def step(place: Array, action: Array):
        return place, 1.0 - jnp.square(action[0] - 0.5 * _sign(place)[0]), True

    return _probe("probe/matched-number", step, _sign, 2, actions=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32))


def matched_choices() -> CompiledEnv:
    """One step, with a choice of two and one of three: 1 for each that is 0 where -1 is seen, or its last where 1 is,
    and -1 for each that is not."""

    def step(place: Array, action: Array):
        return place, jnp.where(action == place * jnp.array([1, 2]), 1.0, -1.0).sum(), True

    return _probe("probe/matched-choices", step, _sign, 2, actions=gymnasium.spaces.MultiDiscrete([2, 3]))


def matched_switches() -> CompiledEnv:
    """One step, with two switches: where 1 is seen, 1 for each that is as (on, off); where -1 is, for each that is as
    (off, on); and -1 for each that is not."""

    def step(place: Array, action: Array):
        return place, jnp.where(action == jnp.array([place, 1 - place]), 1.0, -1.0).sum(), True

    return _probe("probe/matched-switches", step, _sign, 2, actions=gymnasium.spaces.MultiBinary(2))


def matched_parts() -> CompiledEnv:
    """One step, with observations and actions of parts within parts: 1 for the choice that matches the first of two
    cues, else -1, and 1 - (number - o / 2)^2 for a number and the second cue o. The best pays 2."""
    one_of_two: gymnasium.Space
    one_of_two, number = gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(-1.0, 1.0, (1,))
    cues = gymnasium.spaces.Dict({"choice": one_of_two, "inner": gymnasium.spaces.Tuple([number])})
    answers = gymnasium.spaces.Tuple([gymnasium.spaces.Dict({"choice": one_of_two}), number])

    def step(place: Array, action: Array):
        right = jnp.where(action[0] == place % 2, 1.0, -1.0)
        return place, right + 1.0 - jnp.square(action[1] - 0.5 * _sign(place // 2)[0]), True

    def see(place: Array) -> Array:
        return jnp.concatenate([jnp.float32(place % 2)[None], _sign(place // 2)])

    return _probe("probe/matched-parts", step, see, states=4, actions=answers, observations=cues)


def masked_action() -> CompiledEnv:
    """One step, with twenty actions of which two are there, other ones in each of ten states: 1 for the second of them,
    -1 for the first, and -100 for one that is not there."""
    space = gymnasium.spaces.Dict(
        {"observation": gymnasium.spaces.Discrete(CHOICES // 2), MASK: gymnasium.spaces.MultiBinary(CHOICES)}
    )

    def step(place: Array, action: Array):
        return place, jnp.where(action // 2 == place, 2.0 * (action % 2) - 1.0, -100.0), True

    def see(place: Array) -> Array:
        there = jnp.arange(CHOICES) // 2 == place
        parts = {"observation": jnp.float32(place)[None], MASK: jnp.float32(there)}
        return jnp.concatenate([parts[key] for key in space.spaces])

    choices: gymnasium.Space = gymnasium.spaces.Discrete(CHOICES)
    return _probe("probe/masked-action", step, see, CHOICES // 2, actions=choices, observations=space)


def endless_reward() -> CompiledEnv:
    """Reward 1 for ever, cut after 8 steps by the clock: V = 1 / (1 - gamma).

    Fails where truncation is taken for the end.
    """
    return _probe("probe/endless-reward", lambda place, action: (place, 1.0, False), _nothing, states=1, limit=8)


def match_then_wait() -> CompiledEnv:
    """Reward 1 for the action that matches the first observation, -1 or 1, else -1; then 0 is seen and 1 paid for ever,
    cut after 8 steps: Q = 1 / (1 - gamma) for the match, 2 less for the other action, and 1 / (1 - gamma) later on.

    All of the above at once, for agents of which only one probe can be afforded; n-step returns are exact here.
    """

    def step(place: Array, action: Array):
        return jnp.int32(2), jnp.where((place == 2) | (action == place), 1.0, -1.0), False

    def see(place: Array) -> Array:
        return jnp.where(place < 2, _sign(place), 0.0)

    return _probe("probe/match-then-wait", step, see, states=2, limit=8)


def remembered_action() -> CompiledEnv:
    """Three steps; the first shows -1 or 1, the others 0, and the last pays 1 for the matching action, else -1.

    A policy without memory earns 0 on average; with memory, 1.
    """

    def step(place: Array, action: Array):
        cue, clock = place % 2, place // 2
        last = clock == 2
        return place + 2, jnp.where(last, jnp.where(action == cue, 1.0, -1.0), 0.0), last

    def see(place: Array) -> Array:
        return jnp.where(place < 2, _sign(place), 0.0)

    return _probe("probe/remembered-action", step, see, states=2)


# What is made once is compiled once, however many copies are played.
PROBES: dict[str, Callable[[], CompiledEnv]] = {
    make().id: cache(make)
    for make in (
        constant_reward,
        observed_reward,
        two_steps,
        rewarded_action,
        matched_action,
        matched_number,
        matched_choices,
        matched_switches,
        matched_parts,
        masked_action,
        endless_reward,
        match_then_wait,
        remembered_action,
    )
}
