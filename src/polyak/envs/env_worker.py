"""A process that owns some environments of a `WorkerVector` and steps them on command.

It loads no JAX, so that it starts fast. It ends when its parent does, also in the middle of a call that never returns.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle  # from our own parent process, never from a file
import gymnasium
import numpy as np

from polyak.envs import calls
from polyak.envs.from_gymnasium import GymnasiumVector
from polyak.envs.one import said
from polyak.errors import EnvironmentFault, Error
from polyak.spaces import row_shape, storage_type

HEADER = struct.Struct("=cQ")  # kind of message, length of what follows
MAKE, BEGIN, STEP, SNAPSHOT, RESTORE, CLOSE = b"m", b"b", b"s", b"p", b"r", b"c"  # the commands
WELL, FAULT = b"w", b"f"  # the answers
GRACE = 1.0  # seconds to close the environments in, once the parent has gone


class Job(NamedTuple):
    """The environments that one process is asked to make."""

    env: Any  # an id, or a function that returns a gymnasium.Env
    name: str
    first: int  # of its environments
    size: int
    of: int  # environments of the whole vector
    rows_at: int  # where in the shared memory the rows begin


class Rows:
    """The arrays of a step of all B environments, in shared memory."""

    def __init__(self, num_envs: int, observation_space: gymnasium.Space, action_space: gymnasium.Space):
        obs = (num_envs, *row_shape(observation_space)), storage_type(observation_space)
        row = (num_envs,)
        self._action_shape = (num_envs, *row_shape(action_space))
        self._fields = {
            "obs": obs,
            "next_obs": obs,
            "reward": (row, np.dtype(np.float32)),
            "terminated": (row, np.dtype(bool)),
            "truncated": (row, np.dtype(bool)),
            "points": (row, np.dtype(np.float32)),
            "game_over": (row, np.dtype(bool)),
            "_action": (self._action_shape, np.dtype(np.float64)),  # as wide as any
        }
        self._offsets, self.size = {}, 0
        for name, (shape, dtype) in self._fields.items():
            self._offsets[name] = self.size
            self.size += -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64

    obs: np.ndarray  # [B, ...] first observations of the episodes that began in this step
    next_obs: np.ndarray  # [B, ...]
    reward: np.ndarray  # [B]
    terminated: np.ndarray  # [B]
    truncated: np.ndarray  # [B]
    points: np.ndarray  # [B] this and the next are written where the environments keep score
    game_over: np.ndarray  # [B]

    def map(self, fd: int, offset: int) -> None:
        """Finds the arrays in shared memory."""
        self._memory = calls.map_memory(fd, offset, self.size)
        for name, (shape, dtype) in self._fields.items():
            setattr(self, name, np.ndarray(shape, dtype, self._memory, self._offsets[name]))

    def unmap(self) -> None:
        """Releases the memory."""
        for name in self._fields:
            self.__dict__.pop(name, None)
        self._memory.close()

    def action(self, dtype: str) -> np.ndarray:
        """The actions [B, ...], in the type that the agent gives them."""
        return np.ndarray(self._action_shape, dtype, self._memory, self._offsets["_action"])


def framed(kind: bytes, message: bytes = b"") -> bytes:
    """A command or an answer as it is sent."""
    return HEADER.pack(kind, len(message)) + message


def receive(read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """The kind and the text of the next message; `read` returns as many bytes as it is asked for."""
    kind, length = HEADER.unpack(read(HEADER.size))
    return kind, read(length) if length else b""


class Server:
    """Carries out commands, each by a method."""

    def __init__(self, fd: int):
        self._fd = fd
        self.commands = {MAKE: self.make, BEGIN: self.begin, STEP: self.step, CLOSE: self.close}
        self.commands |= {SNAPSHOT: self.snapshot, RESTORE: self.restore}

    def make(self, message: bytes) -> bytes:
        """Makes the environments; answers with their spaces, time limit, and whether they keep score."""
        try:
            job: Job = cloudpickle.loads(message)
        except Exception as error:
            raise EnvironmentFault(f"The environment cannot be made in a worker process: {said(error)}.") from error
        self.job, self.mine = job, slice(job.first, job.first + job.size)
        self.vector = GymnasiumVector(job.env, job.size, job.name, record_actions=True, first=job.first, of=job.of)
        self.rows: Rows | None = None  # the parent makes room for them when it knows the spaces
        spaces = self.vector.observation_space, self.vector.action_space
        return cloudpickle.dumps((*spaces, self.vector.max_episode_steps, self.vector.keeps_score))

    def begin(self, message: bytes) -> bytes:
        """Begins an episode in each environment, with the seed and the numbers that the message gives."""
        if self.rows is None:
            self.rows = Rows(self.job.of, self.vector.observation_space, self.vector.action_space)
            self.rows.map(self._fd, self.job.rows_at)
        told = json.loads(message)
        self.vector.log.seed(told["seed"])
        self.vector.log.numbers[:] = [number - 1 for number in told["episodes"]]
        self.rows.obs[self.mine] = self.vector.reset()
        return b""

    def step(self, message: bytes) -> bytes:
        """Steps with the actions in shared memory and writes the outcome there; the message is the actions' type."""
        assert self.rows  # the first command is `begin`
        rows, mine = self.rows, self.mine
        outcome = self.vector.step(rows.action(message.decode())[mine].copy())
        rows.next_obs[mine], rows.reward[mine] = outcome.next_obs, outcome.reward
        rows.terminated[mine], rows.truncated[mine] = outcome.terminated, outcome.truncated
        if outcome.score:
            rows.points[mine], rows.game_over[mine] = outcome.score
        if outcome.obs is not outcome.next_obs:
            rows.obs[mine] = outcome.obs
        return b""

    def snapshot(self, message: bytes) -> bytes:
        """Answers with the places of the environments."""
        return json.dumps(self.vector.snapshot()).encode()

    def restore(self, message: bytes) -> bytes:
        """Restores places from the message; answers which environments began an episode instead."""
        assert self.rows  # the first command is `begin`
        return json.dumps(self.vector.restore(json.loads(message), self.rows.obs[self.mine]).tolist()).encode()

    def close(self, message: bytes) -> bytes:
        """Closes the environments; answers with their faults."""
        self.vector.close()
        return json.dumps(self.vector.faults).encode()


def die_with_parent(parent: int) -> None:
    """Has the system end this process when the thread that started it ends, whatever it is doing; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def end_with(connection: socket.socket) -> None:
    """Waits in a thread until the parent has gone, then ends this process and those that its environments started."""

    def wait() -> None:
        poll = select.poll()
        poll.register(connection, getattr(select, "POLLRDHUP", select.POLLHUP))
        poll.poll()
        time.sleep(GRACE)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """`python -m polyak.envs.env_worker SOCKET MEMORY OFFSET PARENT`: descriptors, a place in memory, and a process id.

    The parent's id is 0 if the thread that started this process may end before it.
    """
    connection_fd, fd, offset, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if parent:
        die_with_parent(parent)
    calls.attach(fd, offset)
    connection = socket.socket(fileno=connection_fd)
    end_with(connection)
    server = Server(fd)
    stream = connection.makefile("rb")

    def read(size: int) -> bytes:
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        return data

    with contextlib.suppress(EOFError, OSError):
        while True:
            kind, message = receive(read)
            try:
                answer = framed(WELL, server.commands[kind](message))
            except Error as error:
                answer = framed(FAULT, json.dumps([type(error).__name__, str(error)]).encode())
            connection.sendall(answer)
            if kind == CLOSE:
                os._exit(0)
    server.vector.close()
    os._exit(0)


if __name__ == "__main__":
    main()
