"""The cluster engine: a learner here, and actors elsewhere that collect what it learns from.

There are four ways in which blocks flow. `fresh`: every actor collects its share of each block with the newest
parameters, as one machine would; such a run is the host engine's, bit by bit. `stream` and `replay`: actors collect
blocks of their own, one after the other, and the learner takes them as they come, some together; these were collected
with parameters of some updates ago. `gradients`: the same, but what comes is a gradient, which is applied alone.

With N actors, each asked for q blocks ahead, of which k make an update, N q / k - 1 updates are made on average between
the request for a block and the one that it is used in, and never many more: an actor is asked for another block only
when one of its own has been used.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polyak import errors
from polyak.agent import Agent, Algorithm, Array, Key, PyTree, Spec, published
from polyak.cluster.fleet import Answer, Fleet, Port
from polyak.cluster.messages import Begin, Collect, Collected, Fault, Place, Restore, Snapshot
from polyak.cluster.plan import Plan
from polyak.engines.common import (
    ChunkNoise,
    Episodes,
    Loop,
    Metrics,
    check_iterations,
    chunk_of,
    draw_noise,
    drawn_together,
    initial_keys,
    named,
)
from polyak.engines.learner import Learner
from polyak.engines.packing import Packing

WITHOUT_ACTORS = 600.0  # seconds that the learner waits while there is no actor


class ClusterEngine:
    """See `Engine`.

    Args:
        algorithm: says how blocks flow.
        agent: learns; made for a spec that says whether blocks are streamed, as the plan does.
        spec: of the task; a block that is learnt from has `spec.num_envs` environments.
        chunk: the most iterations of one call of `advance`.
        port: reaches the actors.
        plan: says how blocks flow, and which environments each actor has.
        on_machine: whether the environments are stepped from Python, and so have places that a checkpoint notes.
        step_timeout: seconds that an actor may take at least.
        tell: called when there are new `faults`, so that a lost actor is told of while the learner waits for another.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        agent: Agent,
        spec: Spec,
        chunk: int,
        port: Port,
        plan: Plan,
        on_machine: bool,
        step_timeout: float,
        tell: Callable[[], None] = lambda: None,
    ):
        self.agent, self.port, self.flow = agent, port, plan.flow
        self.block_size = algorithm.block_length * spec.num_envs
        self.warm: set[bool] = set()
        self.faults: list[str] = []  # who reads one removes it
        self._tell = tell
        self.learner = Learner(agent, cuts=plan.streamed)
        self._fresh, self._on_machine = self.flow == "fresh", on_machine
        self._shares, self._together, self._num_envs = plan.shares, plan.together, spec.num_envs
        shape = (algorithm.block_length, spec.num_envs)
        keys_together = drawn_together(algorithm, spec)

        def draw(key: Key, first: Array, count: int) -> ChunkNoise:
            return draw_noise(key, first, count, shape, agent, lambda key, shape: (), keys_together)

        self.chunk = chunk_of(chunk, draw)
        self._learn_keys = jax.jit(lambda key, first: jax.random.key_data(draw(key, first, self.chunk).learn))
        packing = Packing(jax.eval_shape(lambda key: published(agent, agent.init(key)), jax.random.key(0)))
        self._publish = jax.jit(lambda state: packing.pack(published(agent, self.learner.packing.unpack(state))))
        self._cut = jax.jit(lambda state, which: agent.cut(state, which))
        self._ahead = plan.ahead
        self.fleet = Fleet(port, len(plan.shares), self._beginning, plan.ahead, step_timeout)
        self._seed, self._base, self._version = 0, 0, 0
        self._shared: tuple[int, Any] = (-1, None)  # the version that was published last, and where it is
        self._queue: deque[tuple[Answer, Any]] = deque()  # blocks or gradients that have come
        self._asked: dict[int, int] = {}  # of each place, the requests so far
        self._places: dict[int, Place] = {}
        self._cut_off: set[int] = set()  # places whose episodes were lost, and are not cut yet
        self._answers: dict[int, Any] = {}  # to what all were asked

    # ---- the interface of an engine

    def init(self, seed: int) -> Loop:
        agent_key, _, key = initial_keys(seed)
        self._start(seed, 0)
        state = self.learner.init(agent_key)
        if not self._fresh:
            return Loop(state, (), (), (), Episodes.of(1), key, jnp.int32(0))
        self._wait(lambda: len(self._places) == len(self._shares))
        return self._at(Loop(state, (), (), (), Episodes.of(self._num_envs), key, jnp.int32(0)))

    def advance(self, loop: Loop, iterations: int, learn: bool) -> tuple[Loop, Metrics]:
        check_iterations(iterations, self.chunk)
        first = int(loop.iteration)
        keys = jax.device_get(self._learn_keys(loop.key, first))
        state = self.learner.packing.pack(loop.agent)
        self._version = self._count(first)
        self._shared = (-1, None)
        watch = _Watch()
        history: list[Array] = []
        for i in range(iterations):
            if self._fresh:
                block = self._fresh_block(state, first + i, i == iterations - 1, watch)
                if self._cut_off:
                    state = self._with_cuts(state)
                state, metrics = self.learner.update(state, block, keys[i], learn)
                self._version += 1
            elif self.flow == "gradients":
                state, metrics = self._gradients(state, watch)
            else:
                block = self._streamed_block(state, watch)
                state, metrics = self.learner.update(state, block, keys[i], learn)
                self._version += 1
            history.append(metrics)
        agent, means, made = self.learner.finish(state, history, learn)
        episodes = Episodes(loop.episodes.running, jnp.asarray(watch.sums, jnp.float32))
        loop = loop._replace(agent=agent, episodes=episodes, iteration=loop.iteration + jnp.int32(made))
        if self._fresh:
            loop = self._at(loop)
        return loop, jax.device_get(named(episodes, {}, 1)) | means | watch.metrics(self.fleet)

    def environments(self) -> dict[str, Any] | None:
        if not (self._fresh and self._on_machine):
            return None
        places = self._ask_all(lambda number: Snapshot())
        return {"places": [place for number in sorted(places) for place in places[number]]}

    def resume(self, loop: Loop, environments: dict[str, Any] | None) -> tuple[Loop, int]:
        if not self._fresh:
            self._start(self._seed, int(loop.iteration))
            self.faults.append(
                "What was learnt goes on exactly; the blocks that were under way are dropped, at most "
                f"{len(self._shares) * self._ahead}, and their episodes with them."
            )
            return loop._replace(agent=self._cut(loop.agent, jnp.ones(self._num_envs, bool))), 0

        def restore(number: int) -> Restore:
            first, count = self._shares[number]
            mine = slice(first, first + count)
            env, obs, carry = jax.device_get(jax.tree.map(lambda leaf: leaf[mine], (loop.env, loop.obs, loop.carry)))
            place = Place(env, obs, carry, np.asarray(loop.episodes.running)[:, mine])
            return Restore(environments["places"][mine] if environments else None, place)

        restored = self._ask_all(restore)
        self._places = {number: one.place for number, one in restored.items()}
        lost = np.concatenate([restored[number].lost for number in sorted(restored)])
        agent = self._cut(loop.agent, jnp.asarray(lost)) if lost.any() else loop.agent
        return self._at(loop._replace(agent=agent)), int(lost.sum())

    def close(self) -> None:
        self.fleet.close()

    # ---- actors

    def _beginning(self, number: int, losses: int) -> Begin:
        if self._fresh and not losses:
            return Begin(self._seed, None)
        return Begin(self._seed, 1 + losses + self._base)

    def _start(self, seed: int, iteration: int) -> None:
        """Has all actors begin; after so many iterations, with noise that none of them has had."""
        self._seed, self._base = seed, iteration
        self._queue.clear()
        self._places.clear()
        self._cut_off.clear()
        self._asked = dict.fromkeys(range(len(self._shares)), 0)
        self.fleet.begin()

    def _wait(self, is_enough: Callable[[], bool], watch: "_Watch | None" = None) -> None:
        """Takes what actors answer until that is enough."""
        began = alone_since = time.monotonic()
        while not is_enough():
            for answer in self.fleet.receive():
                self._take(answer)
            self.faults += [self.fleet.notices.pop(0) for _ in range(len(self.fleet.notices))]
            if self.faults:
                self._tell()
            if self.fleet.up:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > WITHOUT_ACTORS:
                raise errors.Error(
                    f"No actor has begun for {WITHOUT_ACTORS:,.0f} s; the cluster may be full, or its machines may "
                    "lack polyak. `ray status` tells what it waits for."
                )
        if watch:
            watch.waited += time.monotonic() - began

    def _take(self, answer: Answer) -> None:
        content = answer.content
        if isinstance(content, Fault):
            raise errors.restored(content.kind, content.message)
        if answer.message is None:  # it has begun
            self._asked[answer.slot] = 0
            if self._fresh and answer.slot in self._places:
                self._cut_off.add(answer.slot)
            self._places[answer.slot] = content
            return
        if isinstance(content, Collected):
            self.faults += content.faults
            self._queue.append((answer, content))
        else:
            self._answers[answer.slot] = content
            self.fleet.release(answer)

    def _ask_all(self, message: Callable[[int], Any]) -> dict[int, Any]:
        """Asks every actor, and the successor of one that is lost, and waits for all answers."""
        self._answers = {}

        def look() -> bool:
            for number in range(len(self._shares)):
                if number not in self._answers and self.fleet.room(number):
                    self.fleet.ask(number, message(number))
            return len(self._answers) == len(self._shares)

        self._wait(look)
        return self._answers

    # ---- blocks

    def _fresh_block(self, state: PyTree, iteration: int, is_last: bool, watch: "_Watch") -> PyTree:
        """One block, of which each actor collects its share with the newest parameters."""
        shares: dict[int, tuple[int, PyTree]] = {}  # the life of the actor, and what it collected

        def look() -> bool:
            while self._queue:
                answer, collected = self._queue.popleft()
                shares[answer.slot] = answer.life, collected.block
                if collected.place is not None:
                    self._places[answer.slot] = collected.place
                watch.take(collected, self._version - answer.message.version)
                self.fleet.release(answer)
            for number in range(len(self._shares)):
                if number in shares and shares[number][0] != self.fleet.life(number):
                    del shares[number]  # what its successor does would not go on from there
                if number not in shares and self.fleet.room(number):
                    self.fleet.ask(number, Collect(iteration, self._version, is_last), self._published(state))
            return len(shares) == len(self._shares)

        self._wait(look, watch)
        return _side_by_side([shares[number][1] for number in sorted(shares)])

    def _streamed_block(self, state: PyTree, watch: "_Watch") -> PyTree:
        """The blocks of an update, from whichever actors have some."""
        taken = self._next(state, self._together, watch)
        return _side_by_side([collected.block for _, collected in taken])

    def _gradients(self, state: PyTree, watch: "_Watch") -> tuple[PyTree, Array]:
        """Applies as many gradients as make up a block, each as it comes."""
        history = []
        for _ in self._shares:
            ((_, collected),) = self._next(state, 1, watch)
            state, metrics = self.learner.apply(state, collected.block)
            self._version += 1
            history.append(metrics)
        return state, jnp.stack(history).mean(0)

    def _next(self, state: PyTree, count: int, watch: "_Watch") -> list[tuple[Answer, Collected]]:
        """The next answers, in the order in which they came; all who have room are asked for more."""

        def look() -> bool:
            # Where few of the actors are there, each is asked for as many as an update takes of them.
            most = -(-count // max(1, len(self.fleet.up)))
            for number in self.fleet.up:
                while self.fleet.room(number, most):
                    request = Collect(self._asked[number], self._version, False)
                    self.fleet.ask(number, request, self._published(state))
                    self._asked[number] += 1
            return len(self._queue) >= count

        self._wait(look, watch)
        taken = [self._queue.popleft() for _ in range(count)]
        for answer, collected in taken:
            watch.take(collected, self._version - answer.message.version)
            self.fleet.release(answer)
        return taken

    def _published(self, state: PyTree) -> Any:
        """Where the newest parameters are."""
        version, where = self._shared
        if version != self._version:
            where = self.port.share(jax.device_get(self._publish(state)))
            self._shared = self._version, where
        return where

    def _count(self, iteration: int) -> int:
        """Updates after so many iterations."""
        return iteration * (len(self._shares) if self.flow == "gradients" else 1)

    def _with_cuts(self, state: PyTree) -> PyTree:
        """The state after the episodes of lost actors were cut."""
        which = np.zeros(self._num_envs, bool)
        for number in self._cut_off:
            first, count = self._shares[number]
            which[first : first + count] = True
        self._cut_off.clear()
        packing = self.learner.packing
        return packing.pack(self._cut(packing.unpack(state), jnp.asarray(which)))

    def _at(self, loop: Loop) -> Loop:
        """The loop with the places of all actors, as if their environments were here."""
        places = [self._places[number] for number in range(len(self._shares))]
        env, obs, carry = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(place[:3] for place in places))
        running = np.concatenate([place.running for place in places], -1)
        episodes = loop.episodes._replace(running=jnp.asarray(running))
        return loop._replace(env=env, obs=obs, carry=jax.tree.map(jnp.asarray, carry), episodes=episodes)


class _Watch:
    """What is measured of a chunk besides learning."""

    def __init__(self) -> None:
        self.sums, self.waited, self.began = np.zeros(3), 0.0, time.monotonic()
        self._staleness: list[int] = []
        self._worked = 0.0

    def take(self, collected: Collected, staleness: int) -> None:
        self.sums += collected.sums
        self._worked += collected.seconds
        self._staleness.append(staleness)

    def metrics(self, fleet: Fleet) -> Metrics:
        seconds = max(time.monotonic() - self.began, 1e-9)
        return {
            "staleness": float(np.mean(self._staleness)),
            "staleness_max": float(np.max(self._staleness)),
            "actors": float(len(fleet.up)),
            "actors_busy": self._worked / seconds / max(1, len(fleet.up)),
            "learner_waits": self.waited / seconds,
        }


def _side_by_side(blocks: list[PyTree]) -> PyTree:
    """Blocks [T, b, ...] as one [T, B, ...]."""
    return blocks[0] if len(blocks) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), *blocks)
