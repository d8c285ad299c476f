"""Semi-gradient Q(lambda) with linear values q(s, a) = w_a . x(s) (Sutton and Barto, 2018, section 12.10).

    z_A <- z_A + x(S)
    w <- w + alpha [R + gamma max_a q(S', a) - q(S, A)] z
    z <- gamma lambda z if the next action is greedy, else 0

after every step. Off-policy, linear values may diverge where SARSA's do not (section 11.2).
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
class LinearQLearning:
    """Q(lambda) with linear values: of features of a continuous observation, for discrete actions."""

    name: ClassVar[str] = "linear-q-learning"
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
        linear = linear_values(self, spec, "Linear Q-learning")

        def update(state: LinearState, step: Step, a_next: Array) -> tuple[LinearState, Array]:
            w, (x, a, r, discount, x_next) = state.w, linear.transition(step)
            q_next = w @ x_next
            error = td.q_learning(w @ x, a, r, discount, q_next)
            fade = self.gamma * self.trace_lambda * (q_next[a_next] == q_next.max())
            return traces.corrected(linear, state, step, error, self.replacing_traces, fade)

        return tabular.control_ahead(self.exploration, linear, update, z=jnp.zeros(linear.shape))
