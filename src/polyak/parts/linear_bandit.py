"""Contextual bandits with linear rewards: what LinUCB, LinTS and epsilon-greedy over the same regression share.

A member of the family says how an arm is chosen among those whose rewards are predicted; the regressions, what they
read and how they learn are here. Every step counts as a pull of its own: what follows it is not looked at.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, Protocol

import gymnasium
import jax
import jax.numpy as jnp
from typing_extensions import Doc

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory, one_by_one
from polyak.errors import BadSetting
from polyak.parts import networks, ridge
from polyak.parts.networks.encoding import scaled
from polyak.parts.q_network import first_action, num_actions
from polyak.parts.ranges import Range
from polyak.parts.ridge import Ridge

MOST = 2**28  # numbers in the roots of all regressions, 1 GiB

Regularization = Annotated[
    float, Range(0, above=True), Doc("Ridge penalty lambda: the precision of every coefficient before the first pull.")
]
Intercept = Annotated[bool, Doc("Add a feature that is always 1, so that rewards need not be 0 where the context is.")]
Regression = Annotated[
    Literal["auto", "disjoint", "shared"],
    Doc("One regression an arm (disjoint), or one for all (shared), which auto takes where each arm has its features."),
]


class Hyper(Protocol):
    """The hyperparameters that the family shares."""

    @property
    def regression(self) -> Literal["auto", "disjoint", "shared"]: ...
    @property
    def regularization(self) -> float: ...
    @property
    def intercept(self) -> bool: ...


class State(NamedTuple):
    """The state of an agent of the family."""

    parameters: Ridge  # leaves [K, ...], or [1, ...] of a shared regression; `root` is () in a policy
    step: Array  # [] int32, environment steps observed


@dataclasses.dataclass(frozen=True)
class Arms:
    """The arms of a task, and what the regressions read of them."""

    count: int  # K
    first: int  # the environment's number of arm 0
    features: int  # d
    shared: bool  # whether all arms have one regression
    x: Callable[[Array], Array]  # observations [..., *shape] -> features of each arm [..., K, d]

    @property
    def regressions(self) -> int:
        """M, 1 or K."""
        return 1 if self.shared else self.count

    def predicted(self, parameters: Ridge, x: Array) -> Array:
        """[..., K] the mean rewards of arms with features [..., K, d]."""
        return jnp.matmul(x[..., None, :], parameters.mean[:, :, None], precision=ridge.HIGHEST)[..., 0, 0]

    def spread(self, parameters: Ridge, x: Array) -> Array:
        """[..., K, d] S^T x of each arm; see `ridge.spread`."""
        return ridge.spread(parameters.root, x[..., None, :])[..., 0, :]


def arms_of(hyper: Hyper, spec: Spec) -> Arms:
    """The arms of a task.

    Where observations are a Box [K, d] with as many rows as there are actions, row k is what arm k reads; everything
    else, one-hot where it is Discrete, is a context that all arms read.

    Raises:
        BadSetting: actions are not discrete, a shared regression is asked for where all arms read the same, or the
            features are too many.
    """
    count, space = num_actions(hyper, spec), spec.observation_space
    apart = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 2 and space.shape[0] == count
    shared = hyper.regression == "shared" or (hyper.regression == "auto" and apart)
    if shared and not apart:
        raise BadSetting(
            f"A shared regression needs features of each arm, a Box of shape ({count}, d), and this environment's "
            f"observations are {space}; set regression to disjoint."
        )
    size = (math.prod(space.shape[1:]) if apart else networks.num_features(space)) + hyper.intercept  # type: ignore[index]
    if size**2 * (1 if shared else count) > MOST:
        raise BadSetting(
            f"A regression on {size:,} features keeps a matrix of {size:,} x {size:,} numbers, for each arm or for "
            "all, and these are too many; neural-linear makes fewer features of them."
        )
    encoded = networks.encode(space)

    def x(obs: Array) -> Array:
        features = scaled(obs).astype(jnp.float32) if apart else scaled(encoded(obs))[..., None, :]
        if hyper.intercept:
            features = jnp.concatenate([features, jnp.ones((*features.shape[:-1], 1))], -1)
        return jnp.broadcast_to(features, (*features.shape[:-2], count, size))

    return Arms(count, first_action(spec), size, shared, x)


def agent(
    hyper: Hyper,
    spec: Spec,
    arms: Arms,
    noise: Callable[[Key, tuple[int, ...]], PyTree],
    choose: Callable[[Array, Array, Array, PyTree], Array],
) -> Agent:
    """Makes the agent of a member.

    Args:
        hyper: the hyperparameters.
        spec: the task.
        arms: of the task.
        noise: `Agent.noise`.
        choose: (predicted rewards [K], S^T x of each arm [K, d], share of the run that is over [], noise) -> the arm.
            The norm of S^T x is the deviation of the prediction.
    """

    def init(key: Key) -> State:
        one = ridge.prior(arms.features, hyper.regularization)
        return State(jax.tree.map(lambda leaf: jnp.tile(leaf, (arms.regressions, *[1] * leaf.ndim)), one), jnp.int32(0))

    def act(state: State, carry: tuple[()], obs: Array, noise: PyTree, explore: bool):
        x = arms.x(obs)
        mean = arms.predicted(state.parameters, x)
        if explore:
            spread, progress = arms.spread(state.parameters, x), state.step / spec.total_steps
            action = jax.vmap(choose, (0, 0, None, 0))(mean, spread, progress, noise)
        else:
            action = jnp.argmax(mean, -1).astype(jnp.int32)
        return action + arms.first, carry, ()

    def observe(state: State, block: Step) -> State:
        return state._replace(step=state.step + block.reward.size)

    def pull(parameters: Ridge, step: Step) -> tuple[Ridge, tuple[Array, Array]]:
        arm = step.action - arms.first
        return update(parameters, 0 if arms.shared else arm, arms.x(step.obs)[arm], step.reward)

    def learn(state: State, block: Step, key: Key) -> tuple[State, dict[str, Array]]:
        parameters, (errors, variances) = jax.lax.scan(pull, state.parameters, one_by_one(block))
        return state._replace(parameters=parameters), measured(errors, variances)

    def policy(state: State) -> State:
        return state._replace(parameters=state.parameters._replace(root=()))

    return Agent(init, no_memory, noise, act, observe, learn, policy, publish=lambda state: state)


def update(regressions: Ridge, which: Array | int, x: Array, r: Array) -> tuple[Ridge, tuple[Array, Array]]:
    """One of several regressions, leaves [M, ...], after one more sample.

    Args:
        regressions: all of them.
        which: [] the one that learns.
        x: [d] features.
        r: [] target.

    Returns:
        All of them; and the error [] and the variance [] of its prediction before, the error NaN where it was refused.
    """
    one, error, variance = ridge.fitted(jax.tree.map(lambda leaf: leaf[which], regressions), x, r)
    return jax.tree.map(lambda all, new: all.at[which].set(new), regressions, one), (error, variance)


def measured(errors: Array, variances: Array) -> dict[str, Array]:
    """Metrics of pulls; any shapes."""
    return {"td_error": jnp.abs(errors).mean(), "uncertainty": jnp.sqrt(variances).mean()}
