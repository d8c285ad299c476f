"""Films of the agent as it learns."""

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from polyak.callbacks.protocol import Count, check_fields
from polyak.runs import store

if TYPE_CHECKING:
    from polyak.run import Run


@dataclasses.dataclass
class Film:
    """Films the greedy policy of each seed while training goes on, into `RUN/films/seed-0-step-10240.mp4`.

    Without the extra `video` films are `.gif`. An environment that cannot be drawn is an error before training.

    Args:
        every: environment steps between two films; each is made at the end of a block.
        episodes: of each film; the same ones each time.
    """

    every: Count
    episodes: Count = 1

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def policy_every(self) -> int:
        """Asks `train` for policies."""
        return self.every

    def on_start(self, run: "Run") -> None:
        from polyak.runs.video import drawable

        drawable(run.env, run.about["env"]).close()
        self._studio = ThreadPoolExecutor(1, "film")
        self._films: list[Future] = []

    def on_policy(self, run: "Run", seed: int, step: int, path: Path) -> None:
        for film in wait(self._films, timeout=0)[0]:
            film.result()  # raises what went wrong in it
        self._films.append(self._studio.submit(self._film, run, seed, step, path))

    def on_end(self, run: "Run") -> None:
        try:
            for film in self._films:
                film.result()
        finally:
            self._studio.shutdown(wait=False, cancel_futures=True)

    def _film(self, run: "Run", seed: int, step: int, path: Path) -> None:
        from polyak.policy import load
        from polyak.runs.video import ending, film

        folder = store.inner_folder(run.path, "films")
        film(load(path), folder / f"seed-{seed}-step-{step}{ending()}", env=run.env, episodes=self.episodes)
