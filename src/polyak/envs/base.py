"""The two kinds of environments that engines take: pure functions that compile, and batches stepped from Python."""

from __future__ import annotations  # JAX is imported where it is used: processes that only step must start fast

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import gymnasium
import numpy as np

from polyak.spaces import from_rows, has_parts, to_rows

if TYPE_CHECKING:
    from polyak.agent import Array, Goal, Key, PyTree, Symmetries

BATCH = 64  # seeds drawn at once


class CompiledEnv(NamedTuple):
    """An environment as pure, unbatched functions.

    As in an agent, randomness is an input: `noise` draws what many steps need at once, fresh starts included, because
    splitting keys inside a compiled loop is what makes small programs slow. Members of Dict and Tuple spaces are rows:
    see `polyak.spaces`.
    """

    id: str
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    max_episode_steps: int | None
    noise: Callable[[Key, tuple[int, ...]], PyTree]  # key, shape -> noise, leaves [*shape, ...]
    reset: Callable[[PyTree], tuple[PyTree, PyTree]]  # noise -> state, obs
    step: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree, Array, Array, Array]]
    """state, action, noise -> state, obs, reward [], terminated [], truncated []; never resets by itself."""
    goal: Goal | None = None  # what steps are worth under any goal, where observations have goals
    turns: bool = False
    """Whether each step is a move of the player whose turn it is: the reward is the mover's, and the next observation
    the other player's, so that its value counts with the opposite sign."""
    chance: bool = False
    """Of a game of two players: whether cards or dice decide too, so that games begin or go on as the noise has it."""
    hidden: bool = False
    """Of a game of two players: whether a state holds what its mover does not see, so that planning with it cheats."""
    observe: Callable[[PyTree], PyTree] | None = None  # state -> obs, where a state is all that is observed
    symmetries: Symmetries | None = None  # of a game, which agents may learn from


class Score(NamedTuple):
    """The score of a step, for `episode_return` and its like, where training gets other rewards and other ends."""

    points: np.ndarray  # [B] float32, what the step was worth in the game
    over: np.ndarray  # [B] bool, where the whole game is over


class HostStep(NamedTuple):
    """One step of a batch of B environments, as NumPy arrays."""

    next_obs: np.ndarray  # [B, ...] the true successors
    obs: np.ndarray  # [B, ...] what the agent sees next: the first observation where an episode ended
    reward: np.ndarray  # [B] float32
    terminated: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
    score: Score | None = None  # None: rewards and ends are the game's own


class HostEnv(Protocol):
    """A batch of environments that live outside XLA."""

    id: str
    faults: list[str]  # a sentence for each fault that was recovered from; the reader removes what it has reported
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    max_episode_steps: int | None
    num_envs: int

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begins an episode in each environment; a seed makes all that follows repeatable. Returns obs [B, ...]."""
        ...

    def step(self, action: np.ndarray) -> HostStep:
        """Applies actions [B, ...]; where an episode ends, the next one is begun."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """The state of the environments, as JSON."""
        ...

    def restore(self, found: dict[str, Any], obs: np.ndarray) -> np.ndarray:
        """Puts environments that were reset with the same seed where a snapshot found them.

        Args:
            found: the snapshot.
            obs: [B, ...] what was seen then; where an episode begins instead, its first observation is written here.

        Returns:
            [B] bool, where that is so.
        """
        ...

    def close(self) -> None:
        """Releases windows, processes and the like."""
        ...


def environment_seeds(seed: int, count: int) -> list[int]:
    """`count` seeds that are far apart, for the environments of one run."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(count)]


class EpisodeSeeds:
    """A seed for every episode of every environment of a run: a function of (seed, environment, number) and no more."""

    def __init__(self, seed: int, count: int):
        self._seed = seed
        self._first = environment_seeds(seed, count)
        self._drawn: list[tuple[int, list[int]]] = [(-1, [])] * count

    def __call__(self, i: int, number: int) -> int:
        """The seed of the episode of environment i that is counted as `number`, from 0."""
        if number == 0:
            return self._first[i]
        batch, place = divmod(number - 1, BATCH)
        if self._drawn[i][0] != batch:
            words = np.random.SeedSequence(self._seed, spawn_key=(i, batch)).generate_state(BATCH)
            self._drawn[i] = batch, words.tolist()
        return self._drawn[i][1][place]


class AsGymnasium(gymnasium.Env):
    """A compiled environment behind Gymnasium's interface, for evaluation and for the host engine."""

    ahead = 256  # steps whose noise is drawn at once

    def __init__(self, env: CompiledEnv):
        import jax

        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.max_episode_steps = env.max_episode_steps
        self.goal = env.goal
        # jit knows a function that it has met: environments of one make share what is compiled
        self._noise = jax.jit(env.noise, static_argnums=1)
        self._reset = jax.jit(env.reset)
        self._step = jax.jit(env.step)
        self._key = self._drawn_with = jax.random.key(0)
        self._pending: list[PyTree] = []

    def _draw(self) -> PyTree:
        if not self._pending:
            self._draw_ahead()
        return self._pending.pop()

    def _draw_ahead(self) -> None:
        import jax

        self._drawn_with = self._key
        self._key, key = jax.random.split(self._key)
        noise = jax.device_get(self._noise(key, (self.ahead,)))
        self._pending = [jax.tree.map(lambda leaf, i=i: leaf[i], noise) for i in range(self.ahead)]

    def get_state(self) -> dict[str, Any]:
        """The state of the episode and of the random numbers that follow, as plain data; for `envs.snapshot`."""
        import jax

        return {
            "episode": [np.asarray(leaf) for leaf in jax.tree.leaves(self._state)],
            "key": np.asarray(jax.random.key_data(self._drawn_with)),
            "pending": len(self._pending),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from a state that `get_state` returned.

        Raises:
            ValueError: it is not a state of this environment.
        """
        import jax

        leaves, structure = jax.tree.flatten(jax.eval_shape(self._reset, self._draw())[0])
        kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]
        if [(leaf.shape, leaf.dtype) for leaf in state["episode"]] != kinds:
            raise ValueError("the episode's arrays have other shapes or types")
        if not 0 <= state["pending"] < self.ahead:
            raise ValueError(f"{state['pending']} draws are pending")
        self._key = jax.random.wrap_key_data(state["key"])
        self._draw_ahead()
        del self._pending[state["pending"] :]
        self._state = jax.tree.unflatten(structure, state["episode"])

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if seed is not None:
            import jax

            self._key, self._pending = jax.random.key(seed), []
        self._state, obs = self._reset(self._draw())
        return self._member(obs), {}

    def step(self, action):
        if has_parts(self.action_space):
            action = to_rows(self.action_space, action)
        self._state, obs, reward, terminated, truncated = self._step(self._state, action, self._draw())
        return self._member(obs), float(reward), bool(terminated), bool(truncated), {}

    def _member(self, obs: Array) -> Any:
        space = self.observation_space
        return from_rows(space, np.asarray(obs)) if has_parts(space) else np.asarray(obs)
