"""Updates that would spoil what is learnt: how a learner with a table or linear values leaves them out.

A comparison of one number a step, which XLA fuses into what is computed anyway.
"""

import jax
import jax.numpy as jnp

from polyak.agent import Array, PyTree

LARGEST = 1e30  # a TD error from which step sizes and traces could lead out of float32, which ends at 3e38


def usable(error: Array) -> Array:
    """The TD error, any shape; NaN unless it is below 1e30 in size.

    NaN stands for "no update": the tables leave it out (`tables.add`), the metrics keep it, and training stops there.
    """
    return jnp.where(jnp.abs(error) < LARGEST, error, jnp.nan)


def unless_nan(error: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new`, or `old` as it was if error [] is NaN."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.isnan(error), b, a), new, old)
