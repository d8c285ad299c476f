"""The gradient bandit (Sutton and Barto, 2018, "Reinforcement learning", section 2.8).

    H(a) <- H(a) + alpha (R - R_mean) (1[a = A] - pi(a)),    pi = softmax(H)

a stochastic gradient ascent of the expected reward. R_mean is the average of the rewards before this one; of the first
it is that reward itself, so that the first pull changes nothing.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.parts import hyper, tabular
from polyak.parts.finite import usable
from polyak.parts.schedules import step_size
from polyak.parts.tables import added, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class GradientBandit:
    """Gradient bandit: preferences for the arms, raised where the reward is above average."""

    name: ClassVar[str] = "gradient-bandit"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    learning_rate: hyper.StepSize = 0.1
    baseline: bool = True
    """Subtract the average reward; without it the method is slow where rewards are far from 0."""

    def agent(self, spec: Spec) -> Agent:
        rows, alpha = rows_of(spec, "The gradient bandit"), step_size(self.learning_rate)

        def init(key: Key) -> State:
            none = jnp.zeros(rows.num_states)
            baseline = none if self.baseline else ()
            visits = none if self.baseline or alpha.counts else ()
            return State(jnp.zeros((rows.num_states, rows.num_actions)), baseline, visits, jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.gumbel(key, (*shape, rows.num_actions))

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            preferences = state.preferences[rows.state(obs)]
            action = jnp.argmax(preferences + noise if explore else preferences, -1).astype(jnp.int32)
            return action + rows.first_action, carry, ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + block.reward.size)

        def update(state: State, step: Step) -> tuple[State, Array]:
            s, a = rows.state(step.obs), step.action - rows.first_action
            visits = added(state.visits, (s,), 1.0)
            n = look_up(visits, s)
            average = jnp.where(n > 1, state.baseline[s], step.reward) if self.baseline else 0.0
            error = usable(step.reward - average)
            direction = jax.nn.one_hot(a, rows.num_actions) - jax.nn.softmax(state.preferences[s])
            change = alpha.at(state.step / spec.total_steps, n) * error * direction
            here = jax.nn.one_hot(s, rows.num_states)[:, None]
            learnt = State(
                state.preferences + here * jnp.where(jnp.isnan(error), 0.0, change),
                added(state.baseline, (s,), usable(step.reward - look_up(state.baseline, s)) / n)
                if self.baseline
                else (),
                visits,
                state.step,
            )
            return learnt, error

        def policy(state: State) -> State:
            return state._replace(baseline=(), visits=(), step=())

        return Agent(init, no_memory, noise, act, observe, tabular.after_each_step(update), policy)


class State(NamedTuple):
    """Preferences, and the average reward that they are raised against, in each of S contexts."""

    preferences: Array  # [S, A] H
    baseline: PyTree  # [S] R_mean; () without
    visits: PyTree  # [S] float32 pulls; () where they are not counted
    step: PyTree  # [] int32, environment steps observed
