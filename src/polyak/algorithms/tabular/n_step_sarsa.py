"""n-step SARSA (Sutton and Barto, 2018, section 7.2).

    Q(S_t, A_t) <- Q(S_t, A_t) + alpha [R_t+1 + ... + gamma^(n-1) R_t+n + gamma^n Q(S_t+n, A_t+n) - Q(S_t, A_t)]

n steps after S_t, or as soon as the episode is over, which then sends what it earned back through the last n steps.

Deviation: where the clock cut the episode, Q of the action that would have followed stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory, one_by_one
from polyak.ops import returns, td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy, NoiseAhead, noise_ahead
from polyak.parts.finite import usable
from polyak.parts.schedules import step_size
from polyak.parts.tables import add, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class NStepSARSA:
    """n-step SARSA: a table of action values that waits n steps before it looks to the next action."""

    name: ClassVar[str] = "n-step-sarsa"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    n_steps: hyper.NStep = 4
    gamma: hyper.Gamma = 0.99
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "n-step SARSA")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            none, all_fresh = jnp.zeros(spec.num_envs, jnp.int32), jnp.ones(spec.num_envs, bool)
            empty = jnp.zeros((spec.num_envs, self.n_steps), jnp.int32)
            recent = Recent(empty, empty, empty.astype(jnp.float32), empty.astype(bool))
            visits = jnp.zeros_like(q) if self.exploration.counts or alpha.counts else ()
            return State(q, visits, jnp.int32(0), none, all_fresh, recent)

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

        def update(state: State, inputs: tuple[Step, Recent]) -> tuple[State, tuple[Array, Recent, Array]]:
            step, recent = inputs
            s, a, s_next = rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            a_next = choose(state, s_next, step.extras)
            recent = recent.push(s, a, step.reward)
            follows = td.discount(step.terminated, self.gamma) * state.q[s_next, a_next]
            g = returns.discounted(recent.reward, jnp.full(self.n_steps, self.gamma).at[-1].set(1.0), follows)
            over = step.terminated | step.truncated
            due = recent.filled & (over | (jnp.arange(self.n_steps) == 0))

            def correct(state: State, past: tuple[Array, Array, Array, Array]) -> tuple[State, Array]:
                s, a, g, due = past
                q, visits = state.q, add(state.visits, s, a, due)
                error = usable(due * (g - q[s, a]))
                q = add(q, s, a, alpha.at(state.step / spec.total_steps, look_up(visits, s, a)) * error)
                return state._replace(q=q, visits=visits), error

            state, errors = jax.lax.scan(correct, state, (recent.state, recent.action, g, due))
            recent = recent._replace(filled=recent.filled & ~over)
            return state, (a_next, recent, errors)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, (a_next, recent, errors) = jax.lax.scan(update, state, (one_by_one(block), state.recent))
            fresh = (block.terminated | block.truncated)[0]
            state = state._replace(next_action=a_next, fresh=fresh, recent=recent)
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=(), next_action=(), fresh=(), recent=())

        def cut(state: State, which: Array) -> State:
            return state._replace(fresh=state.fresh | which, recent=forget(state.recent, which))

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class Recent(NamedTuple):
    """The last n steps, the oldest first; leaves [B, n], in an update [n]."""

    state: Array  # int32
    action: Array  # int32
    reward: Array  # float32
    filled: Array  # bool, where a step of the present episode is waiting

    def push(self, state: Array, action: Array, reward: Array) -> "Recent":
        """After one more step, for which the oldest makes room."""
        newest = Recent(state, action, reward, jnp.bool_(True))
        return jax.tree.map(lambda row, new: jnp.append(row[1:], new.astype(row.dtype)), self, newest)


class State(NamedTuple):
    """What n-step SARSA knows."""

    q: Array  # [S, A]
    visits: PyTree  # [S, A] float32
    step: Array  # [] int32
    next_action: PyTree  # [B] int32, A' of every environment, chosen when S' was reached
    fresh: PyTree  # [B] bool, where an episode begins instead
    recent: PyTree  # Recent
