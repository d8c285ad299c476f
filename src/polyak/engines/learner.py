"""The half of an engine that learns from blocks, wherever these were collected."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Agent, Array, Key, PyTree, Step
from polyak.engines.packing import Packed, Packing


class Learner:
    """Observes blocks and learns from them; one compiled call a block, with the state donated.

    Attributes:
        packing: of the agent's state, in which it is kept between two blocks.
        names: of the metrics, with learning and without; known once a program has run.
    """

    def __init__(self, agent: Agent):
        self.agent = agent
        self.packing = Packing(jax.eval_shape(agent.init, jax.random.key(0)))
        self.names: dict[bool, tuple[str, ...]] = {}
        self._init = jax.jit(agent.init)
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

    def _observe_and_learn(self, state: Packed, block: Step, key_data: Array, learn: bool) -> tuple[Packed, Array]:
        agent = self.agent.observe(self.packing.unpack(state), block)
        agent, metrics = self.agent.learn(agent, block, jax.random.wrap_key_data(key_data)) if learn else (agent, {})
        self.names[learn] = tuple(metrics)
        return self.packing.pack(agent), jnp.array(list(metrics.values()))
