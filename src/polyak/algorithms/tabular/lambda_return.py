"""The off-line lambda-return algorithm (Watkins, 1989; Sutton and Barto, 2018, section 12.1, with a table).

    V(S_t) <- V(S_t) + alpha [G_t - V(S_t)],  G_t = R_t+1 + gamma [(1 - lambda) V(S_t+1) + lambda G_t+1]

for every step of an episode, in order, when it is over: the forward view, which TD(lambda) approximates step by step.

Deviations: it learns from blocks of steps, each of which begins with a fresh episode, and all returns of a block look
to the values before it; where a block holds one episode, that is the book's algorithm. Where the clock, or the end of
the block, cut an episode, V of the state that was reached stands for the rest.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import returns
from polyak.parts import hyper, tabular
from polyak.parts.policies import TabularPolicy
from polyak.parts.ranges import BlockLength, Share
from polyak.parts.tables import Place, PredictionState, state_values


@dataclasses.dataclass(frozen=True)
class LambdaReturn:
    """Off-line lambda-return: a table of the state values of a given policy, from the mean of all n-step returns."""

    name: ClassVar[str] = "lambda-return"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    n_steps: BlockLength = 1_000
    """Steps of every environment in a block; an episode should fit in."""
    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    trace_lambda: Share = 0.9
    """How far returns look, in [0, 1]: 0 to the next state, 1 to the end of the episode."""
    initial_value: hyper.InitialStateValue = 0.0

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        table = state_values(self, spec, "The lambda-return algorithm")

        def target(state: PredictionState, steps: Step) -> tuple[Place, Array, Array]:
            s, _, r, discount, s_next = table.transition(steps)
            continues = 1.0 - (steps.terminated | steps.truncated)
            g = returns.lambda_return(r, discount, state.v[s_next], continues, self.trace_lambda)
            return (s,), g, jnp.ones_like(g)

        return tabular.prediction_from_returns(self.policy, table, target)
