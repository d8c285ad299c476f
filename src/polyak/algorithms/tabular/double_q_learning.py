"""Double Q-learning (van Hasselt, 2010, "Double Q-learning").

    Q_1(S, A) <- Q_1(S, A) + alpha [R + gamma Q_2(S', argmax_a Q_1(S', a)) - Q_1(S, A)]

after half of the steps, and the same with 1 and 2 exchanged after the others: who chooses the action does not judge it,
which frees the maximum of its upward bias.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.finite import usable
from polyak.parts.schedules import step_size
from polyak.parts.tables import add, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class DoubleQLearning:
    """Double Q-learning: two tables, one of which judges the action that the other thinks best."""

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
        rows = rows_of(spec, "Double Q-learning")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            shape = (rows.num_states, rows.num_actions)
            visits = jnp.zeros(shape) if self.exploration.counts or alpha.counts else ()
            return State(jnp.full((2, *shape), jnp.float32(self.initial_value)), visits, jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            explore_key, coin_key = jax.random.split(key)
            coin = jax.random.randint(coin_key, shape, 0, 2)
            return Noise(self.exploration.noise(explore_key, shape, rows.num_actions), coin)

        def act(state: State, carry: tuple[()], obs: Array, noise: Noise, explore: bool):
            s = rows.state(obs)
            q = state.q[:, s].mean(0)
            if not explore:
                return jnp.argmax(q, -1).astype(jnp.int32) + rows.first_action, carry, ()
            choose = jax.vmap(self.exploration.choose, (0, 0, None, 0))
            action = choose(q, look_up(state.visits, s), state.step / spec.total_steps, noise.explore)
            return action + rows.first_action, carry, noise.coin

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, step: Step) -> tuple[State, Array]:
            q, visits, chooser = state.q, state.visits, step.extras
            s, a, s_next = rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            discount, judge = td.discount(step.terminated, self.gamma), 1 - chooser
            error = usable(
                td.double_q_learning(q[chooser, s], a, step.reward, discount, q[judge, s_next], q[chooser, s_next])
            )
            visits = add(visits, s, a, 1.0)
            change = alpha.at(state.step / spec.total_steps, look_up(visits, s, a)) * error
            q = q.at[chooser].set(add(q[chooser], s, a, change))
            return state._replace(q=q, visits=visits), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, errors = jax.lax.scan(update, state, one_by_one(block))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class Noise(NamedTuple):
    """The randomness of one step."""

    explore: PyTree
    coin: Array  # 0 or 1: which table learns


class State(NamedTuple):
    """What double Q-learning knows."""

    q: Array  # [2, S, A]
    visits: PyTree  # [S, A] float32, of both together
    step: Array  # [] int32
