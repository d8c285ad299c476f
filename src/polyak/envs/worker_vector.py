"""Gymnasium environments stepped in processes of their own: in parallel, and without harm when one hangs or dies."""

import contextlib
import json
import os
import socket
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle  # what is pickled goes to our own child process and comes from it; no file is ever read this way
import gymnasium
import numpy as np

from polyak.envs import calls
from polyak.envs.base import HostStep, Score
from polyak.envs.calls import PAGE, Restarts
from polyak.envs.env_process import EnvProcess
from polyak.envs.env_worker import BEGIN, CLOSE, RESTORE, SNAPSHOT, STEP, Job, Rows
from polyak.envs.episode_log import EpisodeLog
from polyak.envs.one import name_of
from polyak.errors import BadSetting, EnvironmentFault


class WorkerVector:
    """B Gymnasium environments in N processes; see `HostEnv`, and `GymnasiumVector` for the attributes.

    The same seed gives the same steps as in one process, bit by bit. Observations and actions travel in shared memory
    without a name, which nothing can leave behind.

    Args:
        env: an id, or a function that returns a `gymnasium.Env`; it travels to the processes by cloudpickle.
        num_envs: how many environments.
        workers: how many processes; the environments are spread evenly.
        name: how it is called in messages; by default its id or the function's name.
        step_timeout: seconds that a call of an environment may take; ten minutes are allowed for making an
            environment and for its first reset.
        on_fault: "stop" raises `EnvironmentFault`; "restart" starts the process of the environment at fault anew and
            cuts the episodes of all its environments as truncated, with the last good observations as successors and
            reward 0.
    """

    def __init__(
        self,
        env: str | Callable[[], gymnasium.Env],
        num_envs: int,
        workers: int,
        name: str | None = None,
        *,
        step_timeout: float = calls.STEP_TIMEOUT,
        on_fault: str = "stop",
    ):
        if not 1 <= workers <= num_envs:
            raise BadSetting(f"workers is {workers}; {num_envs} environments take 1 to {num_envs}.")
        if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
            raise BadSetting("workers needs a POSIX system; leave it out to step the environments in this process.")
        calls.check_timeout(step_timeout)
        self.id = name or name_of(env)
        self.num_envs = num_envs
        self._step_timeout = step_timeout
        self._restarts = Restarts(on_fault)
        self.faults = self._restarts.faults
        self.log = EpisodeLog(num_envs)
        self.episodes, self.seeds, self.steps = self.log.numbers, self.log.seeds, self.log.steps
        self._taken = 0  # environment steps
        self._fd = calls.shared_memory(workers * PAGE)
        self._processes: list[EnvProcess] = []
        self._finalize = weakref.finalize(self, _let_go, self._processes, self._fd, os.getpid())
        bounds = [num_envs * k // workers for k in range(workers + 1)]
        try:
            for k in range(workers):
                job = Job(env, self.id, bounds[k], bounds[k + 1] - bounds[k], num_envs, workers * PAGE)
                self._processes.append(EnvProcess(job, _pickled(job), self._fd, k, step_timeout))
            for process in self._processes:  # they start side by side
                process.make()
            made = [cloudpickle.loads(process.receive()) for process in self._processes]
            self.observation_space, self.action_space, self.max_episode_steps, self.keeps_score = made[0]
            for process, spaces in zip(self._processes, made, strict=True):
                self._compare_spaces(process, spaces)
            self._rows = Rows(num_envs, self.observation_space, self.action_space)
            os.ftruncate(self._fd, workers * PAGE + self._rows.size)
            self._rows.map(self._fd, workers * PAGE)
        except BaseException:
            self._finalize()
            raise
        self._last = self._rows.next_obs.copy()  # the last good observations

    def reset(self, seed: int | None = None) -> np.ndarray:
        if seed is not None:
            self.log.seed(seed)
        with self._asking() as processes:
            for process in processes:
                self._begin(process)
            for process, fault in self._wait():
                if self.episodes[process.job.first] == 0:  # it has never worked
                    raise fault
                self._restart(process, fault)
        self._last = self._rows.obs.copy()
        return self._last.copy()

    def step(self, action: np.ndarray) -> HostStep:
        rows, kind = self._rows, action.dtype.str
        with self._asking() as processes:
            rows.action(kind)[...] = action
            self._taken += self.num_envs
            self.steps[:] = [step + 1 for step in self.steps]
            for process in processes:
                process.send(STEP, kind.encode())
            lost = self._wait()
            cut = {i for process, _ in lost for i in process.environments}
            if rows.terminated.any() or rows.truncated.any():
                for i in np.flatnonzero(rows.terminated | rows.truncated).tolist():
                    if i not in cut:
                        self.log.begin(i)
            for process, fault in lost:
                self._cut(process, fault)
        next_obs, terminated, truncated = rows.next_obs.copy(), rows.terminated.copy(), rows.truncated.copy()
        obs = next_obs
        if terminated.any() or truncated.any():
            over = terminated | truncated
            obs = next_obs.copy()
            obs[over] = rows.obs[over]
        if self._restarts.allowed:
            self._last[:] = obs
        score = Score(rows.points.copy(), rows.game_over.copy()) if self.keeps_score else None
        return HostStep(next_obs, obs, rows.reward.copy(), terminated, truncated, score)

    def snapshot(self) -> dict[str, Any]:
        """The places of the environments, as JSON."""
        with self._asking() as processes:
            for process in processes:
                process.send(SNAPSHOT)
            parts = [json.loads(process.receive()) for process in processes]
        return {"places": [place for part in parts for place in part["places"]]}

    def restore(self, found: dict[str, Any], obs: np.ndarray) -> np.ndarray:
        with self._asking() as processes:
            self._rows.obs[:] = obs
            for process in processes:
                places = found["places"][process.rows]
                process.send(RESTORE, json.dumps({"places": places}).encode())
            cut = np.array([one for process in processes for one in json.loads(process.receive())], bool)
        for i, place in enumerate(found["places"]):
            self.log.go_to(i, place)
            if cut[i]:
                self.log.begin(i)
        obs[:] = self._rows.obs
        self._last[:] = obs
        return cut

    def close(self) -> None:
        """Ends every process within a bounded time; faults of that are written into `faults`."""
        if not self._finalize.alive:
            return
        for process in self._processes:
            process.send(CLOSE)
        for process in self._processes:
            try:
                self.faults.extend(json.loads(process.receive()))
            except EnvironmentFault as fault:
                self.faults.append(str(fault))
        self._end()

    def _end(self) -> None:
        self._finalize()
        self._rows.unmap()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[list[EnvProcess]]:
        """The processes, for a command to all of them; an exception inside ends them all."""
        if not self._finalize.alive:
            raise EnvironmentFault(f"{self.id}: its processes were ended, by close or by a fault; make another vector.")
        try:
            yield self._processes
        except BaseException:
            self._end()  # the other answers would be taken for something else
            raise

    def _wait(self) -> list[tuple[EnvProcess, EnvironmentFault]]:
        """Waits for every process; returns those that are lost and why."""
        lost = []
        for process in self._processes:
            try:
                process.receive()
            except EnvironmentFault as fault:
                lost.append((process, fault))
        return lost

    def _cut(self, process: EnvProcess, fault: EnvironmentFault) -> None:
        """Cuts the episodes of a lost process, as if the clock had run out before this step."""
        self._restart(process, fault)
        rows, mine = self._rows, process.rows
        rows.next_obs[mine] = self._last[mine]
        rows.reward[mine], rows.terminated[mine], rows.truncated[mine] = 0.0, False, True
        rows.points[mine], rows.game_over[mine] = 0.0, True

    def _restart(self, lost: EnvProcess, fault: EnvironmentFault) -> None:
        """Starts a process anew, and an episode in each of its environments; or raises the fault."""
        process = lost
        while True:
            self._restarts.count(fault, self._taken)
            EnvProcess.end([process])
            process = EnvProcess(lost.job, lost.message, self._fd, lost.number, self._step_timeout)
            self._processes[lost.number] = process
            try:
                process.make()
                self._compare_spaces(process, cloudpickle.loads(process.receive()))
                self._begin(process)
                process.receive()
                return
            except EnvironmentFault as another:
                fault = another

    def _begin(self, process: EnvProcess) -> None:
        for i in process.environments:
            self.log.begin(i)
        numbers = [self.episodes[i] for i in process.environments]
        process.send(BEGIN, json.dumps({"seed": self.log.vector_seed, "episodes": numbers}).encode())

    def _compare_spaces(self, process: EnvProcess, spaces: tuple) -> None:
        for kind, mine in zip(("observation_space", "action_space"), spaces, strict=False):
            ours = getattr(self, kind)
            if mine != ours:
                where = f"{self.id}, environment {process.job.first} of {self.num_envs}"
                raise EnvironmentFault(
                    f"{where}: its {kind.replace('_', ' ')} is {mine}; expected {ours}, as it was at first."
                )


def _pickled(job: Job) -> bytes:
    try:
        return cloudpickle.dumps(job)
    except Exception as error:
        raise BadSetting(
            f"The environment function cannot be sent to a worker process ({error}); "
            "make what it needs inside it, or leave workers out."
        ) from error


def _let_go(processes: list[EnvProcess], fd: int, owner: int) -> None:
    """Ends the processes of a vector that is closed or gone, unless this process is only a fork of its owner."""
    if os.getpid() == owner:
        EnvProcess.end(processes)
        os.close(fd)
