"""`make` finds the fastest faithful version of an environment; one adapter a file."""

import warnings
from collections.abc import Callable

import gymnasium

from polyak.envs import from_envpool, from_gymnax, hidden, mdp, twins
from polyak.envs.advice import Caution, caution, check_spaces
from polyak.envs.atari import atari_game
from polyak.envs.base import AsGymnasium, CompiledEnv, HostEnv
from polyak.envs.calls import STEP_TIMEOUT, Restarts, check_timeout
from polyak.envs.from_ale import make_game
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.envs.games import SELF_PLAY
from polyak.envs.masks import MaskActions
from polyak.envs.mdp import MDP
from polyak.envs.one import make_one, name_of
from polyak.envs.own import OWN as WITHOUT_TABLES
from polyak.envs.walks import WALKS
from polyak.envs.worker_vector import WorkerVector
from polyak.errors import BadFile, BadSetting, UnknownName
from polyak.spaces import has_parts, parts

EnvLike = str | CompiledEnv | MDP | Callable[..., gymnasium.Env]

# what is polyak's own, by its id
OWN: dict[str, Callable[[], CompiledEnv]] = {
    **WITHOUT_TABLES,
    **{id: lambda id=id: mdp.walk(id).compiled() for id in WALKS},  # type: ignore[misc]
}
BACKENDS = ("gymnax", "envpool", "gymnasium", "masked")
# the ids that a compiled environment stands in for, proved equal by a test
TWINS = (*from_gymnax.TWINS, *twins.TWINS, *mdp.TWINS)
# A return of self-play tells only that somebody won; its policies are scored against an opponent: a perfect one, where
# 0 is the best return, or else one at random.
JUDGES = {id: f"{id}/random" for id in SELF_PLAY} | {"tic-tac-toe": "tic-tac-toe/perfect"}


def split(env: str) -> tuple[str | None, str]:
    """`gymnax:CartPole-v1` -> ("gymnax", "CartPole-v1"); the first is None where no version is forced."""
    backend, colon, id = env.partition(":")
    if not colon:
        return None, env
    if backend not in BACKENDS:
        raise UnknownName("kind of environment", backend, BACKENDS)
    return backend, id


def without_import(env: str) -> str:
    """The id, which comes from a file, unless making it would import a module that the file names (`module:Env-v0`).

    A user who types such an id wants that module; a user who opens a file did not ask for it.

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


def make(
    env: EnvLike,
    num_envs: int = 1,
    *,
    workers: int = 0,
    step_timeout: float = STEP_TIMEOUT,
    on_fault: str = "stop",
) -> CompiledEnv | HostEnv:
    """The fastest faithful version of an environment.

    Args:
        env: a Gymnasium id, or one with a prefix that forces a version (`gymnax:`, `envpool:`, `gymnasium:`) or puts
            its mask of actions beside its observations (`masked:`, see `MaskActions`); or a function that returns a
            `gymnasium.Env`, or an `MDP`, or a `CompiledEnv`.
        num_envs: how many are stepped side by side, where that is up to the environment; a compiled one is copied by
            the engine.
        workers: processes that step Gymnasium's environments in parallel, also where EnvPool would else be chosen; 0
            steps them in this process. They pay where a step takes about a millisecond or more; a CartPole is slower in
            them. An environment that hangs or dies with its process can be named, and made anew, only in a worker.
        step_timeout: seconds that a call of an environment in a worker may take; ten minutes are allowed for making it
            and for its first reset.
        on_fault: what to do when an environment of Gymnasium's raises, answers wrongly, hangs or dies: "stop" raises
            `EnvironmentFault`; "restart" makes it anew, cuts its episode as truncated, and tells of it in the vector's
            `faults`. More than ten restarts within 1,000 steps, or a fault in the very first reset, stop it even so.

    Returns:
        A compiled environment if there is one whose dynamics a test has proved equal to Gymnasium's; else Gymnasium's.
        Where EnvPool is installed, it steps BipedalWalker, which a test has proved to move alike, and plays Atari games
        as training wants them: `polyak.envs.atari` says how their ids choose a protocol. Other ids get EnvPool where
        they ask for it: on two cores it steps 8 CartPoles at half of Gymnasium's pace and 8 LunarLanders a quarter
        faster (benchmarks/environments.py); elsewhere, measure it. Ids that only EnvPool has, such as those of
        DeepMind's control suite, are evaluated on EnvPool too.

    Warns:
        Caution: it works, at a price: a picture stands among other parts of an observation.

    Raises:
        UnknownName: no version of that name; the message offers the nearest ones.
        EnvironmentFault: it cannot be made, usually because a package is missing; or its spaces cannot be taken.
        BadSetting: an argument is out of range, or `workers` is given for what no worker can step.
    """
    check_timeout(step_timeout)
    Restarts(on_fault)  # raises where it is not one of the words it knows
    if num_envs < 1:
        raise BadSetting(f"num_envs is {num_envs}; it takes at least one environment.")

    def vector(env: str | Callable[..., gymnasium.Env], name: str | None = None) -> HostEnv:
        if workers:
            return WorkerVector(env, num_envs, workers, name, step_timeout=step_timeout, on_fault=on_fault)
        return GymnasiumVector(env, num_envs, name, on_fault=on_fault, record_actions=True)

    found = _find(env, num_envs, vector, pool=not workers)
    if workers and not isinstance(found, WorkerVector):
        raise BadSetting(
            f"{name_of(env)} is compiled or pooled, so worker processes have nothing to step; leave workers out, or "
            "force Gymnasium's version with the prefix gymnasium: where there is one."
        )
    if price := caution(found.observation_space):
        warnings.warn(f"{found.id}: {price}", Caution, stacklevel=2)
    return found


def make_share(env: EnvLike, num_envs: int, first: int, of: int, name: str, on_fault: str) -> CompiledEnv | HostEnv:
    """Some of the environments that `make` would make, for a process that holds no more of them.

    Gymnasium's play the very episodes that these environments would play among all of them.

    Args:
        env: as in `make`.
        num_envs: how many.
        first: where they stand among all of them.
        of: how many there are in all.
        name: how it is called in messages.
        on_fault: as in `make`.
    """

    def vector(env: str | Callable[..., gymnasium.Env], own_name: str | None = None) -> HostEnv:
        return GymnasiumVector(
            env, num_envs, own_name or name, on_fault=on_fault, record_actions=True, first=first, of=of
        )

    return _find(env, num_envs, vector, pool=True)


def _find(env: EnvLike, num_envs: int, vector: Callable[..., HostEnv], pool: bool) -> CompiledEnv | HostEnv:
    """`vector` makes Gymnasium's version; `pool` is whether EnvPool may be chosen without being asked for."""
    if isinstance(env, CompiledEnv):
        check_spaces(env.id, env.observation_space, env.action_space)
        return env
    if isinstance(env, MDP):
        return env.compiled()
    if not isinstance(env, str):
        if isinstance(env, gymnasium.Env) or not callable(env):
            raise BadSetting(
                f"polyak makes as many environments as it needs, so it takes an id or a function that returns one, "
                f"not {type(env).__name__}; pass its class, or `lambda: MyEnv(...)`."
            )
        return vector(env)
    backend, id = split(env)
    if backend == "masked" and id in OWN:
        raise BadSetting(f"{id} is polyak's own, and shows a mask where it has one; take it as {id}, not as {env}.")
    if id in OWN:
        own = OWN[id]()  # once, so that its copies share what is compiled
        return own if backend is None else vector(lambda: AsGymnasium(own), id)
    if backend is None and id in hidden.HIDDEN and hidden.HIDDEN[id].of in from_gymnax.TWINS:
        return hidden.hide(from_gymnax.make(hidden.HIDDEN[id].of), id)
    if backend == "gymnax" or (backend is None and id in from_gymnax.TWINS):
        return from_gymnax.make(id)
    if backend is None and id in twins.TWINS:
        return twins.TWINS[id]()
    if backend is None and id in mdp.TWINS:
        return MDP.from_gymnasium(id).compiled()
    if backend == "masked":
        return vector(lambda: MaskActions(make_one(id)), f"masked:{id}")
    if backend == "envpool" or (pool and backend is None and _is_for_envpool(id)):
        return from_envpool.make(id, num_envs)
    return vector(id)


