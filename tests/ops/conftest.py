"""Every equation is tested as it stands and compiled."""

import jax
import pytest


@pytest.fixture(params=[lambda function: function, jax.jit], ids=["plain", "jit"])
def compiled(request):
    """Leaves a function alone, or compiles it."""
    return request.param
