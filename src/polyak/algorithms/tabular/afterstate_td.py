"""Temporal differences on afterstates, as in the tic-tac-toe of Sutton and Barto (2018), sections 1.5 and 6.8.

    V(X) <- V(X) + alpha [R + gamma max_x V(x) - V(X)]

after every step, where X is the afterstate that the action led to (the board when one's own move is made, and not yet
answered), and x are those that the next actions may lead to. Actions are chosen by looking one step ahead: whichever
leads to the best afterstate. In self-play the next action is the opponent's, whose gain is one's loss:

    V(X) <- V(X) + alpha [R - gamma max_x V(x) - V(X)]

Deviations: the book learns nothing from exploring moves; here the maximum over what follows, as in Q-learning, makes
them as good to learn from as any other. Values are expected results, from -1 to 1, and not probabilities of winning.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from polyak.agent import Agent, Array, PyTree, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy, Exploration
from polyak.parts.ranges import Finite, Share
from polyak.parts.tables import PredictionState, afterstate_values, look_up


@dataclasses.dataclass(frozen=True)
class AfterstateTD:
    """TD on afterstates: a table of their values, with one step of look-ahead, by self-play or against others.

    It needs to observe, for each action, the number of the afterstate it leads to, or -1 where it is not allowed: the
    part `afterstates` of a Dict observation. It reads no other part.
    """

    name: ClassVar[str] = "afterstate-td"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.5
    gamma: Share = 0.9
    """Discount per step, in [0, 1]; below 1 a quick win is worth more than a slow one."""
    self_play: bool = True
    """Whether the next move is the opponent's, whose gain is one's loss; else it is one's own (tic-tac-toe/random)."""
    exploration: Exploration = EpsilonGreedy(1.0, 0.1)
    """How other allowed actions are tried: epsilon:0.1, epsilon:1:0.05:0.5, boltzmann:1, noise:1, ucb:2."""
    initial_value: Finite = 0.0
    """The value of every afterstate before the first step."""

    def agent(self, spec: Spec) -> Agent:
        table = afterstate_values(self, spec, "Afterstate TD")
        gamma = -self.gamma if self.self_play else self.gamma

        def look_ahead(v: Array, x: Array) -> Array:
            """The value of the afterstate x [A] of each action; -inf where it is not allowed."""
            return jnp.where(x >= 0, v[x], -jnp.inf)

        def look(state: PredictionState, obs: Array) -> tuple[Array, PyTree]:
            x = table.rows.state(obs)
            return look_ahead(state.v, x), look_up(state.visits, x)

        def update(state: PredictionState, step: Step) -> tuple[PredictionState, Array]:
            x_tm1, x_t = table.rows.state(step.obs), table.rows.state(step.next_obs)
            q_tm1 = look_ahead(state.v, x_tm1)
            q_t = jnp.where(step.terminated, 0.0, look_ahead(state.v, x_t))  # at an end nothing is allowed
            error = td.q_learning(q_tm1, step.action, step.reward, td.discount(step.terminated, gamma), q_t)
            return table.corrected(state, (x_tm1[step.action],), error)

        return tabular.control(spec, self.exploration, table.init, look, tabular.after_each_step(update))
