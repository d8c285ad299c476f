"""Jobs made by hand, for tests that train without `polyak.train` around it."""

from pathlib import Path
from typing import Any

from polyak import settings
from polyak.agent import Algorithm
from polyak.runs.about import About
from polyak.worker import Job


def job(algorithm: Algorithm, env: str, folder: Path, seeds: tuple[int, ...] = (0,), **asked: Any) -> Job:
    """A job of a run that is asked for no more than this: one environment, one episode an evaluation."""
    about = About(
        format=1,
        status="running",
        algorithm=algorithm.name,
        settings=settings.describe(algorithm),
        env=env,
        custom_env=False,
        seeds=list(seeds),
        wall_seconds=0.0,
        steps_per_second=0.0,
        returns={},
        **{"num_envs": 1, "eval_every": None, "eval_episodes": 1, "final_episodes": 1} | asked,
    )
    return Job(about=about, algorithm=algorithm, env=env, seeds=seeds, folder=folder)
