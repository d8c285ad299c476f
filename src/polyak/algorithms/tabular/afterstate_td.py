"""Temporal differences on afterstates, as in the tic-tac-toe of Sutton and Barto (2018), sections 1.5 and 6.8.

    V(X) <- V(X) + alpha [R + gamma max_x V(x) - V(X)]

after every step, where X is the afterstate that the action led to (the board when one's own move is made, and not yet
answered), and x are those that the next actions may lead to. Actions are chosen by looking one step ahead: whichever
leads to the best afterstate. In self-play the next action is the opponent's, whose gain is one's loss:

    V(X) <- V(X) + alpha [R - gamma max_x V(x) - V(X)]

Deviations: the book learns nothing from exploring moves; here the maximum over what follows, as in Q-learning, makes
them as good to learn from as any other. Values are what is won, from -1 to 1, and not probabilities of winning.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory, one_by_one
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy, Exploration
from polyak.parts.finite import unless_nan, usable
from polyak.parts.ranges import Finite, Share
from polyak.parts.schedules import step_size
from polyak.parts.tables import afterstate_rows_of, look_up


@dataclasses.dataclass(frozen=True)
class AfterstateTD:
    """TD on afterstates: a table of what actions lead to, with one step of look-ahead, by self-play or against others.

    It needs to observe, for each action, the number of the afterstate it leads to, or -1 where it is not allowed.
    """

    name: ClassVar[str] = "afterstate-td"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.5
    gamma: Share = 0.9
    """Discount per step, in [0, 1]; below 1 a quick win is worth more than a slow one."""
    self_play: bool = True
    """Whether the next move is the opponent's, whose gain is one's loss; else it is one's own (tic-tac-toe/random)."""
    exploration: Exploration = EpsilonGreedy(1.0, 0.1)
    """How other allowed actions are tried: epsilon:0.1, epsilon:1:0.05:0.5, boltzmann:1, noise:1, ucb:2."""
    initial_value: Finite = 0.0
    """What every afterstate is thought to be worth at first."""

    def agent(self, spec: Spec) -> Agent:
        rows = afterstate_rows_of(spec, "Afterstate TD")
        alpha = step_size(self.learning_rate)
        gamma = -self.gamma if self.self_play else self.gamma

        def init(key: Key) -> State:
            v = jnp.full(rows.num_afterstates, jnp.float32(self.initial_value))
            visits = jnp.zeros_like(v) if self.exploration.counts or alpha.counts else ()
            return State(v, visits, jnp.int32(0))

        def look_ahead(v: Array, obs: Array) -> Array:
            """What each action is worth; -inf where it is not allowed."""
            return jnp.where(obs >= 0, v[obs], -jnp.inf)

        def noise(key: Key, shape: tuple[int, ...]) -> PyTree:
            return self.exploration.noise(key, shape, rows.num_actions)

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            q = look_ahead(state.v, obs)
            if explore:
                choose = jax.vmap(self.exploration.choose, (0, 0, None, 0))
                action = choose(q, look_up(state.visits, obs), state.step / spec.total_steps, noise)
            else:
                action = jnp.argmax(q, -1).astype(jnp.int32)
            return action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, step: Step) -> tuple[State, Array]:
            x = step.obs[step.action]
            visits = jax.tree.map(lambda n: n.at[x].add(1.0), state.visits)
            q_tm1 = look_ahead(state.v, step.obs)
            q_t = jnp.where(step.terminated, 0.0, look_ahead(state.v, step.next_obs))  # at an end nothing is allowed
            error = usable(td.q_learning(q_tm1, step.action, step.reward, td.discount(step.terminated, gamma), q_t))
            size = alpha.at(state.step / spec.total_steps, look_up(visits, x))
            return state._replace(v=state.v.at[x].add(unless_nan(error, size * error, 0.0)), visits=visits), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, errors = jax.lax.scan(update, state, one_by_one(block))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=())

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """What is known of the afterstates."""

    v: Array  # [X]
    visits: PyTree  # [X] float32
    step: Array  # [] int32
