"""Semi-gradient SARSA(lambda) with linear values q(s, a) = w_a . x(s) (Sutton and Barto, 2018, section 12.7).

    z_A <- z_A + x(S)
    w <- w + alpha [R + gamma q(S', A') - q(S, A)] z
    z <- gamma lambda z

after every step. With lambda = 0 only the step itself is corrected; with features that are bins it is a table.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular, traces
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.features import Tiles
from polyak.parts.traces import LinearState, linear_values


@dataclasses.dataclass(frozen=True)
class LinearSARSA:
    """SARSA(lambda) with linear values: of features of a continuous observation, for discrete actions."""

    name: ClassVar[str] = "linear-sarsa"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    features: hyper.Features = Tiles(tilings=8, tiles=8)
    learning_rate: hyper.LinearStepSize = 0.3
    gamma: hyper.Gamma = 1.0
    trace_lambda: hyper.TraceLambda = 0.9
    replacing_traces: hyper.CappedTraces = False
    exploration: hyper.ExplorationWithoutVisits = EpsilonGreedy(0.1)

    def agent(self, spec: Spec) -> Agent:
        linear = linear_values(self, spec, "Linear SARSA")

        def update(state: LinearState, step: Step, a_next: Array) -> tuple[LinearState, Array]:
            w, (x, a, r, discount, x_next) = state.w, linear.transition(step)
            error = td.sarsa(w @ x, a, r, discount, w @ x_next, a_next)
            fade = self.gamma * self.trace_lambda
            return traces.corrected(linear, state, step, error, self.replacing_traces, fade)

        return tabular.control_ahead(self.exploration, linear, update, z=jnp.zeros(linear.shape))
