"""Semi-gradient Q(lambda) with linear values q(s, a) = w_a . x(s) (Sutton and Barto, 2018, section 12.10).

    z_A <- z_A + x(S)
    w <- w + alpha [R + gamma max_a q(S', a) - q(S, A)] z
    z <- gamma lambda z if the next action is greedy, else 0

after every step. Off the policy that is followed such values may diverge where SARSA's do not (section 11.2).
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, forget, no_memory, one_by_one
from polyak.errors import BadSetting
from polyak.ops import td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy, NoiseAhead, noise_ahead
from polyak.parts.features import Tiles, linear_in
from polyak.parts.finite import unless_nan, usable
from polyak.parts.schedules import step_size


@dataclasses.dataclass(frozen=True)
class LinearQLearning:
    """Q(lambda) with linear values: of features of a continuous observation, for discrete actions."""

    name: ClassVar[str] = "linear-q-learning"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    features: hyper.Features = Tiles(tilings=8, tiles=8)
    learning_rate: hyper.LinearStepSize = 0.3
    gamma: hyper.Gamma = 1.0
    trace_lambda: hyper.TraceLambda = 0.9
    replacing_traces: hyper.CappedTraces = False
    exploration: hyper.ExplorationWithoutVisits = EpsilonGreedy(0.1)

    def agent(self, spec: Spec) -> Agent:
        x, num_actions, first_action = linear_in(self.features, spec, "Linear Q-learning")
        if self.exploration.counts or step_size(self.learning_rate).counts:
            raise BadSetting("Linear Q-learning counts no visits, so it knows neither ucb nor step sizes over n.")
        alpha = step_size(self.learning_rate)

        def init(key: Key) -> State:
            w = jnp.zeros((num_actions, x.size))
            none, all_fresh = jnp.zeros(spec.num_envs, jnp.int32), jnp.ones(spec.num_envs, bool)
            return State(w, jnp.int32(0), none, all_fresh, jnp.zeros((spec.num_envs, *w.shape)))

        def noise(key: Key, shape: tuple[int, ...]) -> NoiseAhead:
            return noise_ahead(self.exploration, key, shape, num_actions)

        def choose(q: Array, step: Array, noise: PyTree) -> Array:
            return self.exploration.choose(q, (), step / spec.total_steps, noise)

        def act(state: State, carry: tuple[()], obs: Array, noise: NoiseAhead, explore: bool):
            q = jax.vmap(x.of)(obs) @ state.w.T
            if not explore:
                return jnp.argmax(q, -1).astype(jnp.int32) + first_action, carry, ()
            first = jax.vmap(choose, (0, None, 0))(q, state.step, noise.first)
            return jnp.where(state.fresh, first, state.next_action) + first_action, carry, noise.next

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + spec.num_envs)

        def update(state: State, inputs: tuple[Step, Array]) -> tuple[State, tuple[Array, Array, Array]]:
            step, z = inputs
            features, a = x.of(step.obs), step.action - first_action
            q, q_next = state.w @ features, state.w @ x.of(step.next_obs)
            a_next = choose(q_next, state.step, step.extras)
            error = usable(td.q_learning(q, a, step.reward, td.discount(step.terminated, self.gamma), q_next))
            seen = z.at[a].add(features)
            z = unless_nan(error, jnp.minimum(seen, 1.0) if self.replacing_traces else seen, z)
            w = state.w + alpha.at(state.step / spec.total_steps, ()) * error * x.scale * z
            w = unless_nan(error, w, state.w)
            goes_on = (q_next[a_next] == q_next.max()) & ~(step.terminated | step.truncated)
            return state._replace(w=w), (a_next, self.gamma * self.trace_lambda * goes_on * z, error)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, (a_next, z, errors) = jax.lax.scan(update, state, (one_by_one(block), state.z))
            fresh = (block.terminated | block.truncated)[0]
            return state._replace(next_action=a_next, fresh=fresh, z=z), {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(next_action=(), fresh=(), z=())

        def cut(state: State, which: Array) -> State:
            return state._replace(fresh=state.fresh | which, z=forget(state.z, which))

        return Agent(init, no_memory, noise, act, observe, learn, policy, cut)


class State(NamedTuple):
    """What linear Q-learning knows."""

    w: Array  # [A, F]
    step: Array  # [] int32
    next_action: PyTree  # [B] int32, A' of every environment, chosen when S' was reached
    fresh: PyTree  # [B] bool, where an episode begins instead
    z: PyTree  # [B, A, F] the traces of every environment
