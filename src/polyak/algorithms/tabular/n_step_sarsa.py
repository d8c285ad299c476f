"""n-step SARSA (Sutton and Barto, 2018, section 7.2).

    Q(S_t, A_t) <- Q(S_t, A_t) + alpha [R_t+1 + ... + gamma^(n-1) R_t+n + gamma^n Q(S_t+n, A_t+n) - Q(S_t, A_t)]

n steps after S_t; at the end of the episode its last n steps are all corrected.

Deviation: where the clock cut the episode, Q of the action that would have followed stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import returns
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.tables import ControlState, action_values


@dataclasses.dataclass(frozen=True)
class NStepSARSA:
    """n-step SARSA: a table of action values, bootstrapped on the action taken after n steps."""

    name: ClassVar[str] = "n-step-sarsa"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    n_steps: hyper.NStep = 4
    gamma: hyper.Gamma = 0.99
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table, n = action_values(self, spec, "n-step SARSA"), self.n_steps

        def update(state: ControlState, step: Step, a_next: Array) -> tuple[ControlState, Array]:
            s, a, r, discount, s_next = table.transition(step)
            recent = state.recent.push(s, a, r)
            follows = discount * state.q[s_next, a_next]
            g = returns.discounted(recent.reward, jnp.full(n, self.gamma).at[-1].set(1.0), follows)
            over = step.terminated | step.truncated
            due = recent.filled & (over | (jnp.arange(n) == 0))

            def correct(state: ControlState, past: tuple[Array, ...]) -> tuple[ControlState, Array]:
                s, a, g, due = past
                return table.corrected(state, (s, a), due * (g - state.q[s, a]), due)

            state, errors = jax.lax.scan(correct, state, (recent.state, recent.action, g, due))
            recent = recent._replace(filled=recent.filled & ~over)
            return state._replace(recent=recent), jnp.abs(errors).sum()  # each step is corrected once

        return tabular.control_ahead(self.exploration, table, update, recent=Recent.empty(n))


class Recent(NamedTuple):
    """The last n steps, the oldest first; leaves [n]."""

    state: Array  # int32
    action: Array  # int32
    reward: Array  # float32
    filled: Array  # bool, where a step of the present episode is waiting

    @staticmethod
    def empty(n: int) -> "Recent":
        """Before the first step."""
        numbers = jnp.zeros(n, jnp.int32)
        return Recent(numbers, numbers, jnp.zeros(n), jnp.zeros(n, bool))

    def push(self, state: Array, action: Array, reward: Array) -> "Recent":
        """After one more step, for which the oldest makes room."""
        newest = Recent(state, action, reward, jnp.bool_(True))
        return jax.tree.map(lambda row, new: jnp.append(row[1:], new.astype(row.dtype)), self, newest)
