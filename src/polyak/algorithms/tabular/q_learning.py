"""Q-learning (Watkins, 1989, "Learning from delayed rewards").

    Q(S, A) <- Q(S, A) + alpha [R + gamma max_a Q(S', a) - Q(S, A)]

after every step: the value of the best policy, whatever policy is followed meanwhile.
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
class QLearning:
    """Q-learning: a table of action values that looks to the best next action."""

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
        rows = rows_of(spec, "Q-learning")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            visits = jnp.zeros_like(q) if self.exploration.counts or alpha.counts else ()
            return State(q, visits, jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
            return self.exploration.noise(key, shape, rows.num_actions)

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            s = rows.state(obs)
            if explore:
                choose = jax.vmap(self.exploration.choose, (0, 0, None, 0))
                action = choose(state.q[s], look_up(state.visits, s), state.step / spec.total_steps, noise)
            else:
                action = jnp.argmax(state.q[s], -1).astype(jnp.int32)
            return action + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, step: Step) -> tuple[State, Array]:
            q, visits = state.q, state.visits
            s, a, s_next = rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            visits = add(visits, s, a, 1.0)
            error = usable(td.q_learning(q[s], a, step.reward, td.discount(step.terminated, self.gamma), q[s_next]))
            q = add(q, s, a, alpha.at(state.step / spec.total_steps, look_up(visits, s, a)) * error)
            return state._replace(q=q, visits=visits), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, errors = jax.lax.scan(update, state, one_by_one(block))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """What Q-learning knows."""

    q: Array  # [S, A]
    visits: PyTree  # [S, A] float32
    step: Array  # [] int32
