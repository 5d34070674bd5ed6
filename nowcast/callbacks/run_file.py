"""RunFile: run.json in a run folder, which says how far a run is and whether it lives."""

import json
import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

NAME = "run.json"
BEAT_S = 20.0  # between two lives' signs; nowcast.report.runs takes a run for dead that gave none for some minutes


class RunFile(pl.Callback):
    """Keeps run.json: state (running, finished, stopped, failed and why), epochs, steps, seconds.

    Its time of change is the sign of life of a run that was killed too fast to say so. Seconds add up over the parts of
    a run that was resumed.

    Args:
        folder: of the run.
        tested: whether a test follows the training, with which the run is finished.
    """

    def __init__(self, folder: Path, tested: bool) -> None:
        self.path, self.tested = folder / NAME, tested
        self._began = self._beat = time.monotonic()
        self._before = 0.0  # seconds of earlier parts

    def on_fit_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Begin, with the seconds of the parts before."""
        try:
            self._before = float(json.loads(self.path.read_text())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            self._before = 0.0  # it is the first, or the one before left no whole file
        self._began = time.monotonic()
        self._write(trainer, "running")

    def on_train_batch_end(self, trainer: pl.Trainer, task: pl.LightningModule, *_: Any) -> None:
        """Give a sign of life now and then."""
        if time.monotonic() - self._beat > BEAT_S:
            self._write(trainer, "running")

    def on_validation_batch_end(self, trainer: pl.Trainer, task: pl.LightningModule, *_: Any) -> None:
        """Give a sign of life now and then."""
        self.on_train_batch_end(trainer, task)

    def on_test_batch_end(self, trainer: pl.Trainer, task: pl.LightningModule, *_: Any) -> None:
        """Give a sign of life now and then."""
        self.on_train_batch_end(trainer, task)

    def on_validation_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Say how far it is."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._write(trainer, "running")

    def on_fit_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """It is finished, unless a test follows."""
        self._write(trainer, "running" if self.tested else "finished")

    def on_test_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """It is finished."""
        self._write(trainer, "finished")

    def on_exception(self, trainer: pl.Trainer, task: pl.LightningModule, exception: BaseException) -> None:
        """Somebody stopped it, or it failed."""
        if isinstance(exception, KeyboardInterrupt):
            self._write(trainer, "stopped")
        else:
            said = (str(exception).strip().splitlines() or [type(exception).__name__])[0]
            self._write(trainer, "failed", error=said)

    def _write(self, trainer: pl.Trainer, state: str, **more: Any) -> None:
        if not trainer.is_global_zero or not self.path.parent.is_dir():
            return
        self._beat = time.monotonic()
        content = {
            "state": state,
            "epochs": trainer.fit_loop.epoch_progress.current.completed,
            "max_epochs": trainer.max_epochs,
            "steps": trainer.global_step,
            "max_steps": trainer.max_steps,
            "seconds": round(self._before + self._beat - self._began, 1),
            **more,
        }
        part = self.path.with_name(f".{NAME}.part")
        part.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(part, self.path)
