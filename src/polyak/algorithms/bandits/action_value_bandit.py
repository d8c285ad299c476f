"""Action values of a bandit (Sutton and Barto, 2018, "Reinforcement learning", chapter 2).

    Q(A) <- Q(A) + alpha [R - Q(A)]

after every pull; with alpha = 1/n, Q(A) is the average of what A paid. What explores makes the method: `epsilon:0` is
greedy, `epsilon:0.1` epsilon-greedy, `ucb:1.4142135` UCB1 (Auer, Cesa-Bianchi and Fischer, 2002, "Finite-time analysis
of the multiarmed bandit problem"), `boltzmann:0.1` softmax; `epsilon:0` with a large `initial_value` and a constant
alpha is optimistic.
"""

import dataclasses
from typing import ClassVar

from polyak.agent import Agent, Array, Spec, Step
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.schedules import StepSize
from polyak.parts.tables import ControlState, action_values


@dataclasses.dataclass(frozen=True)
class ActionValueBandit:
    """Action values of a bandit: averages of what each arm paid, in each context if these are numbered."""

    name: ClassVar[str] = "action-value-bandit"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1
    gamma: ClassVar[float] = 0.0  # nothing but the reward counts

    learning_rate: hyper.AveragingStepSize = StepSize(1.0, power=1.0)
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        table = action_values(self, spec, "A bandit of action values")

        def update(state: ControlState, step: Step) -> tuple[ControlState, Array]:
            place = table.place(step)
            return table.corrected(state, place, step.reward - state.q[place])

        return tabular.control(spec, self.exploration, table.init, table.look, tabular.after_each_step(update))
