"""Trained policies, functions from observations to actions, and the files that hold them."""

import copy
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak import settings
from polyak.agent import Algorithm, Position, PyTree, Spec
from polyak.engines.common import choose
from polyak.envs import CompiledEnv, own_environment
from polyak.errors import BadFile, BadSetting, Error, printable
from polyak.runs import tensors
from polyak.runs.documents import mapping, maybe, one_of, record, setting, text, whole
from polyak.runs.spaces import check_space, space_from_json, space_to_json
from polyak.spaces import from_rows, has_parts, in_own_type, kept, parts, row_shape, storage_type, to_rows

FORMAT = 2  # 1 is read too: the same without a SHA-256
BLOCK = 8  # observations that are answered together: XLA rounds otherwise in a batch of another size
REASON = 500  # letters
SMALL_TABLE = 2**22  # states times actions that a policy may have whatever the size of its file

_DESCRIPTION = record(
    {
        "format": one_of([1, FORMAT]),
        "algorithm": text(200),
        "settings": mapping(text(200), setting),
        "env": text(200),
        "num_envs": whole(1, 2**31 - 1),
        "max_episode_steps": maybe(whole(1, 2**53)),
        "total_steps": whole(1, 2**53),
        "observation_space": check_space,
        "action_space": check_space,
    }
)


