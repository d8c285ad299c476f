"""TD(0) (Sutton, 1988, "Learning to predict by the methods of temporal differences").

    V(S) <- V(S) + alpha [R + gamma V(S') - V(S)]

after every step of a policy that is given: an estimate is corrected by the next reward and the next estimate.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.policies import TabularPolicy
from polyak.parts.tables import PredictionState, state_values


@dataclasses.dataclass(frozen=True)
class TD:
    """TD(0): a table of the state values of a given policy, bootstrapped after one step."""

    name: ClassVar[str] = "td"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    initial_value: hyper.InitialStateValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = state_values(self, spec, "TD(0)")

        def update(state: PredictionState, step: Step) -> tuple[PredictionState, Array]:
            v, (s, _, r, discount, s_next) = state.v, table.transition(step)
            return table.corrected(state, (s,), td.td_learning(v[s], r, discount, v[s_next]))

        return tabular.prediction(self.policy, table, update)
