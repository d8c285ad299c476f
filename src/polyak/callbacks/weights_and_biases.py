"""Metrics for Weights & Biases."""

from typing import TYPE_CHECKING, Any

import numpy as np

from polyak.errors import BadSetting
from polyak.runs import store

if TYPE_CHECKING:
    from polyak.run import Run


class WeightsAndBiases:
    """Logs to Weights & Biases: one run a seed, all seeds of a polyak run in one group. Needs `pip install wandb`.

    Args:
        project: the project there.
        mode: "online", "offline" or "disabled"; by default what the environment variable WANDB_MODE says.
    """

    def __init__(self, project: str = "polyak", mode: str | None = None):
        self.project, self.mode = project, mode

    def on_start(self, run: "Run") -> None:
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise BadSetting("WeightsAndBiases needs `pip install wandb`.") from error
        store.inner_folder(run.path, "wandb")  # where wandb writes, given the folder around it
        self._runs: dict[int, Any] = {}

    def on_chunk(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> None:
        self._log(run, seed, step, metrics)

    def on_evaluation(self, run: "Run", seed: int, step: int, returns: list[float]) -> None:
        self._log(run, seed, step, {"evaluation_return": float(np.mean(returns))})

    def on_end(self, run: "Run") -> None:
        for seed, theirs in self._runs.items():
            if str(seed) in run.about["returns"]:
                theirs.summary["final_return"] = float(np.mean(run.about["returns"][str(seed)]))
            theirs.finish(exit_code=1 if run.about["status"] == "failed" else 0)

    def _log(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> None:
        import wandb

        if seed not in self._runs:
            about = run.about
            self._runs[seed] = wandb.init(
                project=self.project,
                mode=self.mode,
                dir=run.path,
                group=run.path.name,
                id=f"{run.path.name}-seed-{seed}",
                name=f"{run.path.name}-seed-{seed}",
                resume="allow",  # after Ctrl-C the same run goes on
                reinit="create_new",  # several seeds at the same time
                config={**about["settings"], "algorithm": about["algorithm"], "env": about["env"], "seed": seed},
            )
            self._runs[seed].define_metric("*", step_metric="environment_step")
        self._runs[seed].log({"environment_step": step, **metrics})
