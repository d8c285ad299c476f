"""Equations: pure, unbatched, one concept a file. Use `jax.vmap` for a batch."""
