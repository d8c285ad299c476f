"""Ranked rewards (Laterre et al., 2018, "Ranked reward: enabling self-play reinforcement learning for combinatorial
optimization"): what makes a lone player win or lose.

Who plays alone has nobody to be as strong as itself, but its own last returns. An episode that is rewarded at its end
is won, +1, where its return is at least a quantile of them, and lost otherwise, -1. As the player improves so does what
it takes to win; where all episodes end alike all are won.

Deviations: an episode that equals the quantile is won, and not by chance; the last 100 returns count, not 250, which
lagged behind a player who improves: nearly all was won then, and nothing told good from better (on sparse CartPole six
seeds of ten reached 500 with 250, and all ten with 100).
"""

import dataclasses

import jax.numpy as jnp

from polyak.agent import Array, Step
from polyak.parts.ring import Replay, Ring

RANKED = 100  # last returns that a new one is ranked among


def won_or_lost(threshold: Array, reward: Array, terminated: Array) -> Array:
    """The rewards that count: 1 or -1 at the end of an episode, by its return, and 0 before."""
    return jnp.where(terminated, jnp.where(reward >= threshold, 1.0, -1.0), 0.0)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The memory of the last returns, and the threshold that they set."""

    quantile: float
    block_size: int  # steps, and so at most episodes, that are added at a time

    @property
    def _ring(self) -> Ring:
        return Ring(max(RANKED, self.block_size), 1)

    def init(self) -> Replay:
        """No returns as yet."""
        return self._ring.init(jnp.float32(0))

    def add(self, returns: Replay, block: Step) -> tuple[Replay, Array]:
        """The memory with the episodes that ended in a block, and the return [] that it now takes to win."""
        returns = self._ring.add_some(returns, block.reward.reshape(-1), block.terminated.reshape(-1))
        ages = self._ring.age(returns, jnp.arange(self._ring.capacity))
        last = jnp.where(ages < jnp.minimum(returns.size, RANKED), returns.storage, jnp.nan)
        return returns, jnp.nan_to_num(jnp.nanquantile(last, self.quantile))  # 0 until an episode has ended
