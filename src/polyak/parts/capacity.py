"""Whether replay memories fit into the memory of the machine, asked before anything is allocated."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import jax

from polyak.agent import Agent, Algorithm, PyTree
from polyak.errors import BadSetting
from polyak.parts.ring import Replay

GIB = 2**30
SHARE = 0.9  # of what there is, up to which a smaller memory is advised; the rest is for networks and environments
LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)  # of a container, versions 2 and 1


def check_fits(algorithm: Algorithm, agent: Agent, copies: int = 1) -> None:
    """Raises `BadSetting` where the replay memory of an agent is larger than the memory that is left.

    Args:
        algorithm: what the agent was made by; without a `buffer_size` it has no replay memory.
        agent: the agent.
        copies: how many such agents are trained at the same time.
    """
    entries = getattr(algorithm, "buffer_size", 0)
    if not entries:
        return
    available, place = memory_left()
    needed = replay_bytes(jax.eval_shape(agent.init, jax.random.key(0))) * copies
    if needed <= available:
        return
    each = needed // (entries * copies)
    fits = _fitting(available, each * copies)
    product = f"{entries:,} transitions x {each:,} bytes" + (f" x {copies} seeds" if copies > 1 else "")
    advice = f"about {fits:,} would fit (--buffer-size {fits})" if fits else "not even one would fit"
    if getattr(algorithm, "frame_stack", 0) == 1:
        advice += "; where observations are stacks of frames, --frame-stack keeps each frame once"
    raise BadSetting(
        f"{type(algorithm).__name__}'s replay memory does not fit: {product} = {needed / GIB:,.1f} GiB, but {place} "
        f"has {available / GIB:,.1f} GiB left; {advice}."
    )


def _fitting(available: int, each: int) -> int:
    """How many entries of so many bytes fit, as a number of two digits and zeros."""
    count = int(SHARE * available / each)
    return count - count % 10 ** max(0, len(str(count)) - 2)


def replay_bytes(state: PyTree) -> int:
    """The bytes of all replay memories in a state, of arrays or of shapes."""
    rings = (node for node in jax.tree.leaves(state, is_leaf=_is_replay) if _is_replay(node))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for ring in rings for leaf in jax.tree.leaves(ring))


def memory_left() -> tuple[int, str]:
    """The bytes that can still be allocated where JAX computes, and the name of that place."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0), f"the {device.device_kind}"
    return min([_machine_bytes(), *_limits()]), "this machine"


def _is_replay(node: Any) -> bool:
    return isinstance(node, Replay)


def _machine_bytes() -> int:
    """The bytes that the system can hand out without swapping; where it does not tell, all that it has."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    with contextlib.suppress(OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**63


def _limits() -> list[int]:
    """The limits of this container, where it has some."""
    limits = []
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", where there is none
            limits.append(int(Path(path).read_text()))
    return limits