class Policy:
    """A trained, greedy policy: NumPy in, NumPy out.

    Attributes:
        algorithm: with its hyperparameters.
        spec: of the task it was trained on.
        env: the id of the environment, for `evaluate` and `watch`.
        state: the part of the agent's state that acting needs.
    """

    def __init__(self, algorithm: Algorithm, spec: Spec, state: PyTree, env: str):
        self.algorithm, self.spec, self.env = algorithm, spec, env
        self.state = state
        self.plans: bool = getattr(algorithm, "plans", False)
        self.agent = agent = algorithm.agent(spec)

        def step(state: PyTree, carry: PyTree, seen: PyTree, first: jax.Array) -> tuple[PyTree, PyTree]:
            noise = agent.noise(jax.random.key(0), (BLOCK,))  # a greedy policy has no use for it, and a search enough

            def act(block: tuple[PyTree, PyTree, jax.Array]) -> tuple[PyTree, PyTree]:
                carry, seen, first = block
                action, carry, _ = agent.act(state, choose(first, agent.start(BLOCK), carry), seen, noise, False)
                return action, carry

            rows = len(first)
            shape = -(-rows // BLOCK), BLOCK
            blocks = jax.tree.map(lambda leaf: jnp.resize(leaf, (*shape, *leaf.shape[1:])), (carry, seen, first))
            found = jax.lax.map(act, blocks)
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:rows], found)

        self._step = jax.jit(step)

    def with_settings(self, **changes: Any) -> "Policy":
        """The policy with other settings of its algorithm: `with_settings(num_simulations=800)` searches longer.

        Raises:
            BadSetting: there is no such setting, or what is learnt does not fit it.
        """
        algorithm = settings.build(self.algorithm.name, settings.describe(self.algorithm) | changes)
        like = jax.eval_shape(partial(_policy_state, algorithm, self.spec), jax.random.key(0))
        shapes, given = (jax.tree.map(np.shape, tree) for tree in (like, self.state))
        if shapes != given:
            raise BadSetting(f"What {self.algorithm.name} learnt does not fit {', '.join(changes)}.")
        return Policy(algorithm, self.spec, self.state, self.env)

    def with_state(self, state: PyTree) -> "Policy":
        """The policy with another state of the same training; both share what is compiled."""
        other = copy.copy(self)
        other.state = state
        return other

    def __call__(self, obs: Any) -> Any:
        """The action for one observation, or the actions for a batch of them (one more axis in front).

        Observations and actions of Dict and Tuple spaces are dictionaries and tuples of arrays, each with that axis. A
        policy with a memory acts as at the beginning of an episode; `player` remembers. One that plans is given a
        `Position` instead: the observation and the state of a compiled environment.

        Raises:
            BadSetting: the observation has another shape than those it was trained on.
        """
        seen, world = self._split(obs)
        rows = self.rows(seen)
        is_one = rows.shape == row_shape(self.spec.observation_space)
        if is_one:
            rows, world = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (rows, world))
        batch = len(rows) if rows.ndim else 0
        answers = self.player(batch)(Position(rows, world) if self.plans else rows, np.ones(batch, bool))
        return self.actions(answers[0] if is_one else answers)

    def _split(self, seen: Any) -> tuple[Any, PyTree]:
        """What is seen as an observation and a state; the state is () for policies that do not plan."""
        if not self.plans:
            return seen, ()
        if not isinstance(seen, Position):
            raise BadSetting(
                f"{self.algorithm.name} plans, so its policy is given a polyak.Position(obs, state) of a compiled "
                "environment; polyak.evaluate does so by itself."
            )
        return seen

    def rows(self, obs: Any) -> np.ndarray:
        """An observation, or a batch of them, as `player` takes them: see `polyak.spaces`."""
        space = self.spec.observation_space
        try:
            return to_rows(space, obs) if has_parts(space) else kept(space, obs)
        except ValueError as error:
            raise BadSetting(f"The policy reads observations of {space}, and of this one {error}.") from None

    def actions(self, rows: np.ndarray) -> Any:
        """The actions that `player` returned, as members of the action space."""
        space = self.spec.action_space
        return from_rows(space, rows) if has_parts(space) else in_own_type(space)(rows)

    def player(self, episodes: int) -> Callable[[Any, np.ndarray], np.ndarray]:
        """A function that acts in so many episodes side by side, with a memory of each if the agent has one.

        Returns:
            (obs [episodes, ...], first [episodes] bool, where an episode begins) -> the actions [episodes, ...]; rows
            where spaces have parts. It raises `BadSetting` for observations of another shape than those of training. Of
            a policy that plans obs is a `Position`.
        """
        space, carry = self.spec.observation_space, self.agent.start(episodes)
        shape = row_shape(space)

        def play(seen: Any, first: np.ndarray) -> np.ndarray:
            nonlocal carry
            obs, world = self._split(seen)
            obs = np.asarray(obs, storage_type(space))
            if obs.shape != (episodes, *shape):
                raise BadSetting(
                    f"The policy reads observations of shape {shape}, or a batch of them, not {obs.shape}."
                )
            action, carry = self._step(self.state, carry, Position(obs, world) if self.plans else obs, first)
            return np.asarray(action)

        return play

    def check_spaces(self, observed: gymnasium.Space, acted: gymnasium.Space, env: str) -> None:
        """Raises `BadSetting` unless the policy reads such observations and its actions suit such a space."""
        own = self.spec.observation_space
        if (has_parts(own) or has_parts(observed)) and parts(own) != parts(observed):
            raise BadSetting(f"The policy reads observations of {own}, and those of {env} are {observed}.")
        self.check_actions(acted, env)

    def check_simulates(self, env: Any) -> None:
        """Raises `BadSetting` unless a policy that plans can go on from the states of a compiled environment."""
        own: Any = self.spec.simulator
        if _state_shapes(own) != _state_shapes(env):
            raise BadSetting(f"The policy plans in {self.env}, whose states are not those of {env.id}.")

    def check_actions(self, space: gymnasium.Space, env: str) -> None:
        """Raises `BadSetting` unless its actions suit such a space."""
        own = self.spec.action_space
        if isinstance(own, gymnasium.spaces.Discrete) and isinstance(space, gymnasium.spaces.Discrete):
            own_start, start = int(own.start), int(space.start)
            fits = start <= own_start and own_start + int(own.n) <= start + int(space.n)
        elif isinstance(own, gymnasium.spaces.Box):
            fits = isinstance(space, gymnasium.spaces.Box) and own.shape == space.shape
        else:
            fits = own == space and parts(own) == parts(space)  # the order of parts counts too
        if not fits:
            raise BadSetting(f"The policy's actions are {own}, and those of {env} are {space}.")

    @property
    def tables(self) -> dict[str, np.ndarray]:
        """The tables that it keeps: `q` [S, A] action values, `v` [S] values, `pi` [S, A] probabilities.

        There are none where it has a network or features. Of two tables of q, as double Q-learning keeps them, it is
        the mean, by which it acts.
        """
        states, actions = _count(self.spec.observation_space), _count(self.spec.action_space)
        shapes = {"q": (states, actions), "v": (states,), "pi": (states, actions)}
        found = {}
        for name, shape in shapes.items():
            table = np.asarray(getattr(self.state, name, None))
            if table.shape == (2, *shape):
                table = table.mean(0)
            if table.shape == shape and table.dtype.kind == "f":
                found[name] = table
        return found

    def save(self, path: str | os.PathLike) -> None:
        """Writes the policy; the same policy gives the same bytes."""
        about = {
            "format": FORMAT,
            "algorithm": self.algorithm.name,
            "settings": settings.describe(self.algorithm),
            "env": self.env,
            "num_envs": self.spec.num_envs,
            "max_episode_steps": self.spec.max_episode_steps,
            "total_steps": self.spec.total_steps,
            "observation_space": space_to_json(self.spec.observation_space),
            "action_space": space_to_json(self.spec.action_space),
        }
        tensors.save(Path(path), self.state, about)


