"""Off-policy Monte Carlo control (Sutton and Barto, 2018, section 5.7), by weighted importance sampling.

From the end of an episode to its beginning, with W = 1 at the end:

    C(S, A) <- C(S, A) + W
    Q(S, A) <- Q(S, A) + W / C(S, A) [G - Q(S, A)]
    W <- W / b(A | S) if A is greedy, else the steps before it are not used

so that the greedy policy is learnt from episodes of one that explores.

Deviation: an episode that the clock, or the end of the block, cut has no return; there max_a Q stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step
from polyak.ops import td
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy, Exploration
from polyak.parts.finite import unless_nan, usable
from polyak.parts.tables import look_up, rows_of


@dataclasses.dataclass(frozen=True)
class OffPolicyMonteCarlo:
    """Off-policy Monte Carlo control: the greedy policy's values, from the returns of one that explores."""

    name: ClassVar[str] = "off-policy-monte-carlo"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    n_steps: hyper.EpisodeSteps = 1_000
    gamma: hyper.Gamma = 0.99
    exploration: Exploration = EpsilonGreedy(0.3)
    """How the episodes are made: epsilon:0.3, epsilon:1:0.05:0.5, boltzmann:1."""
    initial_value: hyper.InitialActionValue = 0.0

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "Off-policy Monte Carlo")

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            return State(q, jnp.zeros_like(q), jnp.int32(0))

        def look(state: State, obs: Array) -> tuple[Array, Array]:
            s = rows.state(obs)
            return state.q[s], look_up(state.weight, s)

        def backward(carry: tuple[State, Array, Array], step: Step) -> tuple[tuple[State, Array, Array], Array]:
            """One step nearer to the beginning of its episode."""
            state, g, w = carry
            q, s, a, s_next = state.q, rows.state(step.obs), step.action - rows.first_action, rows.state(step.next_obs)
            over = step.terminated | step.truncated
            g = jnp.where(over, td.discount(step.terminated, self.gamma) * q[s_next].max(), self.gamma * g)
            g, w = step.reward + g, jnp.where(over, 1.0, w)
            weight = state.weight.at[s, a].add(w)
            share = w / jnp.maximum(weight[s, a], 1e-20)  # NaN where the weights of a long episode overflow
            error = unless_nan(share, usable(g - q[s, a]), share)
            q = q.at[s, a].add(unless_nan(error, share, 0.0) * unless_nan(error, error, 0.0))
            w = jnp.where(jnp.argmax(q[s]) == a, w / step.extras, 0.0)
            return (state._replace(q=q, weight=weight), g, w), error

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            block = block._replace(truncated=block.truncated.at[-1].set(True))
            in_turn = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:]), block)
            carry = (state, jnp.float32(0), jnp.float32(1))
            (state, _, _), errors = jax.lax.scan(backward, carry, in_turn, reverse=True)
            return state, {"td_error": jnp.abs(errors).mean()}

        def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
            action, carry, _ = agent.act(state, carry, obs, noise, explore)
            if not explore:
                return action, carry, ()
            progress = state.step / spec.total_steps
            b = jax.vmap(self.exploration.probabilities, (0, 0, None))(*look(state, obs), progress)
            return action, carry, jnp.take_along_axis(b, action[:, None] - rows.first_action, 1)[:, 0]

        agent = tabular.control(spec, self.exploration, init, look, learn)
        return agent._replace(act=act)


class State(NamedTuple):
    """A table of action values, each a weighted mean of returns."""

    q: Array  # [S, A]
    weight: PyTree  # [S, A] float32, C: the sum of the weights of all returns
    step: Array  # [] int32, environment steps observed
