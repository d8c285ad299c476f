"""SARSA (Rummery and Niranjan, 1994, "On-line Q-learning using connectionist systems").

    Q(S, A) <- Q(S, A) + alpha [R + gamma Q(S', A') - Q(S, A)]

after every step, where A' is the action that will be taken next: the value of the policy that is followed, its trials
and errors included.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy, NoiseAhead, noise_ahead
from polyak.parts.finite import usable
from polyak.parts.schedules import step_size
from polyak.parts.tables import add, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class SARSA:
    """SARSA: a table of action values that looks to the action taken next."""

    name: ClassVar[str] = "sarsa"
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
        rows = rows_of(spec, "SARSA")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            none, all_fresh = jnp.zeros(spec.num_envs, jnp.int32), jnp.ones(spec.num_envs, bool)
            visits = jnp.zeros_like(q) if self.exploration.counts or alpha.counts else ()
            return State(q, visits, jnp.int32(0), none, all_fresh)

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

        def update(state: State, step: Step) -> tuple[State, tuple[Array, Array]]:
            q, visits = state.q, state.visits
            s, a, s_next = rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            a_next = choose(state, s_next, step.extras)
            error = usable(td.sarsa(q[s], a, step.reward, td.discount(step.terminated, self.gamma), q[s_next], a_next))
            visits = add(visits, s, a, 1.0)
            q = add(q, s, a, alpha.at(state.step / spec.total_steps, look_up(visits, s, a)) * error)
            return state._replace(q=q, visits=visits), (a_next, error)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, (a_next, errors) = jax.lax.scan(update, state, one_by_one(block))
            state = state._replace(next_action=a_next, fresh=(block.terminated | block.truncated)[0])
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=(), next_action=(), fresh=())

        def cut(state: State, which: Array) -> State:
            return state._replace(fresh=state.fresh | which)

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class State(NamedTuple):
    """What SARSA knows."""

    q: Array  # [S, A]
    visits: PyTree  # [S, A] float32
    step: Array  # [] int32
    next_action: PyTree  # [B] int32, A' of every environment, chosen when S' was reached
    fresh: PyTree  # [B] bool, where an episode begins instead
