"""Tuned settings per environment, as TOML files beside this one, each with the evidence for it."""

import dataclasses
import tomllib
from importlib import resources
from typing import Any, Literal

from polyak.errors import BadFile


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings of one algorithm that are known to work on one environment."""

    algorithm: str
    env: str
    steps: int
    num_envs: int
    threshold: float  # for `make learn` to pass, the interval must lie above it; of errors and regret, below
    settings: dict[str, Any]
    evidence: dict[str, Any]  # date, seeds, `score`, interval, wall_seconds, machine; empty before it is measured
    # What it is judged by: the returns of final policies; the errors of values that predict what a given policy is
    # worth, root of the mean square over states; or the regret on a bandit after so many steps.
    score: Literal["iqm", "rms_error", "regret"] = "iqm"


def presets() -> list[Preset]:
    """All presets, by environment and algorithm."""
    found = []
    for file in sorted(resources.files(__package__).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".toml"):
            continue
        table = tomllib.loads(file.read_text())
        env = table.pop("env")
        for algorithm, entry in table.items():
            try:
                found.append(Preset(algorithm, env, **{"evidence": {}, **entry}))
            except TypeError as error:
                raise BadFile(f"The preset {file.name} is not complete: {error}.") from error
    return found


def preset(algorithm: str, env: str) -> Preset | None:
    """The preset of that pair, if there is one; a prefix such as `gymnasium:` does not change the task."""
    id = env.rpartition(":")[2]
    return next((entry for entry in presets() if (entry.algorithm, entry.env) == (algorithm, id)), None)
