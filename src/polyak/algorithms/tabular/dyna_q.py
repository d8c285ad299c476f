"""Dyna-Q (Sutton, 1990, "Integrated architectures for learning, planning, and reacting").

    Q(S, A) <- Q(S, A) + alpha [R + gamma max_a Q(S', a) - Q(S, A)]
    n times, for a pair (s, a) that was taken before: Q(s, a) <- r(s, a) + gamma sum_s' p(s' | s, a) max_a' Q(s', a')

after every step, with r and p as they were seen so far: experience is thought over while more of it is gathered.

Deviation: the model keeps how often each state followed and plans with the mean, where the original keeps what followed
last; so it learns in worlds that are left to chance too.
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
from polyak.parts.ranges import Count
from polyak.parts.schedules import step_size
from polyak.parts.tables import add, rows_of


@dataclasses.dataclass(frozen=True)
class DynaQ:
    """Dyna-Q: Q-learning that also learns a model and plans with it after every step."""

    name: ClassVar[str] = "dyna-q"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False  # sums over all states would be rounded differently
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    planning_steps: Count = 10
    """Backups from the model after every step of the environment."""
    gamma: hyper.Gamma = 0.99
    exploration: hyper.Exploration = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "Dyna-Q")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            model = Model(
                jnp.zeros((*q.shape, rows.num_states)), jnp.zeros_like(q), jnp.zeros(q.size, jnp.int32), jnp.int32(0)
            )
            return State(q, jnp.zeros_like(q), jnp.int32(0), model)

        def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
            return self.exploration.noise(key, shape, rows.num_actions)

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            s = rows.state(obs)
            if explore:
                choose = jax.vmap(self.exploration.choose, (0, 0, None, 0))
                action = choose(state.q[s], state.visits[s], state.step / spec.total_steps, noise)
            else:
                action = jnp.argmax(state.q[s], -1).astype(jnp.int32)
            return action + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, inputs: tuple[Step, Array]) -> tuple[State, Array]:
            step, draws = inputs
            q, visits, model = state.q, state.visits, state.model
            s, a, s_next = rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            error = usable(td.q_learning(q[s], a, step.reward, td.discount(step.terminated, self.gamma), q[s_next]))
            model = model.take_in(s, a, step.reward, s_next, step.terminated, new=visits[s, a] == 0)
            visits = add(visits, s, a, 1.0)
            q = add(q, s, a, alpha.at(state.step / spec.total_steps, visits[s, a]) * error)

            def plan(q: Array, draw: Array) -> tuple[Array, None]:
                pair = model.seen[(draw * model.num_seen).astype(jnp.int32)]
                s, a = pair // rows.num_actions, pair % rows.num_actions
                target = (model.reward[s, a] + self.gamma * model.onward[s, a] @ q.max(1)) / visits[s, a]
                return q.at[s, a].set(jnp.where(jnp.isnan(usable(target)), q[s, a], target)), None

            q, _ = jax.lax.scan(plan, q, draws)
            return state._replace(q=q, visits=visits, model=model), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            steps = one_by_one(block)
            draws = jax.random.uniform(key, (len(steps.reward), self.planning_steps))
            state, errors = jax.lax.scan(update, state, (steps, draws))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=(), model=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class Model(NamedTuple):
    """What has been seen of the world."""

    onward: Array  # [S, A, S] float32, how often each state followed and the episode went on
    reward: Array  # [S, A] the sum of rewards
    seen: Array  # [S A] int32, the pairs s A + a in the order in which they were first taken
    num_seen: Array  # [] int32

    @staticmethod
    def empty(states: int, actions: int) -> "Model":
        """Before the first step."""
        onward, reward = jnp.zeros((states, actions, states)), jnp.zeros((states, actions))
        return Model(onward, reward, jnp.zeros(states * actions, jnp.int32), jnp.int32(0))

    def take_in(self, s: Array, a: Array, r: Array, s_next: Array, terminated: Array, new: Array) -> "Model":
        """After one more step; `new` if the pair was never taken before."""
        pair = (s * self.reward.shape[1] + a).astype(jnp.int32)
        return Model(
            self.onward.at[s, a, s_next].add(1.0 - terminated),
            self.reward.at[s, a].add(r),
            self.seen.at[self.num_seen].set(jnp.where(new, pair, self.seen[self.num_seen]), mode="drop"),
            self.num_seen + new,
        )


class State(NamedTuple):
    """What Q-learning knows."""

    q: Array  # [S, A]
    visits: PyTree  # [S, A] float32
    step: Array  # [] int32
    model: PyTree  # Model
