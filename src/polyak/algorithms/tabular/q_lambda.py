"""Q(lambda) (Watkins, 1989, "Learning from delayed rewards", chapter 7).

    E(S, A) <- E(S, A) + 1, or with replacing traces 1
    Q <- Q + alpha [R + gamma max_a Q(S', a) - Q(S, A)] E
    E <- gamma lambda E if the next action is greedy, else 0

after every step: an action that was only a trial says nothing of what came before it, so that traces end there.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy, NoiseAhead, noise_ahead
from polyak.parts.finite import unless_nan, usable
from polyak.parts.schedules import step_size
from polyak.parts.tables import add, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class QLambda:
    """Q(lambda): Q-learning in which each error corrects all steps since the last trial."""

    name: ClassVar[str] = "q-lambda"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    trace_lambda: hyper.TraceLambda = 0.9
    replacing_traces: hyper.ReplacingTraces = True
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "Q(lambda)")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            none, all_fresh = jnp.zeros(spec.num_envs, jnp.int32), jnp.ones(spec.num_envs, bool)
            visits = jnp.zeros_like(q) if self.exploration.counts or alpha.counts else ()
            return State(q, visits, jnp.int32(0), none, all_fresh, jnp.zeros((spec.num_envs, *q.shape)))

        def noise(key: Key, shape: tuple[int, ...]) -> NoiseAhead:
            return noise_ahead(self.exploration, key, shape, rows.num_actions)

        def choose(state: State, s: Array, noise: PyTree) -> Array:
            return self.exploration.choose(state.q[s], look_up(state.visits, s), state.step / spec.total_steps, noise)

        def act(state: State, carry: tuple[()], obs: Array, noise: NoiseAhead, explore: bool):
            s = rows.state(obs)
            if not explore:
                return jnp.argmax(state.q[s], -1).astype(jnp.int32) + rows.first_action, carry, ()
            first = jax.vmap(choose, (None, 0, 0))(state, s, noise.first)
            return jnp.where(state.fresh, first, state.next_action) + rows.first_action, carry, noise.next

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, inputs: tuple[Step, Array]) -> tuple[State, tuple[Array, Array, Array]]:
            step, trace = inputs
            q, progress = state.q, state.step / spec.total_steps
            s, a, s_next = rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            a_next = choose(state, s_next, step.extras)
            error = usable(td.q_learning(q[s], a, step.reward, td.discount(step.terminated, self.gamma), q[s_next]))
            visits = add(state.visits, s, a, 1.0)
            trace = trace.at[s, a].set(1.0) if self.replacing_traces else trace.at[s, a].add(1.0)
            q = unless_nan(error, q + alpha.at(progress, visits) * error * trace, q)
            goes_on = (state.q[s_next, a_next] == state.q[s_next].max()) & ~(step.terminated | step.truncated)
            trace = self.gamma * self.trace_lambda * goes_on * trace
            return state._replace(q=q, visits=visits), (a_next, trace, error)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, (a_next, trace, errors) = jax.lax.scan(update, state, (one_by_one(block), state.trace))
            fresh = (block.terminated | block.truncated)[0]
            return state._replace(next_action=a_next, fresh=fresh, trace=trace), {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=(), next_action=(), fresh=(), trace=())

        def cut(state: State, which: Array) -> State:
            return state._replace(fresh=state.fresh | which, trace=forget(state.trace, which))

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class State(NamedTuple):
    """What Q(lambda) knows."""

    q: Array  # [S, A]
    visits: PyTree  # [S, A] float32
    step: Array  # [] int32
    next_action: PyTree  # [B] int32, A' of every environment, chosen when S' was reached
    fresh: PyTree  # [B] bool, where an episode begins instead
    trace: PyTree  # [B, S, A] E, of every environment
