"""One Gymnasium environment, and how it is called."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

import gymnasium

from polyak.envs import hidden
from polyak.envs.atari import IDS, atari_game
from polyak.envs.walks import WALKS
from polyak.errors import EnvironmentFault, Error, UnknownName

# How the ids of Gymnasium-Robotics begin.
ROBOTICS = ("Fetch", "HandReach", "HandManipulate", "AdroitHand", "PointMaze_", "AntMaze_", "FrankaKitchen-")


def make_one(env: str | Callable[..., gymnasium.Env], render_mode: str | None = None) -> gymnasium.Env:
    """One Gymnasium environment from its id or from a function that makes it.

    Raises:
        UnknownName: Gymnasium has no such id, nor has a package that is known to register it.
        EnvironmentFault: the environment cannot be made.
    """
    if isinstance(env, str) and env.startswith("MinAtar/"):
        register_minatar()
    if isinstance(env, str) and env.startswith(ROBOTICS) and env not in gymnasium.registry:
        register_robotics()
    if isinstance(env, str) and env in hidden.HIDDEN:
        hidden.register()
    if isinstance(env, str) and (game := atari_game(env)):
        from polyak.envs.from_ale import make_game

        return make_game(game, render_mode)
    how: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}  # not every environment takes it
    try:
        if isinstance(env, str):
            return gymnasium.make(env, disable_env_checker=True, **how)
        made = env(**how)
    except Error:  # of a function that calls this one
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvironmentFault(f"{env} needs a package that is not installed: {first_line(error)}") from error
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        from polyak.envs import from_envpool
        from polyak.envs.own import OWN  # with JAX, which processes that only step do without

        known = {*gymnasium.registry, *OWN, *WALKS, *IDS, *hidden.HIDDEN}
        if from_envpool.has(str(env)):
            known = {f"envpool:{env}"}
        raise UnknownName("environment", str(env), known, "see `polyak list envs`.") from error
    except Exception as error:
        raise EnvironmentFault(f"{name_of(env)} could not be made: {said(error)}") from error
    if not isinstance(made, gymnasium.Env):
        raise EnvironmentFault(f"{name_of(env)} returned {type(made).__name__}; expected a gymnasium.Env.")
    return made


def time_limit(env: gymnasium.Env) -> int | None:
    """The steps after which an environment says that it truncates an episode; None where it says nothing."""
    return env.spec.max_episode_steps if env.spec else getattr(env, "max_episode_steps", None)


def register_minatar() -> None:
    """Registers the MinAtar ids, which that package leaves to its users."""
    if "MinAtar/Breakout-v1" in gymnasium.registry:
        return
    try:
        import minatar.gym
    except ImportError:
        raise EnvironmentFault("MinAtar is not installed; `pip install polyak[minatar]` brings it.") from None
    minatar.gym.register_envs()


def register_robotics() -> None:
    """Registers the ids of Gymnasium-Robotics, which importing it does; what it says of old versions is not shown."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import gymnasium_robotics  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            f"Gymnasium-Robotics cannot be imported ({said(error)}); `pip install polyak[robotics]` brings it."
        ) from None


def name_of(env: Any) -> str:
    """How an environment is called in messages and run folders: its id, or the name of the function that makes it."""
    return env if isinstance(env, str) else str(getattr(env, "id", getattr(env, "__name__", type(env).__name__)))


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).splitlines() or [""])[0]


def said(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero`."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
