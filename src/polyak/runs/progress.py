"""Shows how a run goes on: a live line in a terminal or a notebook, a few complete lines anywhere else."""

import contextlib
import datetime
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from polyak.runs.notebook import live_text

SELDOM = 10.0  # seconds without a step before a log is told of an evaluation, and between two such lines
RENEWED = (
    0.25  # seconds after which the line in a notebook is renewed at the earliest: each time a message to the browser
)
MOST_LINES = 20  # that a notebook shows of what was said, the newest
BAR = 24  # letters


class Display(Protocol):
    """Shows a run to the user."""

    def start(self, title: str, total: int) -> None: ...

    def update(self, steps: int, episode_return: float | None) -> None: ...

    def playing(self, text: str) -> None: ...

    def say(self, line: str) -> None: ...

    def stop(self) -> None: ...


class Together:
    """Shows several runs as one: their steps are added up, and the return is that of the best of them."""

    def __init__(self, show: Display) -> None:
        self.show = show
        self.steps: dict[str, int] = {}
        self.returns: dict[str, float] = {}

    def update(self, name: str, steps: int, episode_return: float | None) -> None:
        """Shows that a run has made so many steps."""
        self.steps[name] = steps
        if episode_return is not None:
            self.returns[name] = episode_return
        self.show.update(sum(self.steps.values()), max(self.returns.values(), default=None))


class Part:
    """Shows one run among those of a `Together`; what is said of it carries its name."""

    def __init__(self, together: Together, name: str) -> None:
        self.together, self.name = together, name

    def start(self, title: str, total: int) -> None:
        """All of them are started as one."""

    def update(self, steps: int, episode_return: float | None) -> None:
        self.together.update(self.name, steps, episode_return)

    def playing(self, text: str) -> None:
        self.together.show.playing(text and f"{self.name}: {text}")

    def say(self, line: str) -> None:
        self.together.show.say(f"{self.name}: {line}")

    def stop(self) -> None:
        """The others may go on."""


class Silent:
    """Shows nothing."""

    def _nothing(self, *what: Any, **how: Any) -> None:
        """Nothing to show."""

    start = update = playing = say = stop = _nothing


class _Pace:
    """Steps per second since the first steps came in, so that start-up does not count."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None
        self.now = (0.0, 0)

    def update(self, steps: int) -> None:
        self.now = (time.perf_counter(), steps)
        self.first = self.first or self.now

    @property
    def rate(self) -> float:
        """Steps per second; 0 while it is not known."""
        if self.first is None or self.now[0] <= self.first[0]:
            return 0.0
        return (self.now[1] - self.first[1]) / (self.now[0] - self.first[0])

    def left(self, total: int) -> str:
        """The time that is left until so many steps, ", 0:01:05 left"; "" while it is not known, and at the end."""
        if not self.rate or self.now[1] >= total:
            return ""
        return f", {datetime.timedelta(seconds=round((total - self.now[1]) / self.rate))} left"

    def __str__(self) -> str:
        return f"{self.rate:,.0f} steps/s" if self.rate else "compiling"


class Lines:
    """For logs and pipes: a line at the start, after every tenth of the run, and in long evaluations."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def start(self, title: str, total: int) -> None:
        self.total, self.next, self.pace = total, 1, _Pace()
        self.seen = time.monotonic()  # when it last went on
        self.say(title)

    def update(self, steps: int, episode_return: float | None) -> None:
        self.seen = time.monotonic()
        self.pace.update(steps)
        tenths = 10 * steps // self.total
        if tenths >= self.next:
            self.next = tenths + 1
            score = "no episode has ended yet" if episode_return is None else f"return {episode_return:.1f}"
            self.say(f"  {steps:>12,} of {self.total:,} steps, {self.pace}, {score}")

    def playing(self, text: str) -> None:
        if text and time.monotonic() >= self.seen + SELDOM:
            self.seen = time.monotonic()
            self.say(f"  {text}")

    def say(self, line: str) -> None:
        self.console.print(line, markup=False)

    def stop(self) -> None:
        """Nothing is left open."""


class Bar:
    """For terminals: one live line with steps, steps per second, return so far and time left."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def start(self, title: str, total: int) -> None:
        self.say(title)
        columns: list[ProgressColumn | str] = [
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} steps"),
            TextColumn("[cyan]{task.fields[pace]}"),
            TextColumn("return [bold green]{task.fields[score]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[playing]}"),
        ]
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task("", total=total, pace="compiling", score="-", playing="")
        self.pace = _Pace()
        self.progress.start()

    def update(self, steps: int, episode_return: float | None) -> None:
        self.pace.update(steps)
        score = "-" if episode_return is None else f"{episode_return:.1f}"
        self.progress.update(self.task, completed=steps, pace=str(self.pace), score=score, playing="")

    def playing(self, text: str) -> None:
        self.progress.update(self.task, playing=text)

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        self.progress.stop()


class Cell:
    """For notebooks: one output of the cell, in which a line is renewed below what was said.

    What is said after the end takes the place of the title and the line, so that it alone is left.

    Args:
        put: shows a text in the place of the text before.
    """

    def __init__(self, put: Callable[[str], None]) -> None:
        self.put = put
        self.said: deque[str] = deque(maxlen=MOST_LINES)
        self.count = 0  # of all that was said
        self.title = self.line = ""
        self.shown = 0.0  # when
        self.running = True

    def start(self, title: str, total: int) -> None:
        self.title, self.total, self.pace = title, total, _Pace()
        self.line = self._line(0, None)
        self._show()

    def update(self, steps: int, episode_return: float | None) -> None:
        self.pace.update(steps)
        self.line = self._line(steps, episode_return)
        self._renew()

    def playing(self, text: str) -> None:
        if text:
            self.line = text
            self._renew()

    def say(self, line: str) -> None:
        if not self.running:
            self.title = self.line = ""
        self.said.append(line)
        self.count += 1
        self._show()

    def stop(self) -> None:
        self.running = False
        self._show()

    def _line(self, steps: int, episode_return: float | None) -> str:
        part = min(1.0, steps / self.total)
        score = "" if episode_return is None else f", return {episode_return:.1f}"
        bar = "█" * int(BAR * part)
        left = self.pace.left(self.total)
        return f"{bar:░<{BAR}} {100 * part:3.0f} %, {steps:,} of {self.total:,} steps, {self.pace}{score}{left}"

    def _renew(self) -> None:
        if time.monotonic() >= self.shown + RENEWED:
            self._show()

    def _show(self) -> None:
        self.shown = time.monotonic()
        more = self.count - len(self.said)
        earlier = f"({more:,} earlier lines)" if more else ""
        self.put("\n".join(line for line in (self.title, earlier, *self.said, self.line) if line))


def display(progress: bool) -> Display:
    """The display that suits the notebook, or else the place where standard error goes."""
    if not progress:
        return Silent()
    if put := live_text():
        return Cell(put)
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines()


@contextlib.contextmanager
def episodes_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of the episodes played, in a terminal; yields what `evaluate` and `film` take as `progress`."""
    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("episodes"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda finished, episodes: bar.update(task, completed=finished, total=episodes)
