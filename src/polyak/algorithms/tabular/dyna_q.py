"""Dyna-Q (Sutton, 1990, "Integrated architectures for learning, planning, and reacting").

    Q(S, A) <- Q(S, A) + alpha [R + gamma max_a Q(S', a) - Q(S, A)]
    n times, for a pair (s, a) that was taken before: Q(s, a) <- r(s, a) + gamma sum_s' p(s' | s, a) max_a' Q(s', a')

after every step, with r and p estimated from the steps so far: experience is used again while more of it is gathered.

Deviation: the model counts how often each state followed and plans with the mean, so that it is right in stochastic
environments too; the original keeps what followed last.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.finite import usable
from polyak.parts.ranges import Count
from polyak.parts.tables import ControlState, action_values


@dataclasses.dataclass(frozen=True)
class DynaQ:
    """Dyna-Q: Q-learning that also learns a model and plans with it after every step."""

    name: ClassVar[str] = "dyna-q"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False  # sums over all states would be rounded differently
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    planning_steps: Count = 10
    """Backups from the model after every step of the environment."""
    gamma: hyper.Gamma = 0.99
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = dataclasses.replace(action_values(self, spec, "Dyna-Q"), counts=True)

        def init(key: Key) -> ControlState:
            return table.init(key)._replace(model=Model.empty(*table.shape))

        def update(state: ControlState, step: Step) -> tuple[ControlState, Array]:
            q, (s, a, r, discount, s_next) = state.q, table.transition(step)
            new = state.visits[s, a] == 0
            state, error = table.corrected(state, (s, a), td.q_learning(q[s], a, r, discount, q[s_next]))
            model = state.model.take_in(s, a, r, s_next, step.terminated, new)

            def plan(q: Array, draw: Array) -> tuple[Array, None]:
                pair = model.seen[(draw * model.num_seen).astype(jnp.int32)]
                s, a = pair // table.rows.num_actions, pair % table.rows.num_actions
                target = (model.reward[s, a] + self.gamma * model.onward[s, a] @ q.max(1)) / state.visits[s, a]
                return q.at[s, a].set(jnp.where(jnp.isnan(usable(target)), q[s, a], target)), None

            q, _ = jax.lax.scan(plan, state.q, step.extras)
            return state._replace(q=q, model=model), error

        def learn(state: ControlState, block: Step, key: Key) -> tuple[ControlState, dict[str, Array]]:
            draws = jax.random.uniform(key, (*block.reward.shape, self.planning_steps))
            return learn_steps(state, block._replace(extras=draws), key)

        learn_steps = tabular.after_each_step(update)
        return tabular.control(spec, self.exploration, init, table.look, learn)


class Model(NamedTuple):
    """The environment as estimated from the steps so far."""

    onward: Array  # [S, A, S] float32, how often each state followed and the episode went on
    reward: Array  # [S, A] the sum of rewards
    seen: Array  # [S A] int32, the pairs s A + a in the order in which they were first taken
    num_seen: Array  # [] int32

    @staticmethod
    def empty(states: int, actions: int) -> "Model":
        """Before the first step."""
        onward, reward = jnp.zeros((states, actions, states)), jnp.zeros((states, actions))
        return Model(onward, reward, jnp.zeros(states * actions, jnp.int32), jnp.int32(0))

    def take_in(self, s: Array, a: Array, r: Array, s_next: Array, terminated: Array, new: Array) -> "Model":
        """After one more step; `new` if the pair was never taken before."""
        pair = (s * self.reward.shape[1] + a).astype(jnp.int32)
        return Model(
            self.onward.at[s, a, s_next].add(1.0 - terminated),
            self.reward.at[s, a].add(r),
            self.seen.at[self.num_seen].set(jnp.where(new, pair, self.seen[self.num_seen]), mode="drop"),
            self.num_seen + new,
        )
