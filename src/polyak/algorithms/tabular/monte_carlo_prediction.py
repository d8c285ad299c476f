"""Monte Carlo prediction (Sutton and Barto, 2018, section 5.1; equation 6.1 with a step size that stays).

    V(S_t) <- V(S_t) + alpha [G_t - V(S_t)],  G_t = R_t+1 + gamma R_t+2 + ... to the end of the episode

for the first visit of each state in an episode, or for every one; alpha = 1 / n averages. It learns from blocks of
steps of a policy that is given; each begins with a fresh episode.

Deviation: an episode that the clock, or the end of the block, cut has no return; there V of the state that was reached
stands for the rest.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import returns
from polyak.parts import hyper, tabular
from polyak.parts.policies import TabularPolicy
from polyak.parts.schedules import StepSize
from polyak.parts.tables import Place, PredictionState, state_values


@dataclasses.dataclass(frozen=True)
class MonteCarloPrediction:
    """Monte Carlo prediction: a table of the state values of a given policy, each the mean of returns."""

    name: ClassVar[str] = "monte-carlo-prediction"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    n_steps: hyper.EpisodeSteps = 1_000
    learning_rate: hyper.AveragingStepSize = StepSize(1.0, power=1.0)
    gamma: hyper.Gamma = 0.99
    first_visit: bool = True
    """Learn from the first visit of a state in an episode alone, which leaves no bias."""
    initial_value: hyper.InitialStateValue = 0.0

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        table = state_values(self, spec, "Monte Carlo prediction")

        def target(state: PredictionState, steps: Step) -> tuple[Place, Array, Array]:
            s, _, r, discount, s_next = table.transition(steps)
            over = (steps.terminated | steps.truncated).at[-1].set(True)
            g = returns.discounted(r + over * discount * state.v[s_next], self.gamma * (1.0 - over), jnp.float32(0))
            return (s,), g, returns.first_visit(s, over) if self.first_visit else jnp.ones_like(over)

        return tabular.prediction_from_returns(self.policy, table, target)
