"""`make` finds the fastest faithful version of an environment; one adapter a file."""

from collections.abc import Callable

import gymnasium

from polyak.envs import from_envpool, from_gymnax, mdp
from polyak.envs.base import AsGymnasium, CompiledEnv, HostEnv
from polyak.envs.from_gymnasium import GymnasiumVector, make_one, name_of
from polyak.envs.mdp import MDP
from polyak.envs.probes import PROBES
from polyak.envs.tictactoe import GAMES
from polyak.errors import BadFile, BadSetting, UnknownName

EnvLike = str | CompiledEnv | MDP | Callable[..., gymnasium.Env]

BACKENDS = ("gymnax", "envpool", "gymnasium")
TWINS = (*from_gymnax.TWINS, *mdp.TWINS)  # the ids that a compiled environment stands in for, proved equal by a test
OWN = {**PROBES, **GAMES}  # polyak's own environments
# Against itself everyone draws in the end: what self-play has taught is scored against who never errs, where 0 is best.
JUDGES = {"tic-tac-toe": "tic-tac-toe/perfect"}


def split(env: str) -> tuple[str | None, str]:
    """`gymnax:CartPole-v1` -> ("gymnax", "CartPole-v1"); the first is None where no version is forced."""
    backend, colon, id = env.partition(":")
    if not colon:
        return None, env
    if backend not in BACKENDS:
        raise UnknownName("kind of environment", backend, BACKENDS)
    return backend, id


def without_import(env: str) -> str:
    """An id that was found in a file, if making it imports no module that the file names: `module:Env-v0` does.

    Who gives such an id himself wants that module; who opens a file did not ask for it.

    Raises:
        BadFile: it would.
    """
    prefix, colon, id = env.partition(":")
    if (colon and prefix not in BACKENDS) or ":" in (id if colon else prefix):
        raise BadFile(
            f"The environment {env!r} comes from a file and names a module, which polyak does not import for a file; "
            "if you trust it, give the environment yourself, with --env."
        )
    return env


def make(env: EnvLike, num_envs: int = 1) -> CompiledEnv | HostEnv:
    """The fastest faithful version of an environment.

    Args:
        env: a Gymnasium id, or one with a prefix that forces a version (`gymnax:`, `envpool:`, `gymnasium:`), or a
            function that returns a `gymnasium.Env`, or an `MDP`, or a `CompiledEnv`.
        num_envs: how many are stepped side by side, where that is up to the environment; a compiled one is copied by
            the engine.

    Returns:
        A compiled environment if there is one whose dynamics a test has proved equal to Gymnasium's; else Gymnasium's.
        EnvPool is used where it is asked for: on two cores it steps 8 CartPoles at half of Gymnasium's pace and 8
        LunarLanders a quarter faster (benchmarks/environments.py); what it gains elsewhere is for the user to judge.

    Raises:
        UnknownName: no version of that name; the message offers the nearest ones.
        EnvironmentFault: it cannot be made, usually because a package is missing.
    """
    if num_envs < 1:
        raise BadSetting(f"num_envs is {num_envs}; it takes at least one environment.")
    if isinstance(env, CompiledEnv):
        return env
    if isinstance(env, MDP):
        return env.compiled()
    if not isinstance(env, str):
        if isinstance(env, gymnasium.Env) or not callable(env):
            raise BadSetting(
                f"polyak makes as many environments as it needs, so it takes an id or a function that returns one, "
                f"not {type(env).__name__}; pass its class, or `lambda: MyEnv(...)`."
            )
        return GymnasiumVector(env, num_envs)
    backend, id = split(env)
    if id in OWN:
        return OWN[id]() if backend is None else GymnasiumVector(lambda: AsGymnasium(OWN[id]()), num_envs, id)
    if backend == "gymnax" or (backend is None and id in from_gymnax.TWINS):
        return from_gymnax.make(id)
    if backend is None and id in mdp.TWINS:
        return MDP.from_gymnasium(id).compiled()
    if backend == "envpool":
        return from_envpool.EnvPoolVector(id, num_envs)
    return GymnasiumVector(id, num_envs)


def make_original(env: EnvLike, render_mode: str | None = None) -> gymnasium.Env:
    """One environment in Gymnasium, for evaluating and watching, so that no compiled twin can flatter a policy.

    Environments that Gymnasium does not have (probes, games, gymnax's own) are put behind its interface; they cannot be
    drawn. What was learnt by self-play is evaluated against a perfect player.
    """
    if isinstance(env, str):
        backend, id = split(env)
        if id in OWN:
            return AsGymnasium(OWN[JUDGES.get(id, id)]())
        if backend == "gymnax" and id not in from_gymnax.TWINS:
            return AsGymnasium(from_gymnax.make(id))
        return make_one(id, render_mode)
    if isinstance(env, MDP):
        env = env.compiled()
    return AsGymnasium(env) if isinstance(env, CompiledEnv) else make_one(env, render_mode)


__all__ = [
    "BACKENDS",
    "MDP",
    "TWINS",
    "CompiledEnv",
    "EnvLike",
    "HostEnv",
    "make",
    "make_original",
    "name_of",
    "split",
    "without_import",
]
