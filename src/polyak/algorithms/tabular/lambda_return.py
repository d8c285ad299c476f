"""The off-line lambda-return algorithm (Watkins, 1989; Sutton and Barto, 2018, section 12.1, with a table).

    V(S_t) <- V(S_t) + alpha [G_t - V(S_t)],  G_t = R_t+1 + gamma [(1 - lambda) V(S_t+1) + lambda G_t+1]

for every step of an episode, in order, when it is over: the forward view, which TD(lambda) comes near to step by step.

Deviations: it learns from blocks of steps, each of which begins with a fresh episode, and all returns of a block look
to the values before it; where a block holds one episode, that is the book's algorithm. Where the clock, or the end of
the block, cut an episode, V of the state that was reached stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.ops import returns, td
from polyak.parts import hyper
from polyak.parts.finite import usable
from polyak.parts.policies import TabularPolicy
from polyak.parts.ranges import BlockLength, Share
from polyak.parts.schedules import step_size
from polyak.parts.tables import add_at, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class LambdaReturn:
    """Off-line lambda-return: a table of what a given policy is worth, judged by all n-step returns at once."""

    name: ClassVar[str] = "lambda-return"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    n_steps: BlockLength = 1_000
    """Steps of every environment in a block; an episode should fit in."""
    learning_rate: hyper.StepSize = 0.1
    gamma: hyper.Gamma = 0.99
    trace_lambda: Share = 0.9
    """How far returns look, in [0, 1]: 0 to the next state, 1 to the end of the episode."""
    initial_value: hyper.InitialStateValue = 0.0

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "The lambda-return algorithm")
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
            return state._replace(step=state.step + self.n_steps * spec.num_envs)

        def returns_of(v: Array, steps: Step) -> tuple[Array, Array]:
            """Of one environment's steps [T]: states and returns."""
            continues = 1.0 - (steps.terminated | steps.truncated)
            discount, v_t = td.discount(steps.terminated, self.gamma), v[rows.state(steps.next_obs)]
            g = returns.lambda_return(steps.reward, discount, v_t, continues, self.trace_lambda)
            return rows.state(steps.obs), g

        def correct(state: State, visit: tuple[Array, Array]) -> tuple[State, Array]:
            s, g = visit
            visits = add_at(state.visits, s, 1.0)
            error = usable(g - state.v[s])
            v = add_at(state.v, s, alpha.at(state.step / spec.total_steps, look_up(visits, s)) * error)
            return state._replace(v=v, visits=visits), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            visited = jax.vmap(returns_of, (None, 1))(state.v, block)
            state, errors = jax.lax.scan(correct, state, jax.tree.map(lambda leaf: leaf.reshape(-1), visited))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """What the lambda-return algorithm knows."""

    v: Array  # [S]
    visits: PyTree  # [S] float32
    step: Array  # [] int32
