"""Several passes over a block of steps, in minibatches."""

import math

import jax
import jax.numpy as jnp

from polyak.agent import Array, Key
from polyak.errors import BadSetting

NEAR = 10_000  # how far from a batch_size that does not fit another is looked for


def check_batch_size(algorithm: str, batch_size: int, n_steps: int, num_envs: int) -> None:
    """Raises `BadSetting` unless a block can be cut into minibatches without a rest."""
    total = n_steps * num_envs
    if total % batch_size:
        wanted, common = min(batch_size, total), math.gcd(batch_size, total)
        near = range(max(1, wanted - NEAR), min(total, wanted + NEAR) + 1)
        divisors = (divisor for divisor in near if total % divisor == 0)
        nearest = min(divisors, key=lambda divisor: abs(divisor - wanted), default=common)
        raise BadSetting(
            f"{algorithm}'s batch_size {batch_size} does not divide n_steps x num_envs = {total}; {nearest} does."
        )


def check_sequence_length(algorithm: str, length: int, n_steps: int, batch_size: int) -> None:
    """Raises `BadSetting` unless a block, and each of its minibatches, can be cut into sequences without a rest."""
    for name, total in (("n_steps", n_steps), ("batch_size", batch_size)):
        if total % length:
            common = math.gcd(n_steps, batch_size)
            raise BadSetting(
                f"{algorithm}'s sequence_length {length} does not divide {name} {total}; it must divide n_steps and "
                f"batch_size, as {common} does."
            )


def shuffled(key: Key, total: int, batch_size: int, n_epochs: int) -> Array:
    """[n_epochs total / batch_size, batch_size] indices: in every epoch each of 0 .. total - 1 once, reordered."""

    def order(key: Key) -> Array:
        return jax.random.permutation(key, total).reshape(-1, batch_size)

    return jax.vmap(order)(jax.random.split(key, n_epochs)).reshape(-1, batch_size)


def shuffled_first(key: Key, which: Array, n_epochs: int) -> Array:
    """[n_epochs, N] indices: in every epoch those where `which` [N] is true, reordered, and behind them the others."""
    return jnp.argsort(jax.random.uniform(key, (n_epochs, which.shape[0])) + ~which, -1)


def minibatches_of(count: Array, batch_size: int) -> Array:
    """[] how many minibatches `count` [] steps are cut into: ceil(count / batch_size), at least one."""
    return jnp.maximum(-(-count // batch_size), 1)


def minibatch(order: Array, count: Array, batch_size: int, i: Array) -> tuple[Array, Array]:
    """The i-th of the minibatches that the first `count` [] indices of `order` [N] are cut into, as equal as can be.

    Returns:
        [batch_size] indices, and [batch_size] bool, which of them belong to it.
    """
    minibatches = minibatches_of(count, batch_size)
    size, longer = count // minibatches, count % minibatches
    place = i * size + jnp.minimum(i, longer) + jnp.arange(batch_size)
    belongs = jnp.arange(batch_size) < size + (i < longer)
    return order[jnp.minimum(place, order.shape[0] - 1)], belongs
