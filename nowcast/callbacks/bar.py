"""Bar: the progress bar of a training on a terminal."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar


class Bar(RichProgressBar):
    """Batches of the epoch, time left, loss, and windows per second where `DataWait` counts them."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        values = super().get_metrics(trainer, pl_module)
        values.pop("v_num", None)  # of a logger's folder, which says nothing here
        rate = trainer.callback_metrics.get("windows_per_second")
        return values if rate is None else {**values, "windows/s": f"{float(rate):.1f}"}
