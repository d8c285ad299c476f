"""`make` finds the fastest faithful version of an environment; one adapter a file.

The names are those of `__init__.pyi`, loaded at the first use: the processes that only step an environment must start
fast, without JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
