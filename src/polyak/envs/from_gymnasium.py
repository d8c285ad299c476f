"""Gymnasium environments, stepped side by side from Python, with every answer checked.

Gymnasium's own vector classes would do the stepping; this one exists because it names the environment, the step and the
expectation when something is wrong, at no cost in speed (benchmarks/environments.py).
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from polyak.envs import snapshot
from polyak.envs.advice import check_spaces
from polyak.envs.answers import AnswerReader, WrongAnswer, all_finite, not_finite, unreadable
from polyak.envs.base import HostStep, Score
from polyak.envs.calls import CLOSE, FIRST_RESET, MAKE, RESET, STEP, Restarts
from polyak.envs.episode_log import EpisodeLog
from polyak.envs.fault_desk import FaultDesk
from polyak.envs.one import make_one, name_of, said, time_limit
from polyak.envs.places import place_of, put
from polyak.errors import EnvironmentFault
from polyak.spaces import members, row_shape

LONGEST_REPLAY = 100_000  # steps of an episode that are worth playing again
FLAGS = {True: True, False: False}  # takes numpy's booleans and 0 and 1 too; None and text are not in it
ZERO = 0.0  # added to a reward, it refuses None and text, which NumPy would take for NaN or read as a number


class GymnasiumVector:
    """B Gymnasium environments, one after the other in this process; see `HostEnv`.

    Args:
        env: an id, or a function that returns a `gymnasium.Env`.
        num_envs: how many of them.
        name: how it is called in messages; by default its id or the function's name.
        on_fault: "stop" raises `EnvironmentFault`; "restart" makes the environment anew and cuts its episode as
            truncated, with the last good observation as successor and reward 0.
        record_actions: whether actions are kept, without which a snapshot has nothing to replay.
        first: where these environments stand among those of the vector that they are a part of.
        of: how many that vector has; by default these are all.

    Attributes:
        log: of the episodes; `episodes`, `seeds`, `steps` and `actions` are its lists, an entry an environment.
        keeps_score: whether its environments tell in `info` what a step scored and whether the whole game is over.
        faults: a sentence for each fault that was recovered from.
    """

    def __init__(
        self,
        env: str | Callable[[], gymnasium.Env],
        num_envs: int,
        name: str | None = None,
        *,
        on_fault: str = "stop",
        record_actions: bool = False,
        first: int = 0,
        of: int | None = None,
    ):
        self.id = name or name_of(env)
        self.num_envs = num_envs
        self.log = log = EpisodeLog(num_envs, first, of)
        self.episodes, self.seeds, self.steps, self.actions = log.numbers, log.seeds, log.steps, log.actions
        self._make, self._record_actions = env, record_actions
        self._restarts = Restarts(on_fault)
        self.faults = self._restarts.faults
        self._desk = FaultDesk(self.id, self.log)
        self._tier: snapshot.Tier | None = None  # unknown until it is asked for
        self._taken = 0  # environment steps
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
        self.max_episode_steps = time_limit(first_env)
        self.keeps_score = getattr(first_env, "keeps_score", False)
        self._reader = AnswerReader(self.observation_space, self.action_space)
        self._discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        self._members = members(self.action_space)
        self._desk.expect(() if self._discrete else (num_envs, *row_shape(self.action_space)))
        self._last = np.zeros((num_envs, *self._reader.shape), self._reader.dtype)  # the last good observations

    def reset(self, seed: int | None = None) -> np.ndarray:
        if seed is not None:
            self.log.seed(seed)
        return self.begin([None] * self.num_envs)

    def step(self, action: np.ndarray) -> HostStep:
        outcome, over = self._advance(action, range(self.num_envs))
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
        obs = np.empty_like(self._last)
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
            self.log.begin(i, seed)
            try:
                return self._reset_one(i, obs)
            except EnvironmentFault as fault:
                if self.log.numbers[i] == 0:  # it has never worked
                    raise
                self._remake(i, fault)

    def step_some(self, action: np.ndarray, active: np.ndarray) -> HostStep:
        """One step of the environments in `active` [B], without beginning anew; the other rows are zero."""
        return self._advance(action, np.flatnonzero(active).tolist())[0]

    def snapshot(self) -> dict[str, Any]:
        """The places of the environments, as JSON."""
        if self._tier is None:
            self._tier = snapshot.tier(lambda: make_one(self._make))
        return {"places": [place_of(env, self._tier, self.log, i) for i, env in enumerate(self.envs)]}

    def restore(self, found: dict[str, Any], obs: np.ndarray) -> np.ndarray:
        cut = np.zeros(self.num_envs, bool)
        for i, place in enumerate(found["places"]):
            self.log.go_to(i, place)
            self._make_anew(i)
            cut[i] = not put(self.envs[i], place, self.log, i, self._reader, obs[i])
            if cut[i]:
                self.begin_one(i, obs)
            self._fresh[i] = False
        self._last[:] = obs
        return cut

    def close(self) -> None:
        """Closes every environment; faults of that are written into `faults` and stop nothing."""
        for i, env in enumerate(self.envs):
            try:
                with self._desk.call(CLOSE, i):
                    env.close()
            except EnvironmentFault as fault:
                self.faults.append(str(fault))
            except (Exception, SystemExit) as error:
                self.faults.append(f"{self._desk.where(i, CLOSE)}: close raised {said(error)}.")
        self.envs = []

    def _advance(self, action: np.ndarray, active: Sequence[int]) -> tuple[HostStep, list[int]]:
        """One step of some environments; and those whose episodes ended or were cut."""
        actions = self._members(action)
        noted, enter = self._desk.enter_steps(action, actions), self._desk.note.enter
        first, seeds, steps, kept = self.log.first, self.log.seeds, self.log.steps, self.log.actions
        read, masks = self._reader.observation, self._reader.masks
        next_obs = np.zeros(self._last.shape, self._last.dtype)
        reward = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        score = Score(np.zeros_like(reward), np.zeros_like(terminated)) if self.keeps_score else None
        outcome = HostStep(next_obs, next_obs, reward, terminated, truncated, score)
        over: list[int] = []
        self._taken += len(active)
        for i in active:
            steps[i] += 1
            if self._record_actions and steps[i] <= LONGEST_REPLAY:
                kept[i].append(actions[i] if self._discrete else action[i].copy())
            enter(STEP, first + i, seeds[i], steps[i], noted[i])
            try:
                try:
                    answer: Any = self.envs[i].step(actions[i])
                except EnvironmentFault:
                    raise
                except (Exception, SystemExit) as error:
                    raise WrongAnswer(f"step raised {said(error)}", "an observation and a reward") from error
                try:
                    seen, paid, ended, cut, info = answer
                    reward[i], terminated[i], truncated[i] = paid + ZERO, FLAGS[ended], FLAGS[cut]
                except (TypeError, ValueError, KeyError) as error:
                    raise unreadable(answer) from error
                read(seen, next_obs, i)
                if score:
                    score.points[i], score.over[i] = info["points"], info["game_over"]
                if ended or cut:
                    over.append(i)
                elif masks:
                    self._reader.mask(next_obs[i])
            except (EnvironmentFault, WrongAnswer) as error:
                self._cut(i, error, outcome, over)
        self._desk.note.leave()
        if not all_finite(reward) or not all_finite(next_obs):
            for i in range(self.num_envs):
                if wrong := not_finite(reward[i], next_obs[i]):
                    self._cut(i, wrong, outcome, over)
        return outcome, over

    def _cut(self, i: int, error: EnvironmentFault | WrongAnswer, outcome: HostStep, over: list[int]) -> None:
        """Makes the environment at fault anew; its episode is cut, as if the clock had run out before this step."""
        self._remake(i, self._desk.fault(i, STEP, error))
        outcome.next_obs[i] = self._last[i]
        outcome.reward[i], outcome.terminated[i], outcome.truncated[i] = 0.0, False, True
        if outcome.score:
            outcome.score.points[i], outcome.score.over[i] = 0.0, True
        if i not in over:
            over.append(i)

    def _reset_one(self, i: int, obs: np.ndarray) -> None:
        kind, self._fresh[i] = FIRST_RESET if self._fresh[i] else RESET, False
        try:
            try:
                with self._desk.call(kind, i):
                    answer = self.envs[i].reset(seed=self.log.seeds[i])
            except EnvironmentFault:
                raise
            except (Exception, SystemExit) as error:
                raise WrongAnswer(f"reset raised {said(error)}", "an observation and an info dictionary") from error
            self._reader.first(answer, obs, i)
        except WrongAnswer as wrong:
            raise self._desk.fault(i, kind, wrong) from wrong.__cause__
        if self.envs[i].observation_space is not self._spaces[i]:
            self._compare_spaces(i)

    def _remake(self, i: int, fault: EnvironmentFault) -> None:
        """Puts a new environment in the place of the one at fault, or raises the fault."""
        self._desk.note.leave()
        self._restarts.count(fault, self._taken)
        self._make_anew(i)
        self._compare_spaces(i)

    def _make_anew(self, i: int) -> None:
        with contextlib.suppress(Exception, SystemExit), self._desk.call(CLOSE, i):
            self.envs[i].close()
        self.envs[i], self._fresh[i] = self._make_one(i), True

    def _make_one(self, i: int) -> gymnasium.Env:
        with self._desk.call(MAKE, i):
            return make_one(self._make)

    def _compare_spaces(self, i: int) -> None:
        """Raises a fault unless the spaces of environment i are those of the vector."""
        for kind in ("observation_space", "action_space"):
            mine, ours = getattr(self.envs[i], kind), getattr(self, kind)
            if mine is not ours and mine != ours:
                wrong = WrongAnswer(f"its {kind.replace('_', ' ')} is {mine}", f"{ours}, as it was at first")
                raise self._desk.fault(i, RESET, wrong)
