"""Metrics as TensorBoard reads them; written without TensorFlow."""

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from polyak.errors import BadSetting
from polyak.runs import store

if TYPE_CHECKING:
    from polyak.run import Run


class TensorBoard:
    """Writes event files, one TensorBoard run a seed; the x axis is environment steps. Needs the extra `tensorboard`.

    `tensorboard --logdir runs` finds them all.

    Args:
        folder: where to; `FOLDER/NAME-OF-THE-RUN/seed-0`, by default `RUN/tensorboard/seed-0`.
    """

    def __init__(self, folder: str | os.PathLike | None = None):
        self.folder = None if folder is None else Path(folder)

    def on_start(self, run: "Run") -> None:
        try:
            import tensorboard.summary.writer.record_writer  # noqa: F401
        except ImportError as error:
            raise BadSetting('TensorBoard files need `pip install "polyak[tensorboard]"`.') from error
        inside = store.inner_folder(run.path, "tensorboard") if self.folder is None else self.folder / run.path.name
        self._inside, self._files = inside, dict[int, BinaryIO]()

    def on_chunk(self, run: "Run", seed: int, step: int, metrics: dict[str, float]) -> None:
        self._write(seed, step, metrics)

    def on_evaluation(self, run: "Run", seed: int, step: int, returns: list[float]) -> None:
        self._write(seed, step, {"evaluation_return": float(np.mean(returns))})

    def on_end(self, run: "Run") -> None:
        for seed in self._files:
            if str(seed) in run.about["returns"]:
                steps, values = run.metrics("final_return")
                mine = np.isfinite(values[run.seeds.index(seed)])
                self._write(
                    seed, int(steps[mine][-1]), {"final_return": float(np.mean(run.about["returns"][str(seed)]))}
                )
        for file in self._files.values():
            file.close()

    def _write(self, seed: int, step: int, metrics: dict[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if seed not in self._files:
            self._files[seed] = self._open(self._inside / f"seed-{seed}")
            self._record(seed, file_version="brain.Event:2")
            # what an earlier sitting wrote from here on is not part of this run: it was trained again
            self._record(seed, step=step, session_log=SessionLog(status=SessionLog.START))
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._record(seed, step=step, summary=Summary(value=values))

    def _open(self, folder: Path) -> BinaryIO:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        return open(folder / name, "xb")

    def _record(self, seed: int, **facts: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._files[seed]).write(Event(wall_time=time.time(), **facts).SerializeToString())
        self._files[seed].flush()
