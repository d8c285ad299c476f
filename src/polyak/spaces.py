"""What the rest of polyak needs to know about Gymnasium spaces."""

import gymnasium
import numpy as np


def storage_type(space: gymnasium.Space) -> np.dtype:
    """The type in which members of `space` are kept: bytes as they are, integers as int32, else float32."""
    if space.dtype == np.uint8 or space.dtype == np.bool_:
        return np.dtype(space.dtype)
    return np.dtype(np.int32 if np.issubdtype(space.dtype, np.integer) else np.float32)
