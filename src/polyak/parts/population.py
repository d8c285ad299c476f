"""Populations: policies that are searched for without gradients, by what they earn.

A search proposes P members, vectors of D numbers each, which are the parameters of P policies. Every environment plays
a session with one of them, environment i with member i mod P, so that a whole population is one batch; then the search
is told what the members earned, and proposes others. An algorithm brings its search; the policies, their acting and
their scores are here.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.errors import BadSetting
from polyak.parts import networks
from polyak.parts.distributions import RULED_OUT, distribution
from polyak.parts.reader import reader
from polyak.parts.sessions import session_returns
from polyak.spaces import mask_of


class Search(NamedTuple):
    """A search for the vector x [D] whose score is largest: pure functions, closed over P. It knows no policies."""

    init: Callable[[Key, Array], PyTree]  # key, x [D] where it begins -> state
    ask: Callable[[PyTree, Key], Array]  # state, key -> members [P, D]
    tell: Callable[[PyTree, Array, Array, Key, Array], PyTree]
    """(state, members [P, D] as they were asked for, scores [P], key, progress [] the share of the run that is over)
    -> state. Called with scores that are finite."""
    best: Callable[[PyTree], Array]  # state -> x [D] to act with when the search is over
    report: Callable[[PyTree], dict[str, Array]] = lambda state: {}  # state -> metrics


class Elite(NamedTuple):
    """The best vectors that a search has met, E of them, and what they earned whenever they were tried."""

    x: Array  # [E, D], the best first
    score: Array  # [E] the mean of all that they earned; -inf where none was tried yet
    tries: Array  # [E] float32

    @staticmethod
    def of(x: Array) -> "Elite":
        """Vectors [E, D] before they are tried."""
        return Elite(x, jnp.full(len(x), -jnp.inf, x.dtype), jnp.zeros(len(x)))

    def after(self, members: Array, scores: Array) -> "Elite":
        """The elite after members [P, D] earned scores [P]; the first E members are the elite itself, tried again.

        Each counts by the mean of its scores, so that a single lucky episode does not last; of equals the one that was
        there before comes first.
        """
        again, count = scores[: len(self.tries)], len(self.tries)
        known = jnp.where(self.tries > 0, self.score, 0.0)
        mean = known + (again - known) / (self.tries + 1.0)
        score = jnp.concatenate([mean, scores[count:]])
        tries = jnp.concatenate([self.tries + 1.0, jnp.ones(len(scores) - count)])
        score, best = jax.lax.top_k(score, count)
        return Elite(members[best], score, tries[best])


def at_least(least: int, size: int, why: str) -> None:
    """Raises `BadSetting` unless a population has `least` members; `why` begins its sentence."""
    if size < least:
        raise BadSetting(f"{why}: it needs at least {least} members (num_envs / episodes_per_member), not {size}.")


def in_pairs(size: int, name: str) -> None:
    """Raises `BadSetting` unless the members of a population make pairs."""
    if size % 2:
        raise BadSetting(f"{name} tries members in pairs: num_envs / episodes_per_member has to be even, not {size}.")


def elite_size(share: float, size: int, least: int = 1, most: int | None = None) -> int:
    """The members of the elite, a share of a population but from `least` to `most` of it."""
    return min(max(round(share * size), least), size if most is None else most)


class Hyper(Protocol):
    """The hyperparameters that searches share; `parts.hyper` says what they mean."""

    @property
    def session_length(self) -> int: ...
    @property
    def episodes_per_member(self) -> int: ...
    @property
    def normalize_observation(self) -> bool: ...
    @property
    def squash(self) -> bool: ...
    @property
    def network(self) -> networks.Network: ...


class State(NamedTuple):
    """The state of an agent that searches; () for what a saved policy does not need."""

    parameters: Array  # [D] of the policy that acts when nothing is tried
    members: PyTree  # the networks that are being tried, leaves [P, ...]; see `networks.by_columns`
    search: PyTree  # the search's own
    features: PyTree  # Moments of the encoded observations; () unless they are normalised
    step: Array  # [] int32, environment steps observed


def agent(
    hyper: Hyper,
    spec: Spec,
    search_of: Callable[[int], Search],
    score: Callable[[Step], Array] = session_returns,
) -> Agent:
    """Makes the agent of a search.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        search_of: the size of the population P -> the search.
        score: block [T, B] -> what each environment's session is worth [B].

    Raises:
        BadSetting: the environments cannot be shared out among members, or the network cannot read such observations,
            or such actions are not supported.
    """
    name, space, repeats = type(hyper).__name__, spec.observation_space, hyper.episodes_per_member
    if spec.num_envs % repeats:
        raise BadSetting(
            f"episodes_per_member={repeats} has to divide the number of environments, {spec.num_envs}: each plays one "
            "episode of one member at a time."
        )
    networks.refuse_noisy(name, hyper.network)
    search = search_of(spec.num_envs // repeats)
    actions = distribution(spec.action_space, squash=hyper.squash)
    read, mask = reader(space, hyper.normalize_observation), mask_of(space)

    def first_network(key: Key) -> PyTree:
        return hyper.network.init(key, space, actions.outputs, networks.orthogonal(2**0.5), networks.orthogonal(0.01))

    structure = jax.eval_shape(first_network, jax.random.key(0))
    zeros, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), structure))
    jax.eval_shape(search.init, jax.random.key(0), zeros)  # a search that cannot take so many dimensions refuses here

    def networks_of(members: Array) -> PyTree:
        return jax.vmap(lambda x: networks.by_columns(unravel(x)))(members)

    def vectors_of(members: PyTree) -> Array:
        return jax.vmap(lambda network: ravel_pytree(networks.by_rows(network))[0])(members)

    def init(key: Key) -> State:
        network_key, search_key, ask_key = jax.random.split(key, 3)
        told = search.init(search_key, ravel_pytree(first_network(network_key))[0])
        members = networks_of(search.ask(told, ask_key))
        return State(search.best(told), members, told, read.init(), jnp.int32(0))

    def act(state: State, carry: tuple[()], obs: Array, noise: tuple[()], explore: bool):
        x = read.features(state.features, obs)
        if explore and repeats == 1:
            answers = jax.vmap(lambda network, x: network(x))(state.members, x)
        elif explore:  # [B, n] as [repeats, P, n], a network for each column
            shared_out = x.reshape(repeats, -1, x.shape[-1])
            answers = jax.vmap(lambda network, x: network(x), (0, 1), 1)(state.members, shared_out)
            answers = answers.reshape(-1, answers.shape[-1])
        else:
            answers = unravel(state.parameters)(x)
        if mask:
            answers = jnp.where(obs[..., mask] != 0, answers, RULED_OUT)
        return actions.action(actions.mode(actions.parameters(answers, actions.free()))), carry, ()

    def observe(state: State, block: Step) -> State:
        features = read.update(state.features, block.obs)
        return state._replace(features=features, step=state.step + block.reward.size)

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        tell_key, ask_key = jax.random.split(key)
        scores = score(block).reshape(repeats, -1).mean(0)
        members = vectors_of(state.members)
        told = search.tell(state.search, members, scores, tell_key, state.step / spec.total_steps)
        sound = jnp.isfinite(scores.sum()) & jnp.isfinite(search.best(told).sum())
        told = jax.tree.map(lambda new, old: jnp.where(sound, new, old), told, state.search)
        metrics = {"session_score": jnp.where(sound, scores.mean(), jnp.nan), "best_score": scores.max()}
        parameters, members = search.best(told), networks_of(search.ask(told, ask_key))
        return state._replace(parameters=parameters, members=members, search=told), metrics | search.report(told)

    def policy(state: State) -> State:
        return state._replace(members=(), search=())

    def publish(state: State) -> State:
        return state._replace(search=())

    return Agent(init, no_memory, lambda key, shape: (), act, observe, learn, policy, publish=publish)