def load(path: str | os.PathLike, env: CompiledEnv | None = None) -> Policy:
    """Reads a policy that `Policy.save` wrote. The file holds numbers and names of polyak's own, and runs no code.

    Args:
        path: the file.
        env: of a policy that plans, the environment that it plans in, where that is one of your own.

    Raises:
        BadFile: it is missing, damaged, or not a policy of this version of polyak.
    """
    path = Path(path)
    about = tensors.about(path)
    if type(about.get("format")) is int and about["format"] > FORMAT:
        raise BadFile(f"{path} has format {about['format']}; this version of polyak reads formats 1 and {FORMAT}.")
    if about.get("format") != 1:  # which had nothing to verify
        about = tensors.verify(path)
    try:
        _DESCRIPTION(about, "")
        algorithm = settings.build(about["algorithm"], about["settings"])
        size = path.stat().st_size
        observed, acted = (space_from_json(about[name], size) for name in ("observation_space", "action_space"))
        states, actions = _count(observed) or 1, _count(acted) or 1
        if states * actions > max(SMALL_TABLE, 64 * size):
            raise ValueError(f"its file is too small for {states:,} states and {actions:,} actions")
        spec = Spec(observed, acted, about["num_envs"], about["max_episode_steps"], about["total_steps"])
        if getattr(algorithm, "plans", False):
            spec = spec._replace(simulator=env or own_environment(about["env"]))
        like = jax.eval_shape(partial(_policy_state, algorithm, spec), jax.random.key(0))
    except Error as error:
        raise BadFile(f"{path} does not describe a policy that can be: {_reason(error)}.") from error
    except Exception as error:  # of whatever kind: how an impossible agent fails is not foreseen
        raise BadFile(f"{path} does not describe a policy: {_reason(error)}.") from error
    return Policy(algorithm, spec, tensors.load(path, like), about["env"])


def _state_shapes(env: Any) -> PyTree:
    """The shapes and types of a compiled environment's state."""
    state = jax.eval_shape(lambda key: env.reset(env.noise(key, ()))[0], jax.random.key(0))
    leaves, structure = jax.tree.flatten(state)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _policy_state(algorithm: Algorithm, spec: Spec, key: jax.Array) -> PyTree:
    """The state of an untrained policy. Its agent is built here, so that tracing it allocates nothing."""
    agent = algorithm.agent(spec)
    return agent.policy(agent.init(key))


def _reason(error: Exception) -> str:
    """The beginning of what an error says, which may quote a space of thousands of parts."""
    return printable(str(error))[:REASON].rstrip(".") or type(error).__name__


def _count(space: gymnasium.Space) -> int | None:
    """The number of members of a Discrete space; None for another."""
    return int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else None
