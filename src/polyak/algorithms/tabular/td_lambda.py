"""TD(lambda) (Sutton, 1988; Singh and Sutton, 1996, "Reinforcement learning with replacing eligibility traces").

    E(S) <- E(S) + 1, or with replacing traces 1
    V <- V + alpha [R + gamma V(S') - V(S)] E
    E <- gamma lambda E

after every step of a policy that is given: recent states share in the error, the less the longer ago they were visited.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular, traces
from polyak.parts.policies import TabularPolicy
from polyak.parts.tables import PredictionState, state_values


@dataclasses.dataclass(frozen=True)
class TDLambda:
    """TD(lambda): a table of the state values of a given policy, in which each error corrects all recent states."""

    name: ClassVar[str] = "td-lambda"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    trace_lambda: hyper.TraceLambda = 0.9
    replacing_traces: hyper.ReplacingTraces = True
    initial_value: hyper.InitialStateValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = state_values(self, spec, "TD(lambda)")

        def update(state: PredictionState, step: Step) -> tuple[PredictionState, Array]:
            v, (s, _, r, discount, s_next) = state.v, table.transition(step)
            error = td.td_learning(v[s], r, discount, v[s_next])
            fade = self.gamma * self.trace_lambda
            return traces.corrected(table, state, step, error, self.replacing_traces, fade)

        return tabular.prediction(self.policy, table, update, trace=jnp.zeros(table.shape))
