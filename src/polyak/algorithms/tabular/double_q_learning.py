"""Double Q-learning (van Hasselt, 2010, "Double Q-learning").

    Q_1(S, A) <- Q_1(S, A) + alpha [R + gamma Q_2(S', argmax_a Q_1(S', a)) - Q_1(S, A)]

after half of the steps, and the same with 1 and 2 exchanged after the others: one table chooses the action and the
other evaluates it, which removes the upward bias of the maximum.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.tables import ControlState, action_values, look_up


@dataclasses.dataclass(frozen=True)
class DoubleQLearning:
    """Double Q-learning: two tables of action values, each of which evaluates the actions that the other chooses."""

    name: ClassVar[str] = "double-q-learning"
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
        table = action_values(self, spec, "Double Q-learning")

        def init(key: Key) -> ControlState:
            one = table.init(key)
            return one._replace(q=jnp.stack([one.q, one.q]))

        def look(state: ControlState, obs: Array) -> tuple[Array, PyTree]:
            s = table.rows.state(obs)
            return state.q[:, s].mean(0), look_up(state.visits, s)

        def update(state: ControlState, step: Step) -> tuple[ControlState, Array]:
            chooser = step.extras  # 0 or 1: the table that chooses, and learns
            own, other = state._replace(q=state.q[chooser]), state.q[1 - chooser]
            q, (s, a, r, discount, s_next) = own.q, table.transition(step)
            error = td.double_q_learning(q[s], a, r, discount, other[s_next], q[s_next])
            own, error = table.corrected(own, (s, a), error)
            return own._replace(q=state.q.at[chooser].set(own.q)), error

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            explore_key, coin_key = jax.random.split(key)
            return Noise(greedy.noise(explore_key, shape), jax.random.randint(coin_key, shape, 0, 2))

        def act(state: ControlState, carry: tuple[()], obs: Array, noise: Noise, explore: bool):
            if not explore:
                return greedy.act(state, carry, obs, (), False)
            action, carry, _ = greedy.act(state, carry, obs, noise.explore, True)
            return action, carry, noise.coin

        greedy = tabular.control(spec, self.exploration, init, look, tabular.after_each_step(update))
        return greedy._replace(noise=noise, act=act)


class Noise(NamedTuple):
    """The randomness of one step."""

    explore: PyTree
    coin: Array  # 0 or 1: which table learns
