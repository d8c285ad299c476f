"""Monte Carlo prediction (Sutton and Barto, 2018, section 5.1; equation 6.1 with a step size that stays).

    V(S_t) <- V(S_t) + alpha [G_t - V(S_t)],  G_t = R_t+1 + gamma R_t+2 + ... to the end of the episode

for the first visit of each state in an episode, or for every one; alpha = 1 / n averages. It learns from blocks of
steps of a policy that is given; each begins with a fresh episode.

Deviation: an episode that the clock, or the end of the block, cut has no return; there V of the state that was reached
stands for the rest.
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
from polyak.parts.schedules import StepSize, step_size
from polyak.parts.tables import add_at, look_up, rows_of


@dataclasses.dataclass(frozen=True)
class MonteCarloPrediction:
    """Monte Carlo prediction: a table of what a given policy is worth, each state the mean of its returns."""

    name: ClassVar[str] = "monte-carlo-prediction"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    policy: hyper.EvaluatedPolicy = TabularPolicy()
    n_steps: hyper.EpisodeSteps = 1_000
    learning_rate: hyper.AveragingStepSize = StepSize(1.0, power=1.0)
    gamma: hyper.Gamma = 0.99
    first_visit: bool = True
    """Learn from the first visit of a state in an episode alone, which leaves no bias."""
    initial_value: hyper.InitialStateValue = 0.0

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "Monte Carlo prediction")
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

        def returns_of(v: Array, steps: Step) -> tuple[Array, Array, Array]:
            """Of one environment's steps [T]: states, returns, and which of them count."""
            s, s_next = rows.state(steps.obs), rows.state(steps.next_obs)
            over = (steps.terminated | steps.truncated).at[-1].set(True)
            rest = over * td.discount(steps.terminated, self.gamma) * v[s_next]
            g = returns.discounted(steps.reward + rest, self.gamma * (1.0 - over), jnp.float32(0))
            return s, g, returns.first_visit(s, over) if self.first_visit else jnp.ones_like(over)

        def correct(state: State, visit: tuple[Array, Array, Array]) -> tuple[State, Array]:
            s, g, counts = visit
            visits = add_at(state.visits, s, counts)
            error = usable(counts * (g - state.v[s]))
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
    """What Monte Carlo prediction knows."""

    v: Array  # [S]
    visits: PyTree  # [S] float32
    step: Array  # [] int32
