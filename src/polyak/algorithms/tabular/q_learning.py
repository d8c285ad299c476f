"""Q-learning (Watkins, 1989, "Learning from delayed rewards").

    Q(S, A) <- Q(S, A) + alpha [R + gamma max_a Q(S', a) - Q(S, A)]

after every step: the value of the best policy, whatever policy is followed meanwhile.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.tables import ControlState, action_values


@dataclasses.dataclass(frozen=True)
class QLearning:
    """Q-learning: a table of action values, bootstrapped on the best next action."""

    name: ClassVar[str] = "q-learning"
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
        table = action_values(self, spec, "Q-learning")

        def update(state: ControlState, step: Step) -> tuple[ControlState, Array]:
            q, (s, a, r, discount, s_next) = state.q, table.transition(step)
            return table.corrected(state, (s, a), td.q_learning(q[s], a, r, discount, q[s_next]))

        return tabular.control(spec, self.exploration, table.init, table.look, tabular.after_each_step(update))
