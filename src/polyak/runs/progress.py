"""Shows how a run goes on: a live line in a terminal, a few complete lines anywhere else."""

import contextlib
import sys
import time
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

SELDOM = 10.0  # seconds without a step before a log is told of an evaluation, and between two such lines


class Display(Protocol):
    """Shows a run to the user."""

    def start(self, title: str, total: int) -> None: ...

    def update(self, steps: int, episode_return: float | None) -> None: ...

    def playing(self, text: str) -> None: ...

    def say(self, line: str) -> None: ...

    def stop(self) -> None: ...


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

    def __str__(self) -> str:
        if self.first is None or self.now[0] <= self.first[0]:
            return "compiling"
        return f"{(self.now[1] - self.first[1]) / (self.now[0] - self.first[0]):,.0f} steps/s"


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


def display(progress: bool) -> Display:
    """The display that suits where standard error goes."""
    if not progress:
        return Silent()
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
