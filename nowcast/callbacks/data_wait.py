"""DataWait: windows per second of training in all processes, and the share of the time the first waits for data."""

import time
from typing import Any

import lightning.pytorch as pl
import torch


class DataWait(pl.Callback):
    """Logs the share of training time spent waiting for data, and windows per second, once an epoch.

    At any moment both are in the trainer's `callback_metrics`, as of the last batch.
    """

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Begin to count, since a resumed epoch has no start."""
        self.on_train_epoch_start(trainer, task)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Begin to count."""
        self.began = self.ready = time.perf_counter()
        self.waited, self.windows, self.values = 0.0, 0, dict[str, float]()

    def on_train_batch_start(self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, index: int) -> None:
        """Since the last batch there was nothing but waiting for this one."""
        self.waited += time.perf_counter() - self.ready
        self.windows += len(batch["past"]) * trainer.world_size  # processes take their steps together

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Take the time of the batch in."""
        self.ready = time.perf_counter()
        elapsed = self.ready - self.began
        # The last value of an epoch is the epoch's; validation, which follows, is not in it.
        self.values = {"data_wait": self.waited / elapsed, "windows_per_second": self.windows / elapsed}
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.values.items()})

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Log the epoch's values."""
        for logger in trainer.loggers:
            logger.log_metrics(self.values, step=trainer.global_step - 1)
