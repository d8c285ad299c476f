"""What a user keeps of a training: a function from observations to actions, and the file that holds it."""

import os
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np

from polyak import settings
from polyak.agent import Algorithm, PyTree, Spec
from polyak.errors import BadFile, BadSetting
from polyak.runs import tensors
from polyak.spaces import storage_type

FORMAT = 1


class Policy:
    """A trained, greedy policy: NumPy in, NumPy out.

    Attributes:
        algorithm: with its hyperparameters.
        spec: of the task it was trained on.
        env: the id of the environment, for `evaluate` and `watch`.
        state: what was learnt, as much of the agent's state as acting needs.
    """

    def __init__(self, algorithm: Algorithm, spec: Spec, state: PyTree, env: str):
        self.algorithm, self.spec, self.env = algorithm, spec, env
        self.state = state
        agent = algorithm.agent(spec)

        def act(state: PyTree, obs: PyTree) -> PyTree:
            batch = obs.shape[0]
            noise = agent.noise(jax.random.key(0), (batch,))  # a greedy policy has no use for it
            return agent.act(state, agent.start(batch), obs, noise, False)[0]

        self._act = jax.jit(act)

    def __call__(self, obs: Any) -> np.ndarray:
        """The action for one observation, or the actions for a batch of them (one more axis in front).

        Raises:
            BadSetting: the observation has another shape than those it was trained on.
        """
        space = self.spec.observation_space
        obs = np.asarray(obs, storage_type(space))
        shape = space.shape or ()
        if obs.shape == shape:
            return np.asarray(self._act(self.state, obs[None]))[0]
        if obs.shape[1:] == shape and obs.ndim == len(shape) + 1:
            return np.asarray(self._act(self.state, obs))
        raise BadSetting(f"The policy reads observations of shape {shape}, or a batch of them, not {obs.shape}.")

    @property
    def tables(self) -> dict[str, np.ndarray]:
        """What it keeps for every state: `q` [S, A] action values, `v` [S] values, `pi` [S, A] probabilities.

        Those that there are; none where networks or features stand for states. Of two tables of q, as double
        Q-learning keeps them, the mean, by which it acts.
        """
        states, actions = (getattr(space, "n", None) for space in (self.spec.observation_space, self.spec.action_space))
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
            "observation_space": _space_to_json(self.spec.observation_space),
            "action_space": _space_to_json(self.spec.action_space),
        }
        tensors.save(Path(path), self.state, about)


def load(path: str | os.PathLike) -> Policy:
    """Reads what `Policy.save` wrote. Nothing in the file can run: it holds numbers, and names from polyak's own lists.

    Raises:
        BadFile: it is missing, damaged, or not a policy of this version of polyak.
    """
    path = Path(path)
    about = tensors.about(path)
    if about.get("format") != FORMAT:
        raise BadFile(f"{path} has format {about.get('format')!r}; this version of polyak reads format {FORMAT}.")
    try:
        algorithm = settings.build(about["algorithm"], about["settings"])
        spec = Spec(
            _space_from_json(about["observation_space"]),
            _space_from_json(about["action_space"]),
            int(about["num_envs"]),
            about["max_episode_steps"],
            int(about["total_steps"]),
        )
        env = str(about["env"])
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise BadFile(f"{path} does not describe a policy: {error!r}.") from error
    agent = algorithm.agent(spec)
    like = jax.eval_shape(lambda key: agent.policy(agent.init(key)), jax.random.key(0))
    return Policy(algorithm, spec, tensors.load(path, like), env)


def _space_to_json(space: gymnasium.Space) -> dict[str, Any]:
    if isinstance(space, gymnasium.spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gymnasium.spaces.Box):
        bounds = {"low": _numbers(space.low), "high": _numbers(space.high)}
        return {"kind": "Box", "shape": list(space.shape), "dtype": np.dtype(space.dtype).name, **bounds}
    raise BadSetting(f"A policy for {space} cannot be saved; polyak keeps Box and Discrete spaces.")


def _numbers(bound: np.ndarray) -> list[str]:
    """One number if all are equal, else all of them; as text, because JSON has no infinity."""
    values = bound.ravel()
    return [repr(value.item()) for value in (values[:1] if (values == values[0]).all() else values)]


def _space_from_json(found: dict[str, Any]) -> gymnasium.Space:
    if found["kind"] == "Discrete":
        return gymnasium.spaces.Discrete(int(found["n"]), start=int(found["start"]))
    if found["kind"] == "Box":
        shape, dtype = tuple(int(size) for size in found["shape"]), np.dtype(str(found["dtype"]))
        if dtype.kind not in "biuf":
            raise ValueError(f"a Box of {dtype}")
        low, high = (_bound(found[end], shape).astype(dtype) for end in ("low", "high"))
        return gymnasium.spaces.Box(low, high, shape, dtype.type)
    raise ValueError(f"a space of kind {found['kind']!r}")


def _bound(numbers: list[str], shape: tuple[int, ...]) -> np.ndarray:
    values = np.array([float(number) for number in numbers])
    return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
