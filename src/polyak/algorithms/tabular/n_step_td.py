"""n-step TD (Sutton and Barto, 2018, section 7.1).

    V(S_t) <- V(S_t) + alpha [R_t+1 + ... + gamma^(n-1) R_t+n + gamma^n V(S_t+n) - V(S_t)]

n steps after S_t; at the end of the episode its last n steps are all corrected.

Deviation: where the clock cut the episode, V of the state that was reached stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.parts import hyper, tabular
from polyak.parts.policies import TabularPolicy
from polyak.parts.tables import PredictionState, state_values


@dataclasses.dataclass(frozen=True)
class NStepTD:
    """n-step TD: a table of the state values of a given policy, bootstrapped after n steps."""

    name: ClassVar[str] = "n-step-td"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    learning_rate: hyper.StepSize = 0.1
    n_steps: hyper.NStep = 4
    gamma: hyper.Gamma = 0.99
    initial_value: hyper.InitialStateValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table, n = state_values(self, spec, "n-step TD"), self.n_steps
        weight = self.gamma ** jnp.arange(n - 1, -1, -1)  # [n] of a reward in the return of each step that waits for it

        def update(state: PredictionState, step: Step) -> tuple[PredictionState, Array]:
            s, _, r, discount, s_next = table.transition(step)
            waiting = state.waiting.joined_by(s)
            rewards = waiting.rewards + weight * r
            g = rewards + weight * discount * state.v[s_next]

            def correct(k: Array, carry: tuple[PredictionState, Array]) -> tuple[PredictionState, Array]:
                state, total = carry
                s = waiting.state[k]
                state, error = table.corrected(state, (s,), g[k] - state.v[s])
                return state, total + jnp.abs(error)

            # the one that has waited for n steps, or at the end of an episode all of them
            over = step.terminated | step.truncated
            last = jnp.where(over, n, 1)
            state, error = jax.lax.fori_loop(n - waiting.number, last, correct, (state, jnp.float32(0)))
            left = jnp.where(over, 0, jnp.minimum(waiting.number, n - 1))
            waiting = waiting._replace(rewards=rewards, number=left)
            return state._replace(waiting=waiting), error  # each step is corrected once

        return tabular.prediction(self.policy, table, update, waiting=Waiting.empty(n))


class Waiting(NamedTuple):
    """The latest steps of the present episode, the newest last."""

    state: Array  # [n] int32
    rewards: Array  # [n] what was earned since, discounted
    number: Array  # [] int32, how many of them, counted from the newest, wait for their return

    @staticmethod
    def empty(n: int) -> "Waiting":
        """Before the first step."""
        return Waiting(jnp.zeros(n, jnp.int32), jnp.zeros(n), jnp.int32(0))

    def joined_by(self, state: Array) -> "Waiting":
        """After one more step, for which the oldest makes room."""
        return Waiting(jnp.append(self.state[1:], state), jnp.append(self.rewards[1:], 0.0), self.number + 1)
