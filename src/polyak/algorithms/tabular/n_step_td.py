"""n-step TD (Sutton and Barto, 2018, section 7.1).

    V(S_t) <- V(S_t) + alpha [R_t+1 + ... + gamma^(n-1) R_t+n + gamma^n V(S_t+n) - V(S_t)]

n steps after S_t, or as soon as the episode is over, which then sends what it earned back through the last n steps.

Deviation: where the clock cut the episode, V of the state that was reached stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.finite import usable
from polyak.parts.policies import TabularPolicy
from polyak.parts.schedules import step_size
from polyak.parts.tables import add_at, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class NStepTD:
    """n-step TD: a table of what a given policy is worth, each state judged by the n-th after it."""

    name: ClassVar[str] = "n-step-td"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    learning_rate: hyper.StepSize = 0.1
    n_steps: hyper.NStep = 4
    gamma: hyper.Gamma = 0.99
    initial_value: hyper.InitialStateValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        rows, n = rows_of(spec, "n-step TD"), self.n_steps
        pi = self.policy.followed_in(rows.num_states, rows.num_actions)
        alpha = step_size(self.learning_rate)
        weight = self.gamma ** jnp.arange(n - 1, -1, -1)  # [n] of a reward in the return of each step that waits for it

        def init(key: Key) -> State:
            v = jnp.full(rows.num_states, jnp.float32(self.initial_value))
            empty = jnp.zeros((spec.num_envs, n))
            waiting = Waiting(empty.astype(jnp.int32), empty, jnp.zeros(spec.num_envs, jnp.int32))
            return State(v, jnp.zeros_like(v) if alpha.counts else (), jnp.int32(0), waiting)

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape)

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            s = rows.state(obs)
            return (pi.draw(s, noise) if explore else pi.best(s)) + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, inputs: tuple[Step, Waiting]) -> tuple[State, tuple[Waiting, Array]]:
            step, waiting = inputs
            waiting = waiting.joined_by(rows.state(step.obs))
            rewards = waiting.rewards + weight * step.reward
            g = rewards + weight * td.discount(step.terminated, self.gamma) * state.v[rows.state(step.next_obs)]
            over = step.terminated | step.truncated

            def correct(k: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
                state, total = carry
                s = waiting.state[k]
                visits = add_at(state.visits, s, 1.0)
                error = usable(g[k] - state.v[s])
                v = add_at(state.v, s, alpha.at(state.step / spec.total_steps, look_up(visits, s)) * error)
                return state._replace(v=v, visits=visits), total + jnp.abs(error)

            # the one that has waited for n steps, or at the end of an episode all of them
            state, error = jax.lax.fori_loop(
                n - waiting.number, jnp.where(over, n, 1), correct, (state, jnp.float32(0))
            )
            left = jnp.where(over, 0, jnp.minimum(waiting.number, n - 1))
            return state, (waiting._replace(rewards=rewards, number=left), error)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, (waiting, errors) = jax.lax.scan(update, state, (one_by_one(block), state.waiting))
            return state._replace(waiting=waiting), {"td_error": errors.mean()}  # each step is corrected once

        def policy(state: State) -> State:
            return state._replace(visits=(), waiting=())

        def cut(state: State, which: Array) -> State:
            return state._replace(waiting=forget(state.waiting, which))

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class Waiting(NamedTuple):
    """The latest steps of the present episode, the newest last; leaves [B, ...], in an update without the B."""

    state: Array  # [n] int32
    rewards: Array  # [n] what was earned since, discounted
    number: Array  # [] int32, how many of them, counted from the newest, wait for their return

    def joined_by(self, state: Array) -> "Waiting":
        """After one more step, for which the oldest makes room."""
        return Waiting(jnp.append(self.state[1:], state), jnp.append(self.rewards[1:], 0.0), self.number + 1)


class State(NamedTuple):
    """What n-step TD knows."""

    v: Array  # [S]
    visits: PyTree  # [S] float32
    step: Array  # [] int32
    waiting: PyTree  # Waiting
