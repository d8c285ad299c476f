"""An actor: it holds environments, acts in them with what the learner published, and hands over blocks of steps."""

import time
from typing import Any

from polyak.cluster.messages import Begin, Collect, Collected, Fault, Restore, Snapshot, Task
from polyak.errors import Error


class Actor:
    """Answers the learner's messages, one after the other, in a process that is its own.

    Args:
        task: which environments are its own, and who acts in them.
    """

    def __init__(self, task: Task):
        self._task = task
        self._share: Any = None
        self._compute: Any = None  # gradients or priorities, once there is a block

    def answer(self, message: Any, shared: Any = None) -> Any:
        """The answer to a message; a `Fault` where the environment, or what is asked for, is at fault."""
        try:
            return self._answer(message, shared)
        except Error as error:
            return Fault(type(error).__name__, str(error))

    def _answer(self, message: Any, shared: Any) -> Any:
        if isinstance(message, Begin):
            return self._begin(message)
        if isinstance(message, Collect):
            return self._collect(message, shared)
        if isinstance(message, Snapshot):
            return self._share.snapshot()
        if isinstance(message, Restore):
            return self._share.restore(message)
        raise TypeError(f"an actor has no answer to {message!r}")

    def _begin(self, message: Begin) -> Any:
        import jax

        from polyak.cluster.shares import share_of
        from polyak.engines import allocator

        if self._share is None:
            allocator.keep_freed()
            self._agent, self._share = share_of(self._task)
        self._share.begin(message)
        self._key = jax.random.fold_in(jax.random.key(message.seed), self._task.first)
        return self._share.place()

    def _gradient(self, shared: Any, block: Any, iteration: int) -> Any:
        import jax

        if self._compute is None:
            self._compute = self._compiled(self._agent.gradient)
        return jax.device_get(self._compute(shared, block, jax.random.fold_in(self._key, iteration)))

    def _appraised(self, shared: Any, block: Any) -> Any:
        import jax

        if self._compute is None:
            self._compute = self._compiled(self._agent.appraise)
        return block._replace(priority=jax.device_get(self._compute(shared, block)))

    def _compiled(self, function: Any) -> Any:
        """A function of the agent's as one of what is published, packed."""
        import jax

        from polyak.cluster.shares import Published

        unpack = Published(self._task, self._agent, self._share.spec).unpack
        return jax.jit(lambda state, *arguments: function(unpack(state), *arguments))

    def _collect(self, message: Collect, shared: Any) -> Collected:
        share = self._share
        began = time.perf_counter()
        block, sums = share.collect(shared, message.iteration)
        if self._task.computes_gradients:
            block = self._gradient(shared, block, message.iteration)
        elif self._agent.appraise:
            block = self._appraised(shared, block)
        place = share.place() if message.wants_place else None
        faults = [share.faults.pop(0) for _ in range(len(share.faults))]
        return Collected(block, sums, place, time.perf_counter() - began, faults)
