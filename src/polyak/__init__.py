"""polyak: reinforcement learning on JAX. The public names stand in `__init__.pyi`; the first use of one loads it."""

import lazy_loader

__version__ = "0.1.0"  # the package's too; CITATION.cff repeats it

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
