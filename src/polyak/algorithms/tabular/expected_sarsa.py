"""Expected SARSA (van Seijen et al., 2009, "A theoretical and empirical analysis of Expected Sarsa").

    Q(S, A) <- Q(S, A) + alpha [R + gamma sum_a pi(a | S') Q(S', a) - Q(S, A)]

after every step: SARSA without the variance of the next action, so that it allows a larger step size.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.tables import ControlState, action_values, look_up


@dataclasses.dataclass(frozen=True)
class ExpectedSARSA:
    """Expected SARSA: a table of action values, bootstrapped on the expected value of the next action."""

    name: ClassVar[str] = "expected-sarsa"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    exploration: hyper.ExplorationWithProbabilities = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = action_values(self, spec, "Expected SARSA")

        def update(state: ControlState, step: Step) -> tuple[ControlState, Array]:
            q, (s, a, r, discount, s_next) = state.q, table.transition(step)
            pi = self.exploration.probabilities(q[s_next], look_up(state.visits, s_next), table.progress(state))
            return table.corrected(state, (s, a), td.expected_sarsa(q[s], a, r, discount, q[s_next], pi))

        return tabular.control(spec, self.exploration, table.init, table.look, tabular.after_each_step(update))
