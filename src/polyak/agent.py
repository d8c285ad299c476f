"""The seam: an agent makes steps' worth of decisions, an engine moves the steps, and neither knows the other.

What passes between them is a block of steps. Because of that an algorithm is written once and runs on every engine:
inside one XLA program with a compiled environment, or in a Python loop around any Gymnasium environment.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium
import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array
PyTree = Any


class Step(NamedTuple):
    """A block of experience. Leaves are [T, B, ...]: T time steps of B parallel environments."""

    obs: PyTree  # what the agent saw
    action: PyTree
    reward: Array  # [T, B] float32
    terminated: Array  # [T, B] bool: the MDP ended; the value of what follows is zero
    truncated: Array  # [T, B] bool: the clock ran out; the value of what follows is NOT zero
    next_obs: PyTree  # the true successor, never the first observation of the next episode
    extras: PyTree  # what `act` wants `learn` to know: log-probabilities, carries, ...
    priority: PyTree = ()  # [T, B] what `Agent.appraise` returned where the block was collected; () where it did not


class Goal(NamedTuple):
    """What a step is worth under any goal, for tasks whose observations have the parts `achieved_goal` and
    `desired_goal`: pure functions of arrays of goals, with the same leading axes in both.
    """

    reward: Callable[[Array, Array], Array]
    """achieved [..., *goal], as it was after a step, desired [..., *goal] -> the step's reward [...]"""
    terminated: Callable[[Array, Array], Array] | None = None
    """achieved [..., *goal], desired [..., *goal] -> whether the MDP ended [...] bool; None: goals do not decide."""


class Position(NamedTuple):
    """What `Agent.act` sees where its algorithm says `plans = True`: the observation, and the state that it is one of.

    `Spec.simulator` goes on from there.
    """

    obs: PyTree  # [B, ...]
    state: PyTree  # leaves [B, ...]


class Symmetries(NamedTuple):
    """The K ways in which a game may be turned and mirrored, the first of them as it is: entry i of what is turned is
    entry [k, i] of what is not.
    """

    obs: Any  # [K, n] int, of the n numbers of an observation
    actions: Any  # [K, A] int


class Simulator(Protocol):
    """A task as pure functions, to plan with; a `CompiledEnv` is one."""

    @property
    def noise(self) -> Callable[[Key, tuple[int, ...]], PyTree]: ...
    @property
    def reset(self) -> Callable[[PyTree], tuple[PyTree, PyTree]]: ...
    @property
    def step(self) -> Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree, Array, Array, Array]]: ...
    @property
    def turns(self) -> bool: ...
    @property
    def chance(self) -> bool: ...
    @property
    def hidden(self) -> bool: ...
    @property
    def symmetries(self) -> Symmetries | None: ...


class Spec(NamedTuple):
    """The task, as an algorithm knows it before it begins."""

    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    num_envs: int  # B, the environments stepped side by side
    max_episode_steps: int | None  # the time limit; None where there is none
    total_steps: int  # the budget of one seed, in environment steps: what schedules are stretched over
    goal: Goal | None = None  # None where there are no goals, or it is not known what they are worth: in policy files
    simulator: Simulator | None = None  # to plan with; None where environments are stepped from Python
    streamed: bool = False  # whether blocks come from actors in turn, so that none goes on where the one before ended


class Agent(NamedTuple):
    """Pure functions, closed over the hyperparameters. `state` is a pytree of arrays and holds all that is learnt.

    `noise` draws everything that is random in `act`, so that `act` is a deterministic function of its arguments: the
    engine draws the noise of many steps at once, and two engines given the same noise act alike.
    """

    init: Callable[[Key], PyTree]  # key -> state
    start: Callable[[int], PyTree]  # batch -> carry: a recurrent agent's memory; () for the others
    noise: Callable[[Key, tuple[int, ...]], PyTree]  # key, shape -> noise, leaves [*shape, ...]
    act: Callable[..., tuple[PyTree, PyTree, PyTree]]
    """(state, carry, obs [B, ...], noise [B, ...], explore) -> action [B, ...], carry, extras. `explore` is static."""
    observe: Callable[[PyTree, Step], PyTree]  # state, block -> state: remember (replay, running moments)
    learn: Callable[[PyTree, Step, Key], tuple[PyTree, dict[str, Array]]]
    """(state, block, key) -> state, metrics []. A metric that is not finite: no update was made, the run ends."""
    policy: Callable[[PyTree], PyTree]
    """state -> the same state with all that `act` does not read replaced by (): what is kept when training is over."""
    cut: Callable[[PyTree, Array], PyTree] = lambda state, which: state
    """state, which [B] -> state, after the present episodes of those environments were lost: what the state remembers
    of them is as if they had been truncated after the last step. Agents that remember nothing of them need none."""
    publish: Callable[[PyTree], PyTree] | None = None
    """state -> the same state with all that neither `act` nor `gradient` nor `appraise` reads replaced by (): what
    those who collect steps elsewhere are given. None where that is `policy`'s."""
    gradient: Callable[[PyTree, Step, Key], PyTree] | None = None
    """(published state, block, key) -> what `apply` wants; None where learning is more than one gradient step a block.
    `learn` is `apply` after `gradient`."""
    apply: Callable[[PyTree, PyTree], tuple[PyTree, dict[str, Array]]] | None = None
    """(state, what `gradient` returned) -> state, metrics []; the state may have moved on since it was published."""
    appraise: Callable[[PyTree, Step], Array] | None = None
    """(published state, block) -> priorities [T, B], 0 or more, with which its steps enter a replay memory."""


class Algorithm(Protocol):
    """A frozen dataclass of hyperparameters: the configuration, the command line and the documentation at once."""

    name: ClassVar[str]
    default_num_envs: ClassVar[int]
    starts_at_reset: ClassVar[bool]  # whether every block begins with fresh episodes (Monte Carlo, evolution)
    vmap_seeds: ClassVar[bool]  # whether it is so small that seeds run faster in one program, on a CPU too
    # One that may learn from steps of an older policy says besides how they come from other machines, as a class
    # variable `flow`: see `polyak.engines.cluster`. One whose agents want a `Position` says `plans = True`.

    @property
    def block_length(self) -> int:
        """T, the time steps of each environment between two calls of `learn`."""
        ...

    @property
    def learning_starts(self) -> int:
        """Environment steps that are only observed, before the first call of `learn`."""
        ...

    def agent(self, spec: Spec) -> Agent:
        """Builds the agent for a task; raises `polyak.Error` where the task does not suit the algorithm."""
        ...


def published(agent: Agent, state: PyTree) -> PyTree:
    """What acting with exploration, `Agent.gradient` and `Agent.appraise` read of a state."""
    return (agent.publish or agent.policy)(state)


def no_memory(batch: int) -> tuple[()]:
    """`Agent.start` of every feed-forward agent."""
    return ()


def forget(memory: PyTree, which: Array) -> PyTree:
    """Zeros in the rows [B] of `which`; leaves [B, ...]."""

    def cleared(leaf: Array) -> Array:
        return jnp.where(which.reshape(-1, *[1] * (leaf.ndim - 1)), jnp.zeros_like(leaf), leaf)

    return jax.tree.map(cleared, memory)


def one_by_one(block: Step) -> Step:
    """The steps of a block [T, B, ...] in a row [T B, ...], for updates that are made after each of them."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), block)
