"""What Gymnasium environments say a step is worth under any goal, as functions that training can compile.

Gymnasium-Robotics has a name for it: `compute_reward(achieved_goal, desired_goal, info)` and `compute_terminated` with
the same arguments. Here they are asked of an environment that is never stepped, with an empty `info`.
"""

import copy
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Goal
from polyak.envs.base import AsGymnasium, CompiledEnv, HostEnv
from polyak.envs.making import EnvLike, make_original
from polyak.envs.one import said
from polyak.errors import EnvironmentFault
from polyak.spaces import goals_of

TRIED = 3  # pairs of goals with which a function is tried

Function = Callable[[Array, Array], Array]  # achieved and desired goals [..., *goal] -> answers [...]


class GoalFunctions:
    """The functions of one environment, as long as it is open.

    A function that JAX can trace, one goal at a time, becomes a part of the program. Any other is called from it: once
    for all pairs of goals where it answers rows of them as it answers each, else once a pair.

    Attributes:
        goal: for `Spec`; None where observations have no goals or the environment does not tell what they are worth.
        fault: the first that a call has met. Its answers are NaN, which ends training.
    """

    goal: Goal | None = None
    fault: EnvironmentFault | None = None

    def __init__(self, env: EnvLike, made: CompiledEnv | HostEnv):
        self._env: gymnasium.Env | None = None
        if isinstance(made, CompiledEnv):
            self.goal = made.goal
        elif (goals := goals_of(made.observation_space)) and goals[0].space.shape == goals[1].space.shape:
            self._id, self._env = made.id, make_original(env)
            self.goal = self._found(self._env, goals[0].space, goals[1].space)

    def close(self) -> None:
        """Closes the environment that is asked."""
        if self._env:
            self._env.close()

    def check(self) -> None:
        """Raises the fault, if there was one."""
        if self.fault:
            raise self.fault

    def _found(self, env: gymnasium.Env, *spaces: gymnasium.Space) -> Goal | None:
        """For goals of these spaces, achieved and desired."""
        if isinstance(env.unwrapped, AsGymnasium):
            return env.unwrapped.goal
        reward = self._function(env, "compute_reward", np.float32, *spaces)
        return Goal(reward, self._function(env, "compute_terminated", np.bool_, *spaces)) if reward else None

    def _function(
        self, env: gymnasium.Env, name: str, kind: Any, achieved: gymnasium.Space, desired: gymnasium.Space
    ) -> Function | None:
        """A method of the environment, with answers of type `kind`; None where it has none."""
        if not env.has_wrapper_attr(name):
            return None
        method = env.get_wrapper_attr(name)

        def asked(achieved_goal: Any, desired_goal: Any) -> Any:
            return method(achieved_goal, desired_goal, {})

        pairs = _pairs(achieved, desired)
        try:
            alone = np.array([asked(*pair) for pair in zip(*pairs, strict=True)], np.float64)
        except NotImplementedError:  # of the base class of Gymnasium-Robotics
            return None
        except Exception:  # is told of where it is asked in earnest
            alone = np.zeros(0)
        traced = _traced(asked, kind, achieved, desired)
        if _agrees(lambda: jax.jit(traced)(*pairs), alone):
            return traced
        return self._called(asked, name, kind, achieved, desired, at_once=_agrees(lambda: asked(*pairs), alone))

    def _called(
        self,
        asked: Callable[[Any, Any], Any],
        name: str,
        kind: Any,
        achieved: gymnasium.Space,
        desired: gymnasium.Space,
        at_once: bool,
    ) -> Function:
        """A function that calls Python from the program; `at_once` says whether for all pairs of goals together."""
        rank = len(achieved.shape or ())

        def answer(a: np.ndarray, d: np.ndarray) -> np.ndarray:
            # It must not raise, or JAX would print more than a sentence.
            found, fault = _answers(asked, _members(achieved, a), _members(desired, d), at_once)
            if fault and not self.fault:
                self.fault = EnvironmentFault(f"{self._id}: {name} {fault}.")
            return found.reshape(a.shape[: a.ndim - rank]).astype(kind)

        def called(a: Array, d: Array) -> Array:
            like = jax.ShapeDtypeStruct(a.shape[: a.ndim - rank], kind)
            return jax.pure_callback(answer, like, a, d, vmap_method="broadcast_all")

        return called


def _traced(asked: Callable[[Any, Any], Any], kind: Any, *spaces: gymnasium.Space) -> Function:
    """A function that is a part of the program, for goals of these spaces."""
    types = [jax.dtypes.canonicalize_dtype(space.dtype) for space in spaces]
    shape = spaces[0].shape or ()

    def traced(a: Array, d: Array) -> Array:
        rows = [goals.reshape(-1, *shape).astype(own) for goals, own in zip((a, d), types, strict=True)]
        answers = jax.vmap(lambda *pair: jnp.asarray(asked(*pair), kind))(*rows)
        return answers.reshape(a.shape[: a.ndim - len(shape)])

    return traced


def _answers(
    asked: Callable[[Any, Any], Any], achieved: np.ndarray, desired: np.ndarray, at_once: bool
) -> tuple[np.ndarray, str]:
    """Answers [N] to pairs of goals [N, *goal], NaN where there is a fault; and what is wrong, or ""."""
    count = len(achieved)
    try:
        found = asked(achieved, desired) if at_once else [asked(*pair) for pair in zip(achieved, desired, strict=True)]
        numbers = np.asarray(found, np.float64)
    except Exception as error:
        return np.full(count, np.nan), f"raised {said(error)}"
    if numbers.shape != (count,):
        return np.full(count, np.nan), f"returned shape {numbers.shape} for {count} goals; expected a number each"
    if not np.isfinite(numbers).all():
        return np.full(count, np.nan), f"returned {numbers[~np.isfinite(numbers)][0]}; expected finite numbers"
    return numbers, ""


def _pairs(achieved: gymnasium.Space, desired: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    """Some achieved and desired goals [N, *goal], always the same; the first of them are equal."""
    drawn = []
    for seed, space in enumerate((achieved, desired)):
        own = copy.deepcopy(space)  # environments may draw their goals from the other
        own.seed(seed)
        drawn.append(np.stack([own.sample() for _ in range(TRIED)]))
    drawn[1][0] = drawn[0][0]
    return drawn[0], drawn[1]


def _agrees(together: Callable[[], Any], alone: np.ndarray) -> bool:
    """Whether pairs of goals are answered as each of them alone [N], in the precision of rows."""
    if not (alone.shape == (TRIED,) and np.isfinite(alone).all()):
        return False
    try:
        found = np.asarray(together())
        return found.shape == (TRIED,) and bool(np.allclose(found, alone, rtol=1e-4, atol=1e-6))
    except Exception:  # NumPy, and Python's numbers and branches, cannot be traced; others know no rows
        return False


def _members(space: gymnasium.Space, goals: np.ndarray) -> np.ndarray:
    """Goals [..., *goal], as they are kept in rows, as members of their space [N, *goal]."""
    goals = np.asarray(goals).reshape(-1, *(space.shape or ()))
    return (goals if np.dtype(space.dtype).kind == "f" else np.rint(goals)).astype(space.dtype)
