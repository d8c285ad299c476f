"""What is learnt here is learnt as users learn it: with all that XLA can do, and compiled afresh."""

import os

for name in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"):
    os.environ.pop(name, None)  # the tests' own, see tests/conftest.py
