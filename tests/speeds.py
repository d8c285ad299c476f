"""Two speeds: what is marked slow is left to `make test-all`."""

from typing import Any

import pytest


def slow(*values: Any):
    """A row of values of a parametrised test that is left to `make test-all`."""
    return pytest.param(*values, marks=pytest.mark.slow)
