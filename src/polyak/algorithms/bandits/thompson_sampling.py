"""Thompson sampling (Thompson, 1933, "On the likelihood that one unknown probability exceeds another in view of the
evidence of two samples"; Russo et al., 2018, "A tutorial on Thompson sampling").

    A = argmax_a mu(a),    mu ~ P(mu | rewards so far)

so that an arm is pulled as often as it is believed to be the best. Posteriors are exact: priors are conjugate.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, PyTree, Spec, Step, no_memory
from polyak.parts import hyper, tabular
from polyak.parts.finite import usable
from polyak.parts.priors import BetaPrior, PriorNoise
from polyak.parts.tables import look_up, rows_of


@dataclasses.dataclass(frozen=True)
class ThompsonSampling:
    """Thompson sampling: pulls the arm that is best in a sample of what is believed of the arms."""

    name: ClassVar[str] = "thompson-sampling"
    default_num_envs: ClassVar[int] = 1
    starts_at_reset: ClassVar[bool] = False
    vmap_seeds: ClassVar[bool] = True
    learning_starts: ClassVar[int] = 0
    block_length: ClassVar[int] = 1

    prior: hyper.Prior = BetaPrior()

    def agent(self, spec: Spec) -> Agent:
        rows, prior = rows_of(spec, "Thompson sampling"), self.prior

        def init(key: Key) -> State:
            return State(prior.init((rows.num_states, rows.num_actions)))

        def noise(key: Key, shape: tuple[int, ...]) -> PriorNoise:
            return prior.noise(key, shape, rows.num_actions)

        def act(state: State, carry: tuple[()], obs: Array, noise: PriorNoise, explore: bool):
            posterior = look_up(state.posterior, rows.state(obs))
            if not explore:
                return jnp.argmax(prior.mean(posterior), -1).astype(jnp.int32) + rows.first_action, carry, ()
            sample = jax.vmap(prior.sample)(posterior, noise.sample)
            return jnp.argmax(sample, -1).astype(jnp.int32) + rows.first_action, carry, noise.coin

        def observe(state: State, block: Step) -> State:
            return state

        def update(state: State, step: Step) -> tuple[State, Array]:
            place = rows.state(step.obs), step.action - rows.first_action
            error = usable(step.reward - prior.mean(look_up(state.posterior, *place)))
            reward = jnp.where(jnp.isnan(error), jnp.nan, step.reward)
            return State(prior.learnt(state.posterior, place, reward, step.extras)), error

        def policy(state: State) -> State:
            return state

        return Agent(init, no_memory, noise, act, observe, tabular.after_each_step(update), policy)


class State(NamedTuple):
    """What is believed of the arms in each of S contexts."""

    posterior: PyTree  # leaves [S, A], of the prior's kind
