"""The half of an engine that learns from blocks, wherever these were collected."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Array, Key, PyTree, Step
from polyak.engines.common import Metrics, largest
from polyak.engines.packing import Packed, Packing


class Learner:
    """Observes blocks and learns from them; one compiled call a block, with the state donated.

    Args:
        agent: learns.
        cuts: whether the next block does not go on where the last one ended, because another actor collects it.

    Attributes:
        packing: of the agent's state, in which it is kept between two blocks.
        names: of the metrics, with learning and without; known once a program has run.
    """

    def __init__(self, agent: Agent, cuts: bool = False):
        self.agent, self._cuts = agent, cuts
        self.packing = Packing(jax.eval_shape(agent.init, jax.random.key(0)))
        self.names: dict[bool, tuple[str, ...]] = {}
        self._init = jax.jit(agent.init)
        self._largest = jax.jit(lambda state: largest(agent.policy(state)))
        self._apply = jax.jit(self._apply_gradient, donate_argnums=0)
        self._update = {
            learn: jax.jit(partial(self._observe_and_learn, learn=learn), donate_argnums=0) for learn in (False, True)
        }

    def init(self, key: Key) -> PyTree:
        """The agent's state before the first block."""
        return self._init(key)

    def update(self, state: Packed, block: Step, key_data: np.ndarray, learn: bool) -> tuple[Packed, Array]:
        """Observes a block, and learns from it if told to.

        Args:
            state: the agent's, packed; it is given away.
            block: the steps [T, B, ...].
            key_data: of the key that `Agent.learn` is given.
            learn: whether it is more than observed.

        Returns:
            The new state, and the metrics in the order of `names[learn]`.
        """
        return self._update[learn](state, block, key_data)

    def finish(self, state: Packed, history: list[Array], learn: bool) -> tuple[PyTree, Metrics, int]:
        """What a chunk has come to.

        Args:
            state: the agent's, packed, after the last block.
            history: the metrics of each block, as `update` and `apply` return them.
            learn: whether the blocks were learnt from.

        Returns:
            The agent's state, the means of the metrics, and how many blocks there were up to the first with a metric
            that is not finite.
        """
        measured = np.stack(jax.device_get(history))  # [blocks, metrics]
        means = dict(zip(self.names[learn], measured.mean(0).tolist(), strict=True))
        agent = self.packing.unpack(state)
        if learn:
            means["largest_parameter"] = float(self._largest(agent))
        sound = np.isfinite(measured).all(1)
        return agent, means, len(history) if sound.all() else 1 + int(sound.argmin())

    def apply(self, state: Packed, gradient: PyTree) -> tuple[Packed, Array]:
        """Applies what `Agent.gradient` returned elsewhere; returns the new state and the metrics, as `update` does."""
        return self._apply(state, gradient)

    def _apply_gradient(self, state: Packed, gradient: PyTree) -> tuple[Packed, Array]:
        assert self.agent.apply is not None
        agent, metrics = self.agent.apply(self.packing.unpack(state), gradient)
        self.names[True] = tuple(metrics)
        return self.packing.pack(agent), jnp.array(list(metrics.values()))

    def _observe_and_learn(self, state: Packed, block: Step, key_data: Array, learn: bool) -> tuple[Packed, Array]:
        agent = self.agent.observe(self.packing.unpack(state), block)
        if self._cuts:
            agent = self.agent.cut(agent, jnp.ones(block.reward.shape[1], bool))
        agent, metrics = self.agent.learn(agent, block, jax.random.wrap_key_data(key_data)) if learn else (agent, {})
        self.names[learn] = tuple(metrics)
        return self.packing.pack(agent), jnp.array(list(metrics.values()))
