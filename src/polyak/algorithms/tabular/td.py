"""TD(0) (Sutton, 1988, "Learning to predict by the methods of temporal differences").

    V(S) <- V(S) + alpha [R + gamma V(S') - V(S)]

after every step of a policy that is given: a guess is corrected by the next reward and the next guess.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.finite import usable
from polyak.parts.policies import TabularPolicy
from polyak.parts.schedules import step_size
from polyak.parts.tables import add_at, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class TD:
    """TD(0): a table of what a given policy is worth, each state judged by the next."""

    name: ClassVar[str] = "td"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    initial_value: hyper.InitialStateValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "TD(0)")
        pi = self.policy.followed_in(rows.num_states, rows.num_actions)
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            v = jnp.full(rows.num_states, jnp.float32(self.initial_value))
            return State(v, jnp.zeros_like(v) if alpha.counts else (), jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape)

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            s = rows.state(obs)
            return (pi.draw(s, noise) if explore else pi.best(s)) + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, step: Step) -> tuple[State, Array]:
            v, s, s_next = state.v, rows.state(step.obs), rows.state(step.next_obs)
            visits = add_at(state.visits, s, 1.0)
            error = usable(td.td_learning(v[s], step.reward, td.discount(step.terminated, self.gamma), v[s_next]))
            v = add_at(v, s, alpha.at(state.step / spec.total_steps, look_up(visits, s)) * error)
            return state._replace(v=v, visits=visits), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, errors = jax.lax.scan(update, state, one_by_one(block))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """What TD(0) knows."""

    v: Array  # [S]
    visits: PyTree  # [S] float32
    step: Array  # [] int32
