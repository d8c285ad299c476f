"""Monte Carlo tree search as an agent: it learns nothing, and searches anew at every step; see `ops.tree_search`."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Position, PyTree, Spec, Step, no_memory
from polyak.ops.tree_search import most_visited, task_of, uct
from polyak.parts import hyper
from polyak.parts.ranges import Count, NotNegative
from polyak.parts.simulation import key_of, legal_of, simulator_of
from polyak.spaces import mask_of


@dataclasses.dataclass(frozen=True)
class MCTS:
    """Monte Carlo tree search with random rollouts (UCT), on any compiled environment with actions to count."""

    name: ClassVar[str] = "mcts"
    default_num_envs: ClassVar[int] = 8
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1
    plans: ClassVar[bool] = True

    num_simulations: Count = 200
    """Simulations of each search."""
    exploration: NotNegative = 0.7
    """c, the weight of what was seldom tried against what went well, for returns scaled to [0, 1]."""
    horizon: Count = 200
    """Steps after which a simulation ends."""
    gamma: hyper.Gamma = 1.0

    def agent(self, spec: Spec) -> Agent:
        simulator = simulator_of(spec, "MCTS")
        num_actions, first_action = int(spec.action_space.n), int(spec.action_space.start)  # type: ignore[attr-defined]
        task = task_of(simulator, mask_of(spec.observation_space), num_actions, first_action, self.gamma)

        def search(state: PyTree, legal: Array, words: Array) -> tuple[Array, Array]:
            tree = uct(
                task,
                state,
                legal,
                key_of(words),
                simulations=self.num_simulations,
                exploration=self.exploration,
                horizon=self.horizon,
            )
            action = most_visited(tree)
            return action, tree.values[0, action]

        def init(key: Key) -> State:
            return State(jnp.int32(0))

        def noise(key: Key, shape: tuple[int, ...]) -> Array:
            return jax.random.bits(key, (*shape, 2), jnp.uint32)

        def act(state: State, carry: PyTree, seen: Position, noise: Array, explore: bool):
            legal = legal_of(spec.observation_space, seen.obs, num_actions)
            action, value = jax.vmap(search)(seen.state, legal, noise)
            return action + first_action, carry, value

        def observe(state: State, block: Step) -> State:
            return State(state.step + block.reward.size)

        def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
            return state, {"search_value": block.extras.mean()}

        return Agent(init, no_memory, noise, act, observe, learn, lambda state: state)


class State(NamedTuple):
    """All there is to remember."""

    step: Array  # [] int32, environment steps observed
