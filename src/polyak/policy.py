"""What a user keeps of a training: a function from observations to actions, and the file that holds it."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np

from polyak import settings
from polyak.agent import Algorithm, PyTree, Spec
from polyak.engines.common import choose
from polyak.errors import BadFile, BadSetting, Error
from polyak.runs import tensors
from polyak.runs.documents import array, mapping, maybe, one_of, record, setting, text, whole
from polyak.spaces import storage_type

FORMAT = 2  # 1 is read too: the same without a SHA-256
BOX_TYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()
SMALL = 2**16  # entries that a space may have whatever the size of the file
SMALL_TABLE = 2**22  # the same for states times actions, each of which a given policy has a probability for

_ENTRIES = 2**40
_numbers_as_text = array(text(40), least=1, most=2**24)
_SPACES = {
    "Discrete": record({"kind": text(8), "n": whole(1, _ENTRIES), "start": whole(-(2**62), 2**62)}),
    "Box": record(
        {
            "kind": text(8),
            "shape": array(whole(0, _ENTRIES), most=32),
            "dtype": one_of(BOX_TYPES),
            "low": _numbers_as_text,
            "high": _numbers_as_text,
        }
    ),
}


def _check_space(value: Any, place: str) -> None:
    record({"kind": one_of(_SPACES)}, closed=False)(value, place)
    _SPACES[value["kind"]](value, place)


_DESCRIPTION = record(
    {
        "format": one_of([1, FORMAT]),
        "algorithm": text(200),
        "settings": mapping(text(200), setting),
        "env": text(200),
        "num_envs": whole(1, 2**31 - 1),
        "max_episode_steps": maybe(whole(1, 2**53)),
        "total_steps": whole(1, 2**53),
        "observation_space": _check_space,
        "action_space": _check_space,
    }
)


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
        self._agent = agent = algorithm.agent(spec)

        def step(state: PyTree, carry: PyTree, obs: PyTree, first: jax.Array) -> tuple[PyTree, PyTree]:
            batch = obs.shape[0]
            carry = choose(first, agent.start(batch), carry)
            noise = agent.noise(jax.random.key(0), (batch,))  # a greedy policy has no use for it
            action, carry, _ = agent.act(state, carry, obs, noise, False)
            return action, carry

        self._step = jax.jit(step)

    def __call__(self, obs: Any) -> np.ndarray:
        """The action for one observation, or the actions for a batch of them (one more axis in front).

        A policy with a memory acts as it does where episodes begin; `player` remembers what it saw in them.

        Raises:
            BadSetting: the observation has another shape than those it was trained on.
        """
        obs = np.asarray(obs)
        if obs.shape == (self.spec.observation_space.shape or ()):
            return self.player(1)(obs[None], np.ones(1, bool))[0]
        batch = len(obs) if obs.ndim else 0
        return self.player(batch)(obs, np.ones(batch, bool))

    def player(self, episodes: int) -> Callable[[Any, np.ndarray], np.ndarray]:
        """Plays that many episodes side by side, and remembers what it saw in each if the agent has a memory.

        Returns:
            (obs [episodes, ...], first [episodes] bool, where an episode begins) -> the actions [episodes, ...]. It
            raises `BadSetting` for observations of another shape than those that the policy was trained on.
        """
        space, carry = self.spec.observation_space, self._agent.start(episodes)
        shape = space.shape or ()

        def play(obs: Any, first: np.ndarray) -> np.ndarray:
            nonlocal carry
            obs = np.asarray(obs, storage_type(space))
            if obs.shape != (episodes, *shape):
                raise BadSetting(
                    f"The policy reads observations of shape {shape}, or a batch of them, not {obs.shape}."
                )
            action, carry = self._step(self.state, carry, obs, first)
            return np.asarray(action)

        return play

    def check_actions(self, space: gymnasium.Space, env: str) -> None:
        """Raises `BadSetting` where its actions are none of the environment's."""
        own = self.spec.action_space
        if isinstance(own, gymnasium.spaces.Discrete) and isinstance(space, gymnasium.spaces.Discrete):
            own_start, start = int(own.start), int(space.start)
            fits = start <= own_start and own_start + int(own.n) <= start + int(space.n)
        else:
            fits = type(own) is type(space) and own.shape == space.shape
        if not fits:
            raise BadSetting(f"The policy's actions are {own}, and those of {env} are {space}.")

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
    if type(about.get("format")) is int and about["format"] > FORMAT:
        raise BadFile(f"{path} has format {about['format']}; this version of polyak reads formats 1 and {FORMAT}.")
    if about.get("format") != 1:  # which had nothing to verify
        about = tensors.verify(path)
    try:
        _DESCRIPTION(about, "")
        algorithm = settings.build(about["algorithm"], about["settings"])
        size = path.stat().st_size
        observed, acted = (_space_from_json(about[name], size) for name in ("observation_space", "action_space"))
        states, actions = (int(getattr(space, "n", 1)) for space in (observed, acted))
        if states * actions > max(SMALL_TABLE, 64 * size):
            raise ValueError(f"its file is too small for {states:,} states and {actions:,} actions")
        spec = Spec(observed, acted, about["num_envs"], about["max_episode_steps"], about["total_steps"])
        agent = algorithm.agent(spec)
        like = jax.eval_shape(lambda key: agent.policy(agent.init(key)), jax.random.key(0))
    except Error as error:
        raise BadFile(f"{path} does not describe a policy that can be: {error}") from error
    except Exception as error:  # of whatever kind: how an agent fails that nobody could have built is not foreseen
        reason = str(error).partition("\n")[0][:200].rstrip(".") or type(error).__name__
        raise BadFile(f"{path} does not describe a policy: {reason}.") from error
    return Policy(algorithm, spec, tensors.load(path, like), about["env"])


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


def _space_from_json(found: dict[str, Any], file_size: int) -> gymnasium.Space:
    """A space that has passed `_check_space`; raises `ValueError`, before it allocates, if its file is too small.

    What is learnt has at least a number for each entry of what it reads, so that an honest file is larger than that.
    """
    shape = (found["n"],) if found["kind"] == "Discrete" else tuple(found["shape"])
    if math.prod(shape) > max(SMALL, file_size):
        raise ValueError(f"its file is too small for a space of {math.prod(shape):,} entries")
    if found["kind"] == "Discrete":
        return gymnasium.spaces.Discrete(found["n"], start=found["start"])
    dtype = np.dtype(found["dtype"])
    with np.errstate(all="raise"):
        low, high = (_bound(found[end], shape, dtype) for end in ("low", "high"))
    return gymnasium.spaces.Box(low, high, shape, dtype.type)


def _bound(numbers: list[str], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    read = float if dtype.kind == "f" else int if dtype.kind in "iu" else ("False", "True").index
    values = np.array([read(number) for number in numbers], dtype)
    if np.isnan(values).any():
        raise ValueError("a bound is not a number")
    return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
