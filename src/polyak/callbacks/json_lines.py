"""The events of a run, for machines: one JSON object a line."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from polyak.run import Run


class JsonLines:
    """Writes every event as a line of JSON; numbers that are not finite are null.

    `event` says what it is, and with it which other fields there are:

    - start: run, algorithm, env, steps, seeds, num_envs, settings
    - chunk: seed, step, metrics
    - evaluation: seed, step, returns
    - checkpoint, policy: seed, step, path
    - notice: seed (null: of all of them), text
    - end, the last line: run, status (finished, stopped, failed), returns (by seed), mean, iqm, interval (of the final
      policies, null if there is none), stopped_early (by seed: step, reason), steps_per_second, wall_seconds

    Args:
        file: an open text file; by default standard output.
    """

    def __init__(self, file: TextIO | None = None):
        self.file = file

    def on_start(self, run: "Run") -> None:
        facts = {name: run.about[name] for name in ("algorithm", "env", "steps", "seeds", "num_envs", "settings")}
        self._write("start", run=str(run.path), **facts)

    def on_chunk(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> None:
        self._write("chunk", seed=seed, step=step, metrics=metrics)

    def on_evaluation(self, run: "Run", seed: int, step: int, returns: list[float]) -> None:
        self._write("evaluation", seed=seed, step=step, returns=returns)

    def on_checkpoint(self, run: "Run", seed: int, step: int, path: Path) -> None:
        self._write("checkpoint", seed=seed, step=step, path=str(path))

    def on_policy(self, run: "Run", seed: int, step: int, path: Path) -> None:
        self._write("policy", seed=seed, step=step, path=str(path))

    def on_notice(self, run: "Run", seed: int | None, text: str) -> None:
        self._write("notice", seed=seed, text=text)

    def on_end(self, run: "Run") -> None:
        about = run.about
        scores = run.scores if about["returns"] else None
        facts = {name: about[name] for name in ("status", "returns", "steps_per_second", "wall_seconds")}
        self._write(
            "end",
            run=str(run.path),
            **facts,
            stopped_early=about["stopped_early"],
            mean=scores.mean if scores else None,
            iqm=scores.iqm if scores else None,
            interval=list(scores.interval) if scores else None,
        )

    def _write(self, event: str, **facts: Any) -> None:
        line = json.dumps(_finite({"event": event, **facts}), allow_nan=False)
        print(line, file=self.file or sys.stdout, flush=True)


def _finite(value: Any) -> Any:
    """The same with None in the place of what JSON cannot write."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
