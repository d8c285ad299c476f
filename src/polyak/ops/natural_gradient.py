"""The natural gradient: steepest ascent where distance is how far a policy's distribution moves.

Vectors are pytrees like the parameters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from polyak.agent import Array, PyTree


def dot(a: PyTree, b: PyTree) -> Array:
    """[] the sum of the products of all entries."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), jnp.float32(0))


def moved(x: PyTree, scale: Array | float, direction: PyTree) -> PyTree:
    """x + scale direction."""
    return jax.tree.map(lambda a, b: a + scale * b, x, direction)


def fisher_product(mean_kl: Callable[[PyTree], Array], parameters: PyTree, vector: PyTree, damping: float) -> PyTree:
    """(F + damping I) v, where F is the Fisher information of the policy at `parameters`.

    F is the matrix of second derivatives of the divergence from the present policy, whose first derivatives vanish; it
    is never made: the product is a derivative of the gradient along v.

    Args:
        mean_kl: parameters -> [] mean over states of KL(pi_now(.|s) || pi_parameters(.|s)).
        parameters: those of the present policy.
        vector: v.
        damping: what is added to F's diagonal, so that directions which move nothing stay finite.

    Source: Schulman et al. (2015), "Trust region policy optimization", appendix C.1.
    """
    _, product = jax.jvp(jax.grad(mean_kl), (parameters,), (vector,))
    return moved(product, damping, vector)


def conjugate_gradient(product: Callable[[PyTree], PyTree], b: PyTree, iterations: int) -> PyTree:
    """x with A x = b, for a symmetric positive definite A of which only `product(v) = A v` is known.

    n iterations solve it exactly for n by n matrices, save for rounding; fewer make A x - b small. Once the residual
    is zero, further iterations change nothing.

    Source: Hestenes and Stiefel (1952); Nocedal and Wright (2006), algorithm 5.2.
    """

    def iterate(carry: tuple[PyTree, PyTree, PyTree, Array], _: None):
        x, residual, direction, square = carry
        image = product(direction)
        curvature = dot(direction, image)
        going = (square > 1e-20) & (curvature > 0)
        step = jnp.where(going, square / jnp.where(going, curvature, 1.0), 0.0)
        x, residual = moved(x, step, direction), moved(residual, -step, image)
        new_square = dot(residual, residual)
        direction = moved(residual, jnp.where(going, new_square / jnp.where(going, square, 1.0), 0.0), direction)
        return (x, residual, direction, new_square), None

    start = (jax.tree.map(jnp.zeros_like, b), b, b, dot(b, b))
    return jax.lax.scan(iterate, start, length=iterations)[0][0]


def step_length(direction: PyTree, image: PyTree, max_kl: float) -> Array:
    """[] beta with beta^2 x^T F x / 2 = max_kl: the step along x whose divergence is that, to second order.

    Args:
        direction: x.
        image: F x.
        max_kl: delta, in nats.

    Source: Schulman et al. (2015), appendix C.
    """
    return jnp.sqrt(2.0 * max_kl / jnp.maximum(dot(direction, image), 1e-12))


def line_search(is_good: Callable[[Array], Array], tries: int, shrink: float) -> Array:
    """[] the first of 1, shrink, shrink^2, ... that is good; 0 where none of so many is.

    Args:
        is_good: share of a step [] -> whether it may be taken [].
        tries: how many are looked at.
        shrink: in (0, 1).

    Source: Schulman et al. (2015), appendix C.
    """

    def shorter(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        tried, share = carry
        return tried + 1, share * shrink

    tried, share = jax.lax.while_loop(
        lambda carry: (carry[0] < tries) & ~is_good(carry[1]), shorter, (jnp.int32(0), jnp.float32(1))
    )
    return jnp.where(tried < tries, share, 0.0)
