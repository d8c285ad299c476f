"""polyak: reinforcement learning on JAX. The public names stand in `__init__.pyi`; the first use of one loads it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
