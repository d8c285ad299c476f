"""The interface of callbacks, and how they are called."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from polyak.errors import BadSetting, CallbackFault, Error, UnknownName
from polyak.runs.documents import check_arguments, checks_of, maybe, whole
from polyak.runs.events import CheckpointSaved, Chunk, Evaluation, Event, Notice, PolicySaved

if TYPE_CHECKING:
    from polyak.run import Run


@dataclasses.dataclass(frozen=True)
class Stop:
    """Returned by a callback to end training early: of the seed that it was called for, or of the whole run.

    A seed that is ended counts as finished: its policy is saved and evaluated, `Run.stopped_early` says at which step
    and why, and `polyak.resume` does not go on with it. Seeds that train in one program, as tables do, end together,
    once each of them has been asked to. When the whole run ends, seeds that had not begun get no policy and no score.
    """

    reason: str
    whole_run: bool = False


class Callback(Protocol):
    """The methods that `train` and `resume` call while a run goes on; an object with any one of them will do.

    Training waits until they return, so that a stop comes at the same step however many processes train. `run` is the
    growing run: `run.path`, `run.about` and `run.metrics(name)` say what is known so far. An object with an attribute
    `policy_every` has the policy of each seed written every that many environment steps, at the end of a block, and its
    `on_policy` is called for these; without that attribute, for all that are written. What a callback raises stops the
    run as Ctrl-C does.
    """

    def on_start(self, run: "Run") -> None:
        """Training begins or, after a stop, goes on; what is raised here is raised before anything is trained."""

    def on_chunk(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> Stop | None:
        """A seed has trained for some more steps, `step` in all; `metrics` are those of these steps."""
        return None

    def on_evaluation(self, run: "Run", seed: int, step: int, returns: list[float]) -> Stop | None:
        """The greedy policy of a seed has played; one return an episode."""
        return None

    def on_checkpoint(self, run: "Run", seed: int, step: int, path: Path) -> Stop | None:
        """A checkpoint of a seed has been written to `path`."""
        return None

    def on_policy(self, run: "Run", seed: int, step: int, path: Path) -> Stop | None:
        """The policy of a seed has been written to `path`, which `polyak.load` reads."""
        return None

    def on_notice(self, run: "Run", seed: int | None, text: str) -> Stop | None:
        """A sentence was said that whoever watches the run should read: of a seed, or of all of them (None)."""
        return None

    def on_end(self, run: "Run") -> None:
        """Training has ended; `run.about["status"]` says how: finished, stopped or failed."""


METHODS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def check(callbacks: Sequence[Any]) -> None:
    """Raises `BadSetting` for what is no callback, and `UnknownName` for a method that nobody would ever call."""
    if not isinstance(callbacks, Sequence):
        raise BadSetting(f"callbacks is {callbacks!r:.80}; it must be a list.")
    for callback in callbacks:
        own = [name for name in dir(callback) if name.startswith("on_")]
        for name in own:
            if name not in METHODS:
                raise UnknownName(f"method of a callback, as {type(callback).__name__} has,", name, METHODS)
        if isinstance(callback, type) or not own:
            what = f"the class {callback.__name__}" if isinstance(callback, type) else repr(callback)
            raise BadSetting(f"{what} is no callback; pass an object with one of the methods {', '.join(METHODS)}.")
        policy_every(callback)


Count = Annotated[int, whole(1, 10**15)]


def check_fields(callback: Any) -> None:
    """Raises `BadSetting` for a field of a dataclass that is not as its annotation says."""
    check_arguments(checks_of(type(callback)), vars(callback), f"{type(callback).__name__}'s ")


def policy_every(callback: Any) -> int | None:
    """Environment steps between two policies that a callback wants written; None where it wants none."""
    every = getattr(callback, "policy_every", None)
    check_arguments({"policy_every": maybe(whole(1, 10**15))}, {"policy_every": every}, f"{type(callback).__name__}'s ")
    return every


class Calls:
    """The callbacks of one sitting.

    Attributes:
        asked: the seeds that are to end, each with the reason.
        failure: the first thing that went wrong in a callback; that one hears of no event after it, the others do.
    """

    def __init__(self, callbacks: Sequence[Any], run: "Run", say: Callable[[str], None]):
        self.callbacks, self.run, self.say = callbacks, run, say
        self.asked: dict[int, str] = {}
        self.failure: Error | None = None
        self._started: list[Any] = []
        self._listening = list(callbacks)
        self._intervals = {id(callback): policy_every(callback) for callback in callbacks}

    def start(self) -> None:
        """Calls `on_start`; what it raises is raised."""
        for callback in self.callbacks:
            self._call(callback, "on_start")
            self._started.append(callback)

    def take(self, event: Event) -> None:
        """Hands an event to the callbacks that it concerns, each with a copy of its own."""
        seed: int | None
        facts: tuple[Any, ...]
        match event:
            case Chunk(seed, step, metrics):
                method, facts = "on_chunk", (step, metrics)
            case Evaluation(seed, step, returns):
                method, facts = "on_evaluation", (step, returns)
            case CheckpointSaved(seed, step, path):
                method, facts = "on_checkpoint", (step, Path(path))
            case PolicySaved(seed, step, path, _):
                method, facts = "on_policy", (step, Path(path))
            case Notice(text, seed):
                method, facts = "on_notice", (text,)
            case _:
                return
        for callback in tuple(self._listening):
            if isinstance(event, PolicySaved) and self._intervals[id(callback)] not in (None, *event.due):
                continue
            try:
                if (stop := self._call(callback, method, seed, *map(copy.copy, facts))) is not None:
                    self._ask(stop, seed)
            except Error as error:
                self.failure = self.failure or error
                self._listening.remove(callback)

    def end(self) -> None:
        """Calls `on_end` of each that was started, also after another has failed."""
        for callback in self._started:
            try:
                self._call(callback, "on_end")
            except Error as error:
                self.failure = self.failure or error

    def _ask(self, stop: Stop, seed: int | None) -> None:
        over = self.run.about["returns"]
        whole_run = stop.whole_run or seed is None
        seeds = [one for one in self.run.seeds if (str(one) not in over if whole_run else one == seed)]
        if not set(seeds) <= set(self.asked):
            self.say(f"{'The run' if whole_run else f'Seed {seed}'} is stopped early: {stop.reason}.")
        for one in seeds:
            self.asked.setdefault(one, stop.reason)

    def _call(self, callback: Any, method: str, *facts: Any) -> Stop | None:
        """The answer of a callback; whatever is wrong with it becomes one sentence."""
        if not hasattr(callback, method):
            return None
        where = f"{type(callback).__name__}.{method}"
        try:
            answer = getattr(callback, method)(self.run, *facts)
        except Exception as error:
            if isinstance(error, Error) and method == "on_start":  # it speaks of what the user asked for
                raise
            said = " ".join(str(error).split())
            raise CallbackFault(
                f"The callback {where} raised {type(error).__name__}: {said}" + ("" if said.endswith(".") else ".")
            ) from error
        may_stop = method not in ("on_start", "on_end")
        if answer is None or (may_stop and isinstance(answer, Stop)):
            return answer
        wanted = "None, or polyak.Stop(reason) to stop" if may_stop else "None"
        raise CallbackFault(f"The callback {where} returned {answer!r}; it must return {wanted}.")
