"""SARSA(lambda) (Rummery and Niranjan, 1994; Sutton and Barto, 2018, section 12.7, with a table).

    E(S, A) <- E(S, A) + 1, or with replacing traces 1
    Q <- Q + alpha [R + gamma Q(S', A') - Q(S, A)] E
    E <- gamma lambda E

after every step: recent steps share in the error, the less the longer ago they were taken.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular, traces
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.tables import ControlState, action_values


@dataclasses.dataclass(frozen=True)
class SARSALambda:
    """SARSA(lambda): a table of action values in which each error corrects all recent steps."""

    name: ClassVar[str] = "sarsa-lambda"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    trace_lambda: hyper.TraceLambda = 0.9
    replacing_traces: hyper.ReplacingTraces = True
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = action_values(self, spec, "SARSA(lambda)")

        def update(state: ControlState, step: Step, a_next: Array) -> tuple[ControlState, Array]:
            q, (s, a, r, discount, s_next) = state.q, table.transition(step)
            error = td.sarsa(q[s], a, r, discount, q[s_next], a_next)
            fade = self.gamma * self.trace_lambda
            return traces.corrected(table, state, step, error, self.replacing_traces, fade)

        return tabular.control_ahead(self.exploration, table, update, trace=jnp.zeros(table.shape))
