"""Distributions over actions, as functions of their parameters; the last axis is the distribution's own."""

import jax
import jax.numpy as jnp

from polyak.agent import Array


class Categorical:
    """One of A actions, from unnormalised log-probabilities `logits` [..., A]."""

    @staticmethod
    def sample(logits: Array, gumbel: Array) -> Array:
        """argmax(logits + Gumbel noise [..., A]), which is an exact draw (Gumbel, 1954); [...] int32."""
        return jnp.argmax(logits + gumbel, -1).astype(jnp.int32)

    @staticmethod
    def mode(logits: Array) -> Array:
        """The likeliest action; [...] int32."""
        return jnp.argmax(logits, -1).astype(jnp.int32)

    @staticmethod
    def log_prob(logits: Array, action: Array) -> Array:
        """log p(action); [...]."""
        log_probs = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]

    @staticmethod
    def entropy(logits: Array) -> Array:
        """-sum_a p(a) log p(a), in nats; [...]."""
        log_probs = jax.nn.log_softmax(logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, -1)
