"""SARSA (Rummery and Niranjan, 1994, "On-line Q-learning using connectionist systems").

    Q(S, A) <- Q(S, A) + alpha [R + gamma Q(S', A') - Q(S, A)]

after every step, where A' is the action that will be taken next: the value of the policy that is followed, exploration
included.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.tables import ControlState, action_values


@dataclasses.dataclass(frozen=True)
class SARSA:
    """SARSA: a table of action values, bootstrapped on the action taken next."""

    name: ClassVar[str] = "sarsa"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = action_values(self, spec, "SARSA")

        def update(state: ControlState, step: Step, a_next: Array) -> tuple[ControlState, Array]:
            q, (s, a, r, discount, s_next) = state.q, table.transition(step)
            return table.corrected(state, (s, a), td.sarsa(q[s], a, r, discount, q[s_next], a_next))

        return tabular.control_ahead(self.exploration, table, update)
