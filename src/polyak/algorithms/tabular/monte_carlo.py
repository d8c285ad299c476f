"""Monte Carlo control (Sutton and Barto, 2018, sections 5.3 and 5.4).

    Q(S_t, A_t) <- Q(S_t, A_t) + alpha [G_t - Q(S_t, A_t)],  G_t = R_t+1 + gamma R_t+2 + ... to the end of the episode

for the first visit of each state and action in an episode, or for every one; alpha = 1 / n averages. It learns from
blocks of steps, each of which begins with a fresh episode.

Deviation: an episode that the clock, or the end of the block, cut has no return; there the value that the policy
expects stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step
from polyak.ops import returns, td
from polyak.parts import hyper
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.finite import usable
from polyak.parts.schedules import StepSize, step_size
from polyak.parts.tables import add, rows_of


@dataclasses.dataclass(frozen=True)
class MonteCarlo:
    """Monte Carlo control: a table of action values, each the mean of the returns that followed."""

    name: ClassVar[str] = "monte-carlo"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0

    n_steps: hyper.EpisodeSteps = 1_000
    learning_rate: hyper.AveragingStepSize = StepSize(1.0, power=1.0)
    gamma: hyper.Gamma = 0.99
    first_visit: bool = True
    """Learn from the first visit of a state and action in an episode alone, which leaves no bias."""
    exploring_starts: bool = False
    """Begin each episode with any action, and be greedy after; with `mdp.exploring_starts()` all pairs are met."""
    exploration: hyper.ExplorationWithProbabilities = EpsilonGreedy(0.1)
    initial_value: hyper.InitialActionValue = 0.0

    @property
    def block_length(self) -> int:
        return self.n_steps

    def agent(self, spec: Spec) -> Agent:
        rows = rows_of(spec, "Monte Carlo")
        alpha = step_size(self.learning_rate)
        exploration = EpsilonGreedy(0.0) if self.exploring_starts else self.exploration

        def init(key: Key) -> State:
            q = jnp.full((rows.num_states, rows.num_actions), jnp.float32(self.initial_value))
            return State(q, jnp.zeros_like(q), jnp.int32(0))

        def start(batch: int) -> Array:
            return jnp.ones(batch, bool)  # the carry: whether an episode begins

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            explore_key, first_key = jax.random.split(key)
            first = jax.random.randint(first_key, shape, 0, rows.num_actions)
            return Noise(exploration.noise(explore_key, shape, rows.num_actions), first)

        def act(state: State, begins: Array, obs: Array, noise: Noise, explore: bool):
            s = rows.state(obs)
            if not explore:
                return jnp.argmax(state.q[s], -1).astype(jnp.int32) + rows.first_action, begins, ()
            choose = jax.vmap(exploration.choose, (0, 0, None, 0))
            action = choose(state.q[s], state.visits[s], state.step / spec.total_steps, noise.explore)
            action = jnp.where(begins & self.exploring_starts, noise.first, action)
            return action + rows.first_action, jnp.zeros_like(begins), ()

        def observe(state: State, block: Step) -> State:
            return state._replace(step=state.step + self.n_steps * spec.num_envs)

        def returns_of(state: State, steps: Step) -> tuple[Array, Array, Array, Array]:
            """Of one environment's steps [T]: states, actions, returns, and which of them count."""
            s, a, s_next = rows.state(steps.obs), steps.action - rows.first_action, rows.state(steps.next_obs)
            over = (steps.terminated | steps.truncated).at[-1].set(True)
            progress = state.step / spec.total_steps
            pi = jax.vmap(exploration.probabilities, (0, 0, None))(state.q[s_next], state.visits[s_next], progress)
            rest = td.discount(steps.terminated, self.gamma) * jnp.sum(pi * state.q[s_next], -1)
            g = returns.discounted(steps.reward + over * rest, self.gamma * (1.0 - over), jnp.float32(0))
            counts = returns.first_visit(s * rows.num_actions + a, over) if self.first_visit else jnp.ones_like(over)
            return s, a, g, counts

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            visited = jax.vmap(returns_of, (None, 1))(state, block)

            def correct(state: State, visit: tuple[Array, Array, Array, Array]) -> tuple[State, Array]:
                s, a, g, counts = visit
                visits = add(state.visits, s, a, counts)
                size = alpha.at(state.step / spec.total_steps, visits[s, a])
                error = usable(counts * (g - state.q[s, a]))
                return state._replace(q=add(state.q, s, a, size * error), visits=visits), error

            state, errors = jax.lax.scan(correct, state, jax.tree.map(lambda leaf: leaf.reshape(-1), visited))
            return state, {"td_error": jnp.abs(errors).mean()}

        def policy(state: State) -> State:
            return state._replace(visits=())

        return Agent(init, start, noise, act, observe, learn, policy)


class Noise(NamedTuple):
    """The randomness of one step."""

    explore: PyTree
    first: Array  # int32, the action of an exploring start


class State(NamedTuple):
    """What Monte Carlo control knows."""

    q: Array  # [S, A]
    visits: PyTree  # [S, A] float32
    step: Array  # [] int32
