"""rlax, against which the losses are held; what it imports warns of its own old ways."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rlax

__all__ = ["rlax"]
