"""A task to plan in, and the searches in it: what algorithms that look ahead make of `Spec.simulator`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp

from polyak.agent import Array, Key, Position, PyTree, Simulator, Spec, Step, Symmetries
from polyak.errors import BadSetting
from polyak.ops.tree_search import Tree
from polyak.parts.distributions import RULED_OUT
from polyak.parts.networks import encode
from polyak.spaces import mask_of, row_shape


class Guide(NamedTuple):
    """A network that says of positions which actions look good, and what to expect."""

    answer: Callable[[PyTree, Array], tuple[Array, Array]]
    """parameters, observations [..., n] -> logits [..., A] of what looks good, and values [...]"""
    is_bounded: bool  # whether values are between -1 and 1


def guide_of(space: gymnasium.Space, is_bounded: bool) -> Guide:
    """The guide that a network of A + 1 outputs is, of which the last is the value."""
    encoded = encode(space)

    def answer(network: Any, obs: Array) -> tuple[Array, Array]:
        found = network(encoded(obs))
        value = found[..., -1]
        return found[..., :-1], jnp.tanh(value) if is_bounded else value

    return Guide(answer, is_bounded)


def simulator_of(spec: Spec, name: str) -> Simulator:
    """The simulator of a task, for an algorithm of that name.

    Raises:
        BadSetting: there is none, actions cannot be counted, or a state holds what its player does not see.
    """
    if spec.simulator is None:
        raise BadSetting(
            f"{name} plans, so it needs an environment that goes on from any state it is given: a compiled one, such "
            "as connect-four or CartPole-v1, and not one that is stepped from Python."
        )
    if not isinstance(spec.action_space, gymnasium.spaces.Discrete):
        raise BadSetting(f"{name} needs actions that can be counted (Discrete), not {spec.action_space}.")
    if spec.simulator.hidden:
        raise BadSetting(f"{name} plans on the state of a game, which holds what players do not see: it would cheat.")
    return spec.simulator


def legal_of(space: gymnasium.Space, obs: Array, num_actions: int) -> Array:
    """Which actions there are [..., A] bool where that is observed: those of the mask, or all."""
    where = mask_of(space)
    if where is None:
        return jnp.ones((*obs.shape[: obs.ndim - len(row_shape(space))], num_actions), bool)
    return obs[..., where] != 0


def turned(obs: Array, of_actions: Array, symmetries: Symmetries | None, key: Key) -> tuple[Array, Array]:
    """Observations [B, n], and numbers [B, A] of their actions, each turned in one of the ways that its game allows."""
    if symmetries is None:
        return obs, of_actions
    way = jax.random.randint(key, (len(obs),), 0, len(symmetries.obs))

    def turn(rows: Array, ways: Array) -> Array:
        return jnp.take_along_axis(rows, jnp.asarray(ways)[way], -1)

    return turn(obs, symmetries.obs), turn(of_actions, symmetries.actions)


class Found(NamedTuple):
    """What a search found; leaves [B, ...]."""

    action: Array  # counted from 0
    weights: Array  # [B, A] what a policy should learn from it
    value: Array  # of the root
    tree: Tree


Search = Callable[[Any, Position, Key, bool], Found]
"""what guides it, positions [B, ...], key, whether it explores -> what it found"""


def guided_search(
    spec: Spec,
    simulator: Simulator,
    guide: Guide,
    discount: float,
    simulations: int,
    kind: Literal["gumbel", "puct"],
    value_scale: float = 0.1,
    earned: Callable[[PyTree, Array, Array], Array] = lambda parameters, reward, terminated: reward,
) -> Search:
    """Makes a search that a network guides, by DeepMind's mctx.

    Args:
        spec: the task.
        simulator: goes on from positions.
        guide: the network; moves that are not legal are ruled out here.
        discount: of what follows a step; negative where it is the other player's.
        simulations: how many, one at least.
        kind: "gumbel" (Danihelka et al., 2022) or "puct" (Silver et al., 2018).
        value_scale: how what moves are worth and how they look are weighed against each other by "gumbel". A move of
            value q and logit l counts l + (50 + N) value_scale q, where N is how often the best known was tried: sigma
            of its section 3.4. Values between -1 and 1 count as they are. Others are first scaled to [0, 1] among the
            moves of each position, so that the smallest difference weighs as much as the greatest.
        earned: parameters, rewards [B], whether they were the last [B] -> the rewards that count.

    Returns:
        The search, which is given the parameters.

    Raises:
        BadSetting: mctx is not installed.
    """
    try:
        import mctx
    except ImportError:
        raise BadSetting("A search with a network needs mctx: pip install 'polyak[games]'.") from None
    space = spec.action_space
    assert isinstance(space, gymnasium.spaces.Discrete)
    num_actions, start = int(space.n), int(space.start)
    weigh = partial(
        mctx.qtransform_completed_by_mix_value, value_scale=value_scale, rescale_values=not guide.is_bounded
    )

    def look(parameters: PyTree, obs: Array) -> tuple[Array, Array, Array]:
        legal = legal_of(spec.observation_space, obs, num_actions)
        logits, value = guide.answer(parameters, obs)
        return jnp.where(legal, logits, RULED_OUT), value, legal

    def expand(parameters: PyTree, key: Key, action: Array, state: PyTree) -> tuple[Any, PyTree]:
        noise = simulator.noise(key, action.shape)
        state, obs, reward, terminated, _ = jax.vmap(simulator.step)(state, action + start, noise)
        logits, value, _ = look(parameters, obs)
        follows = jnp.where(terminated, 0.0, discount)
        reward = earned(parameters, reward, terminated)
        return mctx.RecurrentFnOutput(reward=reward, discount=follows, prior_logits=logits, value=value), state

    def search(parameters: PyTree, position: Position, key: Key, explore: bool) -> Found:
        logits, value, legal = look(parameters, position.obs)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=position.state)
        if kind == "gumbel":
            plan = partial(mctx.gumbel_muzero_policy, gumbel_scale=float(explore), qtransform=weigh)
        else:
            noise = {"dirichlet_fraction": 0.25 * explore, "dirichlet_alpha": 10 / num_actions}
            plan = partial(mctx.muzero_policy, temperature=float(explore), **noise)
        made = plan(parameters, key, root, expand, simulations, invalid_actions=~legal)
        return Found(made.action, made.action_weights, made.search_tree.node_values[:, 0], _tree(made.search_tree))

    return search


def search_metrics(block: Step, weights: Array, value: Array) -> dict[str, Array]:
    """How games end in a block [T, B], and what its searches found: weights [T, B, A] and values [T, B]."""
    over = block.terminated | block.truncated
    decided = jnp.sum(block.terminated & (block.reward != 0)) / jnp.maximum(jnp.sum(over), 1)
    entropy = -jnp.sum(weights * jnp.log(jnp.maximum(weights, 1e-12)), -1).mean()
    return {"decided": decided, "search_entropy": entropy, "search_value": value.mean()}


def _tree(made: Any) -> Tree:
    """mctx's tree, leaves [B, N, A], as ours."""
    visits = made.children_visits
    values = made.children_rewards + made.children_discounts * made.children_values
    lowest, highest = made.node_values.min(-1), made.node_values.max(-1)
    legal = made.children_prior_logits > RULED_OUT / 2
    unknown = jnp.zeros(visits.shape, jnp.int8)
    bounds = jnp.stack([lowest, highest], -1)
    return Tree(jnp.maximum(made.children_index, 0), visits, visits * values, legal, unknown, bounds)


def key_of(words: Array) -> Key:
    """A key from its two words, as which keys are kept in noise."""
    return jax.random.wrap_key_data(words)
