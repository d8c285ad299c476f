"""Q(lambda) (Watkins, 1989, "Learning from delayed rewards", chapter 7).

    E(S, A) <- E(S, A) + 1, or with replacing traces 1
    Q <- Q + alpha [R + gamma max_a Q(S', a) - Q(S, A)] E
    E <- gamma lambda E if the next action is greedy, else 0

after every step: what follows an exploring action is not a return of the greedy policy, so that traces end there.
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
class QLambda:
    """Q(lambda): Q-learning in which each error corrects all steps since the last exploring action."""

    name: ClassVar[str] = "q-lambda"
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
        table = action_values(self, spec, "Q(lambda)")

        def update(state: ControlState, step: Step, a_next: Array) -> tuple[ControlState, Array]:
            q, (s, a, r, discount, s_next) = state.q, table.transition(step)
            error = td.q_learning(q[s], a, r, discount, q[s_next])
            greedy = q[s_next, a_next] == q[s_next].max()
            fade = self.gamma * self.trace_lambda * greedy
            return traces.corrected(table, state, step, error, self.replacing_traces, fade)

        return tabular.control_ahead(self.exploration, table, update, trace=jnp.zeros(table.shape))
