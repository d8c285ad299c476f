"""Eligibility traces, over a table or over linear values: an error corrects what was visited lately, too.

    z <- z + x                       x: 1 at the entry of a table, the features of a linear value
    w <- w + alpha error z
    z <- fade z                      gamma lambda, and 0 where an episode ends

Sources: Sutton (1988), "Learning to predict by the methods of temporal differences"; Singh and Sutton (1996),
"Reinforcement learning with replacing eligibility traces"; Sutton and Barto (2018), chapter 12.
"""

import dataclasses
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from polyak.agent import Array, Key, PyTree, Spec, Step
from polyak.errors import BadSetting
from polyak.ops import td
from polyak.parts.exploration import Exploration
from polyak.parts.features import FeatureMap, Features, linear_in
from polyak.parts.finite import unless_nan, usable
from polyak.parts.schedules import StepSize, step_size
from polyak.parts.tables import Place, Table, added


class LinearState(NamedTuple):
    """The state of a learner with linear action values."""

    w: Array  # [A, F]
    visits: tuple[()]  # not counted
    step: Array  # [] int32, environment steps observed
    next_action: PyTree = ()  # [B] int32, A' of every environment, chosen when S' was reached
    fresh: PyTree = ()  # [B] bool, where an episode begins instead
    z: PyTree = ()  # [B, A, F] the traces of every environment


class LinearSettings(Protocol):
    """The hyperparameters of linear action values."""

    @property
    def features(self) -> Features: ...
    @property
    def learning_rate(self) -> float | StepSize: ...
    @property
    def gamma(self) -> float: ...
    @property
    def exploration(self) -> Exploration: ...


@dataclasses.dataclass(frozen=True)
class Linear:
    """Action values w_a . x(s) for a task."""

    name: ClassVar[str] = "w"
    trace: ClassVar[str] = "z"

    x: FeatureMap
    shape: tuple[int, int]  # [A, F]
    first_action: int  # the environment's number of action 0
    spec: Spec
    alpha: StepSize
    gamma: float

    @property
    def scale(self) -> np.ndarray:
        """[F], by which the step size of each feature is multiplied."""
        return self.x.scale

    def init(self, key: Key) -> LinearState:
        """The state of a learner before its first step."""
        return LinearState(jnp.zeros(self.shape), (), jnp.int32(0))

    def look(self, state: LinearState, obs: Array) -> tuple[Array, tuple[()]]:
        """Action values [..., A] at observations [..., K]; no visits are counted."""
        return (state.w @ self.x.of(obs) if obs.ndim == 1 else jax.vmap(self.x.of)(obs) @ state.w.T), ()

    def transition(self, step: Step) -> tuple[Array, Array, Array, Array, Array]:
        """x(S) [F], A, R, gamma (0 where S' is terminal) and x(S') [F] of one step."""
        discount = td.discount(step.terminated, self.gamma)
        return self.x.of(step.obs), step.action - self.first_action, step.reward, discount, self.x.of(step.next_obs)

    def place(self, step: Step) -> Place:
        """A and x(S) of one step."""
        return step.action - self.first_action, self.x.of(step.obs)

    def marked(self, z: Array, place: Place, counts: Array, replacing: bool) -> Array:
        """Traces [A, F] after a visit of (a, x), if it counts: z_a + x, kept at 1 at most if `replacing`."""
        a, x = place
        z = z.at[a].add(jnp.where(counts, x, 0.0))
        return jnp.minimum(z, 1.0) if replacing else z


def linear_values(hyper: LinearSettings, spec: Spec, algorithm: str) -> Linear:
    """Linear action values for a task; raises `BadSetting` where it does not suit or visits would be counted."""
    x, num_actions, first_action = linear_in(hyper.features, spec, algorithm)
    alpha = step_size(hyper.learning_rate)
    if hyper.exploration.counts or alpha.counts:
        raise BadSetting(f"{algorithm} counts no visits, so it knows neither ucb nor step sizes over n.")
    return Linear(x, (num_actions, x.size), first_action, spec, alpha, hyper.gamma)


def corrected(
    values: Table | Linear, state: PyTree, step: Step, error: Array, replacing: bool, fade: Array | float
) -> tuple[PyTree, Array]:
    """Corrects all values along the traces, and lets these fade.

    Args:
        values: what is learnt.
        state: of the learner, with the traces of one environment.
        step: the newest, which is visited.
        error: [] of the value there.
        replacing: whether a visit sets the trace to 1, or keeps it at 1 at most, instead of adding to it.
        fade: [] what the traces are multiplied with while the episode goes on.

    Returns:
        The state, and the error, NaN where it is too large to be used.
    """
    error, place, over = usable(error), values.place(step), step.terminated | step.truncated
    w, z = getattr(state, values.name), getattr(state, values.trace)
    visits = added(state.visits, place, 1.0)
    alpha = values.alpha.at(state.step / values.spec.total_steps, visits)
    z = values.marked(z, place, ~jnp.isnan(error), replacing)
    w = unless_nan(error, w + alpha * error * values.scale * z, w)
    return state._replace(visits=visits, **{values.name: w, values.trace: fade * (1.0 - over) * z}), error
