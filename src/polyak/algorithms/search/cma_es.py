"""Covariance matrix adaptation (Hansen, 2016, "The CMA evolution strategy: A tutorial", with the negative weights of
Jastrebski and Arnold, 2006, "Improving evolution strategies through active covariance matrix adaptation").

    x_i = m + sigma y_i,  y_i ~ N(0, C);  <y> = sum over the better half of w_i y_i
    m <- m + sigma <y>
    C <- (1 - c_1 - c_mu sum w_i) C + c_1 p_c p_c^T + c_mu sum w_i y_i y_i^T
    sigma <- sigma exp(c_sigma / d_sigma (|p_sigma| / E|N(0, I)| - 1))

p_c and p_sigma are the paths that the mean has taken, sums of <y> in which the past fades: steps in one direction make
the search longer in it and larger altogether. Weights count by rank, and those of the worse half are negative: the
search gets shorter where they lie.

Deviations: sigma grows at most e-fold in a step and stays within 1e-12 and 1e12, where float32 still tells members
apart; the eigenvalues that members are drawn with are at least 1e-7 of the largest.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from polyak.agent import Agent, Array, Key, Spec
from polyak.errors import BadSetting
from polyak.ops.evolution import Adaptation
from polyak.parts import hyper, networks, population
from polyak.parts.population import Search

LARGEST_DIMENSION = 2_000  # whose eigenvectors take seconds and whose matrices, several of them, 16 MB each


@dataclasses.dataclass(frozen=True)
class CMAES:
    """CMA-ES: learns along which combinations of parameters to search, and how far."""

    name: ClassVar[str] = "cma-es"
    default_num_envs: ClassVar[int] = 16
    starts_at_reset: ClassVar[bool] = True
    vmap_seeds: ClassVar[bool] = False
    learning_starts: ClassVar[int] = 0

    sigma: hyper.InitialSigma = 0.5
    active: bool = True
    """Whether the worse half of the members has a say, with negative weights."""
    session_length: hyper.SessionLength = 500
    episodes_per_member: hyper.EpisodesPerMember = 1
    normalize_observation: hyper.NormalizeObservation = False
    squash: hyper.Squash = False
    network: hyper.MemberNetwork = networks.MLP(hidden=())

    @property
    def block_length(self) -> int:
        return self.session_length

    def search(self, size: int) -> Search:
        """The search with a population of `size` members; raises `BadSetting` where there are fewer than four.

        Its `init` raises `BadSetting` where there are too many dimensions for a matrix.
        """
        population.at_least(4, size, "CMA-ES ranks its members")

        def init(key: Key, x: Array) -> State:
            if x.size > LARGEST_DIMENSION:
                raise BadSetting(
                    f"CMA-ES keeps a matrix of all pairs of parameters, and of {x.size:,} there are too many: take a "
                    f"network of at most {LARGEST_DIMENSION:,}, or openai-es, which keeps none."
                )
            one, nothing = jnp.eye(x.size, dtype=x.dtype), jnp.zeros_like(x)
            return State(x, jnp.asarray(self.sigma, x.dtype), one, nothing, nothing, one, nothing + 1.0, jnp.int32(0))

        def ask(state: State, key: Key) -> Array:
            z = jax.random.normal(key, (size, state.mean.size), state.mean.dtype)
            return state.mean + state.sigma * (z * state.lengths) @ state.axes.T

        def tell(state: State, members: Array, scores: Array, key: Key, progress: Array) -> State:
            n = state.mean.size
            weights, mu_eff, c_sigma, d_sigma, c_c, c_1, c_mu, chi = Adaptation.of(size, n, self.active)
            w = jnp.asarray(weights, state.mean.dtype)
            y = (members[jnp.argsort(-scores)] - state.mean) / state.sigma  # the best first
            z = y @ state.axes / state.lengths  # their size is that of C^(-1/2) y
            generation, step = state.generation + 1, jnp.maximum(w, 0.0) @ y
            whitened = state.axes @ (step @ state.axes / state.lengths)

            p_sigma = (1.0 - c_sigma) * state.p_sigma + (c_sigma * (2.0 - c_sigma) * mu_eff) ** 0.5 * whitened
            length = jnp.linalg.norm(p_sigma)
            # Of a path that is too long, sigma is too small: it is not to stretch the covariance meanwhile.
            usual = (1.4 + 2.0 / (n + 1.0)) * chi * jnp.sqrt(1.0 - (1.0 - c_sigma) ** (2 * generation))
            goes_on = length < usual
            p_c = (1.0 - c_c) * state.p_c + goes_on * (c_c * (2.0 - c_c) * mu_eff) ** 0.5 * step

            # Members of negative weight count as if they were of the expected length, so that C stays positive.
            w_y = jnp.where(w < 0, w * n / jnp.maximum(jnp.sum(jnp.square(z), -1), 1e-12), w)
            left = 1.0 - c_1 - c_mu * float(weights.sum()) + (1.0 - goes_on) * c_1 * c_c * (2.0 - c_c)
            covariance = left * state.covariance + c_1 * jnp.outer(p_c, p_c) + c_mu * (w_y * y.T) @ y
            growth = jnp.exp(jnp.minimum(c_sigma / d_sigma * (length / chi - 1.0), 1.0))
            sigma = jnp.clip(state.sigma * growth, 1e-12, 1e12)
            mean = state.mean + state.sigma * step

            # Eigenvectors cost n^3. They are taken anew once C has changed by a tenth, as the tutorial does (B.2).
            every = max(1, int(1.0 / (10.0 * n * (c_1 + c_mu))))
            axes, lengths = jax.lax.cond(
                generation % every == 0,
                lambda: principal_axes(covariance),
                lambda: (state.axes, state.lengths),
            )
            return State(mean, sigma, covariance, p_sigma, p_c, axes, lengths, generation)

        return Search(init, ask, tell, lambda state: state.mean, report)

    def agent(self, spec: Spec) -> Agent:
        return population.agent(self, spec, self.search)


class State(NamedTuple):
    """The state of the search: the distribution that members are drawn from, and how it came about."""

    mean: Array  # [D] m
    sigma: Array  # [] the step size
    covariance: Array  # [D, D] C
    p_sigma: Array  # [D] the path of the mean where C is the identity
    p_c: Array  # [D] the path of the mean
    axes: Array  # [D, D] the eigenvectors of C, as columns, when they were last taken
    lengths: Array  # [D] the square roots of its eigenvalues
    generation: Array  # [] int32, populations told of


def principal_axes(covariance: Array) -> tuple[Array, Array]:
    """Eigenvectors [D, D] as columns, and the square roots of eigenvalues [D], of a symmetric matrix."""
    eigenvalues, axes = jnp.linalg.eigh(0.5 * (covariance + covariance.T))
    return axes, jnp.sqrt(jnp.maximum(eigenvalues, 1e-7 * eigenvalues[-1]))


def report(state: State) -> dict[str, Array]:
    """The standard deviation of a parameter among members, the root of its mean square."""
    return {"sigma": state.sigma * jnp.sqrt(jnp.diagonal(state.covariance).mean())}
