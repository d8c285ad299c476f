"""What a learner and its actors tell each other."""

from typing import Any, NamedTuple


class Task(NamedTuple):
    """What an actor needs to know once: which environments are its own, and who acts in them."""

    algorithm: Any  # an `Algorithm`
    env: Any  # as in `polyak.train`
    name: str  # of the environment, for messages
    total_steps: int  # `Spec.total_steps`
    block_envs: int  # environments of a block that is learnt from: `Spec.num_envs`
    first: int  # of its environments, among those of all actors
    num_envs: int  # b, of its own
    of: int  # of all actors together
    on_fault: str
    computes_gradients: bool  # whether blocks come back as gradients


class Begin(NamedTuple):
    """Begin with new episodes."""

    seed: int
    life: int | None  # of the actor, whose noise and episodes are its own; None: those of one machine


class Place(NamedTuple):
    """Where an actor is between two blocks; leaves [b, ...]."""

    env: Any  # states of compiled environments, () for others
    obs: Any
    carry: Any
    running: Any  # [2, b] return and length of the episodes under way


class Collect(NamedTuple):
    """Collect a block; what acts comes beside it."""

    iteration: int  # of the block, of which its noise is a function
    version: int  # of what acts, in updates
    wants_place: bool


class Collected(NamedTuple):
    """What came of it."""

    block: Any  # a `Step` [T, b, ...], or a gradient
    sums: Any  # [3] return, length and number of the episodes that ended
    place: Place | None
    seconds: float  # that the actor worked on it
    faults: list[str]  # of its environments, that were recovered from


class Restore(NamedTuple):
    """Go where a checkpoint found the environments."""

    places: list[Any] | None  # of those that live outside XLA
    place: Place


class Restored(NamedTuple):
    """Where it is then."""

    place: Place
    lost: Any  # [b] bool, where a new episode began instead


class Snapshot(NamedTuple):
    """Tell where the environments are, as JSON."""


class Fault(NamedTuple):
    """What went wrong, and would again."""

    kind: str  # the name of a class of `polyak.errors`
    message: str
