"""Acting by action values that a network computes: what the DQN family and PQN have in common."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, PyTree, Spec, no_memory
from polyak.errors import BadSetting
from polyak.parts import networks
from polyak.parts.exploration import Exploration, Greedy, exploring, measures
from polyak.parts.reader import Reader
from polyak.spaces import MASKED, mask_of


class Hyper(Protocol):
    """The hyperparameters that acting reads; `parts.hyper` says what they mean."""

    @property
    def exploration_fraction(self) -> float: ...
    @property
    def exploration_initial_eps(self) -> float: ...
    @property
    def exploration_final_eps(self) -> float: ...
    @property
    def exploration(self) -> Exploration | None: ...
    @property
    def network(self) -> networks.Network | networks.Recurrent: ...


def feed_forward(parameters: PyTree, carry: tuple[()], x: Array, noise: PyTree) -> tuple[tuple[()], PyTree]:
    """`QNetwork.step` of a network without a memory."""
    return carry, parameters(x, noise)


class QNetwork(NamedTuple):
    """A network for a task, whose parameters are a module."""

    init: Callable[[Key], PyTree]  # key -> parameters
    noise: Callable[[Key, tuple[int, ...]], PyTree]
    """key, shape -> what calls on x [*shape, n] need, () for nothing; of shape () it serves a whole batch alike."""
    start: Callable[[int], PyTree] = no_memory  # batch -> the memory where episodes begin
    step: Callable[[PyTree, PyTree, Array, PyTree], tuple[PyTree, PyTree]] = feed_forward
    """(parameters, carry, x [B, n], noise) -> carry, answers [B, ...]; noise None for the means."""

    @property
    def draws(self) -> bool:
        """Whether there is noise to draw."""
        return bool(jax.tree.leaves(jax.eval_shape(lambda: self.noise(jax.random.key(0), (1,)))))


def q_network(network: networks.Network | networks.Recurrent, spec: Spec, outputs: int | tuple[int, int]) -> QNetwork:
    """Makes a network with these outputs: A, or (A, K) for K numbers of each action."""

    def init(key: Key) -> PyTree:
        return network.init(key, spec.observation_space, outputs)

    if isinstance(network, networks.Recurrent):
        return QNetwork(init, networks.noise(init), network.start, networks.RecurrentNetwork.step)
    return QNetwork(init, networks.noise(init))


class Noise(NamedTuple):
    """All that is random in a step."""

    choice: PyTree  # of the exploration
    network: PyTree  # of noisy layers, or what else its calls draw


class Acting(NamedTuple):
    """The functions that choose actions."""

    noise: Callable[[Key, tuple[int, ...]], Noise]  # `Agent.noise`
    act: Callable[..., tuple[Array, PyTree, PyTree]]
    """`Agent.act`, for a state with the fields `parameters`, `features` and `step`. Extras are the carries before."""
    measures: Callable[[Array], dict[str, Array]]  # share of the run [] -> metrics of the exploration


def num_actions(algorithm: object, spec: Spec) -> int:
    """The number of actions; raises `BadSetting` where they are not discrete, or are not always all there."""
    name = type(algorithm).__name__
    if mask_of(spec.observation_space):
        raise BadSetting(f"{name} cannot rule actions out by a mask; {MASKED} can.")
    if not isinstance(spec.action_space, gymnasium.spaces.Discrete):
        raise BadSetting(f"{name} needs discrete actions, and this environment's are {spec.action_space}.")
    return int(spec.action_space.n)


def first_action(spec: Spec) -> int:
    """The first of the actions, which are counted from 0 inside."""
    return int(spec.action_space.start)  # type: ignore[attr-defined]


def strategy_of(hyper: Hyper) -> Exploration:
    """The exploration while steps are collected.

    Raises:
        BadSetting: it counts visits; or it is greedy, and nothing else makes the agent explore.
    """
    if isinstance(hyper.exploration, Greedy) and hyper.network.noisy is None:
        raise BadSetting(
            f"{type(hyper).__name__}'s exploration is greedy, which never tries another action unless the network is "
            "noisy; choose another exploration (default is an epsilon), or a network such as mlp:64,64:relu:noisy."
        )
    initial, final = hyper.exploration_initial_eps, hyper.exploration_final_eps
    return exploring(hyper.exploration, initial, final, hyper.exploration_fraction)


def acting(
    hyper: Hyper, spec: Spec, network: QNetwork, reader: Reader, values: Callable[[PyTree], Array] = lambda q: q
) -> Acting:
    """Makes the functions that choose actions.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        network: computes the answers.
        reader: makes the features that it reads.
        values: an answer, for one state -> [A] action values.

    Raises:
        BadSetting: actions are not discrete, or the exploration does not suit.
    """
    count, first, strategy = num_actions(hyper, spec), first_action(spec), strategy_of(hyper)
    # Where only the choice is random it takes the key as it is. With a recurrent network the key is split in any case.
    splits = network.draws or network.start is not no_memory

    def noise(key: Key, shape: tuple[int, ...]) -> Noise:
        choice_key, network_key = jax.random.split(key) if splits else (key, key)
        return Noise(strategy.noise(choice_key, shape, count), network.noise(network_key, shape))

    def act(state: PyTree, carry: PyTree, obs: Array, noise: Noise, explore: bool) -> tuple[Array, PyTree, PyTree]:
        x = reader.features(state.features, obs)
        after, answer = network.step(state.parameters, carry, x, noise.network if explore else None)
        q = jax.vmap(values)(answer)
        if explore:
            progress = state.step / spec.total_steps
            action = jax.vmap(strategy.choose, (0, None, None, 0))(q, (), progress, noise.choice)
        else:
            action = jnp.argmax(q, -1).astype(jnp.int32)
        return action + first, after, carry if explore else ()

    return Acting(noise, act, partial(measures, strategy))
