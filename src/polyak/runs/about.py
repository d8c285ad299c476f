"""The content of `run.json`, as a type. Its checks serve twice: for the arguments of `train`, and for a file."""

import dataclasses
from typing import Annotated, Any

from polyak.runs import documents as doc
from polyak.runs.documents import Check

MOST_SEEDS = 10_000
MOST_COPIES = 2**20  # environments side by side, and episodes of an evaluation
MOST_PROCESSES = 10_000
NAME_LIMIT = 200  # characters
MOST_NOTICES = 200  # that a run remembers

SEED = doc.whole(0, 2**32 - 1)
NOTICE = doc.record({"seed": doc.maybe(SEED), "text": doc.text(2**16)})
FACTS = doc.mapping(doc.text(NAME_LIMIT), doc.text(NAME_LIMIT))

Steps = Annotated[int, doc.whole(1, 10**15)]
MaybeSteps = Annotated[int | None, doc.maybe(doc.whole(1, 10**15))]
Copies = Annotated[int, doc.whole(1, MOST_COPIES)]
Name = Annotated[str, doc.text(NAME_LIMIT)]


def by_seed(value: Check) -> Check:
    """An object whose keys are seeds."""

    def check_seed(key: Any, place: str) -> None:
        if not (key.isascii() and key.isdecimal() and len(key) <= 10 and key == str(int(key))):
            raise ValueError(f"{place} is not a seed")

    return doc.mapping(check_seed, value)


def anything(value: Any, place: str) -> None:
    """Accepts every value; who uses it checks it."""


@dataclasses.dataclass(kw_only=True)
class About:
    """A run: how it is to be trained, and what is known of it so far. `vars` of it is the content of `run.json`.

    Fields with a default are missing from files that were written before there were these fields.
    """

    format: Annotated[int, doc.one_of([1])]
    status: Annotated[str, doc.one_of(["running", "stopped", "finished", "failed"])]
    algorithm: Name
    settings: Annotated[dict[str, Any], doc.mapping(doc.text(NAME_LIMIT), doc.setting)]
    env: Name
    custom_env: Annotated[bool, doc.boolean]  # whether it is an object of the user's, which no file can hold
    steps: Steps
    seeds: Annotated[list[int], doc.array(SEED, least=1, most=MOST_SEEDS)]
    num_envs: Copies
    eval_every: MaybeSteps
    eval_episodes: Copies
    final_episodes: Copies = 100
    checkpoint_every: MaybeSteps = None
    keep_checkpoints: Annotated[int, doc.whole(1, 10**6)] = 2
    workers: Annotated[int, doc.whole(0, MOST_PROCESSES)] = 0
    actors: Annotated[int, doc.whole(0, MOST_PROCESSES)] = 0
    cluster: Annotated[str | None, doc.maybe(doc.text(NAME_LIMIT))] = None
    max_staleness: Annotated[float | None, doc.maybe(doc.real(0.0, 1e9))] = None
    step_timeout: Annotated[float, doc.real(1e-6, 1e9)] = 60.0
    on_fault: Annotated[str, doc.one_of(["stop", "restart"])] = "stop"
    callbacks: Annotated[list[dict[str, Any]], anything] = dataclasses.field(default_factory=list)
    preset: Annotated[bool, doc.boolean] = False
    versions: Annotated[dict[str, str], FACTS] = dataclasses.field(default_factory=dict)
    cores: Annotated[int, doc.whole(1, 2**31)] = 1
    started: Name = ""
    device: Name = ""
    engine: Name = ""
    environment: Name = ""
    wall_seconds: Annotated[float, doc.number]
    steps_per_second: Annotated[float, doc.number]
    faults: Annotated[int, doc.whole(0, 10**15)] = 0
    notices: Annotated[list[dict[str, Any]], doc.array(NOTICE)] = dataclasses.field(default_factory=list)
    returns: Annotated[dict[str, list[float]], by_seed(doc.array(doc.number, least=1))]
    stopped_early: Annotated[
        dict[str, dict[str, Any]], by_seed(doc.record({"step": doc.whole(0, 10**15), "reason": anything}))
    ] = dataclasses.field(default_factory=dict)


CHECKS = doc.checks_of(About)
_REQUIRED = {
    field.name for field in dataclasses.fields(About) if field.default is field.default_factory is dataclasses.MISSING
}
RUN_JSON = doc.record(
    {name: check for name, check in CHECKS.items() if name in _REQUIRED},
    {name: check for name, check in CHECKS.items() if name not in _REQUIRED},
    closed=False,  # later versions may write more
)
