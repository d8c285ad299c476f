"""Which environments each actor holds, and how many blocks make an update."""

import math
from itertools import pairwise
from typing import Any, NamedTuple

from polyak.errors import BadSetting

STREAMS = ("stream", "replay")  # the flows in which blocks are some updates old
AHEAD = 2  # blocks that an actor is asked for, where they stream: one to work on, and one to go on with
STALENESS = 1.0  # updates that were made meanwhile, on average, where nothing else is asked for


class Plan(NamedTuple):
    """N actors' shares of the environments."""

    flow: str  # see `polyak.engines.cluster`
    shares: tuple[tuple[int, int], ...]  # of each actor, the first of its environments and how many
    of: int  # environments of all actors
    together: int  # k, blocks of an actor that make an update
    ahead: int  # q, blocks that an actor is asked for before the first of them has been used

    @property
    def streamed(self) -> bool:
        """Whether no block goes on where the one before ended: `Spec.streamed`."""
        return self.flow in STREAMS


def plan(algorithm: Any, actors: int, num_envs: int, max_staleness: float | None) -> Plan:
    """Shares out environments.

    Where parameters must be the newest, or blocks of an environment must follow each other, and where actors hand over
    gradients, `num_envs` environments are shared out.
    Where blocks stream, each actor has num_envs / k of its own, and k of their blocks make an update. N q blocks are
    under way, so that N q / k - 1 other updates are made, on average, between the request for a block and the update
    that it is used in; k is the smallest number that keeps this at `max_staleness`.

    Args:
        algorithm: says by `flow` how blocks come; one that does not gets what one machine would give it.
        actors: N.
        num_envs: the environments of a block that is learnt from.
        max_staleness: updates that may have been made meanwhile, on average, where blocks stream.

    Raises:
        BadSetting: these numbers do not fit together.
    """
    name, flow = algorithm.name, getattr(algorithm, "flow", "fresh")
    if flow in STREAMS and getattr(algorithm, "normalize_reward", False):
        flow = "fresh"  # its running sum of the rewards of an environment goes on from block to block
    if hasattr(algorithm, "search"):
        raise BadSetting(f"{name} is a population, which actors cannot share out; leave actors out, or raise num_envs.")
    if max_staleness is not None and flow not in STREAMS:
        raise BadSetting(f"max_staleness is about blocks that stream, and those of this {name} do not; leave it out.")
    if flow not in STREAMS:
        if actors > num_envs:
            raise BadSetting(
                f"{actors} actors cannot share {num_envs} environment{'s' * (num_envs != 1)}; make num_envs at least "
                f"{actors}, or take fewer actors."
            )
        bounds = [num_envs * k // actors for k in range(actors + 1)]
        shares = tuple((first, end - first) for first, end in pairwise(bounds))
        return Plan(flow, shares, num_envs, actors, 1)
    least = math.ceil(actors * AHEAD / (1.0 + (STALENESS if max_staleness is None else max_staleness)))
    divisors = [k for k in range(1, num_envs + 1) if num_envs % k == 0]
    enough = [k for k in divisors if k >= least]
    if max_staleness is not None and not enough:
        raise BadSetting(
            f"{actors} actors with {AHEAD} blocks ahead are {actors * AHEAD / num_envs - 1:g} updates behind even if "
            f"{num_envs} blocks make an update; raise num_envs or max_staleness, or take fewer actors."
        )
    together = enough[0] if enough else num_envs
    each = num_envs // together
    shares = tuple((each * number, each) for number in range(actors))
    return Plan(flow, shares, each * actors, together, AHEAD)
