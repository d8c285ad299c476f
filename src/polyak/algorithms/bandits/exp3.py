"""EXP3, exponential weights for exploration and exploitation (Auer, Cesa-Bianchi, Freund and Schapire, 2002, "The
nonstochastic multiarmed bandit problem", figure 1).

    p(a) = (1 - gamma) w(a) / sum w + gamma / K,    w(A) <- w(A) exp(gamma R / (p(A) K))

for rewards in [0, 1]. Whatever rewards an adversary fixed in advance, the expected regret against the best arm after T
pulls is at most 2 sqrt(e - 1) sqrt(T K ln K), with the gamma that is the default here (corollary 3.2).

Deviations: rewards of another range are scaled to [0, 1], those outside of it count as its nearer end; weights are kept
as logarithms, the largest of them 0; each numbered context has weights of its own.
"""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec, Step, no_memory, one_by_one
from polyak.errors import BadSetting
from polyak.parts.finite import usable
from polyak.parts.ranges import Finite, PositiveShare
from polyak.parts.tables import added, rows_of


@dataclasses.dataclass(frozen=True)
class EXP3:
    """EXP3: exponential weights, whose regret is bounded whatever the rewards are."""

    name: ClassVar[str] = "exp3"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    exploration_rate: PositiveShare | None = None
    """gamma of the paper, the share of uniform choices, in (0, 1]; none is the best for the length of the run."""
    min_reward: Finite = 0.0
    """The least reward there is."""
    max_reward: Finite = 1.0
    """The largest reward there is."""

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "EXP3")
        if not self.min_reward < self.max_reward:
            raise BadSetting(
                f"EXP3's min_reward is {self.min_reward:g}; it must be below max_reward, {self.max_reward:g}."
            )
        arms = rows.num_actions
        rate = self.exploration_rate
        if rate is None:
            rate = min(1.0, math.sqrt(arms * math.log(arms) / ((math.e - 1) * spec.total_steps)))

        def init(key: Key) -> State:
            return State(jnp.zeros((rows.num_states, arms)))

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.gumbel(key, (*shape, arms))

        def probabilities(state: State, s: Array) -> Array:
            return (1 - rate) * jax.nn.softmax(state.log_weights[s], -1) + rate / arms

        def act(state: State, carry: tuple[()], obs: Array, noise: Array, explore: bool):
            s = rows.state(obs)
            if not explore:
                return jnp.argmax(state.log_weights[s], -1).astype(jnp.int32) + rows.first_action, carry, ()
            p = probabilities(state, s)
            action = jnp.argmax(jnp.log(p) + noise, -1).astype(jnp.int32)
            return action + rows.first_action, carry, jnp.take_along_axis(p, action[..., None], -1)[..., 0]

        def observe(state: State, block: Step) -> State:
            return state

        def update(state: State, step: Step) -> tuple[State, Array]:
            s, a, p_of_action = rows.state(step.obs), step.action - rows.first_action, step.extras
            share = (usable(step.reward) - self.min_reward) / (self.max_reward - self.min_reward)
            estimate = jnp.clip(share, 0.0, 1.0) / p_of_action
            weights = added(state.log_weights, (s, a), rate * estimate / arms)
            p = probabilities(state, s)
            entropy = -jnp.sum(jax.scipy.special.xlogy(p, p))
            return State(weights - weights.max(-1, keepdims=True)), jnp.where(jnp.isnan(estimate), jnp.nan, entropy)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            state, entropy = jax.lax.scan(update, state, one_by_one(block))
            return state, {"entropy": entropy.mean()}

        def policy(state: State) -> State:
            return state

        return Agent(init, no_memory, noise, act, observe, learn, policy)


class State(NamedTuple):
    """Weights of the arms in each of S contexts."""

    log_weights: Array  # [S, A] the largest of each context is 0
