"""TD(lambda) (Sutton, 1988; Singh and Sutton, 1996, "Reinforcement learning with replacing eligibility traces").

    E(S) <- E(S) + 1, or with replacing traces 1
    V <- V + alpha [R + gamma V(S') - V(S)] E
    E <- gamma lambda E

after every step of a policy that is given: the states passed lately share in the error, the less the longer ago.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.finite import unless_nan, usable
from polyak.parts.policies import TabularPolicy
from polyak.parts.schedules import step_size
from polyak.parts.tables import add_at, rows_of


@dataclasses.dataclass(frozen=True)
class TDLambda:
    """TD(lambda): a table of what a given policy is worth, in which each error corrects all recent states."""

    name: ClassVar[str] = "td-lambda"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    trace_lambda: hyper.TraceLambda = 0.9
    replacing_traces: hyper.ReplacingTraces = True
    initial_value: hyper.InitialStateValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "TD(lambda)")
        pi = self.policy.followed_in(rows.num_states, rows.num_actions)
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            v = jnp.full(rows.num_states, jnp.float32(self.initial_value))
            trace = jnp.zeros((spec.num_envs, rows.num_states))
            return State(v, jnp.zeros_like(v) if alpha.counts else (), jnp.int32(0), trace)

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape)

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            s = rows.state(obs)
            return (pi.draw(s, noise) if explore else pi.best(s)) + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, inputs: tuple[Step, Array]) -> tuple[State, tuple[Array, Array]]:
            step, trace = inputs
            v, s, s_next = state.v, rows.state(step.obs), rows.state(step.next_obs)
            visits = add_at(state.visits, s, 1.0)
            error = usable(td.td_learning(v[s], step.reward, td.discount(step.terminated, self.gamma), v[s_next]))
            trace = trace.at[s].set(1.0) if self.replacing_traces else trace.at[s].add(1.0)
            v = unless_nan(error, v + alpha.at(state.step / spec.total_steps, visits) * error * trace, v)
            goes_on = 1.0 - (step.terminated | step.truncated)
            trace = self.gamma * self.trace_lambda * goes_on * trace
            return state._replace(v=v, visits=visits), (trace, error)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, (trace, errors) = jax.lax.scan(update, state, (one_by_one(block), state.trace))
            return state._replace(trace=trace), {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=(), trace=())

        def cut(state: State, which: Array) -> State:
            return state._replace(trace=forget(state.trace, which))

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class State(NamedTuple):
    """What TD(lambda) knows."""

    v: Array  # [S]
    visits: PyTree  # [S] float32
    step: Array  # [] int32
    trace: PyTree  # [B, S] E, of every environment
