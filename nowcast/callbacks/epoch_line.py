"""EpochLine: a line of text for each epoch of a training."""

import time

import lightning.pytorch as pl
import numpy as np


class EpochLine(pl.Callback):
    """Prints a line an epoch: losses, speed and time. Needs the values of `DataWait`, which is to come before it."""

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Begin to count the seconds."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Print the line."""
        if not trainer.is_global_zero:
            return
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epochs = trainer.max_epochs or -1
        print(
            f"epoch {trainer.current_epoch + 1}{f'/{epochs}' if epochs > 0 else ''}: "
            f"loss {now.get('train_loss', np.nan):.4f}, validation {now.get('val_loss', np.nan):.4f}, "
            f"{now['windows_per_second']:.1f} windows/s, {now['data_wait']:.0%} of it waiting for data, "
            f"{time.perf_counter() - self.began:.0f} s",
            flush=True,
        )
