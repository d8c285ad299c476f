"""Gymnasium environments, stepped side by side from Python, with every answer checked.

Gymnasium's own vector classes would do the stepping; this one exists because it names the environment, the step and the
expectation when something is wrong, at no cost in speed (benchmarks/environments.py).
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import gymnasium
import numpy as np

from polyak.envs import calls, hidden, snapshot
from polyak.envs.advice import check_spaces
from polyak.envs.atari import IDS, atari_game
from polyak.envs.base import EpisodeSeeds, HostStep, Score
from polyak.envs.calls import CLOSE, FIRST_RESET, MAKE, RESET, STEP, Call, Restarts, show_action
from polyak.errors import EnvironmentFault, Error, UnknownName
from polyak.spaces import from_rows, has_parts, in_own_type, leaves_a_choice, mask_of, row_shape, storage_type, to_rows


def make_one(env: str | Callable[..., gymnasium.Env], render_mode: str | None = None) -> gymnasium.Env:
    """One Gymnasium environment from its id or from a function that makes it.

    Raises:
        UnknownName: Gymnasium has no such id, nor has a package that is known to register it.
        EnvironmentFault: the environment cannot be made.
    """
    if isinstance(env, str) and env.startswith("MinAtar/"):
        register_minatar()
    if isinstance(env, str) and env in hidden.HIDDEN:
        hidden.register()
    if isinstance(env, str) and (game := atari_game(env)):
        from polyak.envs.from_ale import make_game

        return make_game(game, render_mode)
    try:
        if isinstance(env, str):
            return gymnasium.make(env, render_mode=render_mode, disable_env_checker=True)
        made = env() if render_mode is None else env(render_mode=render_mode)
    except Error:  # of a function that calls this one
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvironmentFault(f"{env} needs a package that is not installed: {first_line(error)}") from error
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        from polyak.envs.making import OWN

        known = {*gymnasium.registry, *OWN, *IDS, *hidden.HIDDEN}
        raise UnknownName("environment", str(env), known, "see `polyak list envs`.") from error
    except Exception as error:
        raise EnvironmentFault(f"{name_of(env)} could not be made: {describe(error)}") from error
    if not isinstance(made, gymnasium.Env):
        raise EnvironmentFault(f"{name_of(env)} returned {type(made).__name__}; expected a gymnasium.Env.")
    return made


def register_minatar() -> None:
    """Registers the MinAtar ids, which that package leaves to its users."""
    if "MinAtar/Breakout-v1" in gymnasium.registry:
        return
    try:
        import minatar.gym
    except ImportError:
        raise EnvironmentFault("MinAtar is not installed; `pip install polyak[minatar]` brings it.") from None
    minatar.gym.register_envs()


def name_of(env: Any) -> str:
    """How an environment is called in messages and run folders: its id, or the name of the function that makes it."""
    return env if isinstance(env, str) else str(getattr(env, "id", getattr(env, "__name__", type(env).__name__)))


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).splitlines() or [""])[0]


def describe(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero`."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


LONGEST_REPLAY = 100_000  # steps of an episode that are worth playing again


class GymnasiumVector:
    """B Gymnasium environments, one after the other in this process; see `HostEnv`.

    Every episode begins with a seed of its own: a function of the vector's seed, the environment and the number of the
    episode. So an episode can be had again from its seed and its actions.

    Args:
        env: an id, or a function that returns a `gymnasium.Env`.
        num_envs: how many of them.
        name: how it is called in messages; by default its id or the function's name.
        on_fault: "stop" raises `EnvironmentFault`; "restart" makes the environment anew and cuts its episode as
            truncated, with the last good observation as successor and reward 0.
        first: where these environments stand among those of the vector that they are a part of.
        of: how many that vector has; by default these are all.

    Attributes:
        episodes: the number of the present episode of each environment, from 0.
        seeds: the seed that it began with.
        steps: steps taken in it.
        record_actions: whether `actions` is kept, without which `snapshot` has nothing to replay.
        keeps_score: whether its environments tell in `info` what a step scored and whether the whole game is over.
        actions: the first actions of the present episode of each environment, from the next episode on.
        faults: a sentence for each fault that was got over.
    """

    def __init__(
        self,
        env: str | Callable[[], gymnasium.Env],
        num_envs: int,
        name: str | None = None,
        *,
        on_fault: str = "stop",
        first: int = 0,
        of: int | None = None,
    ):
        self.id = name or name_of(env)
        self.num_envs = num_envs
        self._make, self._first, self._of = env, first, of or num_envs
        self._restarts = Restarts(on_fault)
        self.faults = self._restarts.faults
        self._note, self._number = calls.HERE, next(NUMBERS)
        self.episodes, self.seeds, self.steps = [-1] * num_envs, [0] * num_envs, [0] * num_envs
        self.record_actions = False
        self.actions: list[list[Any]] = [[] for _ in range(num_envs)]
        self._tier: snapshot.Tier | None = None  # unknown until it is asked for
        self._taken = 0  # environment steps
        self._action_rows: tuple[int, ...] = ()  # [B, ...], unless an action is a single whole number
        self._all = range(num_envs)
        self._nothing = [0] * num_envs
        self._actions: Any = self._nothing  # of the present step
        self._fresh = [True] * num_envs  # not reset yet
        self.envs: list[gymnasium.Env] = []
        for i in range(num_envs):
            self.envs.append(self._make_one(i))
            if i == 0:
                self.observation_space = self.envs[0].observation_space
                self.action_space = self.envs[0].action_space
                check_spaces(self.id, self.observation_space, self.action_space)
            self._compare_spaces(i)
        self._spaces = [env.observation_space for env in self.envs]
        first_env = self.envs[0]
        own_limit = getattr(first_env, "max_episode_steps", None)
        self.max_episode_steps = first_env.spec.max_episode_steps if first_env.spec else own_limit
        self.keeps_score = getattr(first_env, "keeps_score", False)
        self._discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        if not self._discrete:
            self._action_rows = num_envs, *row_shape(self.action_space)
        self._claim()
        self._shape = row_shape(self.observation_space)
        self._dtype = storage_type(self.observation_space)
        kinds: Any = (self._dtype, self.observation_space.dtype) if self._dtype.kind != "f" else ()
        self._lossless = [kind for kind in kinds if np.can_cast(kind, self._dtype)]  # others are compared once stored
        self._mask = mask_of(self.observation_space)
        self._obs_has_parts, self._acts_in_parts = has_parts(self.observation_space), has_parts(self.action_space)
        self._in_own_type = in_own_type(self.action_space)
        self._last = np.zeros((num_envs, *self._shape), self._dtype)  # the last good observations
        self.seed(int(np.random.SeedSequence().generate_state(1)[0]))

    def seed(self, seed: int) -> None:
        """Counts episodes anew, with other seeds."""
        self._seed_of = EpisodeSeeds(seed, self._of)
        self.episodes = [-1] * self.num_envs

    def reset(self, seed: int | None = None) -> np.ndarray:
        if seed is not None:
            self.seed(seed)
        return self.begin([None] * self.num_envs)

    def step(self, action: np.ndarray) -> HostStep:
        outcome, over = self._advance(action, self._all)
        if over:
            obs = outcome.next_obs.copy()
            for i in over:
                self.begin_one(i, obs)
            outcome = outcome._replace(obs=obs)
        if self._restarts.allowed:
            self._last[:] = outcome.obs
        return outcome

    def begin(self, seeds: Sequence[int | None]) -> np.ndarray:
        """Begins an episode in each environment, with a seed for each; returns obs [B, ...]."""
        obs = np.empty((self.num_envs, *self._shape), self._dtype)
        for i, seed in enumerate(seeds):
            self.begin_one(i, obs, seed)
        if self._restarts.allowed:
            self._last[:] = obs
        return obs

    def begin_one(self, i: int, obs: np.ndarray, seed: int | None = None) -> None:
        """Begins an episode in environment i and writes its first observation into row i.

        Args:
            i: the environment.
            obs: [B, ...], of which row i is written.
            seed: of the episode; by default the next of its own.
        """
        while True:
            self.episodes[i] += 1
            self.seeds[i] = self._seed_of(self._first + i, self.episodes[i]) if seed is None else seed
            self.steps[i] = 0
            if self.record_actions:
                self.actions[i] = []
            try:
                return self._reset_one(i, obs)
            except EnvironmentFault as fault:
                if self.episodes[i] == 0:  # it has never worked
                    raise
                self._remake(i, fault)

    def _reset_one(self, i: int, obs: np.ndarray) -> None:
        kind, self._fresh[i] = FIRST_RESET if self._fresh[i] else RESET, False
        self._enter(kind, i)
        try:
            answer = self.envs[i].reset(seed=self.seeds[i])
        except EnvironmentFault:
            raise
        except (Exception, SystemExit) as error:
            self._fault(i, kind, f"reset raised {describe(error)}", "an observation and an info dictionary", error)
        finally:
            self._note.leave()
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._fault(i, kind, f"reset returned {type(answer).__name__}", "a tuple (observation, info)")
        self._store(i, kind, obs, answer[0])
        if self._mask:
            self._check_mask(i, kind, obs[i])
        if not _all_finite(obs[i]):
            self._fault(i, kind, "reset returned an observation with NaN or infinity in it", "finite numbers")
        if self.envs[i].observation_space is not self._spaces[i]:
            self._compare_spaces(i)

    def step_some(self, action: np.ndarray, active: np.ndarray) -> HostStep:
        """One step of the environments in `active` [B], without beginning anew; the other rows are zero."""
        return self._advance(action, np.flatnonzero(active).tolist())[0]

    def _advance(self, action: np.ndarray, active: Sequence[int]) -> tuple[HostStep, list[int]]:
        """One step of some environments, and which of their episodes ended or were cut."""
        action = self._in_own_type(action)
        actions = self._actions = action.tolist() if self._discrete else action
        noted = actions if self._discrete and isinstance(actions[0], int) else self._nothing
        if self._note.owner != self._number:
            self._claim()
        if self._noted is not None and self._noted.shape == action.shape:
            self._noted[...] = action
        enter, first, given = self._note.enter, self._first, self._given
        next_obs = np.zeros((self.num_envs, *self._shape), self._dtype)
        reward = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        score = Score(np.zeros_like(reward), np.zeros_like(terminated)) if self.keeps_score else None
        outcome = HostStep(next_obs, next_obs, reward, terminated, truncated, score)
        over: list[int] = []
        self._taken += len(active)
        for i in active:
            self.steps[i] += 1
            if self.record_actions and self.steps[i] <= LONGEST_REPLAY:
                self.actions[i].append(actions[i] if self._discrete else action[i].copy())
            try:
                enter(STEP, first + i, self.seeds[i], self.steps[i], noted[i])
                try:
                    answer: Any = self.envs[i].step(given(actions[i]))
                except EnvironmentFault:
                    raise
                except (Exception, SystemExit) as error:
                    self._fault(i, STEP, f"step raised {describe(error)}", "an observation and a reward", error)
                try:
                    seen, paid, ended, cut, info = answer
                    reward[i], terminated[i], truncated[i] = paid + ZERO, FLAGS[ended], FLAGS[cut]
                except (TypeError, ValueError, KeyError) as error:
                    self._explain(i, answer, error)
                self._store(i, STEP, next_obs, seen)
                if score:
                    score.points[i], score.over[i] = info["points"], info["game_over"]
                if ended or cut:
                    over.append(i)
                elif self._mask:
                    self._check_mask(i, STEP, next_obs[i])
            except EnvironmentFault as fault:
                self._cut(i, fault, outcome, over)
        self._note.leave()
        if not _all_finite(reward) or not _all_finite(next_obs):
            self._find_infinite(outcome, over)
        return outcome, over

    def _find_infinite(self, outcome: HostStep, over: list[int]) -> None:
        """Deals with every environment that returned a number which is none."""
        for i in range(self.num_envs):
            try:
                if not np.isfinite(outcome.reward[i]):
                    self._fault(i, STEP, f"step returned the reward {outcome.reward[i]}", "a finite number")
                if not np.isfinite(outcome.next_obs[i]).all():
                    self._fault(i, STEP, "step returned an observation with NaN or infinity in it", "finite numbers")
            except EnvironmentFault as fault:
                self._cut(i, fault, outcome, over)

    def _cut(self, i: int, fault: EnvironmentFault, outcome: HostStep, over: list[int]) -> None:
        """Makes the environment at fault anew; its episode is cut, as if the clock had run out before this step."""
        self._remake(i, fault)
        outcome.next_obs[i] = self._last[i]
        outcome.reward[i], outcome.terminated[i], outcome.truncated[i] = 0.0, False, True
        if outcome.score:
            outcome.score.points[i], outcome.score.over[i] = 0.0, True
        if i not in over:
            over.append(i)

    def _remake(self, i: int, fault: EnvironmentFault) -> None:
        """Puts a new environment in the place of the one at fault, or raises the fault."""
        self._note.leave()
        self._restarts.count(fault, self._taken)
        self._make_anew(i)
        self._compare_spaces(i)

    def _make_anew(self, i: int) -> None:
        self._enter(CLOSE, i)
        with contextlib.suppress(Exception, SystemExit):
            self.envs[i].close()
        self._note.leave()
        self.envs[i], self._fresh[i] = self._make_one(i), True

    def snapshot(self) -> dict[str, Any]:
        """How each environment can be had again: by its state, else by its episode's actions, where either is exact."""
        if self._tier is None:
            self._tier = snapshot.tier(lambda: make_one(self._make))
        return {"places": [self._place(i) for i in self._all]}

    def _place(self, i: int) -> dict[str, Any]:
        place: dict[str, Any] = {"episode": self.episodes[i], "seed": self.seeds[i], "steps": self.steps[i]}
        if self._tier == "copyable":
            place["state"] = snapshot.capture(self.envs[i])
        elif self._tier == "replayable" and len(self.actions[i]) == self.steps[i]:
            place["actions"] = np.asarray(self.actions[i]).tolist()
        return place

    def restore(self, found: dict[str, Any], obs: np.ndarray) -> np.ndarray:
        cut = np.zeros(self.num_envs, bool)
        for i, place in enumerate(found["places"]):
            self.episodes[i], self.seeds[i], self.steps[i] = place["episode"], place["seed"], place["steps"]
            self._make_anew(i)
            cut[i] = not self._put(i, place, obs[i : i + 1])
            if cut[i]:
                self.begin_one(i, obs)
            self._fresh[i] = False
        self._last[:] = obs
        return cut

    def _put(self, i: int, place: dict[str, Any], obs: np.ndarray) -> bool:
        """Puts a fresh environment where another was when it showed `obs` [1, ...]; whether that succeeded."""
        try:
            if place.get("state") is not None:
                snapshot.restore(self.envs[i], place["state"])
                return True
            if "actions" not in place:
                return False
            actions = place["actions"]
            if not self._discrete:
                kind = np.float32 if self._acts_in_parts else self.action_space.dtype
                actions = list(np.asarray(actions, kind))
            again = np.empty_like(obs)
            again[0] = self._row_of(snapshot.replay(self.envs[i], self.seeds[i], map(self._given, actions)))
            self.actions[i] = actions
            return np.array_equal(again, obs)
        except (Exception, SystemExit):  # whatever it was, a new episode begins
            return False

    def close(self) -> None:
        """Closes every environment; what goes wrong with that is told in `faults` and keeps nobody waiting."""
        for i, env in enumerate(self.envs):
            self._enter(CLOSE, i)
            try:
                env.close()
            except EnvironmentFault as fault:
                self.faults.append(str(fault))
            except (Exception, SystemExit) as error:
                self.faults.append(f"{self._where(i, CLOSE)}: close raised {describe(error)}.")
            self._note.leave()
        self.envs = []

    def _make_one(self, i: int) -> gymnasium.Env:
        self._enter(MAKE, i)
        try:
            return make_one(self._make)
        finally:
            self._note.leave()

    def _compare_spaces(self, i: int) -> None:
        """Raises a fault unless the spaces of environment i are those of the vector."""
        for kind in ("observation_space", "action_space"):
            mine, ours = getattr(self.envs[i], kind), getattr(self, kind)
            if mine is not ours and mine != ours:
                self._fault(i, RESET, f"its {kind.replace('_', ' ')} is {mine}", f"{ours}, as it was at first")

    def _store(self, i: int, kind: int, rows: np.ndarray, seen: Any) -> None:
        if self._obs_has_parts:
            try:
                seen = self._row_of(seen)
            except ValueError as error:
                self._fault(
                    i, kind, f"the observation is wrong: {error}", f"a member of {self.observation_space}", error
                )
        if isinstance(seen, np.ndarray):
            shape = seen.shape
        else:
            try:
                shape = np.shape(seen)
            except ValueError as error:  # ragged
                self._fault(i, kind, f"the observation is {seen!r}", f"a member of {self.observation_space}", error)
        if shape != self._shape:
            self._fault(i, kind, f"the observation has shape {shape}", f"{self._shape}, as in {self.observation_space}")
        try:
            rows[i] = seen
        except (TypeError, ValueError, OverflowError) as error:
            self._fault(i, kind, f"the observation is {seen!r}", f"a member of {self.observation_space}", error)
        if self._lossless and getattr(seen, "dtype", None) not in self._lossless and not (rows[i] == seen).all():
            wanted = f"a member of {self.observation_space} that can be kept as {self._dtype}"
            self._fault(i, kind, f"the observation is {seen!r}", wanted)

    def _check_mask(self, i: int, kind: int, row: np.ndarray) -> None:
        if not leaves_a_choice(row[self._mask], self.action_space):
            self._fault(i, kind, "the mask rules out every action", "at least one, or of each choice one, to be there")

    def _given(self, action: Any) -> Any:
        """An action as the environments take it."""
        return from_rows(self.action_space, action) if self._acts_in_parts else action

    def _row_of(self, seen: Any) -> Any:
        """An observation as it is kept."""
        return to_rows(self.observation_space, seen) if self._obs_has_parts else seen

    def _explain(self, i: int, answer: Any, cause: Exception) -> NoReturn:
        """Finds what is wrong with an answer of `step` that could not be taken in."""
        if not isinstance(answer, tuple) or len(answer) != 5:
            given = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
            self._fault(i, STEP, f"step returned {given}", "(observation, reward, terminated, truncated, info)", cause)
        _, reward, terminated, truncated, _ = answer
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, bool | np.bool_):
                self._fault(i, STEP, f"step returned {name}={value!r}", "True or False", cause)
        self._fault(i, STEP, f"step returned reward={reward!r}", "a number", cause)

    def _enter(self, kind: int, i: int) -> None:
        if self._note.owner != self._number:
            self._claim()
        self._note.enter(kind, self._first + i, self.seeds[i], self.steps[i], 0)

    def _claim(self) -> None:
        """Tells whose calls the next ones are."""
        self._noted = self._note.begin(self._number, self._of, self._first, self._action_rows)

    def _where(self, i: int, kind: int) -> str:
        action = show_action(self._actions[i]) if kind == STEP else ""
        return Call(kind, self._first + i, self._of, self.seeds[i], self.steps[i], action).where(self.id)

    def _fault(self, i: int, kind: int, what: str, expected: str, cause: BaseException | None = None) -> NoReturn:
        raise EnvironmentFault(f"{self._where(i, kind)}: {what}; expected {expected}.") from cause


def _all_finite(x: np.ndarray) -> bool:
    """Whether float32 numbers are; a sum of squares tells it in one call, unless it overflows."""
    return x.dtype != np.float32 or math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())


NUMBERS = itertools.count(1)  # of the vectors of this process
FLAGS = {True: True, False: False}  # takes numpy's booleans and 0 and 1 too; None and text are not in it
ZERO = 0.0  # added to a reward, it refuses None and text, which NumPy would take for NaN or read as a number
