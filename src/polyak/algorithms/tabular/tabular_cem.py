"""The cross-entropy method on a table (Rubinstein, 1999; Mannor, Rubinstein and Gat, 2003, "The cross entropy method
for fast policy search").

    pi(a | s) <- (1 - alpha) pi(a | s) + alpha (n(s, a) + c) / (n(s) + c A)

where n counts the choices in the best share of the sessions that pi just played: it imitates its own best.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec, Step, no_memory
from polyak.parts.ranges import Count, NotNegative, PositiveShare, Share
from polyak.parts.sessions import first_episodes, session_returns
from polyak.parts.tables import rows_of


@dataclasses.dataclass(frozen=True)
class TabularCEM:
    """Cross-entropy method on a table: plays sessions, and imitates the best of them."""

    name: ClassVar[str] = "tabular-cem"
    default_num_envs: ClassVar[int] = 256
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False  # its sessions are a batch already
    learning_starts: ClassVar[int] = 0

    session_length: Count = 200
    """Steps of a session, whose score is its sum of rewards; every environment plays one a round."""
    elite_share: Share = 0.25
    """Share of the sessions that are imitated."""
    learning_rate: PositiveShare = 0.5
    """How far the policy moves towards what the best did, in (0, 1]."""
    smoothing: NotNegative = 0.1
    """Imagined choices of every action in every state, so that none is ruled out."""

    @property
    def block_length(self) -> int:
        return self.session_length

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "The cross-entropy method")

        def init(key: Key) -> State:
            return State(jnp.full((rows.num_states, rows.num_actions), jnp.float32(1.0 / rows.num_actions)))

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.gumbel(key, (*shape, rows.num_actions))

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            logits = jnp.log(state.pi[rows.state(obs)])
            action = jnp.argmax(logits + noise if explore else logits, -1).astype(jnp.int32)
            return action + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            first, score = first_episodes(block), session_returns(block)
            bar = jnp.quantile(score, 1.0 - self.elite_share)
            elite = (score >= bar) & (score > score.min())  # where most earn nothing, those who earned something
            elite = elite & jnp.isfinite(score.mean())  # of sums that overflow none is imitated
            s, a = rows.state(block.obs), block.action - rows.first_action
            counts = jnp.zeros_like(state.pi).at[s, a].add(first & elite) + self.smoothing
            visited = counts.sum(1, keepdims=True) > self.smoothing * rows.num_actions
            imitated = jnp.where(visited, counts / counts.sum(1, keepdims=True), state.pi)
            pi = state.pi + self.learning_rate * (imitated - state.pi)
            return State(pi), {"session_return": score.mean(), "elite_return": bar}

        def policy(state: State) -> State:
            return state

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """A table of a policy."""

    pi: Array  # [S, A] the probability of each action