def _is_for_envpool(id: str) -> bool:
    """Whether EnvPool is chosen unasked: for its twins, and for Atari games whose ids do not begin with ALE."""
    fast = id in from_envpool.TWINS or (atari_game(id) is not None and not id.startswith("ALE/"))
    return fast and from_envpool.is_installed()


def own_environment(id: str) -> CompiledEnv | None:
    """The compiled environment that polyak itself has by that id; None where it has none. Nothing is imported for it
    that the id names.
    """
    if id in OWN:
        return OWN[id]()
    if id in hidden.HIDDEN or id in from_gymnax.TWINS or id in twins.TWINS or id in mdp.TWINS:
        found = make(id)
        return found if isinstance(found, CompiledEnv) else None
    return None


def make_judge(env: EnvLike) -> CompiledEnv:
    """The compiled environment in which a policy that plans is evaluated; of self-play, the game against its judge.

    Raises:
        BadSetting: there is no compiled one.
    """
    found = make(JUDGES.get(env, env) if isinstance(env, str) else env)
    if isinstance(found, CompiledEnv):
        return found
    found.close()
    raise BadSetting(f"{found.id} is stepped from Python, and a policy that plans goes on from states it is shown.")


def make_original(env: EnvLike, render_mode: str | None = None) -> gymnasium.Env:
    """One environment in Gymnasium, for evaluating and watching, so that no compiled twin can flatter a policy.

    Environments that Gymnasium does not have (probes, games, gymnax's own, EnvPool's own) are put behind its interface;
    they cannot be drawn. What was learnt by self-play is evaluated against an opponent, its judge. An Atari game is a
    whole one here, and its rewards are its own.
    """
    if isinstance(env, str):
        backend, id = split(env)
        if id in OWN:
            return AsGymnasium(OWN[JUDGES.get(id, id)]())
        if backend == "gymnax" and id not in from_gymnax.TWINS:
            return AsGymnasium(from_gymnax.make(id))
        if backend == "masked":
            return MaskActions(make_one(id, render_mode))
        if game := atari_game(id):
            return make_game(game, render_mode, scored=True)
        return _original_of_pool(id, render_mode) if backend == "envpool" else make_one(id, render_mode)
    if isinstance(env, MDP):
        env = env.compiled()
    return AsGymnasium(env) if isinstance(env, CompiledEnv) else make_one(env, render_mode)


def _original_of_pool(id: str, render_mode: str | None) -> gymnasium.Env:
    """Gymnasium's own version, or EnvPool's where Gymnasium has none, or one whose observations have other parts."""
    if id not in gymnasium.registry:
        return from_envpool.make_one(id)
    original = make_one(id, render_mode)
    if not has_parts(original.observation_space) or not from_envpool.has(id):
        return original
    pooled = from_envpool.make_one(id)
    if parts(pooled.observation_space) == parts(original.observation_space):
        return original
    original.close()
    return pooled
