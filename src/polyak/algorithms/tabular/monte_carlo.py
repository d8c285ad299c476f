"""Monte Carlo control (Sutton and Barto, 2018, sections 5.3 and 5.4).

    Q(S_t, A_t) <- Q(S_t, A_t) + alpha [G_t - Q(S_t, A_t)],  G_t = R_t+1 + gamma R_t+2 + ... to the end of the episode

for the first visit of each state and action in an episode, or for every one; alpha = 1 / n averages. It learns from
blocks of steps, each of which begins with a fresh episode.

Deviation: an episode that the clock, or the end of the block, cut has no return; there the expected value under the
policy stands for the rest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step
from polyak.ops import returns
from polyak.parts import hyper, tabular
from polyak.parts.exploration import EpsilonGreedy
from polyak.parts.schedules import StepSize
from polyak.parts.tables import ControlState, Place, action_values


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
        table = dataclasses.replace(action_values(self, spec, "Monte Carlo"), counts=True)
        num_actions, first_action = table.rows.num_actions, table.rows.first_action
        exploration = EpsilonGreedy(0.0) if self.exploring_starts else self.exploration

        def target(state: ControlState, steps: Step) -> tuple[Place, Array, Array]:
            s, a, r, discount, _ = table.transition(steps)
            over = (steps.terminated | steps.truncated).at[-1].set(True)
            q, visits = table.look(state, steps.next_obs)
            pi = jax.vmap(exploration.probabilities, (0, 0, None))(q, visits, table.progress(state))
            rest = discount * jnp.sum(pi * q, -1)
            g = returns.discounted(r + over * rest, self.gamma * (1.0 - over), jnp.float32(0))
            counts = returns.first_visit(s * num_actions + a, over) if self.first_visit else jnp.ones_like(over)
            return (s, a), g, counts

        def start(batch: int) -> Array:
            return jnp.ones(batch, bool)  # the carry: whether an episode begins

        def noise(key: Key, shape: tuple[int, ...]) -> Noise:
            explore_key, first_key = jax.random.split(key)
            first = jax.random.randint(first_key, shape, 0, num_actions)
            return Noise(agent.noise(explore_key, shape), first)

        def act(state: ControlState, begins: Array, obs: Array, noise: Noise, explore: bool):
            if not explore:
                return agent.act(state, (), obs, (), False)[0], begins, ()
            action, _, _ = agent.act(state, (), obs, noise.explore, True)
            if self.exploring_starts:
                action = jnp.where(begins, noise.first + first_action, action)
            return action, jnp.zeros_like(begins), ()

        agent = tabular.control(spec, exploration, table.init, table.look, tabular.from_returns(table, target))
        return agent._replace(start=start, noise=noise, act=act)


class Noise(NamedTuple):
    """The randomness of one step."""

    explore: PyTree
    first: Array  # int32, the action of an exploring start
